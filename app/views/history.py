"""Every edit by its name; a click goes back or forward to it."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QStyle, QUndoView, QWidget

from app.context import AppContext
from app.theme import theme
from app.widgets.row_height import RowHeight


class HistoryView(QUndoView):
    """The list of edits of the open project, the saved state marked."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Show the undo steps of the context."""
        super().__init__(context.undo_group, parent)
        self.setAccessibleName("History of edits")
        self.setEmptyLabel("As opened")
        self.setToolTip("Every edit since opening; a click goes back or forward to it")
        self.setAlternatingRowColors(True)
        self.setIconSize(QSize(theme().line(), theme().line()))
        self.setItemDelegate(RowHeight(self))
        icon = QStyle.StandardPixmap.SP_DialogSaveButton
        self.setCleanIcon(self.style().standardIcon(icon))
