"""The dialog that chooses and orders the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Slot
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from app.models.layer_columns import Column
from app.theme import theme
from app.widgets.explain import wrapped

KEY_ROLE = int(Qt.ItemDataRole.UserRole)


class TickDelegate(QStyledItemDelegate):
    """Outlines the tick, which the style leaves unseen on a dark background."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw the item, and a frame around its tick."""
        super().paint(painter, option, index)
        item = QStyleOptionViewItem(option)
        self.initStyleOption(item, index)
        place = QStyle.SubElement.SE_ItemViewItemCheckIndicator
        style = item.widget.style()
        tick = style.subElementRect(place, item, item.widget)
        painter.save()
        painter.setPen(theme().pen("muted"))
        painter.drawRect(tick.adjusted(0, 0, -1, -1))
        painter.restore()


class ColumnsDialog(QDialog):
    """A list with a tick per column, moved by dragging, buttons or Alt+Up and Down.

    Args:
        columns: All columns, from left to right.
        shown: Keys of the visible ones.
        parent: Owner.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        shown: Sequence[str],
        parent: QWidget | None = None,
    ) -> None:
        """Fill the list."""
        super().__init__(parent)
        self.setWindowTitle("Columns")
        self.list = QListWidget(self)
        self.list.setAccessibleName("Columns from left to right")
        self.list.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.list.setAlternatingRowColors(True)
        self._ticks = TickDelegate(self)
        self.list.setItemDelegate(self._ticks)
        self.list.setSpacing(theme().line(0.1))
        for column in columns:
            self.list.addItem(self._item(column, column.key in shown))
        self.list.setCurrentRow(0)
        note = QLabel("Ticked columns are shown, from left to right.", self)
        note.setBuddy(self.list)
        moves = QVBoxLayout()
        for text, by, keys in (
            ("Move &up", -1, "Alt+Up"),
            ("Move &down", 1, "Alt+Down"),
        ):
            button = QPushButton(text, self)
            button.setShortcut(keys)
            button.setToolTip(f"{text.replace('&', '')} ({keys})")
            button.setProperty("by", by)
            button.setAutoDefault(False)
            button.clicked.connect(self._on_move)
            moves.addWidget(button)
        moves.addStretch(1)
        middle = QHBoxLayout()
        middle.addWidget(self.list, 1)
        middle.addLayout(moves)
        flags = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(flags.Ok | flags.Cancel, self)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(note)
        layout.addLayout(middle, 1)
        layout.addWidget(buttons)
        self.resize(theme().em(75), theme().line(30))

    @staticmethod
    def _item(column: Column, is_shown: bool) -> QListWidgetItem:
        item = QListWidgetItem(f"{column.title}  ({column.group})")
        item.setData(KEY_ROLE, column.key)
        item.setToolTip(wrapped(column.tip))
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled
        flags |= Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemNeverHasChildren
        # A row without its name would tell nothing.
        if column.key != "name":
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        item.setFlags(flags)
        state = Qt.CheckState.Checked if is_shown else Qt.CheckState.Unchecked
        item.setCheckState(state)
        return item

    @property
    def order(self) -> list[str]:
        """All keys, from left to right."""
        items = (self.list.item(row) for row in range(self.list.count()))
        return [str(item.data(KEY_ROLE)) for item in items]

    @property
    def shown(self) -> list[str]:
        """Keys of the ticked columns."""
        items = (self.list.item(row) for row in range(self.list.count()))
        ticked = Qt.CheckState.Checked
        return [str(x.data(KEY_ROLE)) for x in items if x.checkState() == ticked]

    @Slot()
    def _on_move(self) -> None:
        button, row = self.sender(), self.list.currentRow()
        to = row + int(button.property("by"))
        if row >= 0 and 0 <= to < self.list.count():
            self.list.insertItem(to, self.list.takeItem(row))
            self.list.setCurrentRow(to)
