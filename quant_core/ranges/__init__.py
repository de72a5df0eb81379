"""How the range that a grid covers is chosen from the data."""

from __future__ import annotations

import re

from quant_core.errors import QuantError
from quant_core.ranges.base import Extrema, QParams, Range
from quant_core.ranges.manual import Manual
from quant_core.ranges.min_mse import MinMse
from quant_core.ranges.minmax import MinMax
from quant_core.ranges.percentile import Percentile

__all__ = [
    "RANGES",
    "Extrema",
    "Manual",
    "MinMax",
    "MinMse",
    "Percentile",
    "QParams",
    "Range",
    "canonical_range",
    "get_range",
]

RANGES: dict[str, type[Range]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "mse": MinMse,
    "manual": Manual,
}
"""Name -> estimator, in the order the window shows them."""

_TEXT = re.compile(r"(\w+)(?:\(([^()]+)\))?")


def get_range(text: str) -> Range:
    """Return the estimator of "minmax", "percentile(99.9)", "mse", "manual(-1:1)".

    Raises:
        QuantError: there is no such estimator, or its number is out of bounds.
    """
    match = _TEXT.fullmatch(text)
    name, number = match.groups() if match else (None, None)
    try:
        if name == "percentile":
            return Percentile(float(number)) if number else Percentile()
        if name == "manual" and number:
            low, high = map(float, number.split(":"))
            return Manual(low, high)
        if name in ("minmax", "mse") and number is None:
            return RANGES[name]()
    except ValueError as error:
        if isinstance(error, QuantError):
            raise
    raise QuantError(
        "There is no such range estimator.",
        value=text,
        allowed="minmax, percentile(p) with p above 50 and at most 100, mse, "
        "manual(low:high)",
    )


def canonical_range(text: str) -> str:
    """Return `text` in its canonical form; errors as in `get_range`."""
    return get_range(text).key
