"""Ranks of the same layers by several criteria: a line per layer, best place on top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QPen, QResizeEvent
from PySide6.QtWidgets import QWidget

from app.theme import theme
from app.widgets.name_axis import NameAxis
from app.widgets.plot import Plot

Floats = NDArray[np.float64]

LINES = 400
"""Lines drawn at most; of more, evenly chosen ones and those that are selected."""
NAME_SHARE = 0.26
REACH = 12.0
"""How far from a line a click still means it [pixels]."""
_NONE = np.zeros(0, dtype=np.int64)


class RankPlot(Plot):
    """A bump chart: columns are criteria, rows are places, lines are layers.

    Signals:
        pointed: Row of the line under the mouse, -1 for none.
        picked: Row of the line that was clicked, and the keyboard modifiers.
        boxed: Rows with a place in a box, and whether they are to be added.
    """

    pointed = Signal(object)
    picked = Signal(object, object)
    boxed = Signal(object, object)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Make an empty chart."""
        self._left, self._right = NameAxis("left"), NameAxis("right")
        self._top = NameAxis("top")
        axes = {"left": self._left, "right": self._right, "top": self._top}
        super().__init__(name, parent, axes)
        self.hideAxis("bottom")
        for side in ("right", "top"):
            self.showAxis(side)
        self._places = np.zeros((0, 0))
        self._chosen = _NONE
        self._others = pg.PlotCurveItem(connect="finite")
        self._dots = pg.ScatterPlotItem(symbol="o", size=7)
        self._lines = pg.PlotCurveItem(connect="finite")
        self._marks = pg.ScatterPlotItem(symbol="o", size=11)
        items = (self._others, self._dots, self._lines, self._marks)
        for depth, item in enumerate(items):
            item.setZValue(1 + depth)
            self.addItem(item, ignoreBounds=True)
        self.box.invertY(True)
        self.box.setMouseEnabled(x=False, y=True)
        self.hovered.connect(self._on_hover)
        self.clicked.connect(self._on_place)
        self.box.chooses = True
        self.box.boxed.connect(self._on_boxed)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        self._others.setPen(theme().pen("muted"))
        self._dots.setPen(theme().pen("base"))
        self._dots.setBrush(theme().brush("float_data"))
        self._lines.setPen(theme().pen("accent", width=3))
        self._marks.setPen(theme().pen("base"))
        self._marks.setBrush(theme().brush("accent"))
        for line in self.cross_hair:
            line.setPen(QPen(Qt.PenStyle.NoPen))

    def set_ranks(
        self, names: Sequence[str], titles: Sequence[str], places: Floats
    ) -> None:
        """Show layers.

        Args:
            names: `[rows]`.
            titles: `[columns]` criteria.
            places: `[rows, columns]` ranks from 1, NaN where not known.
        """
        changed = places.shape != self._places.shape
        self._places = places
        self._top.set_names(titles)
        self._left.set_title("rank")
        for axis, column in ((self._left, 0), (self._right, -1)):
            axis.set_names(_in_order(names, places[:, column]))
        self._fit_names()
        rows = max(self._last(), 1)
        self.box.setLimits(yMin=0, yMax=rows, minYRange=min(rows, 4), maxYRange=rows)
        if changed:
            self.fit()
        self._draw()

    def set_chosen(self, rows: NDArray[np.int64]) -> None:
        """Mark the lines of rows."""
        self._chosen = rows
        self._draw()

    @property
    def drawn(self) -> int:
        """How many lines are drawn besides the marked ones."""
        return min(len(self._places), LINES)

    def _last(self) -> int:
        known = self._places[np.isfinite(self._places)]
        return int(known.max(initial=1))

    def fit(self) -> None:
        """Show all ranks."""
        columns = max(self._places.shape[1], 1)
        self.show_range([0.0, float(columns)], [0.0, float(max(self._last(), 1))])

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the names their share of the new width."""
        super().resizeEvent(event)
        if hasattr(self, "_places"):  # Qt sends one before the axes are there
            self._fit_names()

    def _fit_names(self) -> None:
        for axis in (self._left, self._right):
            axis.fit_room(self.width() * NAME_SHARE)
        self._top.fit_room(0)

    def _draw(self) -> None:
        count = len(self._places)
        step = max(1, -(-count // LINES))
        for rows, line, dots in (
            (np.arange(0, count, step), self._others, self._dots),
            (self._chosen, self._lines, self._marks),
        ):
            x, y = self._path(self._places[rows])
            line.setData(x, y)
            known = np.isfinite(y)
            dots.setData(x=x[known], y=y[known])

    @staticmethod
    def _path(places: Floats) -> tuple[Floats, Floats]:
        """Return one path through all rows, broken between them."""
        rows, columns = places.shape
        x = np.tile(np.append(np.arange(columns) + 0.5, np.nan), rows)
        gap = np.full((rows, 1), np.nan)
        return x, np.concatenate([places - 0.5, gap], 1).ravel()

    def row_at(self, point: QPointF) -> int:
        """Return the row whose line passes near a place, -1 for none."""
        columns = self._places.shape[1]
        if not len(self._places) or not columns:
            return -1
        at = float(np.clip(point.x() - 0.5, 0, columns - 1))
        left = min(int(at), max(columns - 2, 0))
        right = min(left + 1, columns - 1)
        part = at - left
        first, second = self._places[:, left], self._places[:, right]
        # `0 * NaN` would lose lines that are known at this very column.
        height = (
            first
            if part == 0
            else second
            if part == 1
            else ((1 - part) * first + part * second)
        )
        away = np.abs(height - 0.5 - point.y())
        if np.isnan(away).all():
            return -1
        nearest = int(np.nanargmin(away))
        low, high = self.box.viewRange()[1]
        pixels = away[nearest] / max(high - low, 1e-9) * self.box.height()
        return nearest if pixels <= REACH else -1

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        self.pointed.emit(-1 if point is None else self.row_at(point))

    @Slot(object, object)
    def _on_place(self, point: QPointF, modifiers: object) -> None:
        row = self.row_at(point)
        if row >= 0:
            self.picked.emit(row, modifiers)

    @Slot(object, object)
    def _on_boxed(self, box: QRectF, adds: bool) -> None:
        x, y = np.arange(self._places.shape[1]) + 0.5, self._places - 0.5
        inside = (y >= box.top()) & (y <= box.bottom())
        inside &= (x >= box.left()) & (x <= box.right())
        self.boxed.emit(np.flatnonzero(inside.any(axis=1)), adds)


def _in_order(names: Sequence[str], places: Floats) -> list[str]:
    """Return the name of each rank, "" where no row has it."""
    known = np.flatnonzero(np.isfinite(places))
    found = [""] * int(places[known].max(initial=0))
    for row in known.tolist():
        found[int(places[row]) - 1] = names[row]
    return found
