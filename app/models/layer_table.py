"""The item model of the layer table: one order array, no proxy.

A `QSortFilterProxyModel` asks Python for every comparison (ten seconds for 60,000
rows); sorting and filtering here are NumPy on columns, then a model reset. Whoever
shows the model puts selection and current row back afterwards; both are kept in
layer numbers, never in rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)

from analysis.select import select
from app.models.layer_columns import COLUMNS, KEYS, RIGHT, Column
from app.models.layer_data import LayerData
from app.theme import theme
from app.widgets.explain import wrapped
from app.widgets.format import DASH, integer, significant, size, with_error

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole
BITS_ROLE = int(Role.UserRole)
BAR_ROLE = BITS_ROLE + 1
LAYER_ROLE = BITS_ROLE + 2
ARROW_ROOM = "\N{EM SPACE}"


class LayerTableModel(QAbstractTableModel):
    """Rows are layers in the order and choice asked for."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without layers."""
        super().__init__(parent)
        self.layers = LayerData()
        self.query = ""
        self._sorted: tuple[str, bool] | None = None
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._row: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._partners: frozenset[int] = frozenset()
        self._scale: tuple[float, float] | None = None

    # -- contents --------------------------------------------------------------

    def set_layers(self, layers: LayerData) -> None:
        """Show other layers; order and filter stay."""
        self.beginResetModel()
        self.layers = layers
        self._partners = frozenset()
        self._arrange()
        self.endResetModel()

    def refresh(self, columns: tuple[str, ...] = KEYS) -> None:
        """Tell the view that the values of some columns changed.

        Rows stay where they are: an edit must not move the row under the cursor.
        """
        self._rescale()
        if len(self._order):
            first, last = (f(map(KEYS.index, columns)) for f in (min, max))
            bottom = len(self._order) - 1
            self.dataChanged.emit(self.index(0, first), self.index(bottom, last))
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, first, last)

    def set_query(self, query: str) -> None:
        """Show only the layers a query chooses.

        Raises:
            AnalysisError: the query is not understood; the rows stay as they were.
        """
        chosen = self._mask(query)
        self.beginResetModel()
        self.query = query
        self._arrange(chosen)
        self.endResetModel()

    def rearrange(self) -> None:
        """Sort and filter again with the present values."""
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def sort(
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
        """Sort by a column, stable, unknown values last; -1 is the model's order."""
        descending = order == Qt.SortOrder.DescendingOrder
        self._sorted = (KEYS[column], descending) if column >= 0 else None
        self.rearrange()

    @property
    def sorted_by(self) -> str | None:
        """Key of the column that decides the order."""
        return None if self._sorted is None else self._sorted[0]

    def set_current(self, layer: int) -> None:
        """Mark the layers tied to the one looked at."""
        partners = frozenset(map(int, self.layers.partners(layer)))
        if partners == self._partners:
            return
        rows = [int(self._row[x]) for x in partners | self._partners]
        self._partners = partners
        for row in rows:
            if row >= 0:
                self.dataChanged.emit(
                    self.index(row, 0), self.index(row, len(COLUMNS) - 1)
                )

    def _arrange(self, mask: NDArray[np.bool_] | None = None) -> None:
        layers = self.layers
        chosen = np.flatnonzero(self._mask(self.query) if mask is None else mask)
        if self._sorted is not None:
            keys = self._sort_key(self._sorted[0])[chosen]
            if self._sorted[1]:
                keys = -keys
            # NaN sorts last either way, and equal values keep the model's order.
            chosen = chosen[np.argsort(keys, kind="stable")]
        self._order = chosen
        self._row = np.full(len(layers), -1, dtype=np.int64)
        self._row[chosen] = np.arange(len(chosen))
        self._rescale()

    def _mask(self, query: str) -> NDArray[np.bool_]:
        # Gathering the fields of 60,000 layers takes longer than sorting them.
        if not query.strip():
            return np.ones(len(self.layers), dtype=np.bool_)
        return select(query, self.layers.fields())

    def _sort_key(self, key: str) -> NDArray[np.float64]:
        layers = self.layers
        if key == "name":
            return layers.natural_rank().astype(np.float64)
        if key in ("kind", "shape"):
            texts = layers.kinds if key == "kind" else layers.shapes
            if key == "shape":
                return layers.parameters.astype(np.float64)
            _, rank = np.unique(np.array(texts, dtype=np.str_), return_inverse=True)
            return rank.astype(np.float64)
        return np.asarray(getattr(layers, key), dtype=np.float64)

    def _rescale(self) -> None:
        """Find the range of the bars: the decades between all known errors."""
        known = self.layers.error[self.layers.error > 0]
        self._scale = None
        if len(known):
            low, high = math.log10(known.min()), math.log10(known.max())
            self._scale = math.floor(low), max(high, math.floor(low) + 1e-9)

    # -- rows and layers -------------------------------------------------------

    def layer_at(self, row: int) -> int:
        """Return the layer shown in a row."""
        return int(self._order[row])

    def layers_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the layers shown in rows."""
        return self._order[rows]

    def row_of(self, layer: int) -> int:
        """Return the row of a layer, -1 when filtered out."""
        return int(self._row[layer]) if 0 <= layer < len(self._row) else -1

    def row_ranges(self, layers: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return the rows of layers as merged ranges, both ends included."""
        rows = self._row[layers[layers < len(self._row)]]
        rows = np.sort(rows[rows >= 0])
        if not len(rows):
            return []
        breaks = np.flatnonzero(np.diff(rows) != 1)
        starts = rows[np.concatenate([[0], breaks + 1])]
        ends = rows[np.concatenate([breaks, [len(rows) - 1]])]
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def text(self, row: int, key: str) -> str:
        """Return what a cell shows."""
        data, layer = self.layers, self.layer_at(row)
        match key:
            case "name":
                return data.names[layer]
            case "kind":
                return data.kinds[layer]
            case "shape":
                return data.shapes[layer]
            case "parameters":
                return integer(int(data.parameters[layer]))
            case "bits":
                return data.schemes[int(data.scheme[layer])]
            case "locked":
                return "locked" if data.locked[layer] else ""
            case "size":
                return size(float(data.size[layer]))
            case "error":
                return with_error(float(data.error[layer]), float(data.stderr[layer]))
            case "sqnr":
                value = float(data.sqnr[layer])
                return f"{value:.1f}" if math.isfinite(value) else DASH
            case _:
                return significant(float(getattr(data, key)[layer]))

    # -- Qt --------------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of layers shown."""
        return 0 if parent.isValid() else len(self._order)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Bits can be edited unless the layer is locked."""
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
        flags |= Qt.ItemFlag.ItemNeverHasChildren
        if KEYS[index.column()] == "bits":
            if not self.layers.locked[self._order[index.row()]]:
                flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        """Return one aspect of a cell."""
        if not index.isValid():
            return None
        row, column = index.row(), COLUMNS[index.column()]
        if role == Role.DisplayRole:
            return self.text(row, column.key)
        if role == Role.TextAlignmentRole:
            return column.align
        layer = self.layer_at(row)
        if role == Role.ForegroundRole:
            return (
                theme().colour("muted") if self._is_muted(layer, column.key) else None
            )
        if role == Role.BackgroundRole:
            return theme().brush("partner") if layer in self._partners else None
        if role == BITS_ROLE:
            is_float = not self.layers.scheme[layer]
            return None if is_float else float(self.layers.bits[layer])
        if role == BAR_ROLE:
            return self._bar(layer) if column.key == "error" else None
        if role == LAYER_ROLE:
            return layer
        if role == Role.ToolTipRole:
            return self._tip(layer, column)
        if role == Role.AccessibleTextRole:
            return self._spoken(row, column)
        return None

    def headerData(  # noqa: N802 - Qt naming
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> object:
        """Return title or explanation of a column."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(COLUMNS):
            return None
        column = COLUMNS[section]
        if role == Role.DisplayRole:
            # The sort arrow stands at the right end, over a title that ends there.
            is_under = column.key == self.sorted_by and column.align == RIGHT
            return column.title + ARROW_ROOM * is_under
        if role == Role.TextAlignmentRole:
            return column.align
        if role == Role.ToolTipRole:
            data, more = self.layers, ""
            if column.key == "error" and data.unit:
                more = f"Unit: {data.unit}. From {integer(data.samples)} samples."
            return wrapped(column.tip, more)
        return None

    def _is_muted(self, layer: int, key: str) -> bool:
        if key in ("error", "sqnr"):
            value = float(getattr(self.layers, key)[layer])
            return bool(self.layers.is_reference[layer]) or math.isnan(value)
        if key == "bits":
            return not self.layers.scheme[layer]
        return key in ("kind", "shape")

    def _bar(self, layer: int) -> tuple[float, float, float] | None:
        """Return value and both ends of the error bar as shares of the cell."""
        value, stderr = (
            float(self.layers.error[layer]),
            float(self.layers.stderr[layer]),
        )
        if self._scale is None or not value > 0:
            return None
        low, high = self._scale

        def share(x: float) -> float:
            if x <= 0:
                return 0.0
            return min(1.0, max(0.0, (math.log10(x) - low) / (high - low)))

        if math.isnan(stderr):
            stderr = 0.0
        return share(value), share(value - stderr), share(value + stderr)

    def _tip(self, layer: int, column: Column) -> str | None:
        data = self.layers
        if column.key == "name":
            partners = [data.names[i] for i in data.partners(layer) if i != layer]
            tied = "\n".join(partners[:8] + ["…"] * (len(partners) > 8))
            note = f"\nShares its format with:\n{tied}" if partners else ""
            return data.names[layer] + note
        if column.key in ("error", "sqnr") and data.at(layer):
            kept = (
                "Kept in float; shown as it would be"
                if data.is_reference[layer]
                else ""
            )
            where = f"{kept or 'Shown'} at {data.at(layer)}."
            if column.key == "error" and data.unit:
                where += f"\nUnit: {data.unit}, {integer(data.samples)} samples."
            return where
        return None

    def _spoken(self, row: int, column: Column) -> str:
        text = self.text(row, column.key)
        if column.key == "locked":
            return text or "not locked"
        return "not known" if text == DASH else text
