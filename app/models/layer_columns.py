"""The columns of the layer table: title, width and explanation."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its key, header, width in digits, alignment and explanation."""

    key: str
    title: str
    width: float
    align: Qt.AlignmentFlag
    tip: str


# What is edited and what it costs stands left, so that a narrow panel shows it.
COLUMNS = (
    Column("name", "Layer", 29, LEFT, "Module path of the layer."),
    Column(
        "bits",
        "Bits",
        14,
        LEFT,
        "Bits per weight of the assigned format, without scales. "
        "Keys 2 to 8 set it for all selected layers, 0 keeps the stored float.",
    ),
    Column(
        "locked",
        "Lock",
        5,
        CENTRE,
        "Locked layers keep their format in edits and searches. Key: L.",
    ),
    Column(
        "size",
        "Size",
        9,
        RIGHT,
        "Storage of the layer with scales and zero points; 1 MB = 1,000,000 bytes.",
    ),
    Column(
        "error",
        "Predicted error",
        22,
        RIGHT,
        "How far this layer alone moves the output when its weights are quantized, "
        "± standard error. Lower is better. Grey: kept in float, shown at the format "
        "in the tooltip.",
    ),
    Column(
        "sqnr",
        "SQNR [dB]",
        11,
        RIGHT,
        "Power of the weights over power of their rounding error, in decibels. "
        "Higher is better.",
    ),
    Column(
        "kurtosis",
        "Kurtosis",
        10,
        RIGHT,
        "Fourth standardised moment of the weights: 3 for a normal distribution, "
        "more when a few weights are far out.",
    ),
    # Centred, or it would touch the number on its left.
    Column("kind", "Kind", 12, CENTRE, "What the parameter is used for."),
    Column("shape", "Shape", 15, LEFT, "Shape of the parameter as stored."),
    Column("parameters", "Parameters", 13, RIGHT, "Number of weights."),
)
KEYS = tuple(column.key for column in COLUMNS)
EDITED = ("bits", "locked", "size", "error", "sqnr")
"""Columns that an edit of the assignment touches."""
