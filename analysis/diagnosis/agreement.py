"""Can the prediction be believed: interactions, gaps, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural
from analysis.quality import rank_correlation

OFF = 0.25
"""Share of the additive error that interactions may make up before a search over sums
goes astray; below, the choice between two widths one bit apart (factor 4) stands."""
FACTOR = 2.0
"""Ratio of measured and predicted error that is not believed any more: half a bit."""
SIGMAS = 3.0
RANK = 0.9
"""Rank correlation of layers below which the order is another one; the predicted error
reaches 0.94 and more where it holds."""
_LEAST = 5  # layers that a rank correlation needs


@dataclass(frozen=True)
class Coverage:
    """Layers in schemes that were never analysed.

    They count as free of error, so totals are lower bounds.
    """

    key: ClassVar[str] = "coverage"
    title: ClassVar[str] = "Schemes without a prediction"

    def judge(self, case: Case) -> Verdict:
        """Count what the prediction leaves out."""
        prediction = case.project.predict(case.assignment)
        if case.run is None or prediction is None:
            return Missing("Run predicted_error on calibration data.")
        if not prediction.missing:
            return ()
        plan = case.assignment
        gaps = [np.isnan(case.errors(plan, p)[0]) for p in ("weight", "input")]
        layers = np.flatnonzero(gaps[0] | gaps[1])
        keys = {
            scheme.key
            for i in layers.tolist()
            for scheme in (plan.scheme_of(i), plan.input_of(i))
            if scheme is not None
        } - {*case.weight_keys, *case.input_keys}
        which = f" ({', '.join(sorted(keys))})" if keys else ""
        return (
            Finding(
                self.key,
                f"{plural(prediction.missing, 'choice')} of this assignment were not "
                "analysed: its predicted error is a lower bound",
                "warning",
                (
                    Number("layers and sites without a prediction", prediction.missing),
                    Number(
                        "predicted error of the rest",
                        prediction.value,
                        case.unit,
                        prediction.stderr,
                    ),
                ),
                "A choice without a prediction counts as if it cost nothing.",
                f"Analyse these formats as well{which}.",
                tuple(layers.tolist()),
                runs=case.run_ids,
            ),
        )


@dataclass(frozen=True)
class Additivity:
    """The sum over layers beside the prediction with interactions.

    Searches add up the layers' own errors. Where errors of layers reinforce or cancel
    each other, the sum misleads them.
    """

    key: ClassVar[str] = "additivity"
    title: ClassVar[str] = "Errors of layers add up"

    def judge(self, case: Case) -> Verdict:
        """Compare the interaction with the sum."""
        found = case.prediction
        if found is None or case.run is None:
            return Missing("Run predicted_error on calibration data.")
        if not np.isfinite(found.interaction_stderr):
            return Missing("Run predicted_error with a table small enough to be kept.")
        clear = abs(found.interaction) > 2 * found.interaction_stderr
        share = found.interaction / found.additive if found.additive > 0 else 0.0
        if not clear or abs(share) < OFF:
            return ()
        verb = "reinforce" if share > 0 else "cancel"
        return (
            Finding(
                self.key,
                f"Errors of layers {verb} each other: interactions are "
                f"{100 * share:+.0f} % of their sum",
                "warning",
                (
                    Number("sum over layers", found.additive, case.unit),
                    Number(
                        "interactions",
                        found.interaction,
                        case.unit,
                        found.interaction_stderr,
                    ),
                    Number(
                        "with interactions, as predicted",
                        found.value,
                        case.unit,
                        found.stderr,
                    ),
                ),
                f"Beyond {100 * OFF:.0f} %, a search that adds up layers may prefer "
                "the wrong ones; the prediction shown includes the interactions.",
                "Compare assignments by the prediction or by measuring them, not by "
                "sums, and verify the result of a search.",
                panel="trade_off",
                runs=case.run_ids,
            ),
        )


@dataclass(frozen=True)
class Agreement:
    """Predicted beside measured errors, of the whole and of each layer alone.

    The prediction is of second order: it fails where a format is so coarse that the
    output moves far, and where the data of both differ.
    """

    key: ClassVar[str] = "agreement"
    title: ClassVar[str] = "Prediction agrees with measurement"

    def judge(self, case: Case) -> Verdict:
        """Compare whatever was measured."""
        if case.run is None:
            return Missing("Run predicted_error on calibration data.")
        score = case.project.measured_of(case.assignment)
        keys = set(case.project.formats("measured_error")) & set(case.weight_keys)
        if score is None and not keys:
            return Missing("Measure this assignment, or run measured_error.")
        found = []
        whole = None if score is None else self._whole(case, score)
        found += [whole] if whole is not None else []
        for key in (key for key in case.weight_keys if key in keys):
            layers = self._layers(case, key)
            found += [layers] if layers is not None else []
        return tuple(found)

    def _whole(self, case: Case, score: dict[str, object]) -> Finding | None:
        predicted = case.project.predict(case.assignment)
        if predicted is None or predicted.missing or score["unit"] != case.unit:
            return None
        value, stderr = (float(str(score[name])) for name in ("value", "stderr"))
        bar = float(np.hypot(predicted.stderr, np.nan_to_num(stderr)))
        if min(value, predicted.value) <= 0:
            return None
        ratio = value / predicted.value
        near = 1 / FACTOR < ratio < FACTOR
        if near or abs(value - predicted.value) <= SIGMAS * bar:
            return None
        return Finding(
            self.key,
            f"The measured error is {ratio:.3g} times the predicted one",
            "warning",
            (
                Number("measured error", value, case.unit, stderr),
                Number(
                    "predicted error", predicted.value, case.unit, predicted.stderr
                ),
                Number("samples measured", float(str(score["samples"]))),
            ),
            f"They differ by a factor of more than {FACTOR:g} and by more than "
            f"{SIGMAS:g} error bars: the output moves too far for a second-order "
            "prediction, or the two used different data.",
            "Trust the measured number. Measure layers alone at these widths, avoid "
            "the lowest ones, and analyse with the data you measure on.",
            panel="trade_off",
            runs=case.run_ids,
        )  # fmt: skip

    def _layers(self, case: Case, key: str) -> Finding | None:
        measured = case.project.values("measured_error", key)
        predicted = case.project.values(MEASURE, key)
        known = np.flatnonzero((measured > 0) & (predicted > 0) & np.isfinite(measured))
        if len(known) < _LEAST:
            return None
        ratio = measured[known] / predicted[known]
        middle = float(np.median(ratio))
        rank = rank_correlation(measured[known], predicted[known])
        if 1 / FACTOR < middle < FACTOR and rank >= RANK:
            return None
        run = case.project.latest_run("measured_error")
        worst = np.argsort(-np.abs(np.log(ratio)), kind="stable")
        return Finding(
            self.key,
            f"In {key}, layers measure {middle:.3g} times their predicted error in "
            f"the median, rank correlation {rank:.2f}",
            "warning",
            (
                Number("median of measured over predicted", middle),
                Number("rank correlation (Spearman)", rank),
                Number("layers compared", len(known)),
            ),
            f"Below a rank correlation of {RANK:g}, or off by a factor of {FACTOR:g}, "
            "the prediction does not order the layers of this format any more.",
            f"Use the measured error for {key}, or more samples and probes.",
            tuple(known[worst].tolist()),
            "heatmap",
            (*case.run_ids, *(() if run is None else (run.id,))),
        )
