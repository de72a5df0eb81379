"""A line that looks for rows without hiding the others, and steps through them."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QHideEvent, QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QToolButton, QWidget

from app.theme import theme
from app.widgets.format import integer

DELAY_MS = 120


class FindBar(QWidget):
    """Text, number of matches, back, forward, close.

    Signals:
        edited: The text, some time after the last key.
        stepped: 1 for the next match, -1 for the one before.
        closed: The bar was closed; nothing is looked for any more.
    """

    edited = Signal(object)
    stepped = Signal(object)
    closed = Signal()

    def __init__(self, help_text: str, parent: QWidget | None = None) -> None:
        """Build the bar, hidden."""
        super().__init__(parent)
        self._help = help_text
        self.line = QLineEdit(self)
        self.line.setPlaceholderText("Find: words, patterns or terms, as in the filter")
        self.line.setAccessibleName("Find layers")
        self.line.setAccessibleDescription(help_text)
        self.line.setToolTip(help_text)
        self.count = QLabel(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._emit)
        self.line.textEdited.connect(self._on_edit)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme().em(0.5))
        row.addWidget(self.line, 1)
        row.addWidget(self.count)
        for arrow, name, slot in (
            (Qt.ArrowType.UpArrow, "Previous match (Shift+F3)", self._on_previous),
            (Qt.ArrowType.DownArrow, "Next match (F3)", self._on_next),
        ):
            row.addWidget(self._button(arrow, name, slot))
        close = QToolButton(self)
        close.setText("Close")
        close.setAutoRaise(True)
        close.setToolTip("Close the find line (Esc)")
        close.clicked.connect(self.close_bar)
        row.addWidget(close)
        self.hide()

    def _button(self, arrow: Qt.ArrowType, name: str, slot: object) -> QToolButton:
        button = QToolButton(self)
        button.setArrowType(arrow)
        button.setAutoRaise(True)
        button.setToolTip(name)
        button.setAccessibleName(name)
        button.clicked.connect(slot)
        return button

    @property
    def text(self) -> str:
        """What is looked for; "" while the bar is closed."""
        return "" if self.isHidden() else self.line.text()

    def open_bar(self) -> None:
        """Show the bar and put the cursor into it."""
        self.show()
        self.line.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.line.selectAll()
        self._emit()

    @Slot()
    def close_bar(self) -> None:
        """Hide the bar and stop looking."""
        self.hide()
        self.closed.emit()

    def show_count(self, place: int, total: int) -> None:
        """Say which match is looked at; `place` counts from 1, 0 for none of them."""
        if not self.line.text().strip():
            self._say("")
        elif not total:
            self._say("none", "danger")
        elif place:
            self._say(f"{integer(place)} of {integer(total)}")
        else:
            self._say(f"{integer(total)} found")

    def show_mistake(self, text: str) -> None:
        """Say what is not understood."""
        self._say("not understood", "danger", text)

    def _say(self, text: str, role: str = "muted", tip: str = "") -> None:
        self.count.setText(text)
        self.count.setAccessibleName(tip or text or "nothing looked for")
        self.count.setToolTip(tip)
        self.line.setToolTip(tip or self._help)
        palette = self.count.palette()
        palette.setColor(palette.ColorRole.WindowText, theme().colour(role))
        self.count.setPalette(palette)

    @Slot()
    def _on_edit(self) -> None:
        self._timer.start()

    @Slot()
    def _emit(self) -> None:
        self._timer.stop()
        self.edited.emit(self.line.text())

    @Slot()
    def _on_next(self) -> None:
        self.stepped.emit(1)

    @Slot()
    def _on_previous(self) -> None:
        self.stepped.emit(-1)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt naming
        """Return goes to the next match, with Shift to the one before; Esc closes."""
        key = event.key()
        if key == Qt.Key.Key_Escape:
            self.close_bar()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self._timer.isActive():
                self._emit()
            back = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            self.stepped.emit(-1 if back else 1)
        else:
            super().keyPressEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt naming
        """Leave no timer behind."""
        self._timer.stop()
        super().hideEvent(event)
