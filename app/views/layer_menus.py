"""What a layer table offers: formats of rows, choice and order of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import (
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    Qt,
    Slot,
)
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from app.context import AppContext
from app.dialogs.columns import ColumnsDialog
from app.models.layer_columns import COLUMNS
from app.models.layer_data import FLOAT
from app.widgets.bits_delegate import Choice
from quant_core.scheme import Scheme, parse_scheme

if TYPE_CHECKING:
    from app.views.layer_table import LayerTableView


Index = QModelIndex | QPersistentModelIndex


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

    def schemes(self) -> list[Scheme]:
        """Return the schemes to offer: the analysed ones, then those in use."""
        layers = self._view.model.layers
        keys = dict.fromkeys([*layers.formats, *layers.schemes[1:]])
        if not layers.formats:
            keys |= dict.fromkeys(f"int{bits}" for bits in range(2, 9))
        return [parse_scheme(key) for key in keys]

    def choices(self, index: Index) -> Sequence[Choice]:
        """Return the formats for a row, and why the target refuses some."""
        project = self._context.project
        if project is None:
            return []
        layer = self._view.model.layer_at(index.row())
        offered = [(s.key, project.refused(s, layer)) for s in self.schemes()]
        return [(FLOAT, None), *offered]

    def rows(self) -> QMenu:
        """Return the menu of the selected rows: formats, then the table's actions."""
        menu = self._menu()
        formats = menu.addMenu("Set &format")
        formats.setToolTipsVisible(True)
        for scheme in (None, *self.schemes()):
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
