"""Rows x columns of positive values on a log colour scale, with names and marks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, Qt, Slot
from PySide6.QtGui import QPen, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from app.theme import theme
from app.widgets.cell_map import CellMap
from app.widgets.color_bar import ColorBar, decades
from app.widgets.name_axis import NameAxis
from app.widgets.plot import Plot

NAME_SHARE = 0.42
"""Most of the width that row names may take."""
LEAST_NAME_SHARE = 0.25
"""What they may take however many columns there are."""


class HeatmapPlot(QWidget):
    """Plot, cells and colour bar; rows are numbered in the order they are shown."""

    def __init__(self, name: str, colour_map: str, parent: QWidget | None = None):
        """Make an empty heatmap.

        Args:
            name: What a screen reader says.
            colour_map: Name of a sequential, colour-blind-safe pyqtgraph map.
            parent: Owner.
        """
        super().__init__(parent)
        self._rows_axis, self._columns_axis = NameAxis("left"), NameAxis("top")
        axes = {"left": self._rows_axis, "top": self._columns_axis}
        self.plot = Plot(name, axes=axes)
        self.plot.hideAxis("bottom")
        self.plot.box.invertY(True)
        self.plot.box.setMouseEnabled(x=False, y=True)
        # The column under the mouse is plain; a vertical line would hide marks.
        self.plot.cross_hair[0].setPen(QPen(Qt.PenStyle.NoPen))
        self.cells = CellMap(self.plot)
        self.bar = ColorBar(pg.colormap.get(colour_map))
        self._values = np.zeros((0, 0))
        self._exponents = self._values
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme().em(0.5))
        row.addWidget(self.plot, 1)
        row.addWidget(self.bar)
        self.bar.limitsChanged.connect(self._on_limits)
        theme().themeChanged.connect(self._on_theme)

    @Slot(object)
    def _on_limits(self, _limits: object) -> None:
        self._colour()

    @Slot()
    def _on_theme(self) -> None:
        self.plot.cross_hair[0].setPen(QPen(Qt.PenStyle.NoPen))
        self.cells.refresh()

    # -- what is shown -------------------------------------------------------------

    def set_names(
        self, rows: Sequence[str], columns: Sequence[str], titles: tuple[str, str]
    ) -> None:
        """Show names; `titles` are those of the row and the column axis."""
        self._rows_axis.set_names(rows)
        self._columns_axis.set_names(columns)
        self._rows_axis.set_title(titles[0])
        self._columns_axis.set_title(titles[1])
        self._fit_names()
        count, across = len(rows), len(columns)
        self.plot.box.setLimits(
            xMin=-CellMap.GUTTER,
            xMax=across,
            yMin=0,
            yMax=count,
            minYRange=min(count, 4),
            maxYRange=count,
        )
        self.plot.box.setXRange(-CellMap.GUTTER, across, padding=0)

    def set_scale(self, values: NDArray[np.float64], title: str) -> None:
        """Let values decide the limits of the colours; title of the bar with unit."""
        self.bar.set_data(decades(values), title)

    def set_values(self, values: NDArray[np.float64]) -> None:
        """Show values `[rows, columns]`, NaN where missing."""
        self._values, self._exponents = values, decades(values)
        self._colour()

    def _colour(self) -> None:
        self.cells.set_cells(self.bar.codes(self._exponents), self.bar.lookup())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the row names their share of the new width."""
        super().resizeEvent(event)
        self._fit_names()

    def _fit_names(self) -> None:
        width = self.plot.width()
        columns = self._columns_axis.room_across + theme().em(1)
        # What a column is called matters more than the beginning of a layer's name.
        room = max(width * LEAST_NAME_SHARE, width - columns)
        self._rows_axis.fit_room(min(room, width * NAME_SHARE))
        self._columns_axis.fit_room(0)

    # -- range ---------------------------------------------------------------------

    def show_rows(self, low: float, high: float) -> None:
        """Show rows `low` to `high`, moved inside the table where they leave it."""
        rows = self.cells.rows
        span = min(high - low, rows)
        low = min(max(0.0, low), rows - span)
        self.plot.show_range([-CellMap.GUTTER, self.cells.columns], [low, low + span])

    def show_all(self) -> None:
        """Show all rows."""
        self.show_rows(0, self.cells.rows)

    def show_single(self, row: int) -> None:
        """Show rows around one of them, each high enough for its name."""
        span = self.plot.box.height() / theme().line(1.2)
        self.show_rows(row + 0.5 - span / 2, row + 0.5 + span / 2)

    def reveal(self, row: int) -> None:
        """Move the view just enough to show a row."""
        low, high = self.plot.box.viewRange()[1]
        if not low <= row <= high - 1:
            half = (high - low) / 2
            self.show_rows(row + 0.5 - half, row + 0.5 + half)

    # -- pointing ------------------------------------------------------------------

    @property
    def shares_pixels(self) -> bool:
        """Whether rows are thinner than a pixel."""
        return self.cells.row_height() < 1

    def cell_at(self, point: QPointF) -> tuple[int, int] | None:
        """Return row and column at a point; column -1 is the selection strip.

        Where rows share a pixel it is the row whose colour that pixel has: the worst
        of them in this column.
        """
        column, row = math.floor(point.x()), math.floor(point.y())
        if not (-1 <= column < self.cells.columns and 0 <= row < self.cells.rows):
            return None
        if self.shares_pixels and column >= 0:
            half = round(0.5 / self.cells.row_height())
            first = max(0, row - half)
            there = self._values[first : row + half + 1, column]
            if np.isfinite(there).any():
                row = first + int(np.nanargmax(there))
        return row, column
