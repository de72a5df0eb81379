"""The columns of the layer table; the glossary explains them (`column.KEY`)."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt

from analysis.glossary import explain_column

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its key, header, width in digits and alignment."""

    key: str
    title: str
    width: float
    align: Qt.AlignmentFlag

    @property
    def tip(self) -> str:
        """What the column means, for its header."""
        entry = explain_column(self.key)
        return entry.text() if entry else ""


# What is edited and what it costs stands left, so that a narrow panel shows it.
COLUMNS = (
    Column("name", "Layer", 29, LEFT),
    Column("bits", "Bits", 14, LEFT),
    Column("locked", "Lock", 5, CENTRE),
    Column("size", "Size", 9, RIGHT),
    Column("error", "Predicted error", 22, RIGHT),
    Column("sqnr", "SQNR [dB]", 11, RIGHT),
    Column("kurtosis", "Kurtosis", 10, RIGHT),
    # Centred, or it would touch the number on its left.
    Column("kind", "Kind", 12, CENTRE),
    Column("shape", "Shape", 15, LEFT),
    Column("parameters", "Parameters", 13, RIGHT),
)
KEYS = tuple(column.key for column in COLUMNS)
EDITED = ("bits", "locked", "size", "error", "sqnr")
"""Columns that an edit of the assignment touches."""
