"""What an empty panel says: why it is empty, and the first step."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.theme import theme

NOTHING = "Nothing to quantize", "This model has no layer that could be quantized."
"""Headline and text for a model without layers."""


class EmptyState(QWidget):
    """A title, one sentence and at most one button, centred.

    Args:
        title: What is missing ("No predicted error yet").
        text: What to do about it, one sentence.
        action: Text of the button; "" for none.
        parent: Owner.
    """

    actionTriggered = Signal()  # noqa: N815 - Qt signal naming

    def __init__(
        self,
        title: str = "",
        text: str = "",
        action: str = "",
        parent: QWidget | None = None,
    ) -> None:
        """Build the labels and the button."""
        super().__init__(parent)
        self._title = QLabel(self)
        self._text = QLabel(self)
        self._button = QPushButton(self)
        self._said: tuple[str, str, str] | None = None
        font = self._title.font()
        font.setPointSizeF(font.pointSizeF() * 1.25)
        font.setBold(True)
        self._title.setFont(font)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme().em(2),) * 4)
        layout.setSpacing(theme().line(0.6))
        layout.addStretch(2)
        for label in (self._title, self._text):
            label.setWordWrap(True)
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setSizePolicy(
                QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding
            )
            layout.addWidget(label)
        layout.addWidget(self._button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)
        self._button.clicked.connect(self.actionTriggered)
        self.set_text(title, text, action)

    def set_text(self, title: str, text: str, action: str = "") -> None:
        """Change what is said; an empty `action` hides the button."""
        if (title, text, action) == self._said:
            return
        self._said = title, text, action
        self._title.setText(title)
        self._text.setText(text)
        self._button.setText(action)
        self._button.setAccessibleName(action)
        self._button.setVisible(bool(action))
        self.setAccessibleName(title)
        self.setAccessibleDescription(text)

    @property
    def title(self) -> str:
        """The headline shown."""
        return self._title.text()
