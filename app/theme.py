"""Colours, pens and sizes; light and dark follow the system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import shiboken6
from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetricsF,
    QGuiApplication,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import QApplication

Mode = Literal["system", "light", "dark"]
MODES: tuple[Mode, ...] = ("system", "light", "dark")


@dataclass(frozen=True, slots=True)
class Colours:
    """Named colours of one theme, as `#rrggbb`.

    Attributes:
        window: Behind panels.
        base: Behind tables, lists, inputs and plots.
        raised: Buttons, headers, alternate rows.
        text: Ordinary text; at least 7:1 on `base`.
        muted: Secondary text; at least 4.5:1 on `base`.
        border: Lines between parts.
        grid: Grid lines in plots.
        accent: Focus, selection, current item, links.
        accent_text: Text on `accent`.
        partner: Background of rows tied to the current one.
        good: Finished, within budget.
        warning: Needs attention.
        danger: Failed, worse.
        float_data: Data as stored, before quantization.
        quantized: Quantization levels, data after quantization.
        clip: Clip lines of a range.
        front: The front of best trade-offs.
        current: The present assignment as a point.
    """

    window: str
    base: str
    raised: str
    text: str
    muted: str
    border: str
    grid: str
    accent: str
    accent_text: str
    partner: str
    good: str
    warning: str
    danger: str
    float_data: str
    quantized: str
    clip: str
    front: str
    current: str


LIGHT = Colours(
    window="#f3f4f6",
    base="#ffffff",
    raised="#e9ebef",
    text="#1b1f24",
    muted="#596270",
    border="#c3c9d2",
    grid="#dfe3e8",
    accent="#1f6feb",
    accent_text="#ffffff",
    partner="#dcebff",
    good="#1a7f37",
    warning="#8a5a00",
    danger="#b42318",
    float_data="#5b7fa6",
    quantized="#c2410c",
    clip="#a21caf",
    front="#0f766e",
    current="#d1242f",
)
DARK = Colours(
    window="#22262d",
    base="#16181d",
    raised="#313740",
    text="#e8eaed",
    muted="#a3abb8",
    border="#4b5360",
    grid="#2c323a",
    accent="#4c8dff",
    accent_text="#0b0d10",
    partner="#1d3152",
    good="#4cc38a",
    warning="#e5b454",
    danger="#ff7b72",
    float_data="#7da6d4",
    quantized="#ff9a5c",
    clip="#d58cff",
    front="#3fc5b4",
    current="#ff6b6b",
)

# Low widths warm, high widths cold; neighbours differ in lightness too, so the
# order survives colour blindness. The mark (a pyqtgraph symbol) says it again.
_BITS: dict[int, tuple[str, str, str]] = {
    1: ("#7f1d1d", "#fca5a5", "t2"),
    2: ("#b42318", "#ff7b72", "t"),
    3: ("#c2570c", "#ff9f5a", "d"),
    4: ("#9a7200", "#f2cc4d", "s"),
    5: ("#5c7f0a", "#b5d65a", "p"),
    6: ("#0f766e", "#4fd0bd", "h"),
    7: ("#0a6fa8", "#62bdf5", "star"),
    8: ("#2a4fc4", "#8ea6ff", "o"),
    16: ("#7c3aad", "#cf9bff", "t1"),
}
_FLOAT = ("#6b7280", "#a3abb8", "+")


class Theme(QObject):
    """The look of the application; ask `theme()` for it.

    Everything drawn by hand (plots, delegates) reads its colours here at paint
    time and repaints on `themeChanged`; ordinary widgets follow the palette.
    """

    themeChanged = Signal()  # noqa: N815 - Qt signal naming

    def __init__(self, parent: QObject | None = None) -> None:
        """Follow the system until told otherwise."""
        super().__init__(parent)
        self._mode: Mode = "system"
        self._dark = False
        self._font: QFont | None = None
        self._measured = 0.0, 0.0
        hints = QGuiApplication.styleHints()
        hints.colorSchemeChanged.connect(self._follow)

    @property
    def mode(self) -> Mode:
        """What decides between light and dark."""
        return self._mode

    @property
    def is_dark(self) -> bool:
        """Whether the dark colours are in use."""
        return self._dark

    @property
    def colours(self) -> Colours:
        """The colours in use."""
        return DARK if self._dark else LIGHT

    def set_mode(self, mode: Mode) -> None:
        """Follow the system, or force light or dark."""
        self._mode = mode
        scheme = {
            "system": Qt.ColorScheme.Unknown,
            "light": Qt.ColorScheme.Light,
            "dark": Qt.ColorScheme.Dark,
        }[mode]
        # Title bars and native dialogs follow only this; it may emit at once.
        QGuiApplication.styleHints().setColorScheme(scheme)
        self._apply()

    def colour(self, role: str) -> QColor:
        """Return the colour of a field of `Colours`."""
        return QColor(getattr(self.colours, role))

    def pen(
        self,
        role: str,
        *,
        width: float = 1.0,
        style: Qt.PenStyle = Qt.PenStyle.SolidLine,
    ) -> QPen:
        """Return a cosmetic pen for plots; widths beyond 1 draw slowly."""
        pen = QPen(self.colour(role))
        pen.setWidthF(width)
        pen.setStyle(style)
        pen.setCosmetic(True)
        return pen

    def brush(self, role: str, *, alpha: float = 1.0) -> QBrush:
        """Return a brush; `alpha` from 0 (clear) to 1."""
        colour = self.colour(role)
        colour.setAlphaF(alpha)
        return QBrush(colour)

    def bit_colour(self, bits: float | None) -> QColor:
        """Return the fixed colour of a bit width; None is the stored float."""
        light, dark, _ = self._bits(bits)
        return QColor(dark if self._dark else light)

    def bit_mark(self, bits: float | None) -> str:
        """Return the pyqtgraph symbol that stands for a bit width."""
        return self._bits(bits)[2]

    def em(self, count: float = 1.0) -> int:
        """Return the width of `count` digits of the application font [pixels]."""
        return math.ceil(count * self._measures()[0])

    def line(self, count: float = 1.0) -> int:
        """Return the height of `count` text lines [pixels]."""
        return math.ceil(count * self._measures()[1])

    def _measures(self) -> tuple[float, float]:
        """Return width of a digit and height of a line, measured once per font."""
        font = QApplication.font()
        if font != self._font:
            metrics = QFontMetricsF(font)
            self._font = font
            self._measured = metrics.horizontalAdvance("0"), metrics.height()
        return self._measured

    @staticmethod
    @cache
    def _bits(bits: float | None) -> tuple[str, str, str]:
        if bits is None or bits > 16:
            return _FLOAT
        width = min(_BITS, key=lambda known: (known < bits, abs(known - bits)))
        return _BITS[width]

    @Slot()
    def _follow(self) -> None:
        if self._mode == "system":
            self._apply()

    def _apply(self) -> None:
        """Set style and palette, and tell those who draw by hand."""
        system = QGuiApplication.styleHints().colorScheme()
        self._dark = self._mode == "dark" or (
            self._mode == "system" and system == Qt.ColorScheme.Dark
        )
        app = QApplication.instance()
        if isinstance(app, QApplication):
            if app.style().name().lower() != "fusion":
                app.setStyle("Fusion")
            app.setPalette(self.palette())
        self.themeChanged.emit()

    def palette(self) -> QPalette:
        """Return the widget palette made of the colours in use."""
        c, palette = self.colours, QPalette()
        role = QPalette.ColorRole
        for name, colour in (
            (role.Window, c.window),
            (role.WindowText, c.text),
            (role.Base, c.base),
            (role.AlternateBase, c.window),
            (role.ToolTipBase, c.raised),
            (role.ToolTipText, c.text),
            (role.PlaceholderText, c.muted),
            (role.Text, c.text),
            (role.Button, c.raised),
            (role.ButtonText, c.text),
            (role.BrightText, c.danger),
            (role.Highlight, c.accent),
            (role.HighlightedText, c.accent_text),
            (role.Accent, c.accent),
            (role.Link, c.accent),
            (role.LinkVisited, c.accent),
            (role.Mid, c.border),
            (role.Midlight, c.raised),
            (role.Light, c.raised if self._dark else c.base),
            (role.Dark, c.border),
            (role.Shadow, c.border),
        ):
            palette.setColor(name, QColor(colour))
        disabled = QColor(c.text)
        disabled.setAlphaF(0.42)
        for name in (role.WindowText, role.Text, role.ButtonText):
            palette.setColor(QPalette.ColorGroup.Disabled, name, disabled)
        return palette


_theme: Theme | None = None


def theme() -> Theme:
    """Return the theme of the running application, made on first use.

    The application must exist: colours and sizes come from it.
    """
    global _theme
    if _theme is None or not shiboken6.isValid(_theme):
        _theme = Theme(QApplication.instance())
        _theme.set_mode("system")
    return _theme
