"""Are the calibration data enough, real, and like the data they stand for?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case, Floats
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural
from analysis.runs import RunInfo

TOTAL_STDERR = 0.10
"""Largest relative standard error of the whole prediction: two assignments are then
told apart (two standard errors of the difference) when they differ by 28 %."""
LAYER_STDERR = 0.25
"""Largest median relative standard error of a layer: two layers are told apart when
one has 1.7 times the error of the other, the step of half a bit (an error falls
fourfold per bit, so by two per half bit)."""
FEW_SAMPLES = 16
"""Below, the error bars themselves are off by more than 18 %, 1/sqrt(2 (n - 1))."""
SIGMAS = 3.0
"""Standard errors between two data sets that chance explains once in 370 layers."""
DIFFERENT_SHARE = 0.05
"""Share of layers beyond `SIGMAS` that is no chance any more (chance gives 0.3 %)."""
RANGE_GROWTH = 1.25
"""Growth of a largest magnitude between data sets that counts as clipping: an
eighth of a bit short of what one more third of the range would take (log2 1.25 =
0.32 bit)."""


@dataclass(frozen=True)
class SampleSize:
    """Whether the error bars are small enough to tell layers and assignments apart.

    The standard error falls with the square root of the samples. For scale: Nagel et
    al. (arXiv 2106.08295) calibrate on 500 to 1000 images; here the error bar of the
    data given decides, not a fixed number.
    """

    key: ClassVar[str] = "calibration_size"
    title: ClassVar[str] = "Enough calibration data"

    def judge(self, case: Case) -> Verdict:
        """Compare standard errors with their values."""
        run, prediction = case.run, case.prediction
        if run is None or prediction is None:
            return Missing("Run predicted_error on calibration data.")
        if run.data_source.startswith("random"):
            return (_random(self.key, run),)
        value, stderr = case.errors(case.judged, "weight")
        known = (value > 0) & np.isfinite(stderr)
        of_layers = float(np.median(stderr[known] / value[known])) if known.any() else 0
        whole = prediction.stderr / prediction.value if prediction.value > 0 else 0.0
        few = 0 < run.samples < FEW_SAMPLES
        if not (few or whole > TOTAL_STDERR or of_layers > LAYER_STDERR):
            return ()
        factor = max(whole / TOTAL_STDERR, of_layers / LAYER_STDERR) ** 2
        wanted = max(FEW_SAMPLES, math.ceil(run.samples * factor))
        bar = Number("relative standard error of the whole", 100 * whole, "%")
        numbers = (
            bar,
            Number("median relative standard error of a layer", 100 * of_layers, "%"),
            Number("calibration samples", run.samples),
        )
        title = f"{plural(run.samples, 'calibration sample')} leave an uncertainty of "
        return (
            Finding(
                self.key,
                title + f"{bar.text} in the predicted error of {case.judged_as}",
                "warning",
                numbers,
                f"Up to {100 * TOTAL_STDERR:.0f} % for the whole and "
                f"{100 * LAYER_STDERR:.0f} % for a layer, differences worth acting on "
                "stand out of the noise. Above, the order of layers and assignments is "
                "partly chance.",
                f"Use about {wanted:,} samples (the error bar falls with their square "
                "root), or more probes per sample where samples are few.",
                panel="heatmap",
                runs=case.run_ids,
            ),
        )


def _random(rule: str, run: RunInfo) -> Finding:
    return Finding(
        rule,
        "The calibration data are random numbers",
        "warning",
        (Number("random samples", run.samples),),
        "Random inputs reach other activations than real ones: outliers, ranges and "
        "the order of layers may all differ.",
        "Run the analysis again with some dozens of real samples; no labels needed.",
        runs=(run.id,),
    )


@dataclass(frozen=True)
class DataMatch:
    """Whether two data sets agree on the layers' errors and on activation ranges.

    The measures must have run on both, calibration and validation data for instance;
    the two newest runs on different data are compared.
    """

    key: ClassVar[str] = "calibration_match"
    title: ClassVar[str] = "Calibration data like validation data"

    def judge(self, case: Case) -> Verdict:
        """Compare the runs of the two data sets."""
        errors = _two_data_sets(case, MEASURE)
        ranges = _two_data_sets(case, "activations")
        if errors is None and ranges is None:
            return Missing(
                "Run predicted_error or activations on a second data set (validation "
                "data) as well; both runs are kept."
            )
        found = []
        if errors is not None:
            found += self._errors(case, *errors)
        if ranges is not None:
            found += self._ranges(case, *ranges)
        return tuple(found)

    def _errors(self, case: Case, old: RunInfo, new: RunInfo) -> list[Finding]:
        keys = set(_keys(old)) & set(_keys(new))
        shared = [key for key in case.weight_keys if key in keys]
        if not shared or old.unit != new.unit:
            return []
        reference = case.reference
        key = reference.key if reference and reference.key in shared else shared[0]
        values = [case.project.values(MEASURE, key, run=r.id) for r in (old, new)]
        bars = [case.project.stderrs(MEASURE, key, run=r.id) for r in (old, new)]
        apart = np.abs(values[1] - values[0]) > SIGMAS * np.hypot(*bars)
        known = np.isfinite(values[0] + values[1]) & (values[0] > 0)
        differ = np.flatnonzero(apart & known)
        if len(differ) < max(1, DIFFERENT_SHARE * known.sum()):
            return []
        ratio = float(np.median(values[1][known] / values[0][known]))
        numbers = (
            Number("layers with another error", len(differ)),
            Number(f"median error in {key}, second over first data set", ratio),
            Number("samples of the first data set", old.samples),
            Number("samples of the second data set", new.samples),
        )
        return [
            Finding(
                self.key,
                f"{plural(len(differ), 'layer')} of {known.sum()} have another error "
                f"on {new.data_source} than on {old.data_source}",
                "warning",
                numbers,
                f"They differ by more than {SIGMAS:g} standard errors, which chance "
                "explains in 0.3 % of the layers: choices made on one data set do not "
                "carry over to the other.",
                "Mix samples of both into the calibration data, then search again.",
                case.worst(differ),
                "heatmap",
                (old.id, new.id),
            )
        ]

    def _ranges(self, case: Case, old: RunInfo, new: RunInfo) -> list[Finding]:
        before, after = (_absmax(case, run) for run in (old, new))
        known = np.isfinite(before) & np.isfinite(after) & (before > 0)
        grown = np.flatnonzero(known & (after > RANGE_GROWTH * before))
        if len(grown) < max(1, DIFFERENT_SHARE * known.sum()):
            return []
        growth = float((after[grown] / before[grown]).max())
        return [
            Finding(
                self.key,
                f"The inputs of {plural(len(grown), 'layer')} reach further on "
                f"{new.data_source} than on {old.data_source}",
                "warning",
                (
                    Number("layers whose input range grows", len(grown)),
                    Number("largest growth of a range", growth),
                ),
                f"Ranges fitted to the first data set clip values of the second by "
                f"more than a factor {RANGE_GROWTH:g}.",
                "Fit activation ranges on samples of both data sets.",
                tuple(grown[np.argsort(-(after / before)[grown])].tolist()),
                "distribution",
                (old.id, new.id),
            )
        ]


def _absmax(case: Case, run: RunInfo) -> Floats:
    return case.project.values("activations", None, "absmax", "input", run.id)


def _keys(run: RunInfo) -> list[str]:
    return [str(key) for key in run.params.get("schemes", ())]


def _two_data_sets(case: Case, measure: str) -> tuple[RunInfo, RunInfo] | None:
    """Return the newest complete run of a measure and the newest on other data."""
    runs = [
        run
        for run in case.project.runs
        if run.measure == measure and run.status == "complete" and run.data_digest
    ]
    if not runs:
        return None
    others = [run for run in runs if run.data_digest != runs[-1].data_digest]
    return (others[-1], runs[-1]) if others else None
