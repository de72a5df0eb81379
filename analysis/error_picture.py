"""Pictures of rounding errors as a project keeps them, read a window at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.scheme import Scheme
    from quant_core.sites import Layer

MEASURE = "error_map"
KEPT_WEIGHTS = 250_000_000
"""Weights of which a project keeps pictures: at 16 bits for each error, its share of
the coarser levels and the weight before rounding, some 1.2 GB uncompressed."""
Floats = NDArray[np.float32]


def picture_name(layer: str, scheme: Scheme, matrix: int = 0) -> str:
    """Return what the names of a picture's arrays begin with."""
    return f"{MEASURE}/{layer}/{scheme.key}/{matrix}"


def stack_axis(layer: Layer) -> int | None:
    """Return the axis along which a layer stacks matrices, None when it is one.

    Experts have two channel axes, `[expert, out, in]` or `[expert, in, out]`.
    """
    many = len(layer.shape) == 3 and len(layer.channel_axes) == 2
    return layer.channel_axes[0] if many else None


def largest_of(values: Floats, down: int, across: int) -> Floats:
    """Return of each block the value of the largest magnitude, with its sign.

    Args:
        values: `[rows, columns]`; blocks at the edges may be smaller.
        down: Rows of a block.
        across: Columns of a block.

    Returns:
        `[ceil(rows / down), ceil(columns / across)]`.

    Example:
        >>> largest_of(np.array([[1, -5, 2], [0, 3, -1]], np.float32), 2, 2).tolist()
        [[-5.0, 2.0]]
    """
    if down == across == 1:
        return values
    high, low = values, values
    for axis, size in ((0, down), (1, across)):
        if size > 1:
            starts = np.arange(0, values.shape[axis], size)
            high = _reduced(np.maximum, high, starts, axis, size)
            low = _reduced(np.minimum, low, starts, axis, size)
    return np.where(high >= -low, high, low)


def _reduced(
    ufunc: np.ufunc, values: Floats, starts: NDArray[np.int64], axis: int, size: int
) -> Floats:
    """Return `ufunc` over runs of `size` along an axis; two at a time where even."""
    if size == 2 and values.shape[axis] % 2 == 0:
        first, second = (
            (values[0::2], values[1::2])
            if axis == 0
            else (values[:, 0::2], values[:, 1::2])
        )
        return np.asarray(ufunc(first, second))
    return np.asarray(ufunc.reduceat(values, starts, axis=axis))


@dataclass(frozen=True)
class Level:
    """One level of a picture.

    Attributes:
        number: 0 for single weights.
        shape: Its rows and columns.
        steps: How many weights one of its values stands for, down and across.
    """

    number: int
    shape: tuple[int, int]
    steps: tuple[int, int]


@dataclass(frozen=True)
class ErrorPicture:
    """One picture of a project.

    Attributes:
        project: Where it is kept.
        run: The run that made it.
        name: What the names of its arrays begin with.
        levels: From single weights to the coarsest.
        robust: Magnitude that 99.5 % of the errors do not exceed.
        worst: Largest magnitude of an error.
        units: What one stands for in the kept errors and the kept weights.
    """

    project: Project
    run: int
    name: str
    levels: tuple[Level, ...]
    robust: float
    worst: float
    units: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.levels[0].shape

    def read(self, level: int, rows: slice, columns: slice) -> Floats:
        """Return a window of a level: stored minus true weights, float32.

        NaN when the picture was deleted meanwhile: whoever shows it hears of that a
        turn of the event loop later.
        """
        shape = self.levels[level].shape
        return self._window(f"level{level}", rows, columns, self.units[0], shape)

    def weights(self, rows: slice, columns: slice) -> Floats:
        """Return a window of the weights before rounding, float32."""
        return self._window("weight", rows, columns, self.units[1], self.shape)

    def profile(self, side: str) -> tuple[Floats, Floats]:
        """Return root mean square and largest error of every row or column.

        Args:
            side: "row" or "column".
        """
        rms, largest = (
            self.project.array(f"{self.name}/{side}_{what}", self.run)
            for what in ("rms", "max")
        )
        assert rms is not None
        assert largest is not None
        return rms, largest

    def _window(
        self,
        what: str,
        rows: slice,
        columns: slice,
        unit: float,
        shape: tuple[int, int],
    ) -> Floats:
        part = self.project.window(f"{self.name}/{what}", self.run, rows, columns)
        if part is None:
            return np.full(shape, np.nan, np.float32)[rows, columns]
        values = np.asarray(part, np.float32)
        return values * np.float32(unit) if unit != 1 else values


def find_picture(
    project: Project, layer: str, scheme: Scheme, matrix: int = 0
) -> ErrorPicture | None:
    """Return the newest complete picture, None when there is none.

    Args:
        project: Where to look.
        layer: Name of the layer.
        scheme: How it would be stored.
        matrix: Which of its stacked matrices.
    """
    name = picture_name(layer, scheme, matrix)
    for run in reversed([info.id for info in project.runs if info.measure == MEASURE]):
        scale = project.array(f"{name}/scale", run)
        if scale is not None:
            return _picture(project, run, name, scale)
    return None


def prune_pictures(project: Project, limit: int = KEPT_WEIGHTS) -> tuple[int, ...]:
    """Delete the runs whose pictures newer ones replace, or that are too many to keep.

    Pictures are large and quickly made again, so a project keeps the newest of them up
    to a limit. The newest run stays whatever its size. What else a deleted run knew,
    its largest and mean errors, goes with it.

    Args:
        project: Where they are kept.
        limit: Weights of all the pictures kept.

    Returns:
        The runs deleted, newest first.

    Raises:
        AnalysisError: the project is read-only, or its file is damaged.
    """
    runs = [info.id for info in project.runs if info.measure == MEASURE]
    shown: set[str] = set()
    kept, deleted = 0, []
    for place, run in enumerate(reversed(runs)):
        mine = {
            name.removesuffix("/scale")
            for name in project.run_arrays(run)
            if name.endswith("/scale")
        }
        size = sum(_weights(project, name, run) for name in mine)
        is_needed = bool(mine - shown) and kept + size <= limit
        if place and not is_needed:
            deleted.append(run)
            continue
        shown |= mine
        kept += size
    for run in deleted:
        project.delete_run(run)
    return tuple(deleted)


def _weights(project: Project, name: str, run: int) -> int:
    """Return how many weights a picture shows."""
    return math.prod(project.shape_of(f"{name}/level0", run) or (0,))


def _picture(
    project: Project, run: int, name: str, scale: NDArray[np.float64]
) -> ErrorPicture:
    unit, weight_unit, robust = scale.tolist()
    shapes: list[tuple[int, int]] = []
    while (shape := project.shape_of(f"{name}/level{len(shapes)}", run)) is not None:
        shapes.append((shape[0], shape[1]))
    levels, steps = [], (1, 1)
    for number, shape in enumerate(shapes):
        if number:
            down, across = halving_of(shapes[number - 1])
            steps = steps[0] * down, steps[1] * across
        levels.append(Level(number, shape, steps))
    largest = project.array(f"{name}/row_max", run)
    worst = 0.0 if largest is None or not len(largest) else float(largest.max())
    return ErrorPicture(
        project, run, name, tuple(levels), robust, worst, (unit, weight_unit)
    )


def halving_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many rows and columns of a level the next one joins."""
    rows, columns = shape
    return (1 if columns > 2 * rows else 2), (1 if rows > 2 * columns else 2)
