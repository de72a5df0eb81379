"""Plots of the same quantity that move together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction

from app.widgets.channel_plot import ChannelPlot
from app.widgets.histogram_plot import HistogramPlot

if TYPE_CHECKING:
    from app.views.heatmap import HeatmapView
    from app.views.sensitivity import SensitivityView


class ValueLink(QObject):
    """Lets the channels below a histogram show the values that the histogram shows.

    The one has its values across, the other upwards, which pyqtgraph does not link.

    Args:
        histogram: Leads.
        channels: Follows; a person moves it across only.
        switch: Checked while they are linked.
    """

    def __init__(
        self, histogram: HistogramPlot, channels: ChannelPlot, switch: QAction
    ) -> None:
        """Follow the switch."""
        super().__init__(histogram)
        self._histogram, self._channels, self._switch = histogram, channels, switch
        histogram.box.sigXRangeChanged.connect(self._follow)
        # New channels come with a range of their own.
        channels.box.sigYRangeChanged.connect(self._follow)
        switch.toggled.connect(self._on_switch)

    @Slot()
    def _follow(self, *_: object) -> None:
        if self._switch.isChecked():
            self._show(self._histogram.box.viewRange()[0])

    @Slot(bool)
    def _on_switch(self, on: bool) -> None:
        self._show(self._histogram.box.viewRange()[0] if on else self._channels.values)

    def _show(self, values: list[float]) -> None:
        box = self._channels.box
        if not np.allclose(values, box.viewRange()[1], rtol=1e-6, atol=0.0):
            box.setYRange(*values, padding=0)


class RowLink(QObject):
    """Lets heatmap and bars show the same rows while they are of the same layers.

    Args:
        heatmap: One of them.
        bars: The other: the sensitivity panel, while it shows bars.
        switch: Checked while they are linked.
    """

    def __init__(
        self, heatmap: HeatmapView, bars: SensitivityView, switch: QAction
    ) -> None:
        """Follow the switch."""
        super().__init__(heatmap)
        self._views, self._switch = (heatmap, bars), switch
        self._is_passing = False
        heatmap.rowsMoved.connect(self._on_moved)
        bars.rowsMoved.connect(self._on_moved)
        switch.toggled.connect(self._on_switch)

    @Slot()
    def _on_switch(self, *_: object) -> None:
        self._pass_on(self._views[0], self._views[1])

    @Slot()
    def _on_moved(self) -> None:
        heatmap, bars = self._views
        if self.sender() is heatmap:
            self._pass_on(heatmap, bars)
        else:
            self._pass_on(bars, heatmap)

    def _pass_on(
        self,
        source: HeatmapView | SensitivityView,
        target: HeatmapView | SensitivityView,
    ) -> None:
        if self._is_passing or not self._switch.isChecked():
            return
        rows, mine = source.rows_shown(), target.rows_shown()
        if rows is None or mine is None or np.allclose(rows, mine, atol=1e-3):
            return
        if np.array_equal(source.layers_shown, target.layers_shown):
            # What the other one makes of it, at its ends, is not to come back.
            self._is_passing = True
            target.show_rows(*rows)
            self._is_passing = False
