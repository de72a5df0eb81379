"""A colour bar with a unit, readable ticks and limits that can be dragged."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QKeyEvent,
    QLinearGradient,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPolygonF,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.theme import theme
from app.widgets.plot_axis import LogScale, PlotAxis

STEP = 0.1
"""Decades that one arrow key moves a limit."""
SHARE, LEAST = 0.02, 1e-3
"""The same on a linear bar, and the least distance of its limits, as shares of what it
spans: a single extreme value may make that far wider than all the others."""


class ColorBar(QWidget):
    """Shows how values become colours; the limits are exponents of ten, or values.

    Drag the two triangles, or use the arrow keys (with Shift for the lower limit);
    a double click or Home goes back to the limits proposed for the data.

    Signals:
        limitsChanged: New limits `(low, high)`, exponents of ten on a log bar.
    """

    limitsChanged = Signal(object)

    def __init__(
        self,
        colour_map: pg.ColorMap,
        parent: QWidget | None = None,
        *,
        is_log: bool = True,
    ) -> None:
        """Make a bar for one colour map."""
        super().__init__(parent)
        self._map = colour_map
        self._is_log = is_log
        self._is_mirrored = False
        self._title = ""
        self._data = (-6.0, 0.0)
        self._proposed = self._limits = (-6.0, 0.0)
        self._dragged: int | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.setToolTip(
            "Drag the triangles to change which values the colours span; "
            "double click for the proposed limits."
        )
        theme().themeChanged.connect(self._repaint)

    @property
    def limits(self) -> tuple[float, float]:
        """Exponents of ten (values on a linear bar) at the two ends of the colours."""
        return self._limits

    @property
    def _step(self) -> float:
        low, high = self._data
        return STEP if self._is_log else SHARE * (high - low)

    @property
    def _gap(self) -> float:
        low, high = self._data
        return STEP if self._is_log else LEAST * (high - low)

    def set_range(
        self,
        colour_map: pg.ColorMap,
        data: tuple[float, float],
        proposed: tuple[float, float],
        title: str,
        *,
        is_mirrored: bool = False,
    ) -> None:
        """Show a range of values on a linear bar.

        Args:
            colour_map: Colours from the lower to the upper limit.
            data: Smallest and largest value there may be.
            proposed: Limits proposed for it.
            title: What is shown, with its unit.
            is_mirrored: Whether both limits stay equally far from zero.
        """
        self._map, self._title, self._is_mirrored = colour_map, title, is_mirrored
        self._data, self._proposed, self._limits = data, proposed, proposed
        self._describe()
        self.update()

    def set_data(self, exponents: np.ndarray, title: str) -> None:
        """Show the range of some data and propose limits for it.

        The proposal leaves out half a percent at both ends, so that one extreme
        layer does not flatten the colours of all others.

        Args:
            exponents: Decimal logarithms of the positive values, any shape.
            title: What is shown, with its unit.
        """
        known = exponents[np.isfinite(exponents)]
        if not len(known):
            known = np.array([-6.0, 0.0])
        low, high = float(known.min()), float(known.max())
        if high - low < 0.5:
            low, high = low - 0.25, high + 0.25
        inner = np.percentile(known, (0.5, 99.5))
        narrow = float(inner[1] - inner[0]) < 0.5
        proposed = (low, high) if narrow else (float(inner[0]), float(inner[1]))
        kept = self._limits if self._limits != self._proposed else proposed
        self._data, self._proposed, self._limits = (low, high), proposed, kept
        self._title = title
        self._describe()
        self.update()

    def reset(self) -> None:
        """Go back to the proposed limits."""
        self._set_limits(*self._proposed)

    def _set_limits(self, low: float, high: float) -> None:
        bottom, top = self._data
        low = min(max(low, bottom), top - self._gap)
        high = max(min(high, top), low + self._gap)
        if (low, high) == self._limits:
            return
        self._limits = (low, high)
        self._describe()
        self.update()
        self.limitsChanged.emit(self._limits)

    def _describe(self) -> None:
        low, high = (10.0**v if self._is_log else v for v in self._limits)
        self.setAccessibleName(f"Colour bar, {self._title}")
        self.setAccessibleDescription(f"Colours span {low:.2g} to {high:.2g}.")

    # -- geometry ------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        """Return the width of strip, ticks and title."""
        ticks = self.fontMetrics().horizontalAdvance("10⁻¹⁰")
        width = theme().em(6) + ticks + self.fontMetrics().height()
        return QSize(width, theme().line(12))

    def _strip(self) -> QRectF:
        pad = self.fontMetrics().height() * 0.6
        left = theme().em(1.2)
        return QRectF(left, pad, theme().em(2), self.height() - 2 * pad)

    def _y(self, exponent: float) -> float:
        strip, (low, high) = self._strip(), self._data
        return strip.bottom() - strip.height() * (exponent - low) / (high - low)

    def _exponent(self, y: float) -> float:
        strip, (low, high) = self._strip(), self._data
        return low + (high - low) * (strip.bottom() - y) / max(strip.height(), 1.0)

    # -- drawing -------------------------------------------------------------------

    @Slot()
    def _repaint(self) -> None:
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the strip, the limits, the ticks and the title."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        strip = self._strip()
        painter.setPen(theme().pen("border"))
        painter.setBrush(self._gradient(strip))
        painter.drawRect(strip)
        self._paint_limits(painter, strip)
        self._paint_ticks(painter, strip)
        painter.setPen(theme().colour("text"))
        painter.translate(self.width() - self.fontMetrics().height() * 0.5, 0)
        painter.rotate(90)
        half = self.fontMetrics().height()
        place = QRectF(0, -half / 2, self.height(), half)
        title = self.fontMetrics().elidedText(
            self._title, Qt.TextElideMode.ElideRight, self.height()
        )
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, title)
        painter.end()

    def _gradient(self, strip: QRectF) -> QLinearGradient:
        gradient = QLinearGradient(strip.bottomLeft(), strip.topLeft())
        low, high = self._data
        for share, colour in zip(
            np.linspace(0, 1, 33), self._map.getLookupTable(nPts=33), strict=True
        ):
            at = self._limits[0] + share * (self._limits[1] - self._limits[0])
            gradient.setColorAt((at - low) / (high - low), QColor(*map(int, colour)))
        return gradient

    def _paint_limits(self, painter: QPainter, strip: QRectF) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        focus = "accent" if self.hasFocus() else "text"
        painter.setBrush(theme().colour(focus))
        size = strip.left() * 0.8
        for limit in self._limits:
            y = self._y(limit)
            corners = ((0, y - size / 2), (0, y + size / 2), (size, y))
            painter.drawPolygon(QPolygonF([QPointF(x, at) for x, at in corners]))

    def _paint_ticks(self, painter: QPainter, strip: QRectF) -> None:
        axis = PlotAxis("right")
        axis.set_scale(LogScale(floor=self._data[0] - 10) if self._is_log else None)
        painter.setPen(theme().colour("muted"))
        height = self.fontMetrics().height()
        for step, places in axis.tickValues(*self._data, strip.height()):
            texts = axis.tickStrings(places, 1.0, step)
            low, high = self._data
            if not self._is_log and step / (high - low) * strip.height() < 2 * height:
                texts = [""] * len(places)
            for place, text in zip(places, texts, strict=True):
                if not self._data[0] <= place <= self._data[1]:
                    continue
                y = self._y(place)
                length = theme().em(0.5) if text else theme().em(0.25)
                painter.drawLine(
                    QPointF(strip.right(), y), QPointF(strip.right() + length, y)
                )
                where = QRectF(
                    strip.right() + theme().em(0.8), y - height / 2, 99, height
                )
                painter.drawText(where, Qt.AlignmentFlag.AlignVCenter, text)

    # -- changing the limits -------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take the nearer limit."""
        at = self._exponent(event.position().y())
        low, high = self._limits
        self._dragged = 0 if abs(at - low) < abs(at - high) else 1
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move the limit that was taken."""
        if self._dragged is not None:
            self._move(self._dragged, self._exponent(event.position().y()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let the limit go."""
        self._dragged = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Go back to the proposed limits."""
        self._dragged = None
        self.reset()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move a limit by a small step, a tenth of a decade on a log bar."""
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        which = 0 if shift else 1
        steps = {Qt.Key.Key_Up: self._step, Qt.Key.Key_Down: -self._step}
        if event.key() in steps:
            self._move(which, self._limits[which] + steps[Qt.Key(event.key())])
        elif event.key() == Qt.Key.Key_Home:
            self.reset()
        else:
            event.ignore()

    def _move(self, which: int, to: float) -> None:
        low, high = self._limits
        if self._is_mirrored:
            reach = max(-to if which == 0 else to, self._gap)
            self._set_limits(-reach, reach)
        elif which == 0:
            self._set_limits(min(to, high - self._gap), high)
        else:
            self._set_limits(low, max(to, low + self._gap))

    def codes(self, exponents: np.ndarray) -> np.ndarray:
        """Return colour numbers 1 to 255; 0 where there is no value.

        Zero errors (exponent minus infinity) take the lowest colour.
        """
        low, high = self._limits
        share = np.clip((exponents - low) * (254.0 / (high - low)), 0.0, 254.0)
        known = ~np.isnan(exponents)
        return np.where(known, np.rint(np.where(known, share, 0.0)) + 1, 0).astype(
            np.uint8
        )

    def lookup(self) -> np.ndarray:
        """Return the colours of the codes `[256, 4]`; code 0 is transparent."""
        table = np.zeros((256, 4), dtype=np.uint8)
        table[1:, :3] = self._map.getLookupTable(nPts=255)[:, :3]
        table[1:, 3] = 255
        return table


def decades(values: np.ndarray) -> np.ndarray:
    """Return decimal logarithms; minus infinity for zero, NaN where missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(values == 0, -math.inf, math.nan)
        return np.where(values > 0, np.log10(values), rest)
