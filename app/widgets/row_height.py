"""Rows of lists and trees as high as those of the tables."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QSize
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from app.theme import theme

LINES = 1.4


class RowHeight(QStyledItemDelegate):
    """Gives every row the same height, a little more than a line of text."""

    def sizeHint(  # noqa: N802 - Qt naming
        self,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> QSize:
        """Return the width of the content and the height of all rows."""
        return QSize(super().sizeHint(option, index).width(), theme().line(LINES))
