"""The columns of the layer table; the glossary explains them (`column.KEY`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PySide6.QtCore import Qt

from analysis.glossary import explain_column, explain_quantity

if TYPE_CHECKING:
    from analysis.project import Project

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter

Bar = Literal["", "linear", "log"]
LAYER, ASSIGNMENT = "Layer", "Assignment"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table.

    Attributes:
        key: What the rest of the program calls it.
        title: Header.
        width: Width at first, in digits.
        align: Where the text stands.
        bar: Scale of the bar under the number; "" for none.
        group: Heading in the list of columns.
        shown: Whether it is visible at first.
        note: What to add to the glossary's explanation.
    """

    key: str
    title: str
    width: float
    align: Qt.AlignmentFlag
    bar: Bar = ""
    group: str = LAYER
    shown: bool = True
    note: str = ""

    @property
    def tip(self) -> str:
        """What the column means, for its header."""
        _, _, quantity = self.key.partition("/")
        entry = explain_column(self.key) or explain_quantity(quantity.split("/")[0])
        return " ".join(filter(None, (entry.text() if entry else "", self.note)))


# What is edited and what it costs stands left, so that a narrow panel shows it.
COLUMNS = (
    Column("name", "Layer", 29, LEFT),
    Column("bits", "Bits", 14, LEFT, group=ASSIGNMENT),
    Column("locked", "Lock", 5, CENTRE, group=ASSIGNMENT),
    Column("error", "Predicted error", 22, RIGHT, "log", ASSIGNMENT),
    Column("size", "Size", 9, RIGHT, "linear", ASSIGNMENT),
    Column("sqnr", "SQNR [dB]", 11, RIGHT, "linear", ASSIGNMENT),
    Column("kurtosis", "Kurtosis", 10, RIGHT, "log"),
    Column("starred", "Star", 5, CENTRE),
    # Centred, or it would touch the number on its left.
    Column("kind", "Kind", 12, CENTRE),
    Column("shape", "Shape", 15, LEFT),
    Column("parameters", "Parameters", 13, RIGHT),
    Column("block", "Block", 18, LEFT, shown=False),
    Column("share", "Share of weights [%]", 18, RIGHT, "linear", shown=False),
    Column("error_share", "Share of error [%]", 17, RIGHT, "linear", ASSIGNMENT, False),
    Column("gain", "Gain per kB", 13, RIGHT, "log", ASSIGNMENT, False),
    Column("proposed", "Proposed", 11, LEFT, "", ASSIGNMENT, False),
)
KEYS = tuple(column.key for column in COLUMNS)
_LISTED = {
    ("predicted_error", "error", "weight"),
    ("weights", "sqnr", "weight"),
    ("weights", "kurtosis", "weight"),
}
"""Results that have a column of their own in `COLUMNS`."""


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A further column, and where its numbers come from.

    Attributes:
        column: How it is shown.
        measure: Key of the measure.
        quantity: Which number of it.
        part: "weight", "input" or "output".
        formats: Schemes it was computed in; empty for one number per layer.
    """

    column: Column
    measure: str
    quantity: str
    part: str
    formats: tuple[str, ...]

    @property
    def field(self) -> str:
        """Name in the filter line."""
        return (
            self.quantity if self.part == "weight" else f"{self.part}_{self.quantity}"
        )


def result_columns(project: Project) -> tuple[ResultColumn, ...]:
    """Return a column for every further quantity that some layer has a number of."""
    found = []
    for measure in dict.fromkeys(run.measure for run in project.runs):
        formats: dict[tuple[str, str], list[str]] = {}
        for quantity, part, key in project.columns(measure):
            if (measure, quantity, part) not in _LISTED and part != "model":
                formats.setdefault((quantity, part), []).extend([key] if key else [])
        for (quantity, part), keys in formats.items():
            first = project.values(measure, keys[0] if keys else None, quantity, part)
            if np.isfinite(first).any():
                found.append(_result_column(measure, quantity, part, tuple(keys)))
    return tuple(found)


def _result_column(
    measure: str, quantity: str, part: str, formats: tuple[str, ...]
) -> ResultColumn:
    entry = explain_quantity(quantity)
    plain = entry.term if entry else quantity.replace("_", " ").capitalize()
    of = measure.replace("_", " ")
    title = (
        plain
        if part == "weight"
        else f"{part.capitalize()} {plain[0].lower()}{plain[1:]}"
    )
    if quantity == "error":
        title = of.capitalize() if part == "weight" else f"{of.capitalize()}, {part}"
    note = f"Of the {part}, from {of}."
    if formats:
        note += " At the format that the errors are shown at."
    if entry and entry.unit:
        title += f" [{entry.unit}]"
    is_wide = quantity in ("error", "mse") or quantity.endswith("ratio")
    column = Column(
        f"{measure}/{quantity}/{part}",
        title,
        max(11, len(title) + 2),
        RIGHT,
        "log" if is_wide else "",
        of.capitalize(),
        False,
        note,
    )
    return ResultColumn(column, measure, quantity, part, formats)
