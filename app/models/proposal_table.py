"""The item model of a proposal: one row per layer that it would change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)

from app.models.layer_columns import LEFT, RIGHT
from app.models.proposal import Proposal
from app.models.sorted_table import SortedTable
from app.widgets.format import significant, size

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole

TITLES = ("Layer", "Now", "Proposal", "Size", "Error", "Next step", "It buys")
HINTS = (
    "Layer that the proposal would change",
    "Format of the weights as it is now",
    "Format of the weights in the proposal",
    "How much more the weights would take",
    "How the own predicted error of the layer would change",
    "Bytes that the next step up from the proposal takes, tied layers together",
    "Fall of the predicted error that this step buys",
)
WIDTHS = (19, 10, 10, 9, 9, 9, 9)
"""Widths of the columns at first [digits]."""

SIGN = {True: "+", False: "\N{MINUS SIGN}"}


class ProposalModel(SortedTable):
    """Formats only the cells that are shown, so that a slider moves it at once."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without rows."""
        super().__init__(parent)
        self.proposal: Proposal | None = None
        self._only_changes = True
        self._numbers: dict[int, NDArray[np.float64]] = {}

    def show(self, proposal: Proposal | None, *, only_changes: bool = True) -> None:
        """Show another proposal; the order stays."""
        with self._renewal():
            self.proposal, self._only_changes = proposal, only_changes

    def _entries(self) -> NDArray[np.int64]:
        found = self.proposal
        if found is None:
            self._numbers = {}
            return np.zeros(0, dtype=np.int64)
        count = len(found.offer.table.layers)
        layers = found.changed() if self._only_changes else np.arange(count)
        self._numbers = {
            3: found.size_change(),
            4: found.error_change(),
            5: found.spent,
            6: found.bought,
        }
        return layers[layers < count]

    def _keys(self, column: int) -> NDArray[np.float64]:
        found = self.proposal
        assert found is not None
        if column in self._numbers:
            return self._numbers[column]
        count = len(found.choice)
        choice = found.mine if column == 1 else found.choice
        if column == 0 or choice is None:
            return np.arange(count, dtype=np.float64)
        return found.offer.table.bits[np.arange(count), choice]

    # -- Qt --------------------------------------------------------------------------

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008, N802
        """Return the number of columns."""
        return 0 if parent.isValid() else len(TITLES)

    def data(self, index: Index, role: int = Role.DisplayRole) -> Any:
        """Return the text of a cell; numbers stand to the right."""
        if not index.isValid() or self.proposal is None:
            return None
        if role == Role.TextAlignmentRole:
            return LEFT if index.column() < 3 else RIGHT
        layer, column = int(self._order[index.row()]), index.column()
        if role == Role.ToolTipRole and column == 0:
            return self.proposal.offer.table.layers[layer].name
        if role in (Role.DisplayRole, Role.AccessibleTextRole):
            return self.text(layer, column)
        return None

    def text(self, layer: int, column: int) -> str:
        """Return the text of a layer in a column."""
        found = self.proposal
        assert found is not None
        if column == 0:
            return found.offer.table.layers[layer].name
        if column in (1, 2):
            return found.name(layer, mine=column == 1)
        value = float(self._numbers[column][layer])
        if np.isnan(value):
            return "\N{EN DASH}"
        if column == 3:
            return SIGN[value >= 0] + size(abs(value)) if value else size(0.0)
        if column == 5:
            return f"+{size(value)}"
        if column == 6:
            return SIGN[False] + significant(value)
        return SIGN[value >= 0] + significant(abs(value)) if value else "0"

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        """Return titles and what they mean."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Role.TextAlignmentRole:
            return LEFT if section < 3 else RIGHT
        if role == Role.DisplayRole:
            return TITLES[section]
        return HINTS[section] if role == Role.ToolTipRole else None
