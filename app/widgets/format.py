"""Numbers as people read them."""

from __future__ import annotations

import math

from PySide6.QtCore import QLocale

NOTATION = QLocale(QLocale.Language.English, QLocale.Country.UnitedStates)
"""How every control of the window writes numbers, as its texts do: 1,234.5."""
DASH = "–"
"""Shown for what is not known (yet); never 0."""
DIGITS = 3
"""Significant digits of a result, unless the settings say otherwise."""

_digits = DIGITS


def set_digits(number: int) -> None:
    """Show results with this many significant digits from now on."""
    global _digits
    _digits = number


def count(number: int, noun: str) -> str:
    """Return "1 layer", "30 layers"; the plural adds an s."""
    return f"{integer(number)} {noun}{'' if number == 1 else 's'}"


def integer(number: int) -> str:
    """Return a whole number with its digits grouped."""
    return f"{int(number):,}"


def size(number: float) -> str:
    """Return bytes with a decimal unit (1 MB = 1,000,000 bytes)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 999.5 or unit == "GB":
            break
        number /= 1000
    digits = 0 if unit == "B" or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {unit}"


def significant(number: float, digits: int | None = None) -> str:
    """Return a number to some significant digits, "1.23e-5" when small.

    Args:
        number: Any number.
        digits: How many; None for what `set_digits` said.
    """
    digits = digits or _digits
    if not math.isfinite(number):
        return DASH
    if number == 0:
        return "0"
    if 1e3 <= abs(number) < 1e5:
        whole = len(f"{abs(number):.0f}")
        return f"{number:,.{max(0, digits - whole)}f}"
    if not 1e-3 <= abs(number) < 1e3:
        mantissa, _, power = f"{number:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(power)}"
    return f"{number:#.{digits}g}".rstrip(".")


def with_error(value: float, stderr: float, digits: int | None = None) -> str:
    """Return "1.23e-5 ± 4.5e-6" or "0.123 ± 0.004"; the error only if known.

    An exact zero stands alone.
    """
    text = significant(value, digits)
    if not math.isfinite(stderr) or not math.isfinite(value):
        return text
    if not stderr:
        return text if not value else f"{text} ± 0"
    if "e" not in text:
        aligned = f"{stderr:.{len(text.partition('.')[2])}f}"
        if float(aligned):
            return f"{text} ± {aligned}"
    return f"{text} ± {significant(stderr, 2)}"


def duration(seconds: float) -> str:
    """Return "8 s", "3 min", "2 h 10 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
