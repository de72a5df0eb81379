"""A row of controls that goes on in the next line where it is too long."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtWidgets import QLabel, QLayout, QLayoutItem, QWidget


class FlowLayout(QLayout):
    """Places items from left to right at their full width, and breaks lines.

    A label stays with the control behind it.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty, without margins."""
        super().__init__(parent)
        self._items: list[QLayoutItem] = []
        self.setContentsMargins(0, 0, 0, 0)

    def addItem(self, item: QLayoutItem) -> None:  # noqa: N802 - Qt naming
        """Put an item behind the others."""
        self._items.append(item)

    def count(self) -> int:
        """Return how many items there are."""
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:  # noqa: N802
        """Return an item; None beyond the last."""
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:  # noqa: N802
        """Remove an item and return it; None beyond the last."""
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:  # noqa: N802
        """Take no more room than the lines need."""
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Say that a narrower place needs more lines."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """Return the height of all lines at a width [pixels]."""
        return self._place(QRect(0, 0, width, 0), moves=False)

    def setGeometry(self, rect: QRect) -> None:  # noqa: N802
        """Place the items."""
        super().setGeometry(rect)
        self._place(rect, moves=True)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size of one line."""
        groups = self._groups()
        gaps = self.spacing() * max(len(groups) - 1, 0)
        width = sum(self._width(group) for group in groups) + gaps
        return QSize(width, max(map(_height, groups), default=0))

    def minimumSize(self) -> QSize:  # noqa: N802
        """Return the size of the widest item, in one line."""
        groups = self._groups()
        width = max(map(self._width, groups), default=0)
        return QSize(width, max(map(_height, groups), default=0))

    def _groups(self) -> list[list[QLayoutItem]]:
        """Return the visible items, a label in one group with what it names."""
        groups: list[list[QLayoutItem]] = []
        is_named = False
        for item in self._items:
            if item.isEmpty():
                continue
            if is_named:
                groups[-1].append(item)
            else:
                groups.append([item])
            is_named = isinstance(item.widget(), QLabel)
        return groups

    def _width(self, group: list[QLayoutItem]) -> int:
        widths = [item.sizeHint().width() for item in group]
        return sum(widths) + self.spacing() * (len(widths) - 1)

    def _lines(self, width: int) -> list[list[list[QLayoutItem]]]:
        """Return the groups of every line at a width [pixels]."""
        lines: list[list[list[QLayoutItem]]] = []
        room = 0
        for group in self._groups():
            wide = self._width(group)
            if not lines or wide > room:
                lines.append([])
                room = width
            lines[-1].append(group)
            room -= wide + self.spacing()
        return lines

    def _place(self, rect: QRect, *, moves: bool) -> int:
        """Return the height of all lines; move the items there if asked to."""
        gap, y = self.spacing(), rect.top()
        for groups in self._lines(rect.width()):
            x, high = rect.left(), max(map(_height, groups))
            for item in (item for group in groups for item in group if moves):
                size = item.sizeHint().boundedTo(QSize(rect.width(), high))
                top = y + (high - size.height()) // 2
                item.setGeometry(QRect(QPoint(x, top), size))
                x += size.width() + gap
            y += high + gap
        return max(y - gap - rect.top(), 0)


def _height(group: list[QLayoutItem]) -> int:
    return max(item.sizeHint().height() for item in group)
