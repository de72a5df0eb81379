"""The log as a table: only messages of a level, and with a text."""

from __future__ import annotations

import time

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Slot,
)

from app.logbook import LEVELS, Logbook, LogEntry
from app.theme import theme

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole
COLUMNS = (("Time", 10), ("Level", 9), ("Source", 22), ("Message", 90))
_COLOURS = {"Warning": "warning", "Error": "danger"}


class LogModel(QAbstractTableModel):
    """The messages that the filter lets through, the latest last."""

    def __init__(self, book: Logbook, parent: QObject | None = None) -> None:
        """Show everything."""
        super().__init__(parent)
        self._book = book
        self._level, self._text = LEVELS[0][0], ""
        self.shown: list[LogEntry] = []
        book.added.connect(self._on_added)
        book.shortened.connect(self._refill)
        self._refill()

    def set_filter(self, level: int, text: str) -> None:
        """Show messages of at least a level that hold a text, in any case."""
        self._level, self._text = level, text.strip().lower()
        self._refill()

    def _lets(self, entry: LogEntry) -> bool:
        found = f"{entry.source} {entry.text}".lower()
        return entry.level >= self._level and self._text in found

    @Slot()
    def _refill(self) -> None:
        self.beginResetModel()
        self.shown = [entry for entry in self._book.entries if self._lets(entry)]
        self.endResetModel()

    @Slot(object)
    def _on_added(self, entry: LogEntry) -> None:
        if self._lets(entry):
            end = len(self.shown)
            self.beginInsertRows(QModelIndex(), end, end)
            self.shown.append(entry)
            self.endInsertRows()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of messages shown."""
        return 0 if parent.isValid() else len(self.shown)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        """Return one aspect of a cell."""
        if not index.isValid():
            return None
        entry, title = self.shown[index.row()], COLUMNS[index.column()][0]
        if role == Role.DisplayRole:
            match title:
                case "Time":
                    return time.strftime("%H:%M:%S", time.localtime(entry.time))
                case "Level":
                    return entry.level_text
                case "Source":
                    return entry.source
                case _:
                    return entry.text.partition("\n")[0]
        if role == Role.ToolTipRole and title == "Message":
            return entry.text
        if role == Role.ForegroundRole and title == "Level":
            colour = _COLOURS.get(entry.level_text)
            return theme().colour(colour) if colour else None
        return None

    def headerData(  # noqa: N802 - Qt naming
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> object:
        """Return the title of a column."""
        if orientation == Qt.Orientation.Horizontal and role == Role.DisplayRole:
            return COLUMNS[section][0]
        return None
