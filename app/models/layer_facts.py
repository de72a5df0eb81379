"""Everything known of one layer, as groups of labelled texts, without Qt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.glossary import explain_quantity
from app.models.kept import INPUT, WEIGHTS, kept_distribution
from app.models.level_grid import grid_of
from app.widgets.format import count, integer, significant, size, with_error
from quant_core.granularity import group_count
from quant_core.scheme import Scheme, parse_scheme
from quant_core.targets import get_target

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.sites import Layer

FLOAT = "float"
TOP_CHANNELS = 5
"""Outlier channels listed of each tensor."""

Bar = tuple[float, float, float]
"""Value and both ends of its error bar, as shares of the width."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line: what it is, what it is here, and what it means.

    Attributes:
        label: What it is.
        value: As people read it.
        tip: Longer explanation; "" for none.
        bar: What to draw under the value; None for nothing.
    """

    label: str
    value: str
    tip: str = ""
    bar: Bar | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Lines under one heading."""

    title: str
    facts: tuple[Fact, ...]


def layer_facts(project: Project, index: int) -> tuple[Group, ...]:
    """Return what is known of a layer; groups without a line are left out."""
    layer = project.info.layers[index]
    groups = (
        Group("Layer", tuple(_identity(project, index, layer))),
        Group("Shape", tuple(_shape(project, layer))),
        Group("Tied with", tuple(_ties(project, index))),
        Group("Assigned", tuple(_assigned(project, index, layer))),
        Group("In kept assignments", tuple(_kept(project, index))),
        Group("Size", tuple(_size(project, index))),
        *_per_format(project, index),
        *_statistics(project, index),
        *_outliers(project, layer),
        Group("Target", tuple(_target(project, index))),
    )
    return tuple(group for group in groups if group.facts)


def _identity(project: Project, index: int, layer: Layer) -> Iterator[Fact]:
    yield Fact("Name", layer.name)
    if layer.parameter != f"{layer.name}.weight":
        yield Fact("Parameter", layer.parameter)
    yield Fact("Kind", layer.kind.replace("_", " "))
    yield Fact("Number", f"{index + 1} of {integer(len(project.info.layers))}")
    yield Fact("Locked", _yes(project.assignment.locked[index]))
    yield Fact("Bookmarked", _yes(project.starred[index]))


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _shape(project: Project, layer: Layer) -> Iterator[Fact]:
    yield Fact("Shape", " × ".join(map(str, layer.shape)))
    whole = project.totals.parameters
    share = 100 * layer.parameters / whole if whole else math.nan
    yield Fact("Weights", f"{integer(layer.parameters)}, {significant(share)} % of all")
    yield Fact("Stored as", layer.dtype)
    channels = math.prod(layer.shape[axis] for axis in layer.channel_axes)
    axes = " and ".join(map(str, layer.channel_axes))
    if axes:
        yield Fact("Output channels", f"{integer(channels)} along axis {axes}")
    if layer.macs:
        yield Fact("Multiply-adds", f"{integer(layer.macs)} per sample")


def _ties(project: Project, index: int) -> Iterator[Fact]:
    group = project.tie_groups
    partners = np.flatnonzero(group == group[index])
    for number, partner in enumerate(partners[partners != index].tolist(), start=1):
        yield Fact(f"Layer {number}", project.info.layers[partner].name)


def _assigned(project: Project, index: int, layer: Layer) -> Iterator[Fact]:
    assignment = project.assignment
    scheme = assignment.scheme_of(index)
    yield Fact("Weights", FLOAT if scheme is None else scheme.key)
    if scheme is not None:
        yield from scheme_facts(scheme)
        if scheme.number_format.scaled:
            groups = group_count(layer.shape, scheme.granularity, layer.channel_axes)
            yield Fact("Scales", f"{integer(groups)}, one per {scheme.granularity}")
        yield from _levels(project, scheme, layer)
    inputs = assignment.input_of(index)
    yield Fact("Input", FLOAT if inputs is None else inputs.key)


def _levels(project: Project, scheme: Scheme, layer: Layer) -> Iterator[Fact]:
    """Yield where the levels lie on the kept distribution of the weights."""
    kept = kept_distribution(project, WEIGHTS, layer.name)
    grid = None if kept is None else grid_of(scheme, kept)
    if grid is None or not len(grid.levels):
        return
    of = "" if grid.channel < 0 else f", channel {grid.channel}"
    low, high = (significant(float(grid.levels[end])) for end in (0, -1))
    yield Fact(f"Levels lie{of}", f"{low} … {high}", grid.note)
    step = [significant(x) for x in grid.steps]
    steps = step[0] if step[0] == step[1] else f"{step[0]} to {step[1]}"
    yield Fact("Step", steps, "Distance of neighbouring levels, over all scales.")
    for label, share in (("Clipped", grid.clipped), ("Become zero", grid.zeroed)):
        if not math.isnan(share):
            yield Fact(label, f"{significant(100 * share)} % of the weights")


def _kept(project: Project, index: int) -> Iterator[Fact]:
    for name, assignment in project.assignments.items():
        scheme = assignment.scheme_of(index)
        yield Fact(name, FLOAT if scheme is None else scheme.key)


def scheme_facts(scheme: Scheme) -> Iterator[Fact]:
    """Yield what a scheme says about the weights stored in it."""
    form = scheme.number_format
    yield Fact("Bits per weight", f"{scheme.bits:g}, scales not included")
    levels = len(form.levels())
    low, high = f"{form.grid_min:.4g}", f"{form.grid_max:.4g}"
    if levels:
        yield Fact("Levels", f"{integer(levels)}, from {low} to {high}")
    if form.scaled:
        yield Fact("Granularity", scheme.granularity)
        yield Fact("Range", scheme.range)
        yield Fact("Zero point", _yes(form.affine))
    yield Fact("Rounding", scheme.rounding)


def _size(project: Project, index: int) -> Iterator[Fact]:
    assignment = project.assignment
    scheme = assignment.scheme_of(index)
    now = float(assignment.weight_bits_in(scheme)[index]) / 8
    stored = float(assignment.weight_bits_in(None)[index]) / 8
    yield Fact("Now", size(now), "With scales and zero points; 1 MB = 1,000,000 bytes.")
    yield Fact("As stored", size(stored))
    if now and now != stored:
        yield Fact("Ratio", f"{stored / now:.2f} × smaller")


# -- results ---------------------------------------------------------------------------


def _per_format(project: Project, index: int) -> Iterator[Group]:
    """Yield a group for every measure that has an error per format."""
    for measure in _measures(project):
        for part in ("weight", "input"):
            keys = project.formats(measure, "error", part)
            rows = [
                (key, project.values(measure, key, "error", part)[index])
                for key in keys
            ]
            errors = [project.stderrs(measure, k, "error", part)[index] for k in keys]
            run = project.latest_run(measure)
            facts = error_facts(
                [key for key, _ in rows], [float(v) for _, v in rows], errors
            )
            if facts and run is not None:
                of = measure.replace("_", " ").capitalize()
                of += ", input" * (part == "input")
                unit = f" [{run.unit}, {count(run.samples, 'sample')}]"
                yield Group(f"{of} per format{unit}", facts)
    keys = project.formats("weights", "sqnr")
    values = [float(project.values("weights", key, "sqnr")[index]) for key in keys]
    known = [(k, v) for k, v in zip(keys, values, strict=True) if not math.isnan(v)]
    entry = explain_quantity("sqnr")
    tip = entry.text() if entry else ""
    facts = tuple(
        Fact(key, f"{value:.1f}" if math.isfinite(value) else "∞", tip)
        for key, value in known
    )
    yield Group("SQNR of the weights per format [dB]", facts)


def error_facts(
    keys: Sequence[str], values: Sequence[float], stderrs: Sequence[float]
) -> tuple[Fact, ...]:
    """Return a line per format with a logarithmic bar; unknown ones are left out.

    Args:
        keys: Formats.
        values: Their errors.
        stderrs: Standard errors, NaN where unknown.
    """
    spreads = [0.0 if math.isnan(stderr) else float(stderr) for stderr in stderrs]
    positive = [v for v in values if v > 0]
    low = math.floor(math.log10(min(positive))) if positive else 0
    ends = [v + s for v, s in zip(values, spreads, strict=True) if v > 0]
    high = max(math.log10(max(ends)), low + 1e-9) if ends else 1

    def share(value: float) -> float:
        if value <= 0:
            return 0.0
        return min(1.0, max(0.0, (math.log10(value) - low) / (high - low)))

    facts = []
    tip = "± standard error. The bar is logarithmic; lower is better."
    for key, value, stderr, spread in zip(keys, values, stderrs, spreads, strict=True):
        if math.isnan(value):
            continue
        bar = share(value), share(value - spread), share(value + spread)
        facts.append(Fact(key, with_error(value, float(stderr)), tip, bar))
    return tuple(facts)


def _statistics(project: Project, index: int) -> Iterator[Group]:
    """Yield a group for every measure and part with one number per layer."""
    for measure in _measures(project):
        groups: dict[str, list[Fact]] = {}
        for quantity, part, key in project.columns(measure):
            if key is not None:
                continue
            value = float(project.values(measure, None, quantity, part)[index])
            stderr = float(project.stderrs(measure, None, quantity, part)[index])
            if not math.isnan(value):
                fact = quantity_fact(quantity, with_error(value, stderr))
                groups.setdefault(part, []).append(fact)
        for part, facts in groups.items():
            title = "Weights" if measure == WEIGHTS else measure.replace("_", " ")
            where = "" if part == "weight" else f" of the {part}"
            yield Group(f"{title.capitalize()}{where}", tuple(facts))


def quantity_fact(quantity: str, value: str) -> Fact:
    """Return a line for a number that a measure reports, as the glossary calls it."""
    entry = explain_quantity(quantity)
    if entry is None:
        return Fact(quantity.replace("_", " ").capitalize(), value)
    unit = f" {entry.unit}" if entry.unit and entry.unit != "count" else ""
    return Fact(entry.term, f"{value}{unit}", entry.text())


def _measures(project: Project) -> list[str]:
    return list(dict.fromkeys(run.measure for run in project.runs))


def _outliers(project: Project, layer: Layer) -> Iterator[Group]:
    """Yield the channels with the largest magnitudes of weights and input."""
    for source, of in ((WEIGHTS, "the weights"), (INPUT, "the input")):
        kept = kept_distribution(project, source, layer.name)
        if kept is None:
            continue
        typical = float(np.median(kept.extent))
        facts = []
        for channel in np.argsort(-kept.extent, kind="stable")[:TOP_CHANNELS].tolist():
            low, high = (significant(float(x[channel])) for x in (kept.low, kept.high))
            times = float(kept.extent[channel]) / typical if typical else math.nan
            more = f", {significant(times)} × the median" if times > 0 else ""
            facts.append(Fact(f"Channel {channel}", f"{low} … {high}{more}"))
        yield Group(f"Largest channels of {of}", tuple(facts))


def _target(project: Project, index: int) -> Iterator[Fact]:
    """Yield the target and what it refuses, among what was analysed or is in use."""
    yield Fact("Name", get_target(project.target).title)
    for key in offered(project):
        reason = project.refused(parse_scheme(key), index)
        if reason is not None:
            yield Fact(f"Refuses {key}", reason, reason)


def offered(project: Project) -> list[str]:
    """Return the formats that were analysed or are in use."""
    palette = project.assignment.palette
    analysed = project.formats("predicted_error", "error")
    return list(dict.fromkeys([*analysed, *(s.key for s in palette if s is not None)]))
