"""Two assignments side by side: what differs layer by layer, and in total."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.widgets.format import DASH, integer, significant, size, with_error
from quant_core.assignment import Assignment
from quant_core.cost import stored_bits

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.sites import Layer

FLOAT = "float"
BASELINE = "Baseline"
"""Name that the pinned assignment is kept under."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Side:
    """One assignment, layer by layer.

    Attributes:
        schemes: Text of every weight scheme of the palette.
        inputs: Text of every input scheme of the palette.
        weight: `[rows]` position in `schemes`.
        input: `[rows]` position in `inputs`.
        bits: `[rows]` storage bits per weight.
        size: `[rows]` bytes with scales and zero points.
        error: `[rows]` own predicted error, 0 in float, NaN where not analysed.
        stderr: `[rows]` its standard error.
        locked: `[rows]`.
    """

    schemes: tuple[str, ...]
    weight: NDArray[np.int64]
    input: NDArray[np.int64]
    bits: Floats
    size: Floats
    error: Floats
    stderr: Floats
    locked: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Differences:
    """The layers in which two assignments differ.

    Attributes:
        layers: `[rows]` layer indices, rising.
        table: All layers of the model.
        left: The first assignment.
        right: The second.
    """

    layers: NDArray[np.int64]
    table: tuple[Layer, ...]
    left: Side
    right: Side

    def name(self, row: int) -> str:
        """Return the name of the layer of a row."""
        return self.table[int(self.layers[row])].name

    def scheme(self, side: Side, row: int) -> str:
        """Return the weight scheme of a row on one side."""
        return side.schemes[int(side.weight[row])]

    def also(self, row: int) -> str:
        """Return what differs besides the weights: input, lock."""
        notes = []
        inputs = [s.schemes[int(s.input[row])] for s in (self.left, self.right)]
        if inputs[0] != inputs[1]:
            notes.append(f"input {inputs[0]} → {inputs[1]}")
        if self.left.locked[row] != self.right.locked[row]:
            notes.append("locked" if self.right.locked[row] else "unlocked")
        return ", ".join(notes)

    def is_noise(self, row: int) -> bool:
        """Return whether the errors differ by less than their own uncertainty."""
        left, right = self.left, self.right
        spread = math.hypot(*np.nan_to_num([left.stderr[row], right.stderr[row]]))
        return bool(abs(right.error[row] - left.error[row]) < spread)


def differences(project: Project, left: Assignment, right: Assignment) -> Differences:
    """Return the layers in which two assignments of a project differ."""
    layers = left.diff(right)
    return Differences(
        layers,
        project.info.layers,
        _side(project, left, layers),
        _side(project, right, layers),
    )


def _side(project: Project, assignment: Assignment, rows: NDArray[np.int64]) -> Side:
    keys = tuple(FLOAT if s is None else s.key for s in assignment.palette)
    weight = assignment.weight[rows].astype(np.int64)
    error, stderr = np.zeros(len(rows)), np.zeros(len(rows))
    bits = np.zeros(len(rows))
    for entry in np.unique(weight).tolist():
        here, scheme = weight == entry, assignment.palette[entry]
        if scheme is None:
            types = [project.info.layers[i].dtype for i in rows[here].tolist()]
            widths = {dtype: stored_bits(dtype) for dtype in set(types)}
            bits[here] = [widths[dtype] for dtype in types]
            continue
        bits[here] = scheme.bits
        asked = ("predicted_error", scheme.key, "error", "weight")
        error[here] = project.values(*asked)[rows][here]
        stderr[here] = project.stderrs(*asked)[rows][here]
    return Side(
        keys,
        weight,
        assignment.input[rows].astype(np.int64),
        bits,
        assignment.weight_bits()[rows] / 8,
        error,
        stderr,
        np.asarray(assignment.locked[rows]),
    )


def stored_float(project: Project) -> Assignment:
    """Return the assignment that keeps everything as stored and nothing locked.

    Made from the present one, whose table of sizes takes longer than all the rest.
    """
    everything = np.arange(len(project.info.layers))
    result = project.assignment.with_weight(everything, None)
    result = result.with_input(everything, None).with_locked(everything, False)
    for site in result.sites:
        result = result.with_site(site, None)
    return result.with_provenance()


# -- totals ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Total:
    """One line of the comparison: a metric of both sides and the difference.

    Attributes:
        title: What it is, with its unit.
        left: Of the first assignment, as text.
        right: Of the second.
        change: Second less first; a dash where one is not known.
        better: 1 when the second is better, -1 when worse, 0 when equal or unknown.
    """

    title: str
    left: str
    right: str
    change: str
    better: int


def totals(project: Project, left: Assignment, right: Assignment) -> tuple[Total, ...]:
    """Return the totals of two assignments, less being better in all of them."""
    a, b = left.totals(), right.totals()
    lines = [
        _line("Average bits", a.average_bits, b.average_bits, lambda x: f"{x:.3f}"),
        _line("Size", a.bytes, b.bytes, size),
        _line("Quantized layers", *_quantized(left, right), lambda x: integer(int(x))),
    ]
    if a.bops or b.bops:
        lines.append(_line("Bit operations per sample", a.bops, b.bops, significant))
    return (*lines, _predicted(project, left, right), _measured(project, left, right))


def _quantized(left: Assignment, right: Assignment) -> tuple[float, float]:
    counts = (float((x.weight > 0).sum()) for x in (left, right))
    return next(counts), next(counts)


def _line(title: str, left: float, right: float, text: Callable[[float], str]) -> Total:
    change = right - left
    sign = "+" if change > 0 else "-" if change < 0 else ""
    better = 0 if title.startswith("Quantized") else int(np.sign(left - right))
    return Total(title, text(left), text(right), f"{sign}{text(abs(change))}", better)


def _predicted(project: Project, left: Assignment, right: Assignment) -> Total:
    run = project.latest_run("predicted_error")
    unit = f" [{run.unit}]" if run is not None and run.unit else ""
    found = [project.predict(x) for x in (left, right)]
    known = [(p.value, p.stderr) if p is not None else None for p in found]
    return _uncertain(f"Predicted error{unit}", known[0], known[1])


def _measured(project: Project, left: Assignment, right: Assignment) -> Total:
    found = [project.measured_of(x) for x in (left, right)]
    unit = next((f" [{score['unit']}]" for score in found if score), "")
    known = [
        (float(score["value"]), float(score["stderr"])) if score else None
        for score in found
    ]
    return _uncertain(f"Measured error{unit}", known[0], known[1])


def _uncertain(
    title: str, left: tuple[float, float] | None, right: tuple[float, float] | None
) -> Total:
    one, other = (DASH if x is None else with_error(*x) for x in (left, right))
    if left is None or right is None:
        return Total(title, one, other, DASH, 0)
    change = right[0] - left[0]
    sign = "+" if change > 0 else "-" if change < 0 else ""
    spread = math.hypot(*np.nan_to_num([left[1], right[1]]))
    better = 0 if abs(change) < spread else int(np.sign(-change))
    return Total(title, one, other, f"{sign}{significant(abs(change))}", better)
