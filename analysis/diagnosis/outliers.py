"""A few values far outside the bulk, which a shared scale must span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from analysis.diagnosis.case import Case, Floats, Indices
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural

WEIGHT_RATIO = 4.0
"""Largest over 99.9 % magnitude: from 4 on, a thousandth of the values takes two of
the bits (a normal tensor of a million values has 1.5)."""
CHANNEL_SPREAD = 8.0
"""Largest over median channel magnitude: from 8 on, half of the channels lose three of
the bits to the largest one when all share a scale."""
FEW_CHANNELS = 0.01
"""Share of the channels that is few enough to keep apart; LLM.int8() (arXiv
2208.07339) finds about 0.1 % and keeps them in 16 bits."""


@dataclass(frozen=True)
class WeightOutliers:
    """Weights whose range is set by a few values.

    A scale per tensor must span them; a scale per channel confines them to their own
    channel, where they still take bits from their neighbours.
    """

    key: ClassVar[str] = "weight_outliers"
    title: ClassVar[str] = "Outliers in the weights"

    def judge(self, case: Case) -> Verdict:
        """Look at kurtosis, outlier ratio and spread of the channels."""
        run = case.project.latest_run("weights")
        if run is None:
            return Missing("Run weights.")
        ratio, kurtosis, spread = _statistics(case, "weights", "weight")
        scaled = _scaled(case)
        wild = np.flatnonzero(scaled & (ratio >= WEIGHT_RATIO))
        if not len(wild):
            return ()
        shared = np.array([_granularity(case, int(i)) == "tensor" for i in wild])
        worst = case.worst(wild)
        lead = worst[0]
        many = plural(len(wild), "layer")
        spans = " with one scale for all channels" if shared.all() else ""
        confined = (
            f"{int((~shared).sum())} of them have a scale per channel or group, which "
            "keeps the damage inside the outlier's own channel."
        )
        return (
            Finding(
                self.key,
                f"In {many}{spans} a thousandth of the weights takes most of the range",
                "warning" if shared.any() else "note",
                (
                    Number("layers with outliers", len(wild)),
                    *_numbers(case, lead, ratio, kurtosis, spread),
                ),
                f"The largest weight is at least {WEIGHT_RATIO:g} times the 99.9 % "
                f"magnitude: two bits are spent on a thousandth of the values."
                + (f" {confined}" if not shared.all() else ""),
                "Use one scale per channel or per group where it is shared, clip the "
                "range (percentile or mse), or raise these layers.",
                worst,
                "distribution",
                (run.id,),
            ),
        )


@dataclass(frozen=True)
class InputOutliers:
    """Input activations of which a few channels are far larger than the rest.

    Neither a scale per tensor nor one per token helps against them: the channels of
    one token share it. SmoothQuant (Xiao et al., arXiv 2211.10438) moves the spread
    into the weights; LLM.int8() keeps the outlier channels apart.
    """

    key: ClassVar[str] = "input_outliers"
    title: ClassVar[str] = "Outlier channels in the activations"

    def judge(self, case: Case) -> Verdict:
        """Look at the spread of the channels of every layer's input."""
        run = case.project.latest_run("activations")
        if run is None:
            return Missing("Run activations on calibration data.")
        ratio, kurtosis, spread = _statistics(case, "activations", "input")
        wild = np.flatnonzero(spread >= CHANNEL_SPREAD)
        if not len(wild):
            return ()
        worst = wild[np.argsort(-spread[wild], kind="stable")]
        lead = int(worst[0])
        columns = case.project.values("activations", None, "outlier_columns", "input")
        held = case.channels.range("activations", case.names[lead])
        few = held is not None and columns[lead] <= FEW_CHANNELS * held.channels
        numbers = [
            Number("layers with outlier channels in the input", len(wild)),
            *_numbers(case, lead, ratio, kurtosis, spread),
        ]
        if np.isfinite(columns[lead]):
            limit = float(run.params.get("threshold", np.nan))
            name = f"channels beyond {limit:g} in {case.names[lead]}"
            numbers.append(Number(name, float(columns[lead])))
        advice = (
            "Smooth: divide these channels and multiply the weights behind them "
            "(SmoothQuant). A scale per token does not help; clipping does where the "
            "outliers carry little."
        )
        if few:
            advice += " So few channels can also be kept in 16 bits (LLM.int8())."
        is_used = bool(case.assignment.input[wild].any())
        return (
            Finding(
                self.key,
                f"The inputs of {plural(len(wild), 'layer')} have channels "
                f"{CHANNEL_SPREAD:g} or more times as large as their median",
                "warning" if is_used or case.input_keys else "note",
                tuple(numbers),
                f"When all channels share a scale, at {CHANNEL_SPREAD:g} half of them "
                "lose three bits to the largest one.",
                advice,
                tuple(worst.tolist()),
                "channels",
                (run.id,),
            ),
        )


def _statistics(
    case: Case, measure: str, part: Literal["weight", "input"]
) -> tuple[Floats, Floats, Floats]:
    """Return outlier ratio, kurtosis and channel spread of every layer."""
    names = ("outlier_ratio", "kurtosis", "channel_spread")
    first, second, third = (
        case.project.values(measure, None, name, part) for name in names
    )
    return first, second, third


def _numbers(
    case: Case, layer: int, ratio: Floats, kurtosis: Floats, spread: Floats
) -> list[Number]:
    name = case.names[layer]
    found = {
        f"largest over 99.9 % magnitude, {name}": ratio[layer],
        f"largest over median channel, {name}": spread[layer],
        f"kurtosis (normal: 3), {name}": kurtosis[layer],
    }
    return [Number(k, float(v)) for k, v in found.items() if np.isfinite(v)]


def _scaled(case: Case) -> Indices | np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which layers have a scale at all in what is judged."""
    palette = case.judged.palette
    scaled = [s is not None and s.number_format.scaled for s in palette]
    chosen = np.array(scaled, bool)[case.judged.weight]
    # Before anything is known of formats, every layer may get one.
    return chosen if chosen.any() else np.ones(len(chosen), bool)


def _granularity(case: Case, layer: int) -> str:
    scheme = case.judged.scheme_of(layer)
    return "" if scheme is None else scheme.granularity
