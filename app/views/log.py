"""The log: what happened in this session, by level and text, to read and to copy."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.logbook import LEVELS, Logbook
from app.models.log import COLUMNS, LogModel
from app.theme import theme
from app.widgets.empty_state import EmptyState
from app.widgets.row_table import RowTable


class LogView(QWidget):
    """A table of messages under a filter; follows the latest one while at the end."""

    def __init__(self, book: Logbook, parent: QWidget | None = None) -> None:
        """Show everything."""
        super().__init__(parent)
        self._book = book
        self.setAccessibleName("Log")
        self.model = LogModel(book, self)
        self.level = QComboBox(self)
        self.level.setAccessibleName("Least level shown")
        for level, text in LEVELS:
            self.level.addItem("All" if level == LEVELS[0][0] else f"{text}s", level)
        # An error is the highest level, so that list needs no "and above".
        self.level.setItemText(1, "Warnings and errors")
        self.text = QLineEdit(self)
        self.text.setPlaceholderText("Filter messages")
        self.text.setAccessibleName("Text that messages must hold")
        self.text.setClearButtonEnabled(True)
        self.copy_button = QPushButton("C&opy", self)
        self.copy_button.setToolTip("Copy the selected messages, or all that are shown")
        self.clear_button = QPushButton("Clea&r", self)
        self.clear_button.setToolTip("Forget all messages")
        self.table = RowTable(self.model, [width for _, width in COLUMNS], self)
        self.table.setAccessibleName("Messages")
        self.table.setSortingEnabled(False)
        self.table.horizontalHeader().setStretchLastSection(True)
        self._empty = EmptyState(parent=self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.table)
        self._stack.addWidget(self._empty)
        self._is_at_end = True
        self._arrange()
        self._connect()
        self._on_rows()

    def _arrange(self) -> None:
        label = QLabel("Sho&w", self)
        label.setBuddy(self.level)
        gap = theme().em(0.75)
        top = QHBoxLayout()
        top.setSpacing(gap)
        top.addWidget(label)
        top.addWidget(self.level)
        top.addWidget(self.text, 1)
        top.addWidget(self.copy_button)
        top.addWidget(self.clear_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addLayout(top)
        layout.addWidget(self._stack, 1)

    def _connect(self) -> None:
        self.level.currentIndexChanged.connect(self._on_filter)
        self.text.textChanged.connect(self._on_filter)
        self.copy_button.clicked.connect(self.copy)
        self.clear_button.clicked.connect(self._book.clear)
        self.model.rowsAboutToBeInserted.connect(self._on_before)
        self.model.rowsInserted.connect(self._on_rows)
        self.model.modelReset.connect(self._on_rows)

    @Slot()
    def _on_filter(self, *_: object) -> None:
        self.model.set_filter(int(self.level.currentData()), self.text.text())

    @Slot()
    def _on_before(self, *_: object) -> None:
        bar = self.table.verticalScrollBar()
        self._is_at_end = bar.value() >= bar.maximum()

    @Slot()
    def _on_rows(self, *_: object) -> None:
        some = bool(self.model.shown)
        self.copy_button.setEnabled(some)
        self.clear_button.setEnabled(bool(self._book.entries))
        if not some and self._book.entries:
            text = "Choose the level All, or another text."
            self._empty.set_text("No message passes the filter", text)
        elif not some:
            text = "Warnings, errors and what was done are listed here as they happen."
            self._empty.set_text("Nothing to report", text)
        self._stack.setCurrentWidget(self.table if some else self._empty)
        if some and self._is_at_end:
            self.table.scrollToBottom()

    @Slot()
    def copy(self) -> None:
        """Copy the selected messages, or all that are shown, as lines."""
        rows = self.table.selected_rows().tolist() or range(len(self.model.shown))
        text = "\n".join(self.model.shown[row].line() for row in rows)
        QGuiApplication.clipboard().setText(text)
