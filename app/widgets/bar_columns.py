"""Numbers of the same rows in several units: a plot of bars for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QPen, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from app.theme import theme
from app.widgets.name_axis import NameAxis
from app.widgets.plot import Plot
from app.widgets.plot_axis import LogScale

Floats = NDArray[np.float64]

NAME_SHARE = 0.3
"""Most of the width that row names may take."""
LEAST = 6
"""Rows for which there is room at least: a single bar is no wall."""
DENSE = 3.0
"""Pixels below which rows share a bar, which then shows the largest of them."""
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class BarColumn:
    """The bars of one plot.

    Attributes:
        title: What they show.
        unit: Of the values; "" for pure numbers.
        values: `[rows]`, NaN for no bar.
        low: `[rows]` lower ends of the error bars, NaN for none.
        high: `[rows]` upper ends.
        mark: Value of a line across all rows; NaN for none.
        is_log: Whether the axis is logarithmic.
        limits: Smallest and largest value there may be; None for those there are.
    """

    title: str
    unit: str
    values: Floats
    low: Floats
    high: Floats
    mark: float = math.nan
    is_log: bool = False
    limits: tuple[float, float] | None = None
    scale: LogScale | None = field(init=False)

    def __post_init__(self) -> None:
        """Choose the scale."""
        scale = LogScale.of(self.values) if self.is_log else None
        object.__setattr__(self, "scale", scale)

    @property
    def text(self) -> str:
        """Title and unit."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def to_view(self, values: Floats) -> Floats:
        """Return coordinates of values."""
        return values if self.scale is None else self.scale.to_view(values)

    @property
    def base(self) -> float:
        """Coordinate at which bars begin."""
        if math.isfinite(self.mark):
            return float(self.to_view(np.array(self.mark)))
        return 0.0 if self.scale is None else self.scale.floor

    def span(self) -> list[float]:
        """Return the coordinates between which everything lies."""
        every = np.concatenate([self.values, self.low, self.high, self.limits or ()])
        known = self.to_view(every[np.isfinite(every)])
        low = min(self.base, float(known.min(initial=self.base)))
        high = max(self.base, float(known.max(initial=self.base)))
        room = 0.06 * (high - low) or 1.0
        return [low - room * (low < self.base), high + room]


class _Title(QLabel):
    """A text in at most two lines, each shortened to the room there is."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._full = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setAlignment(Qt.AlignmentFlag.AlignBottom)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

    def set_full(self, text: str) -> None:
        """Show a text; the tooltip has all of it."""
        self._full = text
        self.setAccessibleName(text)
        self.setToolTip(text)
        self._fold()

    def set_indent(self, pixels: int) -> None:
        """Begin further to the right."""
        self.setContentsMargins(pixels, 0, 0, 0)
        self._fold()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fold again."""
        super().resizeEvent(event)
        self._fold()

    def _fold(self) -> None:
        metrics, room = self.fontMetrics(), self.contentsRect().width()
        first, *rest = self._full.split(" ")
        while rest and metrics.horizontalAdvance(f"{first} {rest[0]}") <= room:
            first = f"{first} {rest.pop(0)}"
        side = Qt.TextElideMode.ElideRight
        lines = (metrics.elidedText(x, side, room) for x in (first, " ".join(rest)))
        self.setText("\n".join(filter(None, lines)))


class _Bars(Plot):
    """One plot of horizontal bars; draws the rows in view only."""

    def __init__(self, axis: NameAxis) -> None:
        """Make an empty plot beside an axis of names."""
        super().__init__("Bars", axes={"left": axis})
        self._column: BarColumn | None = None
        self._chosen = _NONE
        self._rows = pg.BarGraphItem(x0=[], x1=[], y=[], height=1.0)
        self._marked = pg.BarGraphItem(x0=[], x1=[], y=[], height=1.0)
        self._errors = pg.ErrorBarItem()
        self._line = pg.InfiniteLine(angle=90, movable=False)
        items = (self._rows, self._marked, self._errors, self._line)
        for depth, item in enumerate(items):
            item.setZValue(1 + depth)
            self.addItem(item, ignoreBounds=True)
        self.box.invertY(True)
        self.box.sigYRangeChanged.connect(self._draw)
        self.box.sigResized.connect(self._draw)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        self._rows.setOpts(pen=pg.mkPen(None), brush=theme().brush("float_data"))
        # An outline as well: the selection is to differ by more than its colour.
        outline = theme().pen("text", width=2)
        self._marked.setOpts(pen=outline, brush=theme().brush("accent"))
        self._errors.setOpts(pen=theme().pen("text"))
        self._line.setPen(theme().pen("quantized", style=Qt.PenStyle.DashLine))
        # A line at the height of the mouse says which row it is; none is needed across.
        self.cross_hair[0].setPen(QPen(Qt.PenStyle.NoPen))

    def set_column(self, column: BarColumn) -> None:
        """Show other values; the rows in view stay."""
        self._column = column
        self.setAccessibleName(column.text)
        self.axis("bottom").set_scale(column.scale)
        self._line.setVisible(math.isfinite(column.mark))
        if math.isfinite(column.mark):
            self._line.setValue(float(column.to_view(np.array(column.mark))))
        self.box.setXRange(*column.span(), padding=0)
        self._draw()

    def set_chosen(self, rows: NDArray[np.int64]) -> None:
        """Mark rows, sorted."""
        self._chosen = rows
        self._draw()

    def group(self) -> int:
        """Return how many rows share a bar."""
        low, high = self.box.viewRange()[1]
        room = max(self.box.height(), 1.0) / max(high - low, 1e-9)
        return max(1, math.ceil(DENSE / room))

    def row_at(self, y: float) -> int:
        """Return the row at a height; of rows that share a bar, the longest."""
        column, at = self._column, math.floor(y)
        if column is None or not 0 <= at < len(column.values):
            return -1
        size = self.group()
        first = at // size * size
        part = column.values[first : first + size]
        if size == 1 or np.isnan(part).all():
            return at
        return first + int(np.nanargmax(part))

    def rows_in(self, box: QRectF) -> NDArray[np.int64]:
        """Return the rows whose bar a box touches."""
        column = self._column
        if column is None:
            return _NONE
        first = max(math.floor(box.top()), 0)
        last = min(math.ceil(box.bottom()), len(column.values))
        rows = np.arange(first, max(first, last))
        ends = column.to_view(column.values[rows])
        low, high = np.minimum(ends, column.base), np.maximum(ends, column.base)
        return rows[(low <= box.right()) & (high >= box.left())]

    @Slot()
    def _draw(self, *_: object) -> None:
        column = self._column
        if column is None:
            return
        low, high = self.box.viewRange()[1]
        count, size = len(column.values), self.group()
        first = min(max(math.floor(low / size) * size, 0), count)
        last = max(first, min(math.ceil(high) + 1, count))
        self._space_ticks(column)
        starts = np.arange(first, last, size)
        filled = np.where(np.isnan(column.values), -np.inf, column.values)[first:last]
        longest = np.zeros(0)
        if len(starts):
            longest = np.maximum.reduceat(filled, starts - first)
        known = ~np.isneginf(longest)
        at, ends = starts[known], column.to_view(longest[known])
        places = at + size / 2
        chosen = np.isin(at // size, self._chosen // size)
        height = size * (0.7 if size == 1 else 1.0)
        for item, which in ((self._rows, ~chosen), (self._marked, chosen)):
            n = int(which.sum())
            item.setOpts(
                x0=np.full(n, column.base),
                x1=ends[which],
                y=places[which],
                height=height,
            )
        self._draw_errors(column, at if size == 1 else _NONE)

    def _space_ticks(self, column: BarColumn) -> None:
        """Set ticks so far apart that their numbers do not touch."""
        if column.scale is not None:
            return
        low, high = self.box.viewRange()[0]
        rough = (high - low) * theme().em(6) / max(self.box.width(), 1.0)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
        self.axis("bottom").setTickSpacing(step, step)

    def _draw_errors(self, column: BarColumn, rows: NDArray[np.int64]) -> None:
        rows = rows[np.isfinite(column.low[rows]) & np.isfinite(column.high[rows])]
        self._errors.setVisible(bool(len(rows)))
        if len(rows):
            x = column.to_view(column.values[rows])
            left = x - column.to_view(column.low[rows])
            right = column.to_view(column.high[rows]) - x
            self._errors.setData(x=x, y=rows + 0.5, left=left, right=right, beam=0.3)


class BarColumns(QWidget):
    """Plots of bars that share their rows.

    Signals:
        hovered: Row under the mouse, -1 when it left.
        clicked: Row and keyboard modifiers.
        boxed: Rows whose bar a box touches, and whether they are to be added.
        fitRequested: The person asked for all rows.
        moved: Other rows are in view.
    """

    hovered = Signal(object)
    clicked = Signal(object, object)
    boxed = Signal(object, object)
    fitRequested = Signal()
    moved = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make the first column; others are made when there is something in them."""
        super().__init__(parent)
        self._names = NameAxis("left")
        self.plots: list[_Bars] = []
        self._titles: list[_Title] = []
        self._count = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(theme().em(0.5))
        self._grid.setVerticalSpacing(0)
        self._add_column()
        self.plots[0].box.sigYRangeChanged.connect(self._on_moved)

    def _add_column(self) -> None:
        number = len(self.plots)
        title, plot = _Title(), _Bars(NameAxis("left") if number else self._names)
        self._grid.addWidget(title, 0, number)
        self._grid.addWidget(plot, 1, number)
        plot.hovered.connect(self._on_hover)
        plot.clicked.connect(self._on_click)
        plot.fitRequested.connect(self.fitRequested)
        plot.box.chooses = True
        plot.box.boxed.connect(partial(self._on_boxed, plot))
        plot.box.setMouseEnabled(x=False, y=True)
        plot.setMinimumWidth(theme().em(8))
        # The same for all: rows are to be at equal heights.
        plot.axis("bottom").setHeight(theme().line(1.4))
        if number:
            plot.hideAxis("left")
            plot.box.setYLink(self.plots[0].box)
        self._titles.append(title)
        self.plots.append(plot)

    def set_rows(
        self, names: Sequence[str], columns: Sequence[BarColumn], title: str
    ) -> None:
        """Show rows and their columns; `title` is that of the axis of names."""
        changed = len(names) != self._count
        self._count = len(names)
        self._names.set_names(names)
        self._names.set_title(title)
        while len(self.plots) < len(columns):
            self._add_column()
        for number, plot in enumerate(self.plots):
            is_used = number < len(columns)
            plot.setVisible(is_used)
            self._titles[number].setVisible(is_used)
            if is_used:
                plot.set_column(columns[number])
                self._titles[number].set_full(columns[number].text)
        self._fit_names()
        room = max(self._count, LEAST)
        self.plots[0].box.setLimits(yMin=0, yMax=room, minYRange=4, maxYRange=room)
        if changed:
            self.fit()

    def set_chosen(self, rows: NDArray[np.int64]) -> None:
        """Mark rows."""
        for plot in self.plots:
            plot.set_chosen(rows)

    def reveal(self, row: int) -> None:
        """Scroll so that a row is in view."""
        low, high = self.plots[0].box.viewRange()[1]
        if not low <= row <= high - 1 and row >= 0:
            span = min(high - low, self._count)
            start = min(max(row + 0.5 - span / 2, 0.0), self._count - span)
            self.plots[0].box.setYRange(start, start + span, padding=0)

    def rows_shown(self) -> tuple[float, float]:
        """Return the rows in view."""
        low, high = self.plots[0].box.viewRange()[1]
        return low, high

    def show_rows(self, low: float, high: float) -> None:
        """Show rows."""
        self.plots[0].box.setYRange(low, high, padding=0)

    @Slot()
    def _on_moved(self, *_: object) -> None:
        self.moved.emit()

    @Slot()
    def fit(self) -> None:
        """Show all rows."""
        self.plots[0].box.setYRange(0, max(self._count, LEAST), padding=0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the names their share of the new width."""
        super().resizeEvent(event)
        self._fit_names()

    def _fit_names(self) -> None:
        # The first plot has the names beside its bars, which are to be as wide as the
        # others.
        shown = max(1, sum(not plot.isHidden() for plot in self.plots))
        self._names.fit_room(self.width() * NAME_SHARE)
        # Its width is that of the last drawing; this is what it will be.
        names = self._names.minimumWidth()
        room = max((self.width() - names) / shown, 1.0)
        self._titles[0].set_indent(math.ceil(names))
        for number in range(len(self.plots)):
            wide = room + names if number == 0 else room
            used = not self.plots[number].isHidden()
            self._grid.setColumnStretch(number, round(wide) if used else 0)

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        plot = self.sender()
        row = -1
        if point is not None and isinstance(plot, _Bars):
            row = plot.row_at(point.y())
        self.hovered.emit(row)

    @Slot(object, object)
    def _on_click(self, point: QPointF, modifiers: object) -> None:
        plot = self.sender()
        if isinstance(plot, _Bars):
            row = plot.row_at(point.y())
            if row >= 0:
                self.clicked.emit(row, modifiers)

    def _on_boxed(self, plot: _Bars, box: QRectF, adds: bool) -> None:
        self.boxed.emit(plot.rows_in(box), adds)
