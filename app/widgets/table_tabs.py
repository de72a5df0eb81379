"""Tables behind tabs, each with one row chosen by mouse or key."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Signal, Slot
from PySide6.QtWidgets import QAbstractItemView, QTableView, QTabWidget, QWidget

from app.theme import theme
from app.widgets.data_table import Table, TableModel

_MEASURED = 50
"""Rows that decide how wide a column is."""


class TableTabs(QTabWidget):
    """Tables behind tabs; a tab without a table is not shown.

    Signals:
        rowChosen: Key of a tab and a row of its table, as a tuple.
    """

    rowChosen = Signal(object)

    def __init__(self, tabs: dict[str, str], parent: QWidget | None = None) -> None:
        """Make a tab of each key with its title; no table is shown yet."""
        super().__init__(parent)
        self._keys = tuple(tabs)
        self._models: dict[str, TableModel] = {}
        self.views = {key: self._view(title) for key, title in tabs.items()}
        for key, title in tabs.items():
            self.addTab(self.views[key], title)
        self.setDocumentMode(True)

    def _view(self, title: str) -> QTableView:
        view = QTableView(self)
        view.setAccessibleName(title)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setAlternatingRowColors(True)
        view.setTabKeyNavigation(False)
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(theme().line(1.4))
        view.horizontalHeader().setHighlightSections(False)
        view.clicked.connect(self._on_row)
        view.activated.connect(self._on_row)
        return view

    @property
    def key(self) -> str:
        """Key of the tab in front."""
        return self._keys[self.currentIndex()]

    def set_table(self, key: str, table: Table | None, title: str = "") -> None:
        """Fill a tab, or hide it with None.

        Args:
            key: The tab.
            table: What it shows.
            title: Its title from now on; "" leaves it.
        """
        place, view = self._keys.index(key), self.views[key]
        if title:
            self.setTabText(place, title)
            view.setAccessibleName(title)
        self.setTabVisible(place, table is not None)
        old = self._models.pop(key, None)
        model = TableModel(table or Table((), ()), self)
        self._models[key] = model
        view.setModel(model)
        if old is not None:
            old.deleteLater()
        metrics = view.fontMetrics()
        for column, heading in enumerate(table.titles if table is not None else ()):
            few = range(min(model.rowCount(), _MEASURED))
            texts = [str(model.index(row, column).data()) for row in few]
            widest = max(map(metrics.horizontalAdvance, [heading, *texts]))
            view.setColumnWidth(column, widest + theme().em(2.5))

    @Slot(QModelIndex)
    def _on_row(self, index: QModelIndex) -> None:
        self.rowChosen.emit((self.key, index.row()))
