"""An axis whose ticks are names of rows or columns, as many as there is room for."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetricsF

from app.theme import theme
from app.widgets.plot_axis import PlotAxis, Side
from app.widgets.shorten import shorten_path

LINES = 3
"""Lines over which a long column name may be spread."""
_GROUP = re.compile(r"group\((\d+)\)")
_PERCENTILE = re.compile(r"percentile\(([\d.]+)\)")


class NameAxis(PlotAxis):
    """Names at the middles of cells; position i + 0.5 belongs to name i."""

    TITLE_LINES = 1  # the rest of the room is for the names

    def __init__(self, side: Side) -> None:
        """Start without names."""
        super().__init__(side)
        self._names: Sequence[str] = ()
        self._longest: list[str] = []

    def apply_theme(self) -> None:
        """Take colours and font; names of the first and last cell always show."""
        super().apply_theme()
        self.setStyle(hideOverlappingLabels=False)

    def set_names(self, names: Sequence[str]) -> None:
        """Show other names."""
        self._names = names
        # Measuring sixty thousand names would take longer than drawing them.
        self._longest = heapq.nlargest(20, names, key=len)
        self.picture = None
        self.update()

    def _metrics(self) -> QFontMetricsF:
        return QFontMetricsF(self.style["tickFont"] or self.font())

    @property
    def _across(self) -> bool:
        return self.orientation in ("top", "bottom")

    def fit_room(self, most: float) -> None:
        """Make room for the longest names, at most `most` pixels across."""
        metrics = self._metrics()
        if self._across:
            lines = max((len(_lines(name)) for name in self._names), default=1)
            self.setHeight(metrics.height() * (min(lines, LINES) + 2.2))
            return
        widest = max(map(metrics.horizontalAdvance, self._longest), default=0.0)
        self.setWidth(min(widest + metrics.height() * 2.4, most))

    @property
    def room_across(self) -> float:
        """Room that shows all names side by side in full [pixels]."""
        metrics = self._metrics()
        lines = (line for name in self._names for line in _lines(name))
        widest = max(map(metrics.horizontalAdvance, lines), default=0.0)
        return len(self._names) * (widest + theme().em(0.3))

    def tickValues(
        self, minVal: float, maxVal: float, size: float
    ) -> list[tuple[float, Any]]:
        """Return positions of names that do not touch each other."""
        low, high = sorted((minVal, maxVal))
        first, last = max(0, math.floor(low)), min(len(self._names), math.ceil(high))
        if last <= first or size <= 0:
            return []
        step = 1
        if not self._across:
            wanted = self._metrics().height() * 1.05 * (high - low) / size
            while step < wanted:
                step *= 2 if str(step)[0] in "15" else 2.5  # type: ignore[assignment]
            step = math.ceil(step)
        start = -(-first // step) * step
        return [(float(step), [i + 0.5 for i in range(start, last, step)])]

    def tickStrings(self, values: Any, scale: float, spacing: float) -> list[str]:
        """Return the names, shortened to the room they have."""
        metrics = self._metrics()
        if not self._across:
            room = self.width() - metrics.height() * 2.2
            return [shorten_path(metrics, self._names[int(v)], room) for v in values]
        middle = Qt.TextElideMode.ElideMiddle
        low, high = self.range
        room = self.width() / max(high - low, 1e-9) - theme().em(0.2)
        return [
            "\n".join(
                metrics.elidedText(line, middle, room)
                for line in _lines(self._names[int(v)])
            )
            for v in values
        ]


def _lines(name: str) -> list[str]:
    """Return a scheme key, or words, in at most `LINES` short lines.

    >>> _lines("fp8_e4m3/group(64)"), _lines("int4/channel/percentile(99.9)")
    (['fp8', 'e4m3', 'g64'], ['int4', 'channel', 'p99.9'])
    >>> _lines("Largest Hessian eigenvalue")
    ['Largest', 'Hessian', 'eigenvalue']
    """
    if " " in name:
        return name.split(" ", LINES - 1)
    short = _GROUP.sub(r"g\1", _PERCENTILE.sub(r"p\1", name))
    parts = short.replace("_", "/").split("/")
    head, tail = parts[: LINES - 1], parts[LINES - 1 :]
    return head + (["/".join(tail)] if tail else [])
