"""What item models of layers have in common that sort themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)

Index = QModelIndex | QPersistentModelIndex
Indices = NDArray[np.int64]


class SortedTable(QAbstractTableModel):
    """Rows are entries in the order asked for, each about one layer.

    A subclass overrides `_entries`, `_keys` and, where entries are not numbers of
    layers, `_layers_of`; it changes what they return within `_renewal` only.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without rows."""
        super().__init__(parent)
        self._order: Indices = np.zeros(0, dtype=np.int64)
        self._sorted: tuple[int, bool] | None = None

    def _entries(self) -> Indices:
        """Return the entries to show, in the order of the model."""
        raise NotImplementedError

    def _keys(self, column: int) -> NDArray[np.float64]:
        """Return what a column is sorted by, of every entry there could be."""
        raise NotImplementedError

    def _layers_of(self, entries: Indices) -> Indices:
        """Return the layers that entries are about."""
        return entries

    @contextmanager
    def _renewal(self) -> Iterator[None]:
        """Tell the views before and after another content; the order stays."""
        self.beginResetModel()
        yield
        self._order = self._entries()
        if self._sorted is not None and len(self._order):
            column, falling = self._sorted
            keys = self._keys(column)[self._order]
            # Unknown values last either way; equal ones keep the model's order.
            places = np.argsort(-keys if falling else keys, kind="stable")
            self._order = self._order[places]
        self.endResetModel()

    def sort(
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
        """Sort by a column, unknown values last; -1 is the order of the model."""
        with self._renewal():
            falling = order == Qt.SortOrder.DescendingOrder
            self._sorted = (column, falling) if column >= 0 else None

    def layers_at(self, rows: Indices) -> Indices:
        """Return the layers shown in rows."""
        return self._layers_of(self._order[rows])

    def rows_of(self, layers: Indices) -> Indices:
        """Return the rows of those layers that are shown, rising."""
        return np.flatnonzero(np.isin(self._layers_of(self._order), layers))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of layers shown."""
        return 0 if parent.isValid() else len(self._order)
