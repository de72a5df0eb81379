"""What several layers have in common: shared values, "mixed", and sums."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
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


def layers_facts(project: Project, chosen: Indices) -> tuple[Group, ...]:
    """Return what can be said of several layers at once.

    Args:
        project: Whose layers.
        chosen: Two or more layer indices.
    """
    layers = [project.info.layers[index] for index in chosen.tolist()]
    locked, starred = project.assignment.locked[chosen], project.starred[chosen]
    whole = max(project.info.parameters, 1)
    parameters = sum(layer.parameters for layer in layers)
    macs = sum(layer.macs for layer in layers)
    shape = [
        Fact("Shape", common(" × ".join(map(str, x.shape)) for x in layers)),
        Fact(
            "Weights",
            f"{integer(parameters)} in all, {significant(100 * parameters / whole)} %",
        ),
        Fact("Stored as", common(x.dtype for x in layers)),
    ]
    if macs:
        shape.append(Fact("Multiply-adds", f"{integer(macs)} per sample in all"))
    groups = (
        Group(
            count(len(layers), "layer"),
            (
                Fact("Kind", common(x.kind.replace("_", " ") for x in layers)),
                Fact("Locked", _how_many(locked)),
                Fact("Bookmarked", _how_many(starred)),
                Fact("Tied from outside", _tied_outside(project, chosen)),
            ),
        ),
        Group("Shape", tuple(shape)),
        Group("Assigned", tuple(_assigned(project, chosen))),
        Group("Size in all", tuple(_sizes(project, chosen))),
        *_errors(project, chosen),
        *_statistics(project, chosen),
        Group("Target", tuple(_target(project, chosen))),
    )
    return tuple(group for group in groups if group.facts)


def common(values: Iterable[str]) -> str:
    """Return the value all share, or "mixed" and what there is, most frequent first."""
    counted = Counter(values)
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
        yield Fact(label, common(keys[entry] for entry in entries[chosen].tolist()))
    used = np.unique(assignment.weight[chosen])
    schemes = [s for e in used if (s := assignment.palette[e]) is not None]
    if len(schemes) == len(used):
        yield Fact("Granularity", common(s.granularity for s in schemes))
        yield Fact("Range", common(s.range for s in schemes))


def _sizes(project: Project, chosen: Indices) -> Iterator[Fact]:
    assignment = project.assignment
    now = float(assignment.weight_bits()[chosen].sum()) / 8
    stored = float(assignment.weight_bits_in(None)[chosen].sum()) / 8
    weights = sum(project.info.layers[index].parameters for index in chosen.tolist())
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


def _target(project: Project, chosen: Indices) -> Iterator[Fact]:
    yield Fact("Name", get_target(project.target).title)
    fits = TargetFits(project)
    for key in offered(project):
        refused = int((~fits.mask(parse_scheme(key))[chosen]).sum())
        if refused:
            yield Fact(f"Refuses {key}", f"for {count(refused, 'layer')}")
