"""A line to type a filter in, with the number of rows left and what is wrong."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QSizePolicy, QWidget

from app.theme import theme
from app.widgets.format import count, integer

DELAY_MS = 120


class FilterBox(QWidget):
    """Emits the text once typing pauses; shows a count or a mistake.

    Signals:
        edited: The text, some time after the last key.
    """

    edited = Signal(str)

    def __init__(
        self, placeholder: str, help_text: str, parent: QWidget | None = None
    ) -> None:
        """Build the line and its label."""
        super().__init__(parent)
        self.line = QLineEdit(self)
        self.line.setPlaceholderText(placeholder)
        self.line.setClearButtonEnabled(True)
        self.line.setAccessibleName("Filter")
        self.line.setAccessibleDescription(help_text)
        self.line.setToolTip(help_text)
        self._help = help_text
        self._label = QLabel(self)
        self._label.setSizePolicy(
            QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred
        )
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._emit)
        self.line.textEdited.connect(self._on_edit)
        self.line.textChanged.connect(self._on_text)
        self.line.returnPressed.connect(self._emit)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme().em())
        layout.addWidget(self.line, 1)
        layout.addWidget(self._label)
        theme().themeChanged.connect(self._paint_state)
        self._mistake = ""

    @property
    def text(self) -> str:
        """What is typed."""
        return self.line.text()

    @property
    def is_mistaken(self) -> bool:
        """Whether what is typed was not understood."""
        return bool(self._mistake)

    def set_text(self, text: str) -> None:
        """Type for the user; takes effect at once."""
        before = self.line.text()
        self.line.setText(text)
        # Emptying the line has told it already.
        if text or not before:
            self._emit()

    def show_count(self, shown: int, total: int) -> None:
        """Say how many rows are left."""
        self._mistake = ""
        few = shown != total
        self._label.setText(
            f"{integer(shown)} of {count(total, 'layer')}"
            if few
            else count(total, "layer")
        )
        self._label.setAccessibleName(f"{shown} of {total} layers shown")
        self._paint_state()

    def show_mistake(self, text: str) -> None:
        """Say what is not understood; the rows shown are those of before."""
        self._mistake = text
        self._label.setText("not understood")
        self._label.setAccessibleName(text)
        self._paint_state()

    @Slot()
    def _paint_state(self) -> None:
        tip = self._mistake or self._help
        self.line.setToolTip(tip)
        self._label.setToolTip(self._mistake)
        colour = theme().colours.danger if self._mistake else theme().colours.muted
        self._label.setStyleSheet(f"color: {colour}")

    @Slot()
    def _emit(self) -> None:
        self._timer.stop()
        self.edited.emit(self.line.text())

    @Slot()
    def _on_edit(self) -> None:
        self._timer.start()

    @Slot()
    def _on_text(self) -> None:
        # The clear button is no typing, yet must act.
        if not self.line.text():
            self._emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt naming
        """Escape empties the line."""
        if event.key() == Qt.Key.Key_Escape and self.line.text():
            self.line.clear()
            return
        super().keyPressEvent(event)
