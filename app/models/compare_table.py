"""The item models of the compare panel: changed layers, and totals side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)

from app.models.compare import Differences, Side, Total
from app.models.layer_columns import LEFT, RIGHT
from app.models.sorted_table import SortedTable
from app.theme import theme
from app.widgets.explain import explained
from app.widgets.format import significant, size, with_error

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole

TITLES = (
    "Layer",
    "A",
    "B",
    "Error A",
    "Error B",
    "Error B - A",
    "Size A",
    "Size B",
    "Size B - A",
    "Also",
)
MEANINGS = ("layer", "bits", "bits", *["error"] * 3, *["size"] * 3, "")
"""What the glossary calls the columns."""
NUMBERS = range(3, 9)
ERROR_CHANGE = 5
WIDTHS = (22, 10, 10, 17, 17, 12, 9, 9, 11, 20)
"""Widths of the columns of `DifferenceModel` at first [digits]."""


class DifferenceModel(SortedTable):
    """One row per changed layer; two columns per metric, then the difference."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without rows."""
        super().__init__(parent)
        self.found: Differences | None = None
        self.titles = ("A", "B")

    def show(self, found: Differences | None, titles: tuple[str, str]) -> None:
        """Show another comparison; the order stays."""
        with self._renewal():
            self.found, self.titles = found, titles

    def _entries(self) -> NDArray[np.int64]:
        return np.arange(0 if self.found is None else len(self.found.layers))

    def _layers_of(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        return entries if self.found is None else self.found.layers[entries]

    def _keys(self, column: int) -> NDArray[np.float64]:
        found = self.found
        assert found is not None
        left, right = found.left, found.right
        columns: Sequence[NDArray[np.float64]] = (
            found.layers.astype(np.float64),
            left.bits,
            right.bits,
            left.error,
            right.error,
            right.error - left.error,
            left.size,
            right.size,
            right.size - left.size,
            np.array([bool(found.also(r)) for r in range(len(found.layers))], float),
        )
        return columns[column]

    # -- texts -----------------------------------------------------------------

    def line(self, row: int) -> tuple[str, ...]:
        """Return the texts of a row."""
        found, at = self.found, int(self._order[row])
        assert found is not None
        left, right = found.left, found.right
        change = float(right.error[at] - left.error[at])
        return (
            found.name(at),
            found.scheme(left, at),
            found.scheme(right, at),
            _error(left, at),
            _error(right, at),
            f"≈ {_signed(change, significant)}"
            if found.is_noise(at)
            else _signed(change, significant),
            size(float(left.size[at])),
            size(float(right.size[at])),
            _signed(float(right.size[at] - left.size[at]), size),
            found.also(at),
        )

    # -- Qt --------------------------------------------------------------------

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(WIDTHS)

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        """Return one aspect of a cell."""
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        if role == Role.DisplayRole:
            return self.line(row)[column]
        if role == Role.TextAlignmentRole:
            return RIGHT if column in NUMBERS else LEFT
        if role == Role.ForegroundRole and column == ERROR_CHANGE:
            is_noise = self.found and self.found.is_noise(int(self._order[row]))
            return theme().colour("muted") if is_noise else None
        if role == Role.ToolTipRole:
            if (
                column == ERROR_CHANGE
                and self.found
                and self.found.is_noise(self._order[row])
            ):
                return "Smaller than the standard errors: it may be chance."
            return self.line(row)[column]
        return None

    def headerData(  # noqa: N802 - Qt naming
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> object:
        """Return the titles: metric and side."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(WIDTHS):
            return None
        if role == Role.TextAlignmentRole:
            return RIGHT if section in NUMBERS else LEFT
        if role == Role.DisplayRole:
            return TITLES[section]
        if role == Role.ToolTipRole:
            one, other = self.titles
            sides = f"A is {one}, B is {other}; changes are B less A."
            return explained(MEANINGS[section], sides) or sides
        return None


def _signed(change: float, text: Callable[[float], str]) -> str:
    sign = "+" if change > 0 else "-" if change < 0 else ""
    return f"{sign}{text(abs(change))}"


def _error(side: Side, row: int) -> str:
    return with_error(float(side.error[row]), float(side.stderr[row]))


class TotalsModel(QAbstractTableModel):
    """Metric, first assignment, second assignment, change."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without rows."""
        super().__init__(parent)
        self.lines: tuple[Total, ...] = ()
        self.titles = ("A", "B")

    def show(self, lines: Sequence[Total], titles: tuple[str, str]) -> None:
        """Show other totals."""
        self.beginResetModel()
        self.lines, self.titles = tuple(lines), titles
        self.endResetModel()

    def texts(self, row: int) -> tuple[str, str, str, str]:
        """Return the texts of a row."""
        line = self.lines[row]
        # Colour is not the only carrier of which is better.
        verdict = {1: " (better)", -1: " (worse)", 0: ""}[line.better]
        return line.title, line.left, line.right, f"{line.change}{verdict}"

    @property
    def header(self) -> tuple[str, str, str, str]:
        """Titles of the columns."""
        return "In total", f"A: {self.titles[0]}", f"B: {self.titles[1]}", "B less A"

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of metrics."""
        return 0 if parent.isValid() else len(self.lines)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return 4."""
        return 0 if parent.isValid() else 4

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        """Return one aspect of a cell."""
        if not index.isValid():
            return None
        text = self.texts(index.row())[index.column()]
        if role == Role.ToolTipRole:
            return explained(text) if index.column() == 0 else text
        if role == Role.DisplayRole:
            return text
        if role == Role.TextAlignmentRole:
            return RIGHT if index.column() else LEFT
        if role == Role.ForegroundRole and index.column() == 3:
            roles = {1: "good", -1: "danger", 0: "muted"}
            return theme().colour(roles[self.lines[index.row()].better])
        return None

    def headerData(  # noqa: N802 - Qt naming
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> object:
        """Return the titles."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < 4:
            return None
        if role in (Role.DisplayRole, Role.ToolTipRole):
            return self.header[section]
        if role == Role.TextAlignmentRole:
            return RIGHT if section else LEFT
        return None
