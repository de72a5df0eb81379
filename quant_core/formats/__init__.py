"""Number formats: the values a stored tensor may take."""

from __future__ import annotations

import difflib

from quant_core.errors import QuantError
from quant_core.formats.base import Format
from quant_core.formats.floating import FLOATS, STORED_FLOATS
from quant_core.formats.integer import INTEGERS
from quant_core.formats.normal_float import NORMAL_FLOATS

__all__ = ["FORMATS", "Format", "get_format"]

FORMATS: dict[str, Format] = {
    number_format.name: number_format
    for number_format in (*INTEGERS, *FLOATS, *NORMAL_FLOATS, *STORED_FLOATS)
}
"""Name -> format, in the order the window shows them."""


def get_format(name: str) -> Format:
    """Return the format called `name`.

    Raises:
        QuantError: there is no such format; the closest names are suggested.
    """
    if name in FORMATS:
        return FORMATS[name]
    close = difflib.get_close_matches(str(name), FORMATS, n=3, cutoff=0.5)
    raise QuantError(
        "There is no such number format.",
        value=name,
        allowed="int2..int8, int2_asym..int8_asym, uint2..uint8, uint2_sym..uint8_sym, "
        + ", ".join(f.name for f in (*FLOATS, *NORMAL_FLOATS, *STORED_FLOATS)),
        hint=f"Did you mean {' or '.join(close)}?" if close else None,
    )
