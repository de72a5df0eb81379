"""A histogram with the levels of a quantization grid and its clip lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QWidget

from app.theme import theme
from app.widgets.plot import Plot
from app.widgets.plot_axis import LogScale, number

LOG = LogScale(floor=-0.5)
"""Counts are whole: half a decade below one is the place for none."""
MIN_SPACING = 4.0
"""Levels closer than this [pixels] become ticks: full lines would hide the data."""


class HistogramPlot(Plot):
    """Counts over values, filled; levels as lines, the range as two dashed lines.

    Signals:
        dragged: An end of the range is being moved: 0 for the lower, 1 for the upper
            one, and the value it is moved to.
        dropped: The person let go of it.
        resetRequested: A double click.
    """

    dragged = Signal(int, float)
    dropped = Signal()
    resetRequested = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Make an empty histogram."""
        super().__init__(name, parent)
        self.counts = np.zeros(0, dtype=np.int64)
        self.edges = np.zeros(0)
        self.levels = np.zeros(0)
        self._is_log = True
        self._curve = pg.PlotCurveItem()
        self._lines = pg.PlotCurveItem(connect="pairs")
        self._after = pg.PlotCurveItem()
        self._held = -1
        self._ends = tuple(
            pg.InfiniteLine(angle=90, movable=True, label="") for _ in range(2)
        )
        self._outside = tuple(
            pg.LinearRegionItem(movable=False, pen=pg.mkPen(None)) for _ in range(2)
        )
        for depth, item in (
            (1, self._curve),
            (2, self._lines),
            (3, self._after),
        ):
            item.setZValue(depth)
            self.addItem(item, ignoreBounds=True)
        for region in self._outside:
            region.setZValue(0)
            self.addItem(region, ignoreBounds=True)
        for line in self._ends:
            line.setZValue(5)
            self.addItem(line, ignoreBounds=True)
            line.sigDragged.connect(self._on_dragged)
            line.sigPositionChangeFinished.connect(self._on_dropped)
        self.scene().sigMouseClicked.connect(self._on_double_click)
        self.box.setMouseEnabled(x=True, y=False)
        self.box.sigXRangeChanged.connect(self._draw_levels)
        self.box.sigResized.connect(self._draw_levels)
        self.fitRequested.connect(self.fit)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        self._curve.setPen(theme().pen("float_data"))
        self._curve.setBrush(theme().brush("float_data", alpha=0.35))
        for line in self._ends:
            line.setPen(theme().pen("clip", style=Qt.PenStyle.DashLine))
            line.setHoverPen(theme().pen("clip", width=2))
            line.label.setColor(theme().colour("clip"))
            fill = theme().colour("base")
            fill.setAlphaF(0.85)
            line.label.fill = pg.mkBrush(fill)
        self._after.setPen(theme().pen("quantized"))
        for region in self._outside:
            region.setBrush(theme().brush("clip", alpha=0.08))
        self._draw_levels()

    def set_counts(
        self,
        counts: NDArray[np.int64],
        edges: NDArray[np.float64],
        *,
        log: bool,
        noun: str,
    ) -> None:
        """Show counts.

        Args:
            counts: `[bins]`.
            edges: `[bins + 1]`.
            log: Whether the counts have a log axis.
            noun: What is counted, in the plural.
        """
        self.counts, self.edges, self._is_log = counts, edges, log
        scale = LOG if log else None
        self.set_axis("left", f"{noun} per bin", "", scale)
        self.set_axis("bottom", "value")
        heights = LOG.to_view(counts) if log else counts.astype(np.float64)
        self._curve.setFillLevel(LOG.floor if log else 0.0)
        self._curve.setData(edges, heights, stepMode="center")
        top = float(heights.max()) if len(heights) else 1.0
        bottom = LOG.floor if log else 0.0
        # Room below for the label of the floor, above for those of the clip lines.
        self._floor = bottom
        self._y = [bottom - (top - bottom) * 0.04, bottom + (top - bottom) * 1.12]
        self.box.setYRange(*self._y, padding=0)
        span = float(edges[-1] - edges[0])
        self.box.setLimits(
            xMin=edges[0] - 0.5 * span,
            xMax=edges[-1] + 0.5 * span,
            minXRange=span / len(counts) * 4,
            maxXRange=2 * span,
        )
        self._draw_levels()

    def set_levels(self, levels: NDArray[np.float64], *, clips: bool) -> None:
        """Show the levels of a grid.

        Args:
            levels: In rising order; none hides lines and clip marks.
            clips: Whether all values share these levels, so that what lies beyond
                them is clipped; other channels may have wider levels.
        """
        self.levels = levels
        shown = len(levels) > 0
        for line in self._ends:
            line.setVisible(shown)
        for region in self._outside:
            region.setVisible(shown and clips)
        if shown:
            first, last = float(levels[0]), float(levels[-1])
            places, which = (first, last), ("lowest", "highest")
            for line, place, word in zip(self._ends, places, which, strict=True):
                if line is not self._line_held():
                    line.setValue(place)
                line.label.setFormat(f"{word} level {number(place)}")
            far = 4 * max(abs(first), abs(last), *np.abs(self.edges[[0, -1]]))
            self._outside[0].setRegion((-far, first))
            self._outside[1].setRegion((last, far))
        self._draw_levels()

    def set_after(
        self, edges: NDArray[np.float64], heights: NDArray[np.float64]
    ) -> None:
        """Show the values after rounding as an outline over the counts.

        Args:
            edges: `[n + 1]`; none hides the outline.
            heights: `[n]` values per bin.
        """
        if not len(heights):
            self._after.setData([], [])
            return
        if self._is_log:
            heights = np.maximum(np.log10(np.maximum(heights, 1e-9)), LOG.floor)
        # One outline down to the floor at both ends.
        low = self._floor
        self._after.setData(
            np.repeat(edges, 2), np.concatenate([[low], np.repeat(heights, 2), [low]])
        )

    @property
    def after(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The outline shown, in view coordinates; empty when hidden."""
        x, y = self._after.getData()
        none = np.zeros(0)
        return (none, none) if x is None else (x, y)

    def set_movable(self, low: bool, high: bool) -> None:
        """Let the person drag the ends of the range, or not."""
        for line, movable in zip(self._ends, (low, high), strict=True):
            line.setMovable(movable)

    def _line_held(self) -> object:
        """Return the line under the mouse: it stays there, wherever its level is."""
        return self._ends[self._held] if self._held >= 0 else None

    @Slot(object)
    def _on_dragged(self, line: pg.InfiniteLine) -> None:
        self._held = self._ends.index(line)
        self.dragged.emit(self._held, float(line.value()))

    @Slot(object)
    def _on_dropped(self, _line: object) -> None:
        self._held = -1
        self.dropped.emit()

    @Slot(object)
    def _on_double_click(self, event: Any) -> None:
        if event.double() and event.button() == Qt.MouseButton.LeftButton:
            self.resetRequested.emit()

    @Slot()
    def fit(self) -> None:
        """Show all values and all levels."""
        if not len(self.edges):
            return
        ends = [self.edges[0], self.edges[-1], *self.levels[:1], *self.levels[-1:]]
        low, high = float(min(ends)), float(max(ends))
        margin = 0.03 * (high - low)
        self.show_range([low - margin, high + margin], self._y)

    @Slot()
    def _draw_levels(self, *_: object) -> None:
        """Draw levels over the whole height, or as ticks where they are dense."""
        levels = self.levels
        if not len(levels) or not len(self.edges):
            self._lines.setData([], [])
            return
        low, high = self.box.viewRange()[0]
        pixels = self.box.width() / max(high - low, 1e-300)
        dense = float(np.median(np.diff(levels))) * pixels < MIN_SPACING
        bottom, top = self._floor, self._y[1]
        height = bottom + (top - bottom) * (0.05 if dense else 1.0)
        colour = theme().colour("quantized")
        colour.setAlphaF(0.9 if dense else 0.55)
        pen = pg.mkPen(colour, width=1)
        pen.setCosmetic(True)
        self._place_labels(pixels)
        self._lines.setPen(pen)
        self._lines.setData(
            np.repeat(levels, 2), np.tile((bottom, height), len(levels))
        )

    def _place_labels(self, pixels: float) -> None:
        """Put the labels outside the levels where there is room, else inside.

        Args:
            pixels: Width of one unit of value.
        """
        low, high = self.box.viewRange()[0]
        first, last = self._ends
        rooms = (first.value() - low) * pixels, (high - last.value()) * pixels
        for which, line in enumerate(self._ends):
            outward, area = 1.0 - which, line.label.boundingRect()
            fits = rooms[which] > area.width()
            # One below the other: with few levels the two lines are close together.
            down = (0.5 + which) * area.height() / max(self.box.height(), 1.0)
            line.label.setPosition(max(0.0, 1.0 - down))
            anchor = (outward if fits else 1.0 - outward, 0.5)
            line.label.anchors = [anchor, anchor]
            line.label.updatePosition()
