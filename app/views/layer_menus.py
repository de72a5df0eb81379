"""Context menus of the layer table: formats of rows, choice of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from app.context import AppContext
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
        project, current = self._context.project, self._context.selection.current
        for scheme in (None, *self._view.schemes()):
            action = formats.addAction(FLOAT if scheme is None else scheme.key)
            if scheme is not None and project is not None and current >= 0:
                reason = project.refused(scheme, current)
                action.setEnabled(reason is None)
                action.setToolTip(reason or "")
        formats.triggered.connect(self._on_format)
        menu.addActions(self._view.actions())
        return menu

    def columns(self) -> QMenu:
        """Return the menu that shows and hides columns; the name always stays."""
        menu = self._menu()
        for number, column in enumerate(COLUMNS[1:], start=1):
            action = menu.addAction(column.title)
            action.setCheckable(True)
            action.setChecked(not self._view.table.isColumnHidden(number))
            action.setData(number)
        menu.triggered.connect(self._on_column)
        return menu

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
        number = int(action.data())
        hidden = self._view.table.isColumnHidden(number)
        self._view.table.setColumnHidden(number, not hidden)
