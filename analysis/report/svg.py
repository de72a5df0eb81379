"""Plots as inline SVG: a few lines of shapes and text, on white, for screen and print.

Numbers become coordinates with one decimal; every text is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.diagnosis.finding import significant

Floats = NDArray[np.float64]

INK, MUTED, LINE, PAPER = "#1c1c1e", "#5f6368", "#dadce0", "#ffffff"
ACCENT, MARK = "#1a5fb4", "#c64600"
"""Colours of a page, which has others in the dark."""
_ON_DARK, _ON_BRIGHT = "#ffffff", "#000000"  # in cells, whose colours stay
_STOPS = ((0, 34, 78), (66, 78, 108), (124, 123, 120), (188, 175, 111), (254, 232, 56))
"""Stops of the map cividis (Nunez et al., PLOS ONE 2018, doi 10.1371/journal.pone.
0199239), even in lightness and safe for the colour-blind."""
_READABLE = 0.47  # share of the map at which black and white stand out as well
_CHARACTER = 6.6  # width of one at 11 px [px], on the safe side


def text_of(value: object) -> str:
    """Return untrusted text for HTML or SVG, without control characters."""
    shown = "".join(c if c >= " " else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return html.escape(shown, quote=True)


def colour(share: float) -> str:
    """Return the colour of the map at 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    low = min(int(place), len(_STOPS) - 2)
    mixed = (
        round(a + (place - low) * (b - a))
        for a, b in zip(_STOPS[low], _STOPS[low + 1], strict=True)
    )
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def label(
    x: float, y: float, text: object, anchor: str = "start", fill: str = INK
) -> str:
    """Return a text with its baseline at a point."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">'
        f"{text_of(text)}</text>"
    )


def picture(width: float, height: float, title: str, body: Sequence[str]) -> str:
    """Return an SVG element on white with a title for screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="11">'
        f"<title>{text_of(title)}</title>"
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="{PAPER}"/>'
        f"{''.join(body)}</svg>"
    )


def heatmap(
    rows: Sequence[str], columns: Sequence[str], values: Floats, unit: str, title: str
) -> str:
    """Return a picture of one number per row and column, log colours.

    Args:
        rows: Names of the rows.
        columns: Names of the columns.
        values: `[rows, columns]`; what is not positive and finite stays blank.
        unit: Unit of the values.
        title: What is shown.
    """
    good = np.isfinite(values) & (values > 0)
    logs = np.log10(np.where(good, values, 1.0))
    low, high = (logs[good].min(), logs[good].max()) if good.any() else (0.0, 1.0)
    span = max(high - low, 1e-9)
    left = 12 + _CHARACTER * max((len(name) for name in rows), default=0)
    wide, tall, top = 58.0, 16.0, 24.0
    body = [
        label(left + wide * (j + 0.5), top - 8, name, "middle", MUTED)
        for j, name in enumerate(columns)
    ]
    for i, name in enumerate(rows):
        y = top + tall * i
        body.append(label(left - 6, y + 12, name, "end"))
        for j, column in enumerate(columns):
            if not good[i, j]:
                continue
            share = (logs[i, j] - low) / span
            told = f"{name}, {column}: {significant(float(values[i, j]))} {unit}"
            body.append(
                f'<rect x="{left + wide * j:.1f}" y="{y:.1f}" width="{wide - 1:.1f}" '
                f'height="{tall - 1:.1f}" fill="{colour(share)}">'
                f"<title>{text_of(told)}</title></rect>"
            )
            ink = _ON_DARK if share < _READABLE else _ON_BRIGHT
            shown = significant(float(values[i, j]), 2)
            body.append(
                label(left + wide * (j + 0.5) - 0.5, y + 12, shown, "middle", ink)
            )
    height = top + tall * len(rows) + 8
    return picture(left + wide * len(columns) + 8, height, title, body)


class Axes:
    """A frame with two axes that turns values into coordinates.

    Args:
        x: Smallest and largest value across.
        y: Smallest and largest value upwards, positive: the axis is logarithmic.
        x_title: Title of the axis with its unit.
        y_title: The same, upwards.
        size: Width and height of the picture [px].
        is_log_x: Whether the axis across is logarithmic too, and `x` positive.
    """

    LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 12.0, 44.0

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        x_title: str,
        y_title: str,
        size: tuple[float, float] = (640.0, 320.0),
        *,
        is_log_x: bool = False,
    ) -> None:
        self.size, self._is_log_x = size, is_log_x
        self._x = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        if is_log_x:
            self._x = _decades(*x)
        self._y = _decades(*y)
        self.body = self._frame(x_title, y_title)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies [px]; y of 0 or less lies on the axis."""
        width, height = self.size
        if self._is_log_x:
            x = math.log10(x) if x > 0 else self._x[0]
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        power = math.log10(y) if y > 0 else self._y[0]
        up = (power - self._y[0]) / (self._y[1] - self._y[0])
        return (
            self.LEFT + across * (width - self.LEFT - self.RIGHT),
            height - self.BOTTOM - max(up, 0.0) * (height - self.TOP - self.BOTTOM),
        )

    def _frame(self, x_title: str, y_title: str) -> list[str]:
        width, height = self.size
        floor, body = height - self.BOTTOM, []
        step = max(1, math.ceil((self._y[1] - self._y[0]) / 8))
        for power in range(self._y[0], self._y[1] + 1, step):
            _, y = self.at(self._x[0], 10.0**power)
            body.append(_line(self.LEFT, y, width - self.RIGHT, y))
            body.append(label(self.LEFT - 6, y + 4, _power(power), "end", MUTED))
        for value, shown in self._ticks():
            x, _ = self.at(value, 10.0 ** self._y[0])
            body.append(_line(x, floor, x, floor + 4))
            body.append(label(x, floor + 16, shown, "middle", MUTED))
        middle = (self.LEFT + width - self.RIGHT) / 2
        body.append(label(middle, height - 8, x_title, "middle"))
        body.append(
            f'<g transform="translate(14 {(self.TOP + floor) / 2:.1f}) rotate(-90)">'
            f"{label(0, 0, y_title, 'middle')}</g>"
        )
        return body

    def _ticks(self) -> list[tuple[float, str]]:
        """Return values across and their texts."""
        if not self._is_log_x:
            return [(value, f"{value:.6g}") for value in ticks(*self._x)]
        low, high = map(int, self._x)
        step = max(1, math.ceil((high - low) / 8))
        return [(10.0**power, _power(power)) for power in range(low, high + 1, step)]

    def line(self, x: Sequence[float], y: Sequence[float], stroke: str) -> None:
        """Draw a line through points."""
        points = " ".join(
            "{:.1f},{:.1f}".format(*self.at(a, b)) for a, b in zip(x, y, strict=True)
        )
        self.body.append(
            f'<polyline points="{points}" fill="none" stroke="{stroke}" '
            'stroke-width="1.5"/>'
        )

    def mark(self, x: float, y: float, told: str, fill: str) -> None:
        """Draw a named point; its name stands beside it, on the side with room."""
        across, down = self.at(x, y)
        right = across < self.size[0] * 0.7
        self.body.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4" fill="{fill}">'
            f"<title>{text_of(told)}</title></circle>"
        )
        anchor = "start" if right else "end"
        self.body.append(label(across + (7 if right else -7), down - 6, told, anchor))

    def dot(self, x: float, y: float, told: str) -> None:
        """Draw one of many points; its name shows under the mouse."""
        across, down = self.at(x, y)
        self.body.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{ACCENT}" '
            f'fill-opacity="0.75"><title>{text_of(told)}</title></circle>'
        )

    def bars(self, edges: Floats, heights: Floats, told: str) -> None:
        """Fill the area of a histogram."""
        floor = self.size[1] - self.BOTTOM
        first, _ = self.at(float(edges[0]), 1)
        points = [f"{first:.1f},{floor:.1f}"]
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            for edge in (left, right):
                x, y = self.at(float(edge), float(height))
                points.append(f"{x:.1f},{(y if height > 0 else floor):.1f}")
        last, _ = self.at(float(edges[-1]), 1)
        points.append(f"{last:.1f},{floor:.1f}")
        self.body.append(
            f'<polygon points="{" ".join(points)}" fill="{ACCENT}" '
            f'fill-opacity="0.75"><title>{text_of(told)}</title></polygon>'
        )

    def svg(self, title: str) -> str:
        """Return the picture."""
        return picture(*self.size, title, self.body)


def _decades(low: float, high: float) -> tuple[int, int]:
    """Return the whole powers of ten around two positive values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return first, max(last, first + 1)


def _power(power: int) -> str:
    return f"{10**power:g}" if -3 <= power <= 4 else f"1e{power}"


def ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers between two values."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-300) / 4))
    factor = next((f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= 8), 10)
    step *= factor
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [0.0 if not first + i else (first + i) * step for i in range(count)]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{LINE}"/>'
    )
