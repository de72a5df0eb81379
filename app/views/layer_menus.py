"""Context menus of the layer table: formats of rows, choice of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from app.context import AppContext
from app.dialogs.columns import ColumnsDialog
from app.models.layer_columns import COLUMNS
from app.models.layer_data import FLOAT
from quant_core.scheme import parse_scheme

if TYPE_CHECKING:
    from app.views.layer_table import LayerTableView


class LayerMenus(QObject):
    """Opens the menus of a layer table and carries out what is chosen."""

    def __init__(self, view: LayerTableView, context: AppContext) -> None:
        """Listen to right clicks."""
        super().__init__(view)
        self._view = view
        self._context = context
        view.table.customContextMenuRequested.connect(self._on_rows)
        header = view.table.horizontalHeader()
        header.customContextMenuRequested.connect(self._on_header)

    def rows(self) -> QMenu:
        """Return the menu of the selected rows: formats, then the table's actions."""
        menu = self._menu()
        formats = menu.addMenu("Set &format")
        formats.setToolTipsVisible(True)
        for scheme in (None, *self._view.schemes()):
            action = formats.addAction(FLOAT if scheme is None else scheme.key)
            reason = self._context.refusal(scheme, self._context.selection.layers)
            action.setEnabled(reason is None)
            action.setToolTip(reason or "")
        formats.triggered.connect(self._on_format)
        menu.addActions(self._view.actions())
        return menu

    def columns(self) -> QMenu:
        """Return the menu that shows and hides columns; the name always stays."""
        menu = self._menu()
        menus = {column.group: menu for column in COLUMNS}
        for number, column in enumerate(self._view.model.columns[1:], start=1):
            if column.group not in menus:
                menus[column.group] = menu.addMenu(column.group)
            action = menus[column.group].addAction(column.title)
            action.setCheckable(True)
            action.setChecked(not self._view.table.isColumnHidden(number))
            action.setData(number)
        menu.addSeparator()
        menu.addAction("&Choose and order…").triggered.connect(self.ask_columns)
        menu.addAction("&Reset columns").triggered.connect(self._on_reset)
        menu.triggered.connect(self._on_column)
        return menu

    @Slot()
    def ask_columns(self) -> None:
        """Let the user choose and order the columns."""
        table, columns = self._view.table, self._view.model.columns
        header = table.horizontalHeader()
        ordered = [columns[header.logicalIndex(i)] for i in range(len(columns))]
        shown = [columns[number].key for number in table.visible_columns()]
        dialog = ColumnsDialog(ordered, shown, self._view)
        if dialog.exec() == ColumnsDialog.DialogCode.Accepted:
            self._view.columns.arrange(dialog.order, dialog.shown)
        dialog.deleteLater()

    @Slot()
    def _on_reset(self) -> None:
        self._view.columns.reset()

    def _menu(self) -> QMenu:
        menu = QMenu(self._view)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return menu

    @Slot(QPoint)
    def _on_rows(self, where: QPoint) -> None:
        if len(self._context.selection.layers):
            self.rows().popup(self._view.table.viewport().mapToGlobal(where))

    @Slot(QPoint)
    def _on_header(self, where: QPoint) -> None:
        header = self._view.table.horizontalHeader()
        self.columns().popup(header.mapToGlobal(where))

    @Slot(QAction)
    def _on_format(self, action: QAction) -> None:
        text = action.text()
        scheme = None if text == FLOAT else parse_scheme(text)
        self._context.set_weight(self._context.selection.layers, scheme)

    @Slot(QAction)
    def _on_column(self, action: QAction) -> None:
        number = action.data()
        if number is None:
            return
        hidden = self._view.table.isColumnHidden(number)
        self._view.table.setColumnHidden(number, not hidden)
