"""The axis of every plot: title and unit, plain numbers, readable decades.

On a log axis the coordinates of a pyqtgraph view are exponents, and lines, regions
and error bars do not follow its own log mode. So that mode stays off: callers turn
values into coordinates with `to_view`, and the axis writes the values back. Zero has
no exponent; it sits at a marked floor below the smallest value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetricsF
from PySide6.QtWidgets import QApplication

from analysis.glossary import explain_axis
from app.theme import theme
from app.widgets.explain import wrapped
from app.widgets.format import DASH

Side = Literal["left", "right", "top", "bottom"]
NARROW = 0.8
"""Decades in view below which a log axis has evenly spaced values."""
_ZEROS = re.compile(r"\.?0+(e)")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3) -> str:
    """Return a number as short as ticks and cells need it; NaN is a dash.

    >>> number(0.0123456), number(12345.6), number(1.93e-7), number(0)
    ('0.0123', '12,346', '1.93e-7', '0')
    """
    if not math.isfinite(value):
        return DASH if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e3 <= size < 1e7:
        return f"{value:,.0f}"
    if 1e-3 <= size < 1e3:
        return f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def power_of_ten(exponent: int) -> str:
    """Return a decade as an axis writes it.

    >>> power_of_ten(-1), power_of_ten(-6)
    ('0.1', '10⁻⁶')
    """
    if -2 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def fold(text: str, metrics: QFontMetricsF, room: float, lines: int) -> tuple[str, ...]:
    """Return a text in lines no longer than the room; the last one is shortened.

    Args:
        text: Words.
        metrics: Of the font it is written in.
        room: Length of a line [pixels]; not known yet when zero or less.
        lines: Most lines there may be.
    """
    wide = metrics.horizontalAdvance
    if room <= 0 or wide(text) <= room:
        return (text,)
    found: list[str] = []
    rest = text
    while rest and len(found) < lines - 1:
        words = rest.split(" ")
        ends = range(len(words), 0, -1)
        fits = (end for end in ends if wide(" ".join(words[:end])) <= room)
        end = next(fits, 1)
        found.append(" ".join(words[:end]))
        rest = " ".join(words[end:])
    shorten = Qt.TextElideMode.ElideRight
    return tuple(
        metrics.elidedText(line, shorten, room) for line in (*found, rest) if line
    )


@dataclass(frozen=True, slots=True)
class LogScale:
    """Values of a log axis as coordinates, zero included.

    Attributes:
        floor: Coordinate (an exponent) at which zero is drawn.
        floor_text: What the axis says there.
    """

    floor: float = -12.0
    floor_text: str = "0"

    @classmethod
    def of(cls, values: ArrayLike) -> LogScale:
        """Return a scale whose floor lies under the smallest positive value."""
        data = np.asarray(values, dtype=np.float64).ravel()
        data = data[np.isfinite(data) & (data > 0)]
        if not len(data):
            return cls()
        return cls(float(np.floor(np.log10(data.min()))) - 1.0)

    def to_view(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return coordinates; zero and negative values go to the floor."""
        data = np.asarray(values, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            exponents = np.log10(np.where(data > 0, data, 1.0))
        view = np.where(data > 0, np.maximum(exponents, self.floor), self.floor)
        return np.where(np.isnan(data), np.nan, view)

    def to_value(self, position: float) -> float:
        """Return the value at a coordinate; the floor and below mean zero."""
        return 0.0 if position <= self.floor else float(10.0**position)


_INWARD = {"left": (2, 0), "right": (-2, 0), "top": (0, 2), "bottom": (0, -3)}
"""How far the titles of axes are moved from the edge of the plot [pixels]."""


class PlotAxis(pg.AxisItem):
    """An axis with a title, a unit, plain numbers and readable decades.

    Attributes:
        scale_log: How values become coordinates; None on a linear axis.
        is_whole: Whether only whole numbers mean something, as those of channels.
        title: What it shows, without the unit; the glossary explains it.
    """

    TITLE_LINES = 2
    """Lines that a title may take where one is not long enough."""

    def __init__(self, side: Side) -> None:
        """Make a linear axis; `set_scale` makes it logarithmic."""
        self._shown_lines: tuple[str, ...] = ()
        super().__init__(orientation=side)
        self.enableAutoSIPrefix(False)
        self.scale_log: LogScale | None = None
        self.is_whole = False
        self.title = ""
        self._minor_texts = False

    def set_title(self, title: str, unit: str = "") -> None:
        """Write what the axis shows and, in brackets, in which unit."""
        text = f"{title} [{unit}]" if unit else title
        colour = theme().colour("text").name()
        self.setLabel(text, color=colour)
        self.title = title
        self._explain()

    def _explain(self) -> None:
        """Let the tooltip say what the title means, and all of a shortened one."""
        entry = explain_axis(self.title)
        is_whole = " ".join(self._shown_lines) == self.labelText
        full = "" if is_whole else self.labelText
        self.setToolTip(wrapped(full, entry.text() if entry else ""))

    def labelString(self) -> str:  # noqa: N802 - pyqtgraph naming
        """Return the title as markup, in as many lines as it needs and may have."""
        upright = self.orientation in ("left", "right")
        room = self.size().height() if upright else self.size().width()
        metrics = QFontMetricsF(self.label.font())
        lines = fold(self.labelText, metrics, room, self.TITLE_LINES)
        self._shown_lines = lines
        style = ";".join(f"{key}: {value}" for key, value in self.labelStyle.items())
        text = "<br>".join(map(escape, lines))
        return f"<span style='{style}'>{text}</span>"

    def resizeEvent(self, ev: Any = None) -> None:
        """Fold the title anew."""
        if self.label is not None and self.labelText:
            before = self._shown_lines
            markup = self.labelString()
            if self._shown_lines != before:
                self.label.setHtml(markup)
                self._explain()
                # Another number of lines takes another width.
                upright = self.orientation in ("left", "right")
                (self._updateWidth if upright else self._updateHeight)()
        super().resizeEvent(ev)
        if self.label is not None:
            # pyqtgraph puts titles on the very edge, under the frame of the focus.
            self.label.moveBy(*_INWARD[self.orientation])

    def set_scale(self, scale: LogScale | None) -> None:
        """Make the axis logarithmic, or linear again with None."""
        self.scale_log = scale
        self.picture = None
        self.update()

    def tickValues(
        self, minVal: float, maxVal: float, size: float
    ) -> list[tuple[float, Any]]:
        """Return decades, and steps within them where there is room."""
        if size <= 0:
            return []  # in a panel that has no height yet
        if self.scale_log is None:
            ticks = super().tickValues(minVal, maxVal, size)
            if not self.is_whole:
                return ticks
            few = range(math.ceil(minVal), math.floor(maxVal) + 1)
            return [t for t in ticks if t[0] >= 1] or [(1.0, list(few))]
        low, high = sorted((minVal, maxVal))
        floor = self.scale_log.floor
        room = max(2.0, size / theme().line(2.5))
        if high - low < NARROW:
            return [(0.1, self._narrow(low, high))]
        step = max(1, math.ceil((high - low) / room))
        # The floor need not be a decade: all whole exponents above it are.
        first = math.ceil(max(low, math.floor(floor) + 1) / step) * step
        majors = [float(v) for v in range(int(first), math.floor(high) + 1, step)]
        if low <= floor <= high:
            majors.insert(0, floor)
        if step > 1:
            return [(float(step), majors)]
        self._minor_texts = (high - low) < 1.6
        inner = np.log10((2, 5) if self._minor_texts else (2, 3, 4, 5, 6, 7, 8, 9))
        start = math.floor(max(low, floor + 1))
        minors = [d + i for d in range(start, math.ceil(high) + 1) for i in inner]
        return [(1.0, majors), (0.1, [float(v) for v in minors if low <= v <= high])]

    def tickStrings(self, values: Any, scale: float, spacing: float) -> list[str]:
        """Return the texts of ticks: values, never exponents."""
        if self.scale_log is None:
            digits = max(0, math.ceil(-math.log10(spacing * scale) - 1e-9))
            if digits > 4:
                return [number(v * scale) for v in values]
            return [f"{v * scale:,.{digits}f}" for v in values]
        if spacing < 1:
            show = self._minor_texts
            # Four digits tell ticks apart that are close; zeros tell nothing.
            texts = (_ZEROS.sub(r"\1", number(10.0**v, 4)) for v in values)
            return [text if show else "" for text in texts]
        return [self._decade(v) for v in values]

    def _narrow(self, low: float, high: float) -> list[float]:
        """Return round values within a range that holds no decade."""
        assert self.scale_log is not None
        self._minor_texts = True
        bottom, top = 10.0**low, 10.0**high
        rough = (top - bottom) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
        first = math.ceil(bottom / step)
        values = [step * i for i in range(first, math.floor(top / step) + 1)]
        return [p for p in np.log10(values).tolist() if p > self.scale_log.floor]

    def _decade(self, position: float) -> str:
        assert self.scale_log is not None
        if position <= self.scale_log.floor:
            return self.scale_log.floor_text
        return power_of_ten(round(position))

    def apply_theme(self) -> None:
        """Take colours and font from the theme."""
        self.setPen(theme().pen("border"))
        self.setTextPen(theme().pen("muted"))
        font = QFont(QApplication.font())
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.9))
        self.setStyle(tickFont=font, hideOverlappingLabels=True)
        if self.labelText:
            self.setLabel(self.labelText, color=theme().colour("text").name())
