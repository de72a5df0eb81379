"""Channels that say nothing: dead weights and constant activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from analysis.diagnosis.case import Case
from analysis.diagnosis.channels import Range
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural

MOST = 2000
"""Tensors whose ranges are read; more would take longer than a reader waits."""


@dataclass(frozen=True)
class UnusedChannels:
    """Output channels whose weights are all zero, and inputs that never change.

    A dead channel costs bits and brings nothing; a constant input channel is a bias
    in disguise. Both come from training (dead ReLUs), pruning, padding, or from
    calibration data too narrow to move them.
    """

    key: ClassVar[str] = "unused_channels"
    title: ClassVar[str] = "Dead or constant channels"

    def judge(self, case: Case) -> Verdict:
        """Count channels by their ranges."""
        weights = case.project.latest_run("weights")
        watched = case.project.latest_run("activations")
        if weights is None and watched is None:
            return Missing("Run weights, or activations.")
        looked = case.names[:MOST]
        dead = _count(case, "weights", looked, lambda r: r.zero)
        still = _count(case, "activations", looked, lambda r: r.constant)
        found = []
        for run, counts, what, advice in (
            (
                weights,
                dead,
                "output channels of weights are all zero",
                "Prune them, or check that the checkpoint loaded completely.",
            ),
            (
                watched,
                still,
                "input channels never change on the calibration data",
                "Try more varied data first; if they stay constant, fold them into the "
                "bias.",
            ),
        ):
            if run is None or not counts:
                continue
            layers = sorted(counts, key=lambda i: -counts[i][0] / counts[i][1])
            channels = sum(count for count, _ in counts.values())
            of = sum(total for _, total in counts.values())
            found.append(
                Finding(
                    self.key,
                    f"{channels:,} {what}, in {plural(len(layers), 'layer')}",
                    "note",
                    (
                        Number("channels", channels),
                        Number("share of the channels there", 100 * channels / of, "%"),
                        Number("layers looked at", len(looked)),
                    ),
                    "Such channels take storage and, with one scale for all, do not "
                    "help the others; their own scale is meaningless.",
                    advice,
                    tuple(layers),
                    "channels",
                    (run.id,),
                )
            )
        return tuple(found)


def _count(
    case: Case, measure: str, names: tuple[str, ...], of: Callable[[Range], int]
) -> dict[int, tuple[int, int]]:
    """Return (channels counted, channels in all) of the layers that have some."""
    found = {}
    for i, name in enumerate(names):
        held = case.channels.range(measure, name)
        if held is not None and of(held):
            found[i] = of(held), held.channels
    return found
