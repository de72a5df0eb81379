"""A matrix as a picture to move about in, and the profiles of its rows and columns."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, Qt, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QWidget

from app.theme import theme
from app.widgets.plot import Plot
from app.widgets.pyramid_image import Pyramid, PyramidImage

CLOSEST = 8
"""Fewest rows or columns in view."""
COLOURS = ("quantized", "front")
"""Of the profiles of the first and the second matrix."""
_ARROWS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class MatrixPlot(Plot):
    """Shows a pyramid; rows run downward from 0.

    The arrow keys move the cross-hair by one weight, with Shift by ten, and tell as
    the mouse does what is under it.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Make an empty plot."""
        super().__init__(name, parent)
        self.shape = (0, 0)
        self._cursor: tuple[int, int] | None = None
        self.box.invertY(True)
        self.image = PyramidImage(self)
        self._marked = pg.InfiniteLine(angle=0, movable=False)
        self._marked.setVisible(False)
        self._marked.setZValue(20)
        self.addItem(self._marked, ignoreBounds=True)
        for side in ("left", "bottom"):
            self.axis(side).is_whole = True
        self.set_axis("left", "row")
        self.set_axis("bottom", "column")
        self.fitRequested.connect(self.fit)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        self._marked.setPen(theme().pen("accent", width=2))

    def set_matrix(self, pyramid: Pyramid | None) -> None:
        """Show another matrix, or none; the view stays where it is."""
        self._cursor = None
        self.shape = (0, 0) if pyramid is None else pyramid.levels[0].shape
        if pyramid is not None:
            # Views linked to this one would take over limits of nothing.
            rows, columns = self.shape
            self.box.setLimits(
                xMin=0,
                xMax=columns,
                yMin=0,
                yMax=rows,
                minXRange=min(columns, CLOSEST),
                minYRange=min(rows, CLOSEST),
            )
        self.image.set_pyramid(pyramid)

    def mark_row(self, row: int) -> None:
        """Mark a row; -1 marks none."""
        self._marked.setVisible(row >= 0)
        self._marked.setValue(row + 0.5)

    @Slot()
    def fit(self) -> None:
        """Show the whole matrix."""
        rows, columns = self.shape
        self.show_range([0, max(columns, 1)], [0, max(rows, 1)])

    def cells_at(self, point: QPointF) -> tuple[slice, slice] | None:
        """Return the rows and columns under the pixel at a point, None outside."""
        rows, columns = self.shape
        row, column = math.floor(point.y()), math.floor(point.x())
        if not (0 <= row < rows and 0 <= column < columns):
            return None
        (x0, x1), (y0, y1) = self.box.viewRange()
        tall = max(1, math.ceil(abs(y1 - y0) / max(self.box.height(), 1)))
        wide = max(1, math.ceil(abs(x1 - x0) / max(self.box.width(), 1)))
        top, left = row // tall * tall, column // wide * wide
        return (
            slice(top, min(top + tall, rows)),
            slice(left, min(left + wide, columns)),
        )

    def keyPressEvent(self, ev: QKeyEvent) -> None:
        """Move the cross-hair with the arrow keys; Enter is a click where it is."""
        if ev.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._cursor:
            row, column = self._cursor
            self.clicked.emit(QPointF(column + 0.5, row + 0.5), ev.modifiers())
            return
        step = _ARROWS.get(Qt.Key(ev.key()))
        is_pan = bool(ev.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if step is None or is_pan or not self.shape[0]:
            super().keyPressEvent(ev)
            return
        far = 10 if ev.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        (x0, x1), (y0, y1) = self.box.viewRange()
        at = self._cursor or (int((y0 + y1) / 2), int((x0 + x1) / 2))
        row, column = (
            min(max(place + far * way, 0), size - 1)
            for place, way, size in zip(at, step, self.shape, strict=True)
        )
        self._cursor = row, column
        point = QPointF(column + 0.5, row + 0.5)
        if not (x0 <= point.x() <= x1 and y0 <= point.y() <= y1):
            half = (x1 - x0) / 2, (y1 - y0) / 2
            self.show_range(
                [point.x() - half[0], point.x() + half[0]],
                [point.y() - half[1], point.y() + half[1]],
            )
        for line, place in zip(self.cross_hair, (point.x(), point.y()), strict=True):
            line.setVisible(True)
            line.setValue(place)
        self.hovered.emit(point)


class ProfilePlot(Plot):
    """Root mean square and largest error of every row, or of every column.

    Args:
        side: "row" shows rows downward beside a matrix, "column" columns below it.
        name: What a screen reader says.
        parent: Owner.
    """

    def __init__(
        self, side: Literal["row", "column"], name: str, parent: QWidget | None = None
    ) -> None:
        """Make an empty plot."""
        super().__init__(name, parent)
        self.is_row = side == "row"
        self._curves = [(pg.PlotCurveItem(), pg.PlotCurveItem()) for _ in COLOURS]
        for pair in self._curves:
            for curve in pair:
                self.addItem(curve, ignoreBounds=True)
        # Rows run downward as in the matrix; errors have zero at the inner edge.
        self.box.invertY(self.is_row)
        self.box.setMouseEnabled(x=not self.is_row, y=self.is_row)
        self.set_axis("bottom" if self.is_row else "left", "error")
        self.axis("left" if self.is_row else "bottom").setStyle(showValues=False)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        for colour, pair in zip(COLOURS, self._curves, strict=True):
            pair[0].setPen(theme().pen(colour))
            pair[1].setPen(theme().pen(colour, style=Qt.PenStyle.DotLine))

    def set_profiles(
        self,
        profiles: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
        top: float,
        first: int = 0,
    ) -> None:
        """Show root mean square and largest error of up to two matrices.

        Args:
            profiles: Both of each matrix.
            top: End of the axis.
            first: Which colour the first one has.
        """
        for number, pair in enumerate(self._curves):
            known = 0 <= number - first < len(profiles)
            shown = profiles[number - first] if known else None
            for which, curve in enumerate(pair):
                values = np.zeros(0) if shown is None else shown[which]
                places = np.arange(len(values)) + 0.5
                curve.setData(*((values, places) if self.is_row else (places, values)))
        ends = (0.0, 1.05 * top or 1.0)
        self.box.setRange(**{"xRange" if self.is_row else "yRange": ends}, padding=0)
