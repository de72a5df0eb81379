"""Size against error: a front, single points with names, and the present point."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt, QTimer, Slot
from PySide6.QtGui import QColor, QPainterPath, QPen
from PySide6.QtWidgets import QGraphicsPathItem, QWidget

from app.theme import theme
from app.widgets.name_places import find_places
from app.widgets.plot import Plot
from app.widgets.plot_axis import LogScale, PlotAxis, power_of_ten
from app.widgets.trade_off_points import Measured, Present, Spot

REACH = 14.0
"""How near [pixels] a click must be to a point."""
FEW = 400
"""Up to so many visible points of the front are drawn as dots."""
MANY = 2000
"""The front is thinned to so many visible points: more share pixels."""
NOTICEABLE = 0.02
"""Relative interaction from which the sum over layers is drawn beside the point."""
LEAST_DECADES = 0.5
"""Height of the fitting view at least."""
NOW, SUM, KEPT, MEASURED, PROPOSED = "crosshair", "o", "+", "x", "d"
"""Marks that are no mark of a bit width."""


class TradeOffPlot(Plot):
    """Draws the front thinned to what can be seen, and names that do not overlap.

    Points are numbered: first those of the front, then the spots.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Make an empty plot."""
        super().__init__(name, parent, {"top": PlotAxis("top")})
        self.per_unit, self._scale = 1e6, LogScale()
        self._x = self._y = self._low = self._high = np.zeros(0)
        self._front = 0
        self._drawn: tuple[int, ...] | None = None
        self._seen = np.zeros(0), np.zeros(0)
        self._spots: tuple[Spot, ...] = ()
        self._now: Present | None = None
        self._runs: tuple[Measured, ...] = ()
        self._names_shown = True
        self._is_adjusted = False
        self._line = pg.PlotCurveItem()
        self._dots = pg.ScatterPlotItem(symbol="o", size=6)
        self._bars = pg.ErrorBarItem()
        self._marks = pg.ScatterPlotItem()
        self._link = pg.PlotCurveItem()
        self._sum = pg.ScatterPlotItem(symbol=SUM, size=11)
        self._point = pg.ScatterPlotItem(symbol=NOW, size=20)
        self._measured = pg.ScatterPlotItem(symbol=MEASURED, size=12)
        self._proposed = pg.ScatterPlotItem(symbol=PROPOSED, size=14)
        self._hit = pg.ScatterPlotItem(symbol="o", size=20)
        self._leaders = pg.PlotCurveItem(connect="pairs")
        self._texts: list[pg.TextItem] = []
        # The grid of pyqtgraph draws every small tick across, ten times slower.
        self._grid = pg.PlotCurveItem(connect="pairs")
        # An item between two curves makes its outline anew for each of them.
        self._band = QGraphicsPathItem()
        self._band.setPen(QPen(Qt.PenStyle.NoPen))
        below = (
            self._grid,
            self._band,
            self._line,
            self._dots,
            self._leaders,
            self._bars,
        )
        above = (self._marks, self._link, self._sum, self._point)
        top = (self._measured, self._proposed, self._hit)
        for depth, item in enumerate((*below, *above, *top)):
            item.setZValue(1 + depth)
            self.addItem(item, ignoreBounds=True)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._draw_visible)
        self.box.sigRangeChanged.connect(self._on_range)
        self.box.sigResized.connect(self._on_range)
        self.box.sigRangeChangedManually.connect(self._on_adjusted)
        self.fitRequested.connect(self.fit)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme; the caller gives spots anew."""
        super().apply_theme()
        self._line.setPen(theme().pen("front", width=2))
        self._band.setBrush(theme().brush("front", alpha=0.2))
        self._dots.setPen(theme().pen("base"))
        self._dots.setBrush(theme().brush("front"))
        self._bars.setOpts(pen=theme().pen("text"))
        self._grid.setPen(theme().pen("grid"))
        self._leaders.setPen(theme().pen("muted"))
        self._point.setPen(theme().pen("current", width=2))
        self._point.setBrush(theme().brush("current", alpha=0.15))
        self._sum.setPen(theme().pen("current", width=1.5))
        self._sum.setBrush(theme().brush("base"))
        self._link.setPen(theme().pen("current", style=Qt.PenStyle.DotLine))
        self._measured.setPen(theme().pen("base"))
        self._measured.setBrush(theme().brush("text"))
        self._proposed.setPen(theme().pen("accent", width=2))
        self._proposed.setBrush(theme().brush("base"))
        self._hit.setPen(theme().pen("accent", width=2))
        self._hit.setBrush(QColor(0, 0, 0, 0))

    # -- what is shown -------------------------------------------------------------

    def set_units(
        self, largest: float, smallest_error: float, weights: int, unit: str
    ) -> None:
        """Choose units and scales.

        Near the stored float errors fall without end. What is less than a tenth of
        the smallest error that matters shares the floor of the axis with zero.

        Args:
            largest: Largest size to show [bytes].
            smallest_error: Smallest error that matters, NaN when there is none.
            weights: Number of weights, for the axis of average bits.
            unit: Unit of the error.
        """
        units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
        factor, name = next((u for u in units if largest >= u[0]), units[-1])
        self.per_unit = factor
        known = np.isfinite(smallest_error) and smallest_error > 0
        floor = int(np.floor(np.log10(smallest_error))) - 1 if known else -12
        self._scale = LogScale(float(floor), f"≤{power_of_ten(floor)}")
        self.set_axis("bottom", "size of the weights", name)
        self.set_axis("left", "predicted error", unit, self._scale)
        self.set_axis("top", "average bits per weight")
        self.axis("top").setScale(8 * factor / max(weights, 1))

    def set_points(
        self,
        sizes: NDArray[np.float64],
        errors: NDArray[np.float64],
        spots: tuple[Spot, ...],
        stderrs: NDArray[np.float64] | None = None,
    ) -> None:
        """Show a front (`sizes` in bytes, rising) and single spots.

        `stderrs` are those of the front's `errors`, None for none.
        """
        low, high = errors, errors
        if stderrs is not None:
            low, high = np.maximum(errors - stderrs, 0.0), errors + stderrs
        self._low, self._high = self._scale.to_view(low), self._scale.to_view(high)
        self._front, self._spots, self._drawn = len(sizes), spots, None
        x = np.concatenate([sizes, [s.size for s in spots]])
        y = np.concatenate([errors, [s.error for s in spots]])
        self._x, self._y = x / self.per_unit, self._scale.to_view(y)
        outline = theme().pen("base")
        at = zip(self._x[self._front :], self._y[self._front :], strict=True)
        self._marks.setData(
            [
                {
                    "pos": place,
                    "symbol": spot.symbol,
                    "brush": spot.colour,
                    "size": 13,
                    "pen": outline,
                }
                for spot, place in zip(spots, at, strict=True)
            ]
        )
        for text in self._texts:
            self.removeItem(text)
        self._texts = [pg.TextItem(spot.name) for spot in spots]
        for text in self._texts:
            text.setColor(theme().colour("text"))
            text.setZValue(20)
            self.addItem(text, ignoreBounds=True)
        self.show_hit(-1)
        self._draw_visible()

    def set_now(self, now: Present | None) -> None:
        """Move the present point; nothing else is touched."""
        self._now = now
        x: list[float] = []
        y: list[float] = []
        apart = False
        if now is not None:
            x = [now.size / self.per_unit] * 2
            y = self._scale.to_view([now.error, now.alone]).tolist()
            difference = abs(now.alone - now.error)
            apart = bool(difference > NOTICEABLE * max(abs(now.error), 1e-300))
        self._point.setData(x[:1], y[:1])
        self._sum.setData(x[1:] if apart else [], y[1:] if apart else [])
        self._link.setData(x if apart else [], y if apart else [])
        self._later.start()

    def set_proposed(self, number: int) -> None:
        """Mark a point of the front as proposed, -1 for none."""
        shown = 0 <= number < self._front
        at = slice(number, number + 1) if shown else slice(0)
        self._proposed.setData(self._x[at], self._y[at])

    def set_measured(self, measured: tuple[Measured, ...]) -> None:
        """Show what was measured, the newest last."""
        self._runs = measured
        places = [(run.size, run.error) for run in measured]
        self._measured.setData(
            [size / self.per_unit for size, _ in places],
            [float(self._scale.to_view(error)) for _, error in places],
        )
        self._later.start()

    def set_names_shown(self, shown: bool) -> None:
        """Write names beside spots, or not."""
        self._names_shown = shown
        self._place_names()

    @property
    def names(self) -> tuple[str, ...]:
        """The names that found a place."""
        return tuple(
            spot.name
            for spot, text in zip(self._spots, self._texts, strict=True)
            if text.isVisible()
        )

    @property
    def band_shown(self) -> bool:
        """Whether the front is drawn with its standard errors."""
        return bool((self._high > self._low).any())

    @property
    def present(self) -> Present | None:
        """The present assignment as drawn."""
        return self._now

    @property
    def measured(self) -> tuple[Measured, ...]:
        """The measured errors as drawn."""
        return self._runs

    @Slot()
    def _on_adjusted(self, *_: object) -> None:
        self._is_adjusted = True

    def keep_fitting(self) -> None:
        """Show all points, unless a person has chosen what to look at."""
        if not self._is_adjusted:
            self.fit()

    @Slot()
    def fit(self) -> None:
        """Show all points."""
        self._is_adjusted = False
        singles = [one for one in (self._now, *self._runs) if one is not None]
        sizes = np.array([one.size for one in singles]) / self.per_unit
        errors = self._scale.to_view([one.error for one in singles])
        x, y = np.append(self._x, sizes), np.append(self._y, errors)
        if not len(x):
            return
        (left, right), (low, high) = ((float(v.min()), float(v.max())) for v in (x, y))
        wide = right - left or 1.0
        # Points that are nearly equal are to look so, and ticks to differ.
        spread = max(0.0, LEAST_DECADES - (high - low)) / 2
        bottom, top = low - spread, high + spread
        tall = top - bottom
        self.show_range(
            [left - 0.05 * wide, right + 0.06 * wide],
            [bottom - 0.05 * tall, top + 0.08 * tall],
        )

    # -- the visible part ----------------------------------------------------------

    def finish(self) -> None:
        """Draw now what waits for the end of the turn, so that it is painted once."""
        if self._later.isActive():
            self._draw_visible()

    @Slot()
    def _on_range(self, *_: object) -> None:
        if not self._later.isActive():
            self._later.start()

    @Slot()
    def _draw_visible(self) -> None:
        self._later.stop()
        self._draw_front()
        self._draw_grid()
        self._draw_bars()
        self._place_names()

    def _draw_front(self) -> None:
        """Draw the part of the front that can be seen, unless it is there already."""
        (left, right), _ = self.box.viewRange()
        x = self._x[: self._front]
        # One point more on either side, so that the line leaves the picture.
        first = max(0, int(np.searchsorted(x, left)) - 1)
        last = min(self._front, int(np.searchsorted(x, right, side="right")) + 1)
        if self._drawn == (first, last):
            return
        self._drawn = first, last
        step = max(1, -(-(last - first) // MANY))
        at = np.unique(np.append(np.arange(first, last, step), max(last - 1, 0)))
        at = at[at < self._front]
        x, y = self._seen = self._x[at], self._y[at]
        self._line.setData(x, y)
        low, high = self._low[at], self._high[at]
        outline = np.append(x, x[::-1]), np.append(low, high[::-1])
        self._band.setPath(pg.arrayToQPath(*outline) if len(at) else QPainterPath())
        few = last - first <= FEW
        self._dots.setData(x=x if few else [], y=y if few else [])

    def _draw_grid(self) -> None:
        """Draw a line at every labelled tick."""
        xs: list[float] = []
        ys: list[float] = []
        (left, right), (low, high) = self.box.viewRange()
        across = self.axis("bottom").tickValues(left, right, self.box.width())
        down = self.axis("left").tickValues(low, high, self.box.height())
        for place in across[0][1] if across else ():
            xs += [place, place]
            ys += [low, high]
        for place in down[0][1] if down else ():
            xs += [left, right]
            ys += [place, place]
        self._grid.setData(np.array(xs), np.array(ys))

    def _draw_bars(self) -> None:
        """Draw error bars; on a log axis their two halves differ."""
        rows = [(s.size, s.error, s.stderr) for s in self._spots]
        for single in (self._now, *self._runs):
            if single is not None:
                rows.append((single.size, single.error, single.stderr))
        rows = [row for row in rows if row[1] > 0 and np.isfinite(row[2])]
        self._bars.setVisible(bool(rows))
        if not rows:
            return
        size, value, stderr = (np.array(column) for column in zip(*rows, strict=True))
        y = self._scale.to_view(value)
        high = self._scale.to_view(value + stderr)
        low = self._scale.to_view(np.maximum(value - stderr, 0.0))
        beam = 0.012 * float(np.ptp(self.box.viewRange()[0]))
        self._bars.setData(
            x=size / self.per_unit, y=y, top=high - y, bottom=y - low, beam=beam
        )

    def _place_names(self) -> None:
        """Put each name where it covers neither a point nor another name."""
        points = self._pixels(self._x[self._front :], self._y[self._front :])
        taken = [QRectF(x - 6, y - 6, 12, 12) for x, y in points]
        marks = [(run, 7.0) for run in self._runs[-FEW:]]
        for single, reach in ((self._now, 11.0), *marks):
            if single is not None:
                y = self._scale.to_view([single.error])
                px, py = self._pixels(np.array([single.size / self.per_unit]), y)[0]
                taken.append(QRectF(px - reach, py - reach, 2 * reach, 2 * reach))
        sizes = [text.boundingRect().size() for text in self._texts]
        line = self._pixels(*self._seen)
        places = find_places(points, sizes, taken, self.box.size(), line)
        leaders: list[QPointF] = []
        for text, place, (px, py) in zip(self._texts, places, points, strict=True):
            text.setVisible(place is not None and self._names_shown)
            if place is None or not self._names_shown:
                continue
            dx, dy = place.offset
            text.setAnchor(place.anchor)
            text.setPos(self.box.mapToView(QPointF(px + dx, py + dy)))
            if place.is_far:
                ends = QPointF(px, py), QPointF(px + dx, py + dy)
                leaders += [self.box.mapToView(end) for end in ends]
        self._leaders.setData(
            np.array([p.x() for p in leaders]), np.array([p.y() for p in leaders])
        )

    def _pixels(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return points `[n, 2]` in pixels of the view."""
        (left, right), (low, high) = self.box.viewRange()
        across = (x - left) / max(right - left, 1e-300) * self.box.width()
        down = (high - y) / max(high - low, 1e-300) * self.box.height()
        return np.stack([across, down], axis=1)

    # -- pointing ------------------------------------------------------------------

    def at(self, point: QPointF) -> int:
        """Return the number of the point near a place of the view, -1 for none.

        Spots lie on top of the front, so they win where both are near.
        """
        here = self._pixels(np.array([point.x()]), np.array([point.y()]))
        (left, right), _ = self.box.viewRange()
        reach = REACH * (right - left) / max(self.box.width(), 1.0)
        x = self._x[: self._front]
        first, last = np.searchsorted(x, [point.x() - reach, point.x() + reach])
        front, spots = np.arange(first, last), np.arange(self._front, len(self._x))
        for numbers, most in ((spots, REACH / 2), (front, REACH), (spots, REACH)):
            if not len(numbers):
                continue
            away = np.hypot(
                *(self._pixels(self._x[numbers], self._y[numbers]) - here).T
            )
            nearest = int(np.argmin(away))
            if away[nearest] <= most:
                return int(numbers[nearest])
        return -1

    def show_hit(self, number: int) -> None:
        """Draw a ring around a point, -1 for none."""
        shown = 0 <= number < len(self._x)
        self._hit.setData(
            [self._x[number]] if shown else [], [self._y[number]] if shown else []
        )

    def place_of(self, number: int) -> QPointF:
        """Return where a point is in view coordinates."""
        return QPointF(float(self._x[number]), float(self._y[number]))
