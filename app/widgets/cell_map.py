"""A tall picture of cells that stays honest when many rows share a pixel.

Sixty thousand rows never fit a screen. A mean over the rows of a pixel hides the one
bad layer among them, so the picture is a pyramid of maxima: whatever the zoom, the
worst cell of each pixel is the one shown. Only the visible part is handed on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPointF, QRectF, Qt, Slot
from PySide6.QtGui import QColor, QPainter

from app.theme import theme
from app.widgets.plot import Plot

ROOM_FOR_MARKS = 0.6
"""Row height, in text lines, from which marks are drawn as symbols."""
ROOM_FOR_TEXT = 1.0
CELL_DIGITS = 7.2
"""Width of a cell, in digits, from which its value is written beside the mark."""
STRIPE = 15
"""Cells are cut in as many parts across; the middle one is the stripe of a mark."""

# Marks lie on every colour of the map, so they are the same in both themes.
MARK_INK, MARK_FILL, LOCKED_FILL = "#101418", "#ffffff", "#ffaa5a"


def max_pyramid(cells: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return `cells` `[rows, columns]` and halvings of it, each the maximum of two.

    The last level has one row. Memory in all is twice that of `cells`.
    """
    levels = [cells]
    while len(levels[-1]) > 1:
        last = levels[-1]
        if len(last) % 2:
            last = np.concatenate([last, last[-1:]])
        levels.append(np.maximum(last[0::2], last[1::2]))
    return levels


def level_for(rows: float, pixels: float) -> int:
    """Return the pyramid level at which no level row is thinner than a pixel."""
    return max(0, math.ceil(math.log2(max(rows, 1.0) / max(pixels, 1.0))))


@dataclass
class Marks:
    """What is drawn over the cells, for the rows in display order.

    Attributes:
        chosen: Column of each row's present choice, -1 for none of the columns.
        locked: Rows that may not change.
        selected: Selected rows.
        current: The row looked at, -1 for none.
        cursor: Column of the keyboard cursor, -1 for none.
        text: Returns the text of a cell, called for large visible cells only.
        refused: Returns whether a cell cannot be chosen; visible cells only.
    """

    chosen: NDArray[np.int16]
    locked: NDArray[np.bool_]
    selected: NDArray[np.bool_]
    current: int = -1
    cursor: int = -1
    text: Callable[[int, int], str] = lambda row, column: ""
    refused: Callable[[int, int], bool] = lambda row, column: False


class CellMap(QObject):
    """Draws cells, marks and selection of one plot; rows run downward from 0.

    The plot's view must have its y axis inverted. Column c covers x from c to c + 1;
    the strip from -`GUTTER` to 0 shows the selection.
    """

    GUTTER = 0.14

    def __init__(self, plot: Plot) -> None:
        """Put the items into the plot."""
        super().__init__(plot)
        self._plot = plot
        self._levels: list[NDArray[np.uint8]] = [np.zeros((0, 0), dtype=np.uint8)]
        self._stripes: list[NDArray[np.uint8]] = [np.zeros((0, 0), dtype=np.uint8)]
        self._strips: list[NDArray[np.uint8]] = [np.zeros((0, 1), dtype=np.uint8)]
        self._shown: tuple[int, int, int, bool] | None = None
        none = np.zeros(0, dtype=np.bool_)
        self.marks = Marks(np.zeros(0, dtype=np.int16), none, none)
        self.lookup = np.zeros((256, 4), dtype=np.uint8)
        self._missing = _Background()
        self._image, self._stripe, self._strip = (pg.ImageItem() for _ in range(3))
        self._overlay = CellOverlay(self, plot)
        plot.addItem(self._missing, ignoreBounds=True)
        for depth, item in enumerate((self._image, self._stripe, self._strip)):
            item.setAutoDownsample(False)
            item.setZValue(1 + depth)
            plot.addItem(item, ignoreBounds=True)
        self._overlay.setZValue(10)
        plot.addItem(self._overlay, ignoreBounds=True)
        plot.box.sigRangeChanged.connect(self.update_view)
        plot.box.sigResized.connect(self.update_view)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._levels[0])

    @property
    def codes(self) -> NDArray[np.uint8]:
        """Colour codes of all cells."""
        return self._levels[0]

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self._levels[0].shape[1])

    def set_cells(self, codes: NDArray[np.uint8], lookup: NDArray[np.uint8]) -> None:
        """Show cells.

        Args:
            codes: `[rows, columns]`, 0 where there is no value; the maximum of a
                pixel's rows is shown, so larger must mean worse.
            lookup: Colours of the codes, `[256, 4]`.
        """
        self._levels = max_pyramid(np.ascontiguousarray(codes))
        self.lookup = lookup
        self._missing.set_size(self.rows, self.columns)
        self._overlay.resized()
        self.refresh()

    def set_marks(self, marks: Marks) -> None:
        """Show choices, locks and the selection of the rows."""
        self.marks = marks
        rows, columns = len(marks.chosen), self.columns
        stripes = np.zeros((rows, columns * STRIPE), dtype=np.uint8)
        at = np.flatnonzero(marks.chosen >= 0)
        middle = marks.chosen[at].astype(np.int64) * STRIPE + STRIPE // 2
        stripes[at, middle - 1] = stripes[at, middle + 1] = 1
        stripes[at, middle] = np.where(marks.locked[at], 3, 2)
        self._stripes = max_pyramid(stripes)
        self._strips = max_pyramid(marks.selected.astype(np.uint8)[:, None])
        self.refresh()

    def refresh(self) -> None:
        """Draw again even if the view did not move."""
        self._shown = None
        self.update_view()
        self._overlay.update()

    # -- the visible part ----------------------------------------------------------

    def visible(self) -> tuple[int, int]:
        """Return the visible rows as a half-open range."""
        low, high = sorted(self._plot.box.viewRange()[1])
        first = min(max(math.floor(low), 0), self.rows)
        return first, max(first, min(math.ceil(high), self.rows))

    def row_height(self) -> float:
        """Return the height of a row [pixels]."""
        low, high = self._plot.box.viewRange()[1]
        return float(self._plot.box.height()) / max(abs(high - low), 1e-9)

    @property
    def shows_symbols(self) -> bool:
        """Whether rows are high enough for marks drawn as symbols."""
        return self.row_height() >= theme().line(ROOM_FOR_MARKS)

    @property
    def shows_texts(self) -> bool:
        """Whether cells are large enough for their value in digits."""
        low, high = self._plot.box.viewRange()[0]
        width = self._plot.box.width() / max(high - low, 1e-9)
        tall = self.row_height() >= theme().line(ROOM_FOR_TEXT)
        return bool(tall and width >= theme().em(CELL_DIGITS))

    @Slot()
    def update_view(self, *_: object) -> None:
        """Hand the visible part of the right pyramid level to the images."""
        first, last = self.visible()
        level = level_for(last - first, self._plot.box.height())
        level = min(level, len(self._levels) - 1)
        symbols = self.shows_symbols
        key = (first >> level, -(-last >> level), level, symbols)
        if key == self._shown:
            return
        self._shown = key
        stripe_lut = _table(MARK_INK, MARK_FILL, LOCKED_FILL)
        strip_lut = _table(theme().colour("accent"))
        width = float(self.columns)
        self._give(self._image, self._levels, self.lookup, 0.0, width)
        self._stripe.setVisible(not symbols)
        if not symbols:
            self._give(self._stripe, self._stripes, stripe_lut, 0.0, width)
        left, narrow = -self.GUTTER, 0.8 * self.GUTTER
        self._give(self._strip, self._strips, strip_lut, left, narrow)

    def _give(
        self,
        item: pg.ImageItem,
        levels: list[NDArray[np.uint8]],
        lookup: NDArray[np.uint8],
        left: float,
        width: float,
    ) -> None:
        assert self._shown is not None
        first, last, level, _ = self._shown
        part = levels[min(level, len(levels) - 1)][first:last]
        item.setVisible(part.size > 0)
        if not part.size:
            return
        item.setImage(part, autoLevels=False, levels=(0, len(lookup) - 1), lut=lookup)
        size = 1 << level
        item.setRect(QRectF(left, first * size, width, len(part) * size))


def _table(*colours: str | QColor) -> NDArray[np.uint8]:
    """Return a lookup table: nothing for 0, then the colours."""
    return np.array(
        [(0, 0, 0, 0), *(QColor(c).getRgb() for c in colours)], dtype=np.uint8
    )


class _Background(pg.GraphicsObject):
    """Hatching behind the cells, seen where there is no value."""

    def __init__(self) -> None:
        super().__init__()
        self._rect = QRectF()

    def set_size(self, rows: int, columns: int) -> None:
        self.prepareGeometryChange()
        self._rect = QRectF(0, 0, columns, rows)

    def boundingRect(self) -> QRectF:
        return self._rect

    def paint(self, painter: QPainter, *_: object) -> None:
        brush = theme().brush("grid")
        brush.setStyle(Qt.BrushStyle.BDiagPattern)
        transform, _ok = painter.worldTransform().inverted()
        brush.setTransform(transform)
        painter.fillRect(self._rect, theme().colour("base"))
        painter.fillRect(self._rect, brush)


class CellOverlay(pg.GraphicsObject):
    """Lines between cells, values, symbols of the choice, frames of the selection."""

    def __init__(self, cells: CellMap, plot: Plot) -> None:
        """Draw over `cells`."""
        super().__init__()
        self._cells = cells
        self._plot = plot

    def resized(self) -> None:
        """Take the number of rows and columns again."""
        self.prepareGeometryChange()

    def boundingRect(self) -> QRectF:
        """Return the rectangle of all cells and the selection strip."""
        gutter = CellMap.GUTTER
        return QRectF(-gutter, 0, self._cells.columns + gutter, self._cells.rows)

    def paint(self, painter: QPainter, *_: object) -> None:
        """Draw for the visible rows only, in pixels of the screen."""
        cells = self._cells
        first, last = cells.visible()
        across, down = self._plot.box.viewPixelSize()
        if not last > first or not across or not down:
            return
        painter.translate(0, first)
        painter.scale(across, down)
        wide, high = 1 / across, 1 / down
        self._paint_lines(painter, last - first, wide, high)
        if cells.shows_symbols:
            self._paint_cells(painter, first, last, wide, high)
        self._paint_frames(painter, first, last, wide, high)

    def _paint_lines(
        self, painter: QPainter, rows: int, wide: float, high: float
    ) -> None:
        pen = theme().pen("base", width=2)
        painter.setPen(pen)
        columns, bottom = self._cells.columns, rows * high
        for column in range(columns + 1):
            painter.drawLine(QPointF(column * wide, 0), QPointF(column * wide, bottom))
        if self._cells.shows_symbols:
            painter.setPen(theme().pen("base"))
            for row in range(rows + 1):
                y = row * high
                painter.drawLine(QPointF(0, y), QPointF(columns * wide, y))

    def _paint_cells(
        self, painter: QPainter, first: int, last: int, wide: float, high: float
    ) -> None:
        cells, marks = self._cells, self._cells.marks
        texts = cells.shows_texts
        codes = cells.codes
        luma = cells.lookup[:, :3] @ np.array([0.299, 0.587, 0.114])
        size = min(high * 0.55, theme().em(1.1 if texts else 1.4))
        pad = size * 1.6 if texts else 0.0
        if texts:
            font = painter.font()
            font.setPointSizeF(font.pointSizeF() * 0.85)
            painter.setFont(font)
        light, dark = QColor(MARK_FILL), QColor(MARK_INK)
        align, muted = Qt.AlignmentFlag.AlignCenter, theme().colour("muted")
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for row in range(first, last):
            for column in range(cells.columns):
                place = QRectF(column * wide, (row - first) * high, wide, high)
                code = codes[row, column]
                ink = muted if code == 0 else dark if luma[code] > 128 else light
                if marks.refused(row, column):
                    self._cross(painter, place, ink)
                elif texts:
                    painter.setPen(ink)
                    beside = place.adjusted(pad, 0, 0, 0)
                    painter.drawText(beside, align, marks.text(row, column))
            chosen = int(marks.chosen[row])
            if chosen >= 0:
                shift = pad * 0.6 if texts else wide * 0.5
                x, y = chosen * wide + shift, (row - first + 0.5) * high
                self._symbol(painter, x, y, size, bool(marks.locked[row]))

    @staticmethod
    def _symbol(
        painter: QPainter, x: float, y: float, size: float, locked: bool
    ) -> None:
        painter.setPen(pg.mkPen(MARK_INK, width=1.5))
        painter.setBrush(QColor(LOCKED_FILL if locked else MARK_FILL))
        place = QRectF(x - size / 2, y - size / 2, size, size)
        (painter.drawRect if locked else painter.drawEllipse)(place)

    @staticmethod
    def _cross(painter: QPainter, place: QRectF, ink: QColor) -> None:
        pen = pg.mkPen(ink, width=1)
        painter.setPen(pen)
        half = min(place.height(), place.width()) * 0.2
        c = place.center()
        for up in (half, -half):
            painter.drawLine(
                QPointF(c.x() - half, c.y() - up), QPointF(c.x() + half, c.y() + up)
            )

    def _paint_frames(
        self, painter: QPainter, first: int, last: int, wide: float, high: float
    ) -> None:
        marks, columns = self._cells.marks, self._cells.columns
        if not first <= marks.current < last:
            return
        y, tall = (marks.current - first) * high, max(high, 2.0)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(theme().pen("accent", width=2))
        painter.drawRect(QRectF(0, y, columns * wide, tall))
        if marks.cursor >= 0 and self._plot.hasFocus():
            painter.setPen(theme().pen("text", width=3))
            painter.drawRect(QRectF(marks.cursor * wide, y, wide, tall))
