"""The item model of a proposal: one row per layer that it would change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)

from app.models.layer_columns import LEFT, RIGHT
from app.models.proposal import Proposal
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
WIDTHS = (19, 8, 8, 9, 9, 9, 9)
"""Widths of the columns at first [digits]."""

SIGN = {True: "+", False: "\N{MINUS SIGN}"}


class ProposalModel(QAbstractTableModel):
    """Formats only the cells that are shown, so that a slider moves it at once."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without rows."""
        super().__init__(parent)
        self.proposal: Proposal | None = None
        self._only_changes = True
        self._layers: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._sorted: tuple[int, bool] | None = None
        self._numbers: dict[int, NDArray[np.float64]] = {}

    def show(self, proposal: Proposal | None, *, only_changes: bool = True) -> None:
        """Show another proposal; the order stays."""
        self.beginResetModel()
        self.proposal, self._only_changes = proposal, only_changes
        self._arrange()
        self.endResetModel()

    def sort(
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
        """Sort by a column, unknown values last; -1 is the order of the layers."""
        falling = order == Qt.SortOrder.DescendingOrder
        self._sorted = (column, falling) if column >= 0 else None
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def _arrange(self) -> None:
        found = self.proposal
        if found is None:
            self._layers, self._numbers = np.zeros(0, dtype=np.int64), {}
            return
        count = len(found.offer.table.layers)
        layers = found.changed() if self._only_changes else np.arange(count)
        self._layers = layers[layers < count]
        self._numbers = {
            3: found.size_change(),
            4: found.error_change(),
            5: found.spent,
            6: found.bought,
        }
        if self._sorted is not None:
            column, falling = self._sorted
            keys = self._keys(found, column)[self._layers]
            order = np.argsort(-keys if falling else keys, kind="stable")
            self._layers = self._layers[order]

    def _keys(self, found: Proposal, column: int) -> NDArray[np.float64]:
        if column in self._numbers:
            return self._numbers[column]
        count = len(found.choice)
        choice = found.mine if column == 1 else found.choice
        if column == 0 or choice is None:
            return np.arange(count, dtype=np.float64)
        return found.offer.table.bits[np.arange(count), choice]

    # -- rows and layers -------------------------------------------------------------

    def layers_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the layers shown in rows."""
        return self._layers[rows]

    def rows_of(self, layers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of those layers that are shown, rising."""
        return np.flatnonzero(np.isin(self._layers, layers))

    # -- Qt --------------------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008, N802
        """Return the number of layers."""
        return 0 if parent.isValid() else len(self._layers)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008, N802
        """Return the number of columns."""
        return 0 if parent.isValid() else len(TITLES)

    def data(self, index: Index, role: int = Role.DisplayRole) -> Any:
        """Return the text of a cell; numbers stand to the right."""
        if not index.isValid() or self.proposal is None:
            return None
        if role == Role.TextAlignmentRole:
            return LEFT if index.column() < 3 else RIGHT
        layer, column = int(self._layers[index.row()]), index.column()
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
