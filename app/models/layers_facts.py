"""What several layers have in common: shared values, "mixed", and sums."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.models.layer_facts import (
    FLOAT,
    Fact,
    Group,
    error_facts,
    offered,
    quantity_fact,
)
from app.models.target_fits import TargetFits
from app.widgets.format import count, integer, significant, size
from quant_core.scheme import parse_scheme
from quant_core.targets import get_target

if TYPE_CHECKING:
    from analysis.project import Project

MIXED = "mixed"
MOST_NAMED = 4
"""Different values that are named before the rest is counted."""

Indices = NDArray[np.int64]


def layers_facts(
    project: Project, chosen: Indices, fits: TargetFits
) -> tuple[Group, ...]:
    """Return what can be said of several layers at once.

    Args:
        project: Whose layers.
        chosen: Two or more layer indices.
        fits: Which layers are alike, and what the target runs.
    """
    alike = fits.alike(chosen)
    locked, starred = project.assignment.locked[chosen], project.starred[chosen]
    kinds, shapes, types = Counter[str](), Counter[str](), Counter[str]()
    for layer, number in alike:
        kinds[layer.kind.replace("_", " ")] += number
        shapes[" × ".join(map(str, layer.shape))] += number
        types[layer.dtype] += number
    parameters = sum(layer.parameters * number for layer, number in alike)
    share = significant(100 * parameters / max(project.totals.parameters, 1))
    macs = sum(layer.macs * number for layer, number in alike)
    shape = [
        Fact("Shape", common(shapes)),
        Fact("Weights", f"{integer(parameters)} in all, {share} %"),
        Fact("Stored as", common(types)),
    ]
    if macs:
        shape.append(Fact("Multiply-adds", f"{integer(macs)} per sample in all"))
    groups = (
        Group(
            count(len(chosen), "layer"),
            (
                Fact("Kind", common(kinds)),
                Fact("Locked", _how_many(locked)),
                Fact("Bookmarked", _how_many(starred)),
                Fact("Tied from outside", _tied_outside(project, chosen)),
            ),
        ),
        Group("Shape", tuple(shape)),
        Group("Assigned", tuple(_assigned(project, chosen))),
        Group("Size in all", tuple(_sizes(project, chosen, parameters))),
        *_errors(project, chosen),
        *_statistics(project, chosen),
        Group("Target", tuple(_target(project, chosen, fits))),
    )
    return tuple(group for group in groups if group.facts)


def common(counted: Counter[str]) -> str:
    """Return the value all share, or "mixed" and what there is, most frequent first."""
    if len(counted) == 1:
        return next(iter(counted))
    named = [f"{value} ({integer(n)})" for value, n in counted.most_common(MOST_NAMED)]
    left = len(counted) - len(named)
    more = [f"{integer(left)} others"] if left else []
    return f"{MIXED}: {', '.join([*named, *more])}"


def _how_many(flags: NDArray[np.bool_]) -> str:
    number = int(flags.sum())
    if number in (0, len(flags)):
        return "all" if number else "none"
    return f"{MIXED}: {integer(number)} of {integer(len(flags))}"


def _tied_outside(project: Project, chosen: Indices) -> str:
    """Return how many layers that are not selected change along with these."""
    group = project.tie_groups
    along = np.isin(group, group[chosen])
    along[chosen] = False
    return count(int(along.sum()), "layer")


def _assigned(project: Project, chosen: Indices) -> Iterator[Fact]:
    assignment = project.assignment
    keys = [FLOAT if s is None else s.key for s in assignment.palette]
    for label, entries in (("Weights", assignment.weight), ("Input", assignment.input)):
        counts = np.bincount(entries[chosen], minlength=len(keys)).tolist()
        used = {key: n for key, n in zip(keys, counts, strict=True) if n}
        yield Fact(label, common(Counter(used)))
    entries, counts = np.unique(assignment.weight[chosen], return_counts=True)
    schemes = [assignment.palette[entry] for entry in entries.tolist()]
    grains, ranges = Counter[str](), Counter[str]()
    for scheme, number in zip(schemes, counts.tolist(), strict=True):
        if scheme is None:
            return
        grains[scheme.granularity] += number
        ranges[scheme.range] += number
    yield Fact("Granularity", common(grains))
    yield Fact("Range", common(ranges))


def _sizes(project: Project, chosen: Indices, weights: int) -> Iterator[Fact]:
    assignment = project.assignment
    now = float(assignment.weight_bits()[chosen].sum()) / 8
    stored = float(assignment.weight_bits_in(None)[chosen].sum()) / 8
    yield Fact("Now", size(now))
    yield Fact("As stored", size(stored))
    if now:
        yield Fact("Ratio", f"{stored / now:.2f} × smaller")
    yield Fact("Average bits", f"{8 * now / weights:.2f}" if weights else "0")


def _errors(project: Project, chosen: Indices) -> Iterator[Group]:
    """Yield the sums of the layers' own errors, where every layer has one."""
    run = project.latest_run("predicted_error")
    if run is None:
        return
    keys = project.formats("predicted_error", "error")
    sums = [
        float(project.values("predicted_error", key, "error")[chosen].sum())
        for key in keys
    ]
    facts = error_facts(keys, sums, [math.nan] * len(sums))
    title = f"Own predicted errors added up [{run.unit}]"
    yield Group(title, facts)


def _statistics(project: Project, chosen: Indices) -> Iterator[Group]:
    """Yield smallest and largest of every number that these layers have."""
    for measure in dict.fromkeys(run.measure for run in project.runs):
        groups: dict[str, list[Fact]] = {}
        for quantity, part, key in project.columns(measure):
            if key is not None:
                continue
            values = project.values(measure, None, quantity, part)[chosen]
            known = values[~np.isnan(values)]
            if len(known):
                span = _span(float(known.min()), float(known.max()))
                fact = quantity_fact(quantity, span)
                groups.setdefault(part, []).append(fact)
        for part, facts in groups.items():
            title = measure.replace("_", " ").capitalize()
            where = "" if part == "weight" else f" of the {part}"
            yield Group(f"{title}{where}", tuple(facts))


def _span(low: float, high: float) -> str:
    if low == high:
        return significant(low)
    return f"{MIXED}: {significant(low)} to {significant(high)}"


def _target(project: Project, chosen: Indices, fits: TargetFits) -> Iterator[Fact]:
    yield Fact("Name", get_target(project.target).title)
    for key in offered(project):
        refused = int((~fits.mask(parse_scheme(key))[chosen]).sum())
        if refused:
            yield Fact(f"Refuses {key}", f"for {count(refused, 'layer')}")
