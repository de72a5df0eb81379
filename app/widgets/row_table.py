"""A table view for tens of thousands of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractItemModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from app.theme import theme

Flag = QItemSelectionModel.SelectionFlag
Index = QModelIndex | QPersistentModelIndex
Ranges = Sequence[tuple[int, int]]


class RowTable(QTableView):
    """Selects whole rows, as ranges; its header never looks at the selection.

    Args:
        model: What is shown; must outlive the view.
        widths: Width of each column, in digits.
        parent: Owner.

    Signals:
        resized: The room for rows and columns is another one.
    """

    resized = Signal()

    def __init__(
        self,
        model: QAbstractItemModel,
        widths: Sequence[float],
        parent: QWidget | None = None,
    ) -> None:
        """Set the view up for speed."""
        super().__init__(parent)
        self._column = 0
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(theme().line(1.55))
        header = self.horizontalHeader()
        # A header asks the selection about whole columns at every paint and walks
        # all rows to find out; one of its own, always empty, answers at once.
        self._nothing = QItemSelectionModel(model, self)
        header.setSelectionModel(self._nothing)
        header.setHighlightSections(False)
        header.setSectionsClickable(True)
        header.setSectionsMovable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicatorClearable(True)
        header.setMinimumSectionSize(theme().em(4))
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        for number, width in enumerate(widths):
            header.resizeSection(number, theme().em(width))
        self.clear_sort()
        self.setSortingEnabled(True)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt naming
        """Tell of the new size."""
        super().resizeEvent(event)
        self.resized.emit()

    def width_for(self, text: str, beside: float = 0.0) -> int:
        """Return the width of a column that shows a text whole [pixels].

        Args:
            text: The longest of the column.
            beside: Width of what is drawn beside the text [digits].
        """
        return self.fontMetrics().horizontalAdvance(text) + theme().em(2 + beside)

    def currentChanged(self, current: Index, previous: Index) -> None:  # noqa: N802
        """Remember the column of the cursor: sorting loses the cursor itself."""
        if current.isValid():
            self._column = current.column()
        super().currentChanged(current, previous)

    def sort_by_cursor(self) -> None:
        """Sort by the column of the cursor, as a click on its header does."""
        header, order = self.horizontalHeader(), Qt.SortOrder
        if header.sortIndicatorSection() != self._column:
            header.setSortIndicator(self._column, order.AscendingOrder)
        elif header.sortIndicatorOrder() == order.AscendingOrder:
            header.setSortIndicator(self._column, order.DescendingOrder)
        else:
            self.clear_sort()

    def clear_sort(self) -> None:
        """Show the order of the model."""
        header = self.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)

    def selected_rows(self) -> NDArray[np.int64]:
        """Return the selected rows, sorted; from ranges, as row lists take seconds."""
        parts = [
            np.arange(r.top(), r.bottom() + 1, dtype=np.int64)
            for r in self.selectionModel().selection().toList()
        ]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

    def select_ranges(self, ranges: Ranges, current: int) -> None:
        """Select rows given as ranges, both ends included.

        Args:
            ranges: First and last row of each.
            current: Row that gets the focus and is scrolled to; -1 for none.
        """
        model, chosen = self.model(), QItemSelection()
        last = model.columnCount() - 1
        # Unlike `index` it does not ask for the size of the model each time, which for
        # thousands of ranges is most of the work.
        cell = model.createIndex
        for top, bottom in ranges:
            chosen.select(cell(top, 0), cell(bottom, last))
        selection = self.selectionModel()
        # Replacing thousands of ranges compares each with each to tell what changed;
        # whoever selects by program knows.
        selection.blockSignals(True)
        selection.reset()
        selection.select(chosen, Flag.Select)
        selection.blockSignals(False)
        if current >= 0:
            index = model.index(current, self._column)
            selection.setCurrentIndex(index, Flag.NoUpdate)
            bar = self.horizontalScrollBar()
            aside = bar.value()
            self.scrollTo(index)
            bar.setValue(aside)
        self.viewport().update()

    def visible_columns(self) -> list[int]:
        """Return the columns shown, from left to right."""
        header = self.horizontalHeader()
        order = (header.logicalIndex(place) for place in range(header.count()))
        return [c for c in order if not self.isColumnHidden(c)]
