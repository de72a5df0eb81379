"""A box that finds one thing among many by some of its letters: commands, layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QLabel,
    QLineEdit,
    QListView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from app.theme import theme
from app.widgets.bits_delegate import draw_cell
from app.widgets.format import count, integer
from app.widgets.fuzzy import Matcher

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole
LIMIT = 500
"""Rows shown at most; who does not find it among them types on."""
_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


@dataclass(frozen=True, slots=True)
class Detail:
    """What stands beside a name.

    Attributes:
        note: At the right: a key, a format.
        why: Why it cannot be chosen now; "" when it can.
        tip: A sentence about it.
    """

    note: str = ""
    why: str = ""
    tip: str = ""


class _Found(QAbstractListModel):
    """The names that match, best first; only visible rows are described."""

    def __init__(
        self, names: Sequence[str], detail: Callable[[int], Detail], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._names, self._detail = names, detail
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def set_order(self, order: NDArray[np.int64]) -> None:
        self.beginResetModel()
        self._order = order
        self.endResetModel()

    def number(self, row: int) -> int:
        return int(self._order[row])

    def detail(self, row: int) -> Detail:
        return self._detail(self.number(row))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(self._order)

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        if not index.isValid():
            return None
        if role == Role.DisplayRole:
            return self._names[self.number(index.row())]
        if role in (Role.ToolTipRole, Role.AccessibleTextRole):
            shown = self.detail(index.row())
            if role == Role.ToolTipRole:
                return shown.why or shown.tip or None
            name = self._names[self.number(index.row())]
            why = f"not available: {shown.why}" if shown.why else ""
            return ", ".join(part for part in (name, shown.note, why) if part)
        return None


class _Line(QStyledItemDelegate):
    """Draws a name at the left and its note, or why not, at the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        return QSize(theme().em(10), theme().line(1.6))

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        cell, colour, is_chosen = draw_cell(painter, option, index)
        model = index.model()
        assert isinstance(model, _Found)
        shown = model.detail(index.row())
        muted = colour if is_chosen else theme().colour("muted")
        room = cell.rect.adjusted(theme().em(1), 0, -theme().em(1), 0)
        metrics, middle = cell.fontMetrics, Qt.TextElideMode.ElideMiddle
        note = metrics.elidedText(
            shown.why or shown.note, Qt.TextElideMode.ElideRight, room.width() * 3 // 5
        )
        width = metrics.horizontalAdvance(note) + theme().em(2)
        left = QRect(room.left(), room.top(), room.width() - width, room.height())
        name = metrics.elidedText(str(index.data()), middle, left.width())
        centred = Qt.AlignmentFlag.AlignVCenter
        painter.save()
        painter.setPen(muted if shown.why else colour)
        painter.drawText(left, int(centred | Qt.AlignmentFlag.AlignLeft), name)
        painter.setPen(muted)
        painter.drawText(room, int(centred | Qt.AlignmentFlag.AlignRight), note)
        painter.restore()


class CommandPalette(QDialog):
    """A line to type into over the names that match it.

    Args:
        names: What can be chosen, in the order shown while nothing is typed.
        detail: Called with the number of a name when its row is seen.
        title: What is looked for; shown while nothing is typed, and spoken.
        noun: One of the names, for the count below.
        matcher: Of the same names, when the caller keeps one; they take a moment
            to build for many names.
        parent: The window it stands over.

    Signals:
        chosen: Number of the name.
    """

    chosen = Signal(object)

    def __init__(
        self,
        names: Sequence[str],
        detail: Callable[[int], Detail],
        *,
        title: str,
        noun: str,
        matcher: Matcher | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Show all names."""
        super().__init__(parent, Qt.WindowType.Popup)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._noun = noun
        self._matcher = matcher or Matcher(names)
        self.model = _Found(names, detail, self)
        self.line = QLineEdit(self)
        self.line.setPlaceholderText(f"{title}: type some letters of it")
        self.line.setAccessibleName(title)
        self.line.setClearButtonEnabled(True)
        self.list = QListView(self)
        self.list.setAccessibleName(f"{title}: what matches")
        self.list.setUniformItemSizes(True)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setModel(self.model)
        # A delegate is not owned by its view.
        self._delegate = _Line(self)
        self.list.setItemDelegate(self._delegate)
        self._note = QLabel(self)
        gap = theme().em(0.75)
        frame = QFrame(self)
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 0)
        around.addWidget(frame)
        layout = QVBoxLayout(frame)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        for widget in (self.line, self.list, self._note):
            layout.addWidget(widget)
        self.line.textChanged.connect(self._on_text)
        self.line.returnPressed.connect(self._on_return)
        self.list.clicked.connect(self._choose)
        self.line.installEventFilter(self)
        self._on_text("")

    def open_over(self, window: QWidget) -> None:
        """Show it at the top of a window, and take the keyboard."""
        width = min(theme().em(90), window.width() * 4 // 5)
        height = min(theme().line(26), window.height() * 3 // 5)
        self.resize(width, height)
        corner = window.mapToGlobal(window.rect().topLeft())
        left = corner.x() + (window.width() - width) // 2
        self.move(left, corner.y() + theme().line(3))
        self.show()
        self.line.setFocus(Qt.FocusReason.PopupFocusReason)

    @Slot(str)
    def _on_text(self, text: str) -> None:
        found = self._matcher.ranked(text)
        self.model.set_order(found[:LIMIT])
        note = count(len(found), self._noun) if len(found) else f"No {self._noun} found"
        if len(found) > LIMIT:
            note = f"The first {integer(LIMIT)} of {note}"
        self._note.setText(note)
        if len(found):
            self.list.setCurrentIndex(self.model.index(0))

    @Slot()
    def _on_return(self) -> None:
        self._choose(self.list.currentIndex())

    @Slot(QModelIndex)
    def _choose(self, index: QModelIndex) -> None:
        """Take a row, unless it cannot be chosen; its row says why."""
        if index.isValid() and not self.model.detail(index.row()).why:
            number = self.model.number(index.row())
            self.close()
            self.chosen.emit(number)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let the arrows move through the list while the line has the keyboard."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in _MOVES:
                self.list.keyPressEvent(event)
                return True
        return super().eventFilter(watched, event)
