"""Two numbers of every layer against each other, with error bars and a click."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Signal, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QWidget

from app.theme import theme
from app.widgets.plot import Plot
from app.widgets.plot_axis import LogScale

Floats = NDArray[np.float64]

REACH = 14.0
"""How far from a point a click still means it [pixels]."""
MANY = 10_000
"""Points drawn at most, so that a frame stays short; of more, evenly chosen ones."""
BARRED = 300
"""Points beyond which error bars would hide what they belong to."""
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One axis of the picture.

    Attributes:
        title: What is shown.
        unit: Of the values; "" for pure numbers.
        values: `[points]`.
        stderrs: `[points]`, NaN where exact or not known.
        is_log: Whether the axis is logarithmic.
    """

    title: str
    unit: str
    values: Floats
    stderrs: Floats
    is_log: bool = False


class LayerScatter(Plot):
    """Points of layers; only those known on both axes are shown.

    Signals:
        pointed: Number of the point under the mouse, -1 for none.
        picked: Number of the point that was clicked, and the keyboard modifiers.
        boxed: Numbers of the points in a box, and whether they are to be added.
    """

    pointed = Signal(object)
    picked = Signal(object, object)
    boxed = Signal(object, object)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(name, parent)
        self._x = self._y = np.zeros(0)
        self._chosen = _NONE
        self._bars = pg.ErrorBarItem()
        self._points = pg.ScatterPlotItem(symbol="o", size=9)
        self._rings = pg.ScatterPlotItem(symbol="o", size=16)
        for depth, item in enumerate((self._bars, self._points, self._rings)):
            item.setZValue(1 + depth)
            self.addItem(item, ignoreBounds=True)
        self.hovered.connect(self._on_hover)
        self.clicked.connect(self._on_place)
        self.box.chooses = True
        self.box.boxed.connect(self._on_boxed)
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme."""
        super().apply_theme()
        self._points.setPen(theme().pen("base"))
        self._points.setBrush(theme().brush("float_data"))
        self._rings.setPen(theme().pen("accent", width=3))
        self._rings.setBrush(QColor(0, 0, 0, 0))
        self._bars.setOpts(pen=theme().pen("muted"))

    def set_points(self, x: Side, y: Side) -> None:
        """Show points; the view fits when others are shown."""
        changed = len(x.values) != len(self._x)
        (across, wide), (up, tall) = self._take("bottom", x), self._take("left", y)
        known = np.isfinite(across) & np.isfinite(up)
        changed = changed or not np.array_equal(known, np.isfinite(self._x))
        self._x, self._y = np.where(known, across, np.nan), np.where(known, up, np.nan)
        drawn = np.flatnonzero(known)
        drawn = drawn[:: max(1, -(-len(drawn) // MANY))]
        self._points.setData(x=across[drawn], y=up[drawn])
        few = int(known.sum()) <= BARRED
        self._bars.setVisible(bool(few and known.any()))
        if few and known.any():
            self._bars.setData(
                x=across[known],
                y=up[known],
                left=wide[0][known],
                right=wide[1][known],
                bottom=tall[0][known],
                top=tall[1][known],
            )
        self._mark()
        if changed:
            self.fit()

    def _take(self, side: str, given: Side) -> tuple[Floats, tuple[Floats, Floats]]:
        """Return coordinates, and the two halves of the error bars."""
        scale = LogScale.of(given.values) if given.is_log else None
        self.set_axis(
            "bottom" if side == "bottom" else "left", given.title, given.unit, scale
        )
        if scale is None:
            error = np.nan_to_num(given.stderrs)
            return given.values.copy(), (error, error)
        at = scale.to_view(given.values)
        error = np.nan_to_num(given.stderrs)
        low = at - scale.to_view(np.maximum(given.values - error, 0.0))
        high = scale.to_view(given.values + error) - at
        return at, (np.nan_to_num(low), np.nan_to_num(high))

    def set_chosen(self, points: NDArray[np.int64]) -> None:
        """Put rings around points."""
        self._chosen = points
        self._mark()

    def _mark(self) -> None:
        chosen = self._chosen[self._chosen < len(self._x)]
        chosen = chosen[np.isfinite(self._x[chosen])]
        self._rings.setData(x=self._x[chosen], y=self._y[chosen])

    def fit(self) -> None:
        """Show all points."""
        known = np.isfinite(self._x)
        if not known.any():
            return
        ranges = []
        for values in (self._x[known], self._y[known]):
            low, high = float(values.min()), float(values.max())
            room = 0.06 * (high - low) or 0.5
            ranges.append([low - room, high + room])
        self.show_range(*ranges)

    def point_at(self, place: QPointF) -> int:
        """Return the number of the point near a place of the view, -1 for none."""
        if not np.isfinite(self._x).any():
            return -1
        (left, right), (low, high) = self.box.viewRange()
        dx = (self._x - place.x()) / max(right - left, 1e-300) * self.box.width()
        dy = (self._y - place.y()) / max(high - low, 1e-300) * self.box.height()
        away = np.hypot(dx, dy)
        nearest = int(np.nanargmin(away))
        return nearest if away[nearest] <= REACH else -1

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        self.pointed.emit(-1 if point is None else self.point_at(point))

    @Slot(object, object)
    def _on_place(self, point: QPointF, modifiers: object) -> None:
        number = self.point_at(point)
        if number >= 0:
            self.picked.emit(number, modifiers)

    @Slot(object, object)
    def _on_boxed(self, box: QRectF, adds: bool) -> None:
        across = (self._x >= box.left()) & (self._x <= box.right())
        up = (self._y >= box.top()) & (self._y <= box.bottom())
        self.boxed.emit(np.flatnonzero(across & up), adds)
