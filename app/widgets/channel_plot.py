"""The range of every channel as a bar from its smallest to its largest value."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QWidget

from app.models.level_grid import Distribution, envelope
from app.theme import theme
from app.widgets.plot import Plot

NAMED = 3
"""Outlier channels that get their number written beside them."""


class ChannelPlot(Plot):
    """Bars of channel ranges, joined without losing extremes when too many."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Make an empty plot."""
        super().__init__(name, parent)
        self._low = self._high = np.zeros(0)
        self._y = [0.0, 1.0]
        self.order = np.zeros(0, dtype=np.int64)
        self._place = self.order
        self._shown: object = None
        self._bars = pg.BarGraphItem(x=[], y0=[], y1=[], width=1.0)
        self._chosen = pg.InfiniteLine(angle=90, movable=False)
        self._limits = tuple(pg.InfiniteLine(angle=0, movable=False) for _ in range(2))
        self._outliers = pg.ScatterPlotItem(symbol="t", size=9)
        self._names = tuple(pg.TextItem(anchor=(0.5, 1.2)) for _ in range(NAMED))
        self.addItem(self._bars, ignoreBounds=True)
        for item in (self._chosen, *self._limits, self._outliers, *self._names):
            item.setZValue(5)
            self.addItem(item, ignoreBounds=True)
        self.box.setMouseEnabled(x=True, y=False)
        self.box.sigXRangeChanged.connect(self._draw_bars)
        self.box.sigResized.connect(self._draw_bars)
        self.axis("bottom").is_whole = True
        self.fitRequested.connect(self.fit)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        self._bars.setOpts(pen=pg.mkPen(None), brush=theme().brush("float_data"))
        self._chosen.setPen(theme().pen("quantized"))
        for line in self._limits:
            line.setPen(theme().pen("clip", style=Qt.PenStyle.DashLine))
        self._outliers.setPen(theme().pen("danger"))
        self._outliers.setBrush(theme().brush("danger"))
        for text in self._names:
            text.setColor(theme().colour("danger"))

    def set_channels(self, data: Distribution, *, by_range: bool) -> None:
        """Show channel ranges in stored order, or widest first."""
        self.order = (
            np.argsort(-data.extent, kind="stable")
            if by_range
            else np.arange(len(data.low))
        )
        self._place = np.empty_like(self.order)
        self._place[self.order] = np.arange(len(self.order))
        self._low, self._high = data.low[self.order], data.high[self.order]
        self.set_axis("bottom", "channel" + (", widest first" if by_range else ""))
        self.set_axis("left", "value")
        count = max(len(self.order), 1)
        low, high = float(min(self._low.min(), 0)), float(max(self._high.max(), 0))
        margin = 0.1 * max(high - low, 1e-30)
        # Room for the numbers of outliers on either side.
        self._y = [low - 1.8 * margin, high + 1.8 * margin]
        self.box.setLimits(
            xMin=-0.5, xMax=count - 0.5, minXRange=min(count, 8), maxXRange=count
        )
        self.box.setYRange(*self._y, padding=0)
        self._mark_outliers(data)
        self._shown = None
        self._draw_bars()

    def _mark_outliers(self, data: Distribution) -> None:
        top = data.top_channels[data.top_channels < len(self.order)]
        x = self._place[top].astype(np.float64)
        up = data.high[top] >= -data.low[top]
        y = np.where(up, data.high[top], data.low[top])
        self._outliers.setData(x=x, y=y)
        taken: list[float] = []
        room = max(len(self.order), 1) * 0.06
        for i, text in enumerate(self._names):
            free = i < len(top) and all(abs(x[i] - at) > room for at in taken)
            text.setVisible(bool(free))
            if free:
                taken.append(float(x[i]))
                text.setText(str(int(top[i])))
                # Centred, unless an end of the axis would cut the number off.
                is_last = x[i] > len(self.order) - 1 - room / 2
                across = 0.0 if x[i] < room / 2 else 1.0 if is_last else 0.5
                text.setAnchor((across, 1.25 if up[i] else -0.25))
                text.setPos(float(x[i]), float(y[i]))

    def set_choice(self, channel: int, limits: NDArray[np.float64]) -> None:
        """Mark a channel (-1 for none) and the lowest and highest level, if any."""
        self._chosen.setVisible(channel >= 0)
        if channel >= 0:
            self._chosen.setValue(float(self._place[channel]))
        for line, end in zip(self._limits, (0, -1), strict=True):
            line.setVisible(len(limits) > 0)
            if len(limits):
                line.setValue(float(limits[end]))

    @property
    def values(self) -> list[float]:
        """The values from the smallest to the largest, with some room."""
        return self._y

    def channel_at(self, x: float) -> int:
        """Return the channel at a view coordinate, -1 outside.

        Where bars stand for several channels it is the widest of them.
        """
        at = math.floor(x + 0.5)
        if not 0 <= at < len(self.order):
            return -1
        size = self._size()
        first = at // size * size
        part = slice(first, first + size)
        widest = np.argmax(np.maximum(self._high[part], -self._low[part]))
        return int(self.order[first + int(widest)])

    def _visible(self) -> tuple[int, int]:
        low, high = self.box.viewRange()[0]
        count = len(self.order)
        first = min(max(math.floor(low), 0), count)
        return first, max(first, min(math.ceil(high) + 1, count))

    def _size(self) -> int:
        """Return how many channels one bar stands for."""
        first, last = self._visible()
        return max(1, -(-(last - first) // max(int(self.box.width()), 1)))

    @Slot()
    def fit(self) -> None:
        """Show all channels."""
        if len(self.order):
            self.show_range([-0.5, len(self.order) - 0.5], self._y)

    @Slot()
    def _draw_bars(self, *_: object) -> None:
        first, last = self._visible()
        most = max(int(self.box.width()), 1)
        key = (first, last, most)
        if key == self._shown or last <= first:
            return
        self._shown = key
        x, low, high, size = envelope(self._low, self._high, first, last, most)
        room = most / max(len(x), 1)
        width = size * (0.8 if room > 4 else 1.0)
        self._bars.setOpts(x=x, y0=low, y1=high, width=width)
