"""The item model of the layer table: one order array, no proxy.

A `QSortFilterProxyModel` asks Python for every comparison (ten seconds for 60,000
rows); sorting and filtering here are NumPy on columns, then a model reset. Whoever
shows the model puts selection and current row back afterwards; both are kept in
layer numbers, never in rows.
"""

from __future__ import annotations

import math
from itertools import groupby

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
from app.models.block_cells import BlockCells, block_text
from app.models.layer_cells import cell_text, cell_tip, is_muted, spoken
from app.models.layer_columns import LAYER, RIGHT, Column
from app.models.layer_data import LayerData
from app.models.layer_folds import Rows
from app.models.layer_roles import (
    ALIGN,
    ASKED,
    BAR_ROLE,
    BITS_ROLE,
    DISPLAY,
    INK,
    PAPER,
    SPOKEN,
    TIED_ROLE,
    TIP,
)
from app.theme import theme
from app.widgets.explain import wrapped
from app.widgets.format import integer

Index = QModelIndex | QPersistentModelIndex
ARROW_ROOM = "\N{EM SPACE}"
FOUND_ALPHA = 0.35

_PLAIN = (
    Qt.ItemFlag.ItemIsSelectable
    | Qt.ItemFlag.ItemIsEnabled
    | Qt.ItemFlag.ItemNeverHasChildren
)
_EDITABLE = _PLAIN | Qt.ItemFlag.ItemIsEditable
_NOTHING = Qt.ItemFlag.NoItemFlags


class LayerTableModel(QAbstractTableModel):
    """Rows are layers in the order and choice asked for."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without layers."""
        super().__init__(parent)
        self.layers = LayerData()
        self.query = ""
        self._sorted: tuple[str, bool] | None = None
        none = np.zeros(0, dtype=np.int64)
        self.rows = Rows.of(none, none, None)
        self._folded: NDArray[np.bool_] | None = None
        self._partners: frozenset[int] = frozenset()
        self._found: NDArray[np.bool_] | None = None
        self._scales: dict[str, tuple[float, float] | None] = {}
        self._blocks = BlockCells(self.layers)

    # -- contents --------------------------------------------------------------

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, shown or not."""
        return self.layers.columns

    def column_of(self, key: str) -> int:
        """Return the number of a column, -1 when there is none of this key."""
        keys = [column.key for column in self.columns]
        return keys.index(key) if key in keys else -1

    def set_layers(self, layers: LayerData) -> None:
        """Show other layers; order and filter stay."""
        self.beginResetModel()
        if layers.names != self.layers.names:
            self._folded = None
        self.layers = layers
        self._partners = frozenset()
        self._found = None
        self._arrange()
        self.endResetModel()

    def refresh(self, *, edited: bool = False) -> None:
        """Tell the view that values changed.

        Rows stay where they are: an edit must not move the row under the cursor.

        Args:
            edited: Whether only the assignment did: half of the columns say what a
                layer is, and drawing them again would double what an edit takes.
        """
        self._scales, self._blocks = {}, BlockCells(self.layers)
        if not self.rowCount():
            return
        bottom = self.rowCount() - 1
        changed = [not edited or column.group != LAYER for column in self.columns]
        for does_change, group in groupby(range(len(changed)), changed.__getitem__):
            run = list(group)
            if does_change:
                ends = self.index(0, run[0]), self.index(bottom, run[-1])
                self.dataChanged.emit(*ends)

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
        """Sort and filter again with the present values, and perhaps other columns."""
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def sort(
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
        """Sort by a column, stable, unknown values last; -1 is the model's order."""
        descending = order == Qt.SortOrder.DescendingOrder
        known = 0 <= column < len(self.columns)
        self._sorted = (self.columns[column].key, descending) if known else None
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
        rows = [int(self.rows.row[x]) for x in partners | self._partners]
        self._partners = partners
        right = len(self.columns) - 1
        for row in rows:
            if row >= 0:
                self.dataChanged.emit(self.index(row, 0), self.index(row, right))

    # -- finding ---------------------------------------------------------------

    def find(self, query: str) -> NDArray[np.int64]:
        """Mark the layers a query chooses and return those shown, from the top.

        Args:
            query: In the language of the filter; "" marks nothing.

        Raises:
            AnalysisError: the query is not understood; the marks stay as they were.
        """
        found = self._mask(query) if query.strip() else None
        if found is not None or self._found is not None:
            self._found = found
            self.refresh()
        return self.found

    @property
    def found(self) -> NDArray[np.int64]:
        """Layers marked by `find` that the filter shows, from the top."""
        listed = self.rows.listed
        return listed[:0] if self._found is None else listed[self._found[listed]]

    # -- folding ---------------------------------------------------------------

    def fold(self, layers: NDArray[np.int64], folded: bool) -> None:
        """Show the blocks of layers as one row each, or layer by layer again."""
        blocks = self.layers.block_numbers
        if self._folded is None:
            self._folded = np.zeros(int(blocks.max(initial=-1)) + 1, dtype=np.bool_)
        self._folded[blocks[layers]] = folded
        self.rearrange()

    def are_folded(self, layers: NDArray[np.int64]) -> bool:
        """Return whether the blocks of all the layers are folded."""
        if self._folded is None:
            return False
        return bool(self._folded[self.layers.block_numbers[layers]].all())

    def blocks_of(self, layers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the layers shown that are in the same blocks as the given ones."""
        blocks, listed = self.layers.block_numbers, self.rows.listed
        return listed[np.isin(blocks[listed], blocks[layers])]

    # -- order -----------------------------------------------------------------

    def _arrange(self, mask: NDArray[np.bool_] | None = None) -> None:
        layers = self.layers
        chosen = np.flatnonzero(self._mask(self.query) if mask is None else mask)
        if self._sorted is not None and self.column_of(self._sorted[0]) >= 0:
            keys = self._sort_key(self._sorted[0])[chosen]
            if self._sorted[1]:
                keys = -keys
            # NaN sorts last either way, and equal values keep the model's order.
            chosen = chosen[np.argsort(keys, kind="stable")]
        # Numbers of blocks are looked for only once there is something to fold.
        blocks = layers.parameters if self._folded is None else layers.block_numbers
        self.rows = Rows.of(chosen, blocks, self._folded)
        self._scales, self._blocks = {}, BlockCells(self.layers)

    def _mask(self, query: str) -> NDArray[np.bool_]:
        # Gathering the fields of 60,000 layers takes longer than sorting them.
        if not query.strip():
            return np.ones(len(self.layers), dtype=np.bool_)
        return select(query, self.layers.fields())

    def _sort_key(self, key: str) -> NDArray[np.float64]:
        layers = self.layers
        if key == "name":
            return layers.natural_rank().astype(np.float64)
        if key == "block":
            return layers.block_rank().astype(np.float64)
        if key == "kind":
            _, rank = np.unique(np.array(layers.kinds, np.str_), return_inverse=True)
            return rank.astype(np.float64)
        return layers.numbers("parameters" if key == "shape" else key)

    def _scale(self, column: Column) -> tuple[float, float] | None:
        """Return the ends of the bars: 0 to the largest, or the decades in between."""
        if column.key not in self._scales:
            known = self.layers.numbers(column.key)
            known = known[np.isfinite(known) & (known > 0)]
            scale: tuple[float, float] | None = None
            if len(known) and column.bar == "log":
                low = math.floor(math.log10(known.min()))
                scale = low, max(math.log10(known.max()), low + 1e-9)
            elif len(known):
                scale = 0.0, float(known.max())
            self._scales[column.key] = scale
        return self._scales[column.key]

    # -- rows and layers -------------------------------------------------------

    @property
    def order(self) -> NDArray[np.int64]:
        """Layers from the top row down, one per row."""
        return self.rows.order

    def layer_at(self, row: int) -> int:
        """Return the layer shown in a row, of a folded block the first."""
        return int(self.rows.order[row])

    def layers_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the layers shown in rows, all of a folded block."""
        return self.rows.layers_at(rows)

    def row_of(self, layer: int) -> int:
        """Return the row of a layer, -1 when filtered out."""
        row = self.rows.row
        return int(row[layer]) if 0 <= layer < len(row) else -1

    def row_ranges(self, layers: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return the rows of layers as merged ranges, both ends included."""
        row = self.rows.row
        rows = row[layers[layers < len(row)]]
        rows = np.unique(rows[rows >= 0])
        if not len(rows):
            return []
        breaks = np.flatnonzero(np.diff(rows) != 1)
        starts = rows[np.concatenate([[0], breaks + 1])]
        ends = rows[np.concatenate([breaks, [len(rows) - 1]])]
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def text(self, row: int, key: str) -> str:
        """Return what a cell shows."""
        if self.rows.is_folded(row):
            return block_text(self.layers, self.rows.members(row), key)
        return cell_text(self.layers, self.layer_at(row), key)

    # -- Qt --------------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of rows: layers shown and folded blocks."""
        return 0 if parent.isValid() else len(self.rows.order)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.layers.columns)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Bits can be edited unless the layer is locked."""
        if not index.isValid():
            return _NOTHING
        if self.layers.columns[index.column()].key != "bits":
            return _PLAIN
        if self.rows.is_folded(index.row()):
            layers = self.rows.members(index.row())
            return _PLAIN if self.layers.locked[layers].all() else _EDITABLE
        is_locked = self.layers.locked[self.rows.order[index.row()]]
        return _PLAIN if is_locked else _EDITABLE

    def data(self, index: Index, role: int = DISPLAY) -> object:
        """Return one aspect of a cell."""
        role = int(role)
        if role not in ASKED or not index.isValid():
            return None
        column = self.layers.columns[index.column()]
        if role == ALIGN:
            return column.align
        row = index.row()
        if self.rows.is_folded(row):
            return self._of_block(row, column.key, role)
        layer = int(self.rows.order[row])
        if role == DISPLAY:
            return cell_text(self.layers, layer, column.key)
        if role == INK:
            muted = is_muted(self.layers, layer, column.key)
            return theme().colour("muted") if muted else None
        if role == PAPER:
            return self._paper(layer)
        return self._more(layer, column, role)

    def _of_block(self, row: int, key: str, role: int) -> object:
        """Return one aspect of a cell of a folded block."""
        layers = self.rows.members(row)
        if role == PAPER:
            if self._found is not None and self._found[layers].any():
                return theme().brush("warning", alpha=FOUND_ALPHA)
            is_tied = not self._partners.isdisjoint(layers.tolist())
            return theme().brush("partner") if is_tied else None
        told = self._blocks.tell(row, layers, key, role)
        # Not kept with the rest: colours change with the theme.
        muted = theme().colour("muted") if told else None
        return muted if role == INK else told

    def _paper(self, layer: int) -> object:
        if self._found is not None and self._found[layer]:
            return theme().brush("warning", alpha=FOUND_ALPHA)
        return theme().brush("partner") if layer in self._partners else None

    def _more(self, layer: int, column: Column, role: int) -> object:
        """Return what delegates, tooltips and screen readers ask for."""
        if role == BAR_ROLE:
            return self._bar(layer, column) if column.bar else None
        if role == BITS_ROLE:
            is_float = not self.layers.scheme[layer]
            return None if is_float else float(self.layers.bits[layer])
        if role == TIED_ROLE:
            return bool(self.layers.tie[layer] >= 0)
        if role == TIP:
            return cell_tip(self.layers, layer, column.key)
        if role == SPOKEN:
            return spoken(self.layers, layer, column.key)
        return layer

    def headerData(  # noqa: N802 - Qt naming
        self, section: int, orientation: Qt.Orientation, role: int = DISPLAY
    ) -> object:
        """Return title or explanation of a column."""
        across = orientation == Qt.Orientation.Horizontal
        if not across or not 0 <= section < len(self.columns):
            return None
        column, role = self.columns[section], int(role)
        if role == DISPLAY:
            # The sort arrow stands at the right end, over a title that ends there.
            is_under = column.key == self.sorted_by and column.align == RIGHT
            return column.title + ARROW_ROOM * is_under
        if role == ALIGN:
            return column.align
        if role == TIP:
            return wrapped(column.tip, self._column_note(column.key))
        return None

    def _column_note(self, key: str) -> str:
        """Return what the present results add to the explanation of a column."""
        data = self.layers
        if key == "error" and data.unit:
            return f"Unit: {data.unit}. From {integer(data.samples)} samples."
        if key == "gain" and data.unit:
            return f"Unit: {data.unit} per kB."
        if key == "proposed" and data.project is not None:
            proposal = data.proposal
            return f"Here: {proposal[0]}." if proposal else "No search result is kept."
        return ""

    def _bar(self, layer: int, column: Column) -> tuple[float, float, float] | None:
        """Return value and both ends of the error bar as shares of the cell."""
        scale = self._scale(column)
        value = float(self.layers.numbers(column.key)[layer])
        if scale is None or not value > 0:
            return None
        low, high = scale
        is_log = column.bar == "log"

        def share(x: float) -> float:
            if x <= 0:
                return 0.0
            place = math.log10(x) if is_log else x
            return min(1.0, max(0.0, (place - low) / (high - low)))

        stderr = float(self.layers.stderr[layer]) if column.key == "error" else 0.0
        if math.isnan(stderr):
            stderr = 0.0
        return share(value), share(value - stderr), share(value + stderr)
