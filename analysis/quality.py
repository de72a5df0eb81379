"""How far each measure of a project can be trusted: judged by the measured error.

The judge is the error measured with one layer quantized and the others float, on this
very model and these very data. Knows no torch, so the window may call it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.readings import Readings
from analysis.runs import RunInfo

Floats = NDArray[np.float64]

JUDGE = "measured_error"
"""The measure that the others are judged by."""
FORWARD_SECONDS = f"{JUDGE}/forward_seconds"
"""Array of that measure: seconds of one float forward pass over its samples, `[1]`."""
ORDER = f"{JUDGE}/order"
"""Array of that measure: indices of the layers in the order of use, `[layers used]`."""
DESCRIPTIVE = frozenset({"weights", "activations"})
"""Measures whose numbers without a format describe a tensor and rank nothing."""
LEAST = 3
"""Pairs of numbers below which a rank correlation says nothing."""
MORE_IS_BETTER = frozenset({"sqnr", "cosine"})
_NOT_JUDGED = frozenset({JUDGE, "error_map"})


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one number of a measure stands for the measured error.

    Attributes:
        measure: Key of the measure.
        quantity: Which of its numbers.
        part: Whose measured error it was compared with: "weight" or "input".
        spearman: Rank correlation over all (layer, format) pairs; NaN when the
            measure has one number per layer whatever the format, or too few pairs.
        per_format: Rank correlation over the layers, by scheme key; NaN where too
            few pairs or all of one side equal.
        pairs: (layer, format) pairs compared.
        ratio: Median of predicted over measured, NaN unless the measure has the unit
            of the error: 1 is calibrated, 2 predicts twice what happens.
        ratio_low: First quartile of that ratio.
        ratio_high: Third quartile.
        seconds: Time its run took.
        forwards: The same in forward passes over as many samples; NaN when the run is
            not complete or the time of a forward pass is not known.
        note: Why something is NaN, "" when nothing is.
    """

    measure: str
    quantity: str
    part: str
    spearman: float = math.nan
    per_format: Mapping[str, float] = field(default_factory=dict)
    pairs: int = 0
    ratio: float = math.nan
    ratio_low: float = math.nan
    ratio_high: float = math.nan
    seconds: float = math.nan
    forwards: float = math.nan
    note: str = ""

    @property
    def rank(self) -> float:
        """Median of `per_format`: comparable between measures with and without format.

        NaN when there is no format with a rank correlation.
        """
        known = [value for value in self.per_format.values() if not math.isnan(value)]
        return float(np.median(known)) if known else math.nan


def measure_quality(
    project: Readings, *, descriptions: bool = False
) -> tuple[Quality, ...]:
    """Return the quality of every number that could rank layers, in project order.

    A number that falls when the error grows (SQNR, cosine) is judged by its negative,
    so +1 is a perfect order for all. Of each measure the run that stands for it is
    read; only its pairs that were measured as well count.

    Args:
        project: A `Project`, or its reading half.
        descriptions: Judge the plain statistics of weights and activations too.

    Returns:
        Nothing before another measure than the measured error ran. All NaN, with the
        reason in `note`, where nothing can be compared.

    Example:
        >>> from analysis.readings import Readings
        >>> from analysis.runs import Runs
        >>> measure_quality(Readings(Runs({}, lambda run, name: None)))
        ()
    """
    found = []
    for measure in dict.fromkeys(run.measure for run in project.runs):
        run = project.latest_run(measure)
        if measure in _NOT_JUDGED or run is None:
            continue
        columns: dict[tuple[str, str], list[str | None]] = {}
        for quantity, part, key in project.columns(measure):
            if part in ("weight", "input", "output"):
                columns.setdefault((quantity, part), []).append(key)
        for (quantity, part), keys in columns.items():
            if keys == [None] and measure in DESCRIPTIVE and not descriptions:
                continue
            if part == "output" and not _of_layers(project, measure, quantity, keys):
                continue
            found.append(_judged(project, run, (quantity, part), keys))
    return tuple(found)


def _of_layers(
    project: Readings, measure: str, quantity: str, keys: Sequence[str | None]
) -> bool:
    """Tell whether numbers of outputs belong to layers, not to sites between them."""
    return any(
        bool(np.isfinite(project.values(measure, key, quantity, "output")).any())
        for key in keys
    )


def _judged(
    project: Readings,
    run: RunInfo,
    column: tuple[str, str],
    keys: Sequence[str | None],
) -> Quality:
    """Compare one number of a measure with the measured error."""
    quantity, part = column
    against = "input" if part == "input" else "weight"
    judge = project.latest_run(JUDGE)
    found = Quality(run.measure, quantity, against, **_cost(project, run, judge))
    note = _obstacle(project, run, judge, against)
    if note or judge is None:
        return replace(found, note=note)
    truth, value = {}, {}
    for key in project.formats(JUDGE, "error", against):
        own = key if key in keys else None
        if own in keys:
            truth[key] = project.values(JUDGE, key, "error", against)
            value[key] = project.values(run.measure, own, quantity, part)
    if not truth:
        told = ", ".join(key or "" for key in keys)
        return replace(found, note=f"None of its formats was measured ({told}).")
    return replace(found, **_compared(truth, value, run, judge, quantity, keys))


def _compared(
    truth: Mapping[str, Floats],
    value: Mapping[str, Floats],
    run: RunInfo,
    judge: RunInfo,
    quantity: str,
    keys: Sequence[str | None],
) -> dict[str, Any]:
    """Return the fields of `Quality` that compare `value` with `truth`, by format."""
    sign = -1.0 if quantity in MORE_IS_BETTER else 1.0
    measured = np.concatenate(list(truth.values()))
    numbers = np.concatenate([value[key] for key in truth])
    pairs = int((~np.isnan(measured) & ~np.isnan(numbers)).sum())
    fields: dict[str, Any] = {
        "pairs": pairs,
        "per_format": {
            key: rank_correlation(truth[key], sign * value[key]) for key in truth
        },
    }
    if pairs < LEAST:
        return fields | {"note": f"Only {pairs} layers and formats can be compared."}
    if None in keys:
        return fields | {"note": "One number per layer: it ranks within a format only."}
    fields["spearman"] = rank_correlation(measured, sign * numbers)
    if (run.unit, run.task) != (judge.unit, judge.task):
        return fields | {"note": "Not in the unit of the error: it ranks only."}
    low, middle, high = _ratio(measured, numbers)
    return fields | {"ratio": middle, "ratio_low": low, "ratio_high": high}


def _obstacle(project: Readings, run: RunInfo, judge: RunInfo | None, part: str) -> str:
    """Return why a run cannot be compared with the measured error, "" if it can."""
    if judge is None or not project.formats(JUDGE, "error", part):
        what = "inputs" if part == "input" else "weights"
        return f"No measured error of {what}: run {JUDGE}."
    if run.state != judge.state:
        both = f"{run.state}, measured: {judge.state}"
        return f"Other layers were in another state ({both})."
    return ""


def _cost(project: Readings, run: RunInfo, judge: RunInfo | None) -> dict[str, Any]:
    """Return seconds and forward passes of a run."""
    forwards = math.nan
    known = None if judge is None else project.array(FORWARD_SECONDS)
    if known is not None and judge is not None and run.status == "complete":
        # A measure that needs no data is told in passes over the judge's samples.
        share = run.samples / judge.samples if run.samples and judge.samples else 1.0
        pass_seconds = float(known.sum()) * share
        forwards = run.seconds / pass_seconds if pass_seconds > 0 else math.nan
    return {"seconds": run.seconds, "forwards": forwards}


def _ratio(measured: Floats, predicted: Floats) -> tuple[float, float, float]:
    """Return the quartiles of predicted over measured, where both are positive."""
    with np.errstate(invalid="ignore"):
        good = (measured > 0) & (predicted > 0)
    good &= np.isfinite(measured) & np.isfinite(predicted)
    if not good.any():
        return math.nan, math.nan, math.nan
    low, middle, high = np.quantile(predicted[good] / measured[good], (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation, equal values sharing their mean rank.

    Args:
        first: `[n]`; infinities rank last, pairs with NaN on either side are left out.
        second: `[n]`.

    Returns:
        -1 to 1; NaN for fewer than three pairs, or when one side is all equal.

    Source: Spearman, The proof and measurement of association between two things,
    1904; with ties, Pearson's correlation of the mean ranks.
    """
    known = ~np.isnan(first) & ~np.isnan(second)
    if int(known.sum()) < LEAST:
        return math.nan
    a, b = _mean_ranks(first[known]), _mean_ranks(second[known])
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else math.nan


def _mean_ranks(values: Floats) -> Floats:
    """Return ranks counted from 0; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count) - 1.0
    ranks: Floats = (last - (count - 1) / 2)[place]
    return ranks
