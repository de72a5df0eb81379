"""Do the weights or the activations cost the accuracy?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case
from analysis.diagnosis.finding import Finding, Missing, Number, Severity, Verdict

if TYPE_CHECKING:
    from analysis.prediction import Prediction
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme

GUILTY_SHARE = 0.8
"""Share of the error from which one side is the culprit: the other then matters less
than one bit of it would (an error falls fourfold per bit)."""
_SHOWN = 5

_FIX = {
    "weights": "Give weights one scale per channel or per group, choose ranges by "
    "squared error (mse), and raise the layers with the largest error.",
    "activations": "Choose activation ranges by percentile or squared error, use one "
    "scale per token or an asymmetric format, and look for outlier channels.",
}


@dataclass(frozen=True)
class Culprit:
    """Predicted error of weights alone, of activations alone, and of both.

    Step 2 of the debugging flow of Nagel et al. (arXiv 2106.08295, section 3.7), by
    prediction, with the measured errors beside it where these plans were measured.
    Where the assignment keeps one side float, that side is judged in a reference
    scheme, and the sentence says so.
    """

    key: ClassVar[str] = "culprit"
    title: ClassVar[str] = "Weights or activations the culprit"

    def judge(self, case: Case) -> Verdict:
        """Predict the three plans."""
        inputs = case.input_scheme()
        if case.reference is None:
            return Missing("Run predicted_error on calibration data.")
        if inputs is None or not case.input_keys:
            return Missing(
                "Run predicted_error with an input format as well (input activations "
                "in int8)."
            )
        weights, activations, both = _plans(case, inputs)
        alone = [case.project.predict(plan) for plan in (weights, activations)]
        together = case.project.predict(both)
        if alone[0] is None or alone[1] is None or together is None:
            return Missing("Run predicted_error on calibration data.")
        return (self._finding(case, (weights, activations, both), alone, together),)

    def _finding(
        self,
        case: Case,
        plans: tuple[Assignment, Assignment, Assignment],
        alone: list[Prediction | None],
        together: Prediction,
    ) -> Finding:
        weight, activation = alone
        assert weight is not None
        assert activation is not None
        total = weight.value + activation.value
        share = weight.value / total if total > 0 else 0.5
        is_clear = case.noise_apart(weight, activation)
        guilty = ""
        if is_clear and max(share, 1 - share) >= GUILTY_SHARE:
            guilty = "weights" if share >= 0.5 else "activations"
        named = ("weights alone", "activations alone", "both")
        numbers = [
            Number(f"predicted, {name}", p.value, case.unit, p.stderr)
            for name, p in zip(named, (weight, activation, together), strict=True)
        ]
        for name, plan in zip(named, plans, strict=True):
            score = case.project.measured_of(plan)
            if score is not None:
                value, stderr = float(score["value"]), float(score["stderr"])
                numbers.append(Number(f"measured, {name}", value, case.unit, stderr))
        part = max(share, 1 - share)
        title = (
            f"The {guilty} cause {100 * part:.0f} % of the predicted error"
            if guilty
            else f"Weights cause {100 * share:.0f} % of the predicted error, "
            f"activations {100 * (1 - share):.0f} %"
        )
        severity: Severity = "warning" if guilty else "note"
        return Finding(
            self.key,
            title,
            severity,
            tuple(numbers),
            _described(plans[2]),
            _FIX.get(guilty, "Neither side is innocent: mend the layers with the "
                     "largest error on both."),
            _worst(case, plans[2], guilty),
            "heatmap",
            case.run_ids,
        )  # fmt: skip


def _plans(case: Case, inputs: Scheme) -> tuple[Assignment, Assignment, Assignment]:
    """Return weights alone, activations alone, and both."""
    plan, every = case.assignment, range(len(case.assignment))
    if not plan.weight.any():
        assert case.reference is not None
        plan = plan.with_weight(
            np.flatnonzero(case.uniform(case.reference).weight), case.reference
        )
    if not (plan.input.any() or plan.sites):
        known = np.isfinite(case.project.values(MEASURE, inputs.key, part="input"))
        plan = plan.with_input(known, inputs)
    weights = plan.with_input(every, None)
    for name in tuple(plan.sites):
        weights = weights.with_site(name, None)
    return weights, plan.with_weight(every, None), plan


def _described(plan: Assignment) -> str:
    """Return which schemes were judged."""

    def keys(choice: object) -> str:
        entries = np.unique(np.asarray(choice))
        used = [plan.palette[i] for i in entries]
        return ", ".join(s.key for s in used if s is not None) or "float"

    return (
        f"Judged with weights in {keys(plan.weight)} and inputs in {keys(plan.input)}. "
        f"One side is the culprit from {100 * GUILTY_SHARE:.0f} % on, when the "
        "difference is larger than its error bar."
    )


def _worst(case: Case, plan: Assignment, guilty: str) -> tuple[int, ...]:
    """Return the layers with the largest error on the guilty side, or on both."""
    weight, inputs = (
        np.nan_to_num(case.errors(plan, part)[0]) for part in ("weight", "input")
    )
    value = {"weights": weight, "activations": inputs}.get(guilty, weight + inputs)
    return tuple(np.argsort(-value, kind="stable")[:_SHOWN].tolist())
