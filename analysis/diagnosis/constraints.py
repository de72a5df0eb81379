"""Can the assignment be deployed at all?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.diagnosis.case import Case, Part
from analysis.diagnosis.finding import Finding, Number, Verdict, plural
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.targets import get_target

PARTS: tuple[Part, ...] = ("weight", "input")


@dataclass(frozen=True)
class UnequalTies:
    """Tied layers with different schemes.

    Servers fuse query, key and value, or gate and up, into one matrix: it has one
    format. Ties are those of the model and of the chosen target.
    """

    key: ClassVar[str] = "ties"
    title: ClassVar[str] = "Tied layers with unequal formats"

    def judge(self, case: Case) -> Verdict:
        """Compare the schemes within every tie."""
        plan = case.assignment
        ties = sorted(set(case.project.ties))
        unequal = _differ(plan.weight, ties) | _differ(plan.input, ties)
        broken = list(compress(ties, unequal.tolist()))
        if not broken:
            return ()
        layers = tuple(dict.fromkeys(i for tie in broken for i in tie))
        return (
            Finding(
                self.key,
                f"{plural(len(broken), 'group')} of tied layers "
                f"{'has' if len(broken) == 1 else 'have'} unequal formats",
                "problem",
                (
                    Number("groups with unequal formats", len(broken)),
                    Number("groups in all", len(ties)),
                ),
                "Layers that a server runs as one fused matrix must share a format; "
                "otherwise it refuses the file, or silently takes one of them.",
                "Select the tied layers and set one format, or change the ties when "
                "the target does not fuse these layers.",
                layers,
            ),
        )


@dataclass(frozen=True)
class RefusedFormats:
    """Formats that the chosen target cannot run.

    Judged by the table of targets: format, granularity, group size, kind of layer.
    """

    key: ClassVar[str] = "target"
    title: ClassVar[str] = "Formats the target cannot run"

    def judge(self, case: Case) -> Verdict:
        """Ask the target about every layer's weights and inputs."""
        reasons: dict[int, str] = {}
        for part in PARTS:
            reasons = {**refused(case, case.assignment, part), **reasons}
        if not reasons:
            return ()
        layers = sorted(reasons)
        first = reasons[layers[0]]
        same = sum(reason == first for reason in reasons.values())
        others = len(reasons) - same
        more = f" {plural(others, 'layer')} for other reasons." if others else ""
        title = get_target(case.project.target).title
        return (
            Finding(
                self.key,
                f"{title} cannot run {plural(len(layers), 'layer')} as assigned",
                "problem",
                (
                    Number("layers refused", len(layers)),
                    Number("quantized layers", _quantized(case)),
                ),
                f"{first} So {plural(same, 'layer')}.{more}",
                "Choose a format that the table does not grey out, or another target.",
                tuple(layers),
            ),
        )


def _differ(
    choice: NDArray[np.int16], ties: list[tuple[int, ...]]
) -> NDArray[np.bool_]:
    """Return `[ties]` where the entries `[layers]` of a tie are not all the same."""
    if not ties:
        return np.zeros(0, dtype=np.bool_)
    entries = choice[np.concatenate(ties)]
    starts = np.cumsum([0, *map(len, ties[:-1])])
    lowest = np.minimum.reduceat(entries, starts)
    return np.asarray(lowest != np.maximum.reduceat(entries, starts))


def _quantized(case: Case) -> int:
    plan = case.assignment
    return int(np.count_nonzero((plan.weight > 0) | (plan.input > 0)))


def refused(case: Case, plan: Assignment, part: Part) -> dict[int, str]:
    """Return why the project's target cannot run layers of a plan, by layer.

    A target looks at kind and shape only, so equal layers are asked once.
    """
    target = get_target(case.project.target)
    choice = plan.weight if part == "weight" else plan.input
    layers = np.flatnonzero(choice)
    # One number for each pair of a kind of layer and a scheme.
    pairs = plan.alike[layers] * len(plan.palette) + choice[layers]
    asked, place = np.unique(pairs, return_inverse=True)
    reasons: list[str | None] = []
    for kind, entry in np.stack(np.divmod(asked, len(plan.palette)), 1).tolist():
        scheme = plan.palette[entry]
        assert isinstance(scheme, Scheme)
        reasons.append(target.refuses(scheme, plan.layers[kind], part))
    refusing = np.array([reason is not None for reason in reasons], np.bool_)
    found = np.flatnonzero(refusing[place])
    return {int(layers[i]): str(reasons[place[i]]) for i in found.tolist()}
