"""A matrix of any size as a picture: only what is seen is read, nothing bad is lost.

The picture comes as a pyramid whose levels keep the value of the largest magnitude of
every block. What is shown is the finest level of which a few values fall on each
pixel; those are joined in the same way, so a single bad value is seen at every zoom.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QRectF, Slot

from app.widgets.plot import Plot

TILE = 256
"""Side of the squares that are read and kept, as they lie in the file."""
KEPT = 160
"""Tiles kept in memory: 40 MB, several screens."""
PER_PIXEL = 4
"""Values per pixel up to which a finer level is preferred."""

Codes = NDArray[np.uint8]


class LevelShape(Protocol):
    """One level: its size, and how much one of its values stands for."""

    @property
    def number(self) -> int: ...  # noqa: D102

    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def steps(self) -> tuple[int, int]: ...  # noqa: D102


class Pyramid(Protocol):
    """Where the values come from."""

    @property
    def levels(self) -> Sequence[LevelShape]:
        """Levels from single values to the coarsest."""

    def read(self, level: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a window of a level."""


class PyramidImage(QObject):
    """Draws a pyramid into a plot whose y axis runs downward.

    Row r covers y from r to r + 1, column c covers x from c to c + 1. Colours are
    numbers from 1 to 255 between two limits; with a mirrored range 128 is zero.
    """

    def __init__(self, plot: Plot) -> None:
        """Put the picture into a plot."""
        super().__init__(plot)
        self._plot = plot
        self._pyramid: Pyramid | None = None
        self._limits = (0.0, 1.0)
        self._is_signed = False
        self._lookup = np.zeros((256, 4), np.uint8)
        self._tiles: OrderedDict[tuple[int, int, int], NDArray[np.float32]]
        self._tiles = OrderedDict()
        self._codes: OrderedDict[tuple[int, int, int], Codes] = OrderedDict()
        self._shown: tuple[object, ...] = ()
        self._image = pg.ImageItem()
        self._image.setAutoDownsample(False)
        plot.addItem(self._image, ignoreBounds=True)
        plot.box.sigRangeChanged.connect(self.update_view)
        plot.box.sigResized.connect(self.update_view)

    @property
    def level(self) -> int:
        """The level shown; -1 before the first."""
        return int(self._shown[0]) if self._shown else -1  # type: ignore[call-overload]

    @property
    def codes(self) -> Codes:
        """Colour numbers of the picture shown, after joining."""
        image = self._image.image
        return np.zeros((0, 0), np.uint8) if image is None else image

    def set_pyramid(self, pyramid: Pyramid | None) -> None:
        """Show another picture; None shows nothing."""
        self._pyramid = pyramid
        self._tiles.clear()
        self._codes.clear()
        self._shown = ()
        self._image.setVisible(pyramid is not None)
        self.update_view()

    def set_colours(
        self, limits: tuple[float, float], lookup: Codes, *, is_signed: bool
    ) -> None:
        """Say which value has which colour.

        Args:
            limits: Values at the first and last colour.
            lookup: Colours `[256, 4]`, that of number 0 for nothing.
            is_signed: Whether the sign is shown; magnitudes otherwise.
        """
        same = limits == self._limits and is_signed == self._is_signed
        if not same:
            self._codes.clear()
        self._limits, self._lookup, self._is_signed = limits, lookup, is_signed
        self._shown = ()
        self.update_view()

    # -- what is seen --------------------------------------------------------------

    @Slot()
    def update_view(self, *_: object) -> None:
        """Hand the visible part of the right level to the picture."""
        if self._pyramid is None:
            return
        seen = self._seen()
        if seen is None or seen == self._shown:
            return
        self._shown = seen
        number, (top, bottom), (left, right), (down, across) = seen
        part = self._mosaic(number, slice(top, bottom), slice(left, right))
        part = self._joined(part, down, across)
        steps = self._pyramid.levels[number].steps
        self._image.setImage(
            part, autoLevels=False, levels=(0, 255), lut=self._lookup, autoRange=False
        )
        self._image.setRect(
            QRectF(
                left * steps[1],
                top * steps[0],
                part.shape[1] * across * steps[1],
                part.shape[0] * down * steps[0],
            )
        )

    def _seen(
        self,
    ) -> tuple[int, tuple[int, int], tuple[int, int], tuple[int, int]] | None:
        """Return level, rows, columns, and how many of each fall on a pixel."""
        assert self._pyramid is not None
        box = self._plot.box
        (x0, x1), (y0, y1) = (sorted(ends) for ends in box.viewRange())
        wide, tall = max(int(box.width()), 1), max(int(box.height()), 1)
        chosen = None
        for level in self._pyramid.levels:
            rows = _within(y0, y1, level.steps[0], level.shape[0])
            columns = _within(x0, x1, level.steps[1], level.shape[1])
            chosen = level, rows, columns
            cells = (rows[1] - rows[0]) * (columns[1] - columns[0])
            if cells <= PER_PIXEL * wide * tall:
                break
        if chosen is None:
            return None
        level, rows, columns = chosen
        if rows[1] <= rows[0] or columns[1] <= columns[0]:
            return None
        down = max(1, math.ceil((y1 - y0) / level.steps[0] / tall))
        across = max(1, math.ceil((x1 - x0) / level.steps[1] / wide))
        # Blocks begin at multiples of their size, or they would swim while panning.
        rows = rows[0] // down * down, rows[1]
        columns = columns[0] // across * across, columns[1]
        return level.number, rows, columns, (down, across)

    def _mosaic(self, level: int, rows: slice, columns: slice) -> Codes:
        """Return the colour numbers of a window, put together from tiles."""
        result = np.empty((rows.stop - rows.start, columns.stop - columns.start), "u1")
        for i in range(rows.start // TILE, -(-rows.stop // TILE)):
            for j in range(columns.start // TILE, -(-columns.stop // TILE)):
                tile = self._coded(level, i, j)
                top, left = i * TILE, j * TILE
                a, b = max(rows.start, top), min(rows.stop, top + len(tile))
                c, d = max(columns.start, left), min(columns.stop, left + tile.shape[1])
                result[
                    a - rows.start : b - rows.start,
                    c - columns.start : d - columns.start,
                ] = tile[a - top : b - top, c - left : d - left]
        return result

    def _joined(self, codes: Codes, down: int, across: int) -> Codes:
        """Return one number per block: that of its largest magnitude."""
        if down == across == 1:
            return codes
        high = _blocks(np.maximum, codes, down, across)
        if not self._is_signed:
            return high
        low = _blocks(np.minimum, codes, down, across)
        return np.where(high.astype(np.int16) - 128 >= 128 - low, high, low)

    def _coded(self, level: int, i: int, j: int) -> Codes:
        key = level, i, j
        codes = self._codes.get(key)
        if codes is None:
            codes = self._codes[key] = self._numbers(self._read(key))
            if len(self._codes) > KEPT:
                self._codes.popitem(last=False)
        else:
            self._codes.move_to_end(key)
        return codes

    def _numbers(self, values: NDArray[np.float32]) -> Codes:
        low, high = self._limits
        shown = values if self._is_signed else np.abs(values)
        scaled = (shown - np.float32(low)) * np.float32(254 / max(high - low, 1e-300))
        np.clip(scaled, 0, 254, out=scaled)
        scaled += np.float32(1.5)
        return scaled.astype(np.uint8)

    def _read(self, key: tuple[int, int, int]) -> NDArray[np.float32]:
        tile = self._tiles.get(key)
        if tile is None:
            assert self._pyramid is not None
            level, i, j = key
            rows = slice(i * TILE, (i + 1) * TILE)
            columns = slice(j * TILE, (j + 1) * TILE)
            tile = self._tiles[key] = self._pyramid.read(level, rows, columns)
            if len(self._tiles) > KEPT:
                self._tiles.popitem(last=False)
        else:
            self._tiles.move_to_end(key)
        return tile


def _within(low: float, high: float, step: int, count: int) -> tuple[int, int]:
    """Return the cells of `step` that a range of view coordinates touches."""
    first = min(max(math.floor(low / step), 0), count)
    return first, max(first, min(math.ceil(high / step), count))


def _blocks(ufunc: np.ufunc, codes: Codes, down: int, across: int) -> Codes:
    """Return `ufunc` over blocks; those at the edges may be smaller."""
    for _ in range(2):
        # Slices side by side are several times faster than runs (`reduceat`).
        joined = np.ascontiguousarray(codes[::down])
        for k in range(1, down):
            part = codes[k::down]
            ufunc(joined[: len(part)], part, out=joined[: len(part)])
        codes, down, across = joined.T, across, down
    return codes
