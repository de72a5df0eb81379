"""One finding on a card: severity and title, and on demand evidence and advice."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QFont, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStyle,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.theme import theme

_ICONS = {
    "problem": QStyle.StandardPixmap.SP_MessageBoxCritical,
    "warning": QStyle.StandardPixmap.SP_MessageBoxWarning,
    "note": QStyle.StandardPixmap.SP_MessageBoxInformation,
}
_LONG = 24  # letters of a word that may need breaking
_NARROW = 45
"""Width [em] below which a headline gets a line of its own: beside severity and button
it would be a column of syllables."""
ROLES = {"problem": "danger", "warning": "warning", "note": "accent"}


class Card(QFrame):
    """A headline that folds a body away.

    Args:
        title: The headline.
        severity: "problem", "warning" or "note"; "" for a card that is no finding.
        action: Text of the button beside the headline; "" for none.
        parent: Owner.

    Signals:
        actionTriggered: The button was pressed.
        folded: Whether the body was hidden (True) or shown.
    """

    actionTriggered = Signal()  # noqa: N815 - Qt signal naming
    folded = Signal(object)

    def __init__(
        self,
        title: str,
        severity: str = "",
        action: str = "",
        parent: QWidget | None = None,
    ) -> None:
        """Build the headline over an empty, hidden body."""
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.setBackgroundRole(self.palette().ColorRole.Base)
        told = f"{severity.capitalize()}: {title}" if severity else title
        self.setAccessibleName(told)
        self.arrow = QToolButton(self)
        self.arrow.setAutoRaise(True)
        self.arrow.setAccessibleName(told)
        self.arrow.setToolTip("Show or hide evidence, reason and advice")
        self.arrow.clicked.connect(self.toggle)
        self._headline = text_label(told if not severity else title, self)
        self.action = QPushButton(action, self)
        self.action.setVisible(bool(action))
        self.action.setAccessibleName(f"{action}: {title}")
        self.action.clicked.connect(self.actionTriggered)
        self._body = QWidget(self)
        self.body = QVBoxLayout(self._body)
        self.body.setContentsMargins(theme().em(4), 0, 0, 0)
        self._has_severity = bool(severity)
        self._arrange(severity)
        self._show_body(False)

    def _arrange(self, severity: str) -> None:
        gap = theme().em(0.6)
        self._top = row = QHBoxLayout()
        row.setSpacing(gap)
        top = Qt.AlignmentFlag.AlignTop
        row.addWidget(self.arrow, 0, top)
        if severity:
            icon = QLabel(self)
            side = theme().line(1.1)
            pixmap = self.style().standardIcon(_ICONS[severity]).pixmap(side, side)
            icon.setPixmap(pixmap)
            self._in_line(icon, side)
            row.addWidget(icon, 0, top)
            word = QLabel(severity.capitalize(), self)
            _bold(word)
            palette = word.palette()
            palette.setColor(
                palette.ColorRole.WindowText, theme().colour(ROLES[severity])
            )
            word.setPalette(palette)
            self._in_line(word, word.fontMetrics().height())
            row.addWidget(word, 0, top)
        row.addStretch(0)
        row.addWidget(self.action, 0, top)
        self._lines = layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.addLayout(row)
        layout.addWidget(self._body)
        self._place_headline(below=False)

    def _place_headline(self, *, below: bool) -> None:
        """Put the headline beside the severity, or on a line of its own below."""
        self._is_below = below
        if below:
            self._headline.setContentsMargins(0, 0, 0, 0)
            self._lines.insertWidget(1, self._headline)
        else:
            self._in_line(self._headline, self._headline.fontMetrics().height())
            # Before the stretch and the button.
            self._top.insertWidget(self._top.count() - 2, self._headline, 1)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt naming
        """Give the headline a line of its own where the card is narrow."""
        super().resizeEvent(event)
        below = self._has_severity and self.width() < theme().em(_NARROW)
        if below != self._is_below:
            self._place_headline(below=below)

    def _in_line(self, label: QLabel, height: int) -> None:
        """Centre the first line of a label on the buttons beside it.

        A headline may wrap, so everything hangs from the top; without this the
        severity would sit higher than the headline, and both higher than the button.

        Args:
            label: What stands in the headline's row.
            height: Of its first line [pixels].
        """
        buttons = (self.arrow, self.action) if self.action.text() else (self.arrow,)
        tallest = max(button.sizeHint().height() for button in buttons)
        label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        label.setContentsMargins(0, max(0, (tallest - height) // 2), 0, 0)

    @property
    def is_folded(self) -> bool:
        """Whether the body is hidden."""
        return self._body.isHidden()

    @Slot()
    def toggle(self) -> None:
        """Show the body, or hide it again."""
        self._show_body(self.is_folded)
        self.folded.emit(self.is_folded)

    def unfold(self) -> None:
        """Show the body, without telling."""
        self._show_body(True)

    def _show_body(self, shown: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow
        self.arrow.setArrowType(arrow)
        self._body.setVisible(shown)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt naming
        """Fold or unfold by a click on the headline."""
        super().mouseReleaseEvent(event)
        if event.position().y() < self._body.y() or self.is_folded:
            self.toggle()


def add_numbers(card: Card, numbers: Sequence[tuple[str, str]]) -> None:
    """Put evidence into the body of a card: names on the left, numbers beside them."""
    grid = QGridLayout()
    grid.setColumnStretch(0, 1)
    grid.setHorizontalSpacing(theme().em(1.5))
    for row, (name, text) in enumerate(numbers):
        shown = text_label(text, card, role="text")
        _bold(shown)
        grid.addWidget(text_label(name, card, role="muted"), row, 0)
        grid.addWidget(shown, row, 1)
    grid.setColumnStretch(1, 1)
    card.body.addLayout(grid)


def add_paragraph(card: Card, title: str, text: str) -> None:
    """Put a titled paragraph into the body of a card."""
    head = QLabel(title, card)
    _bold(head)
    card.body.addWidget(head)
    card.body.addWidget(text_label(text, card))


def text_label(text: str, parent: QWidget, role: str = "text") -> QLabel:
    """Return plain text that wraps and can be selected."""
    label = QLabel(parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(_breakable(text))
    label.setWordWrap(True)
    label.setAccessibleName(text)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    # Lost by a new policy; without it a line is as high as when it is narrowest.
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    if role != "text":
        palette = label.palette()
        palette.setColor(palette.ColorRole.WindowText, theme().colour(role))
        label.setPalette(palette)
    return label


def _breakable(text: str) -> str:
    """Return a text in which long dotted layer names may break after a dot."""
    words = text.split(" ")
    return " ".join(
        word.replace(".", ".\u200b") if len(word) > _LONG else word for word in words
    )


def _bold(label: QLabel) -> None:
    font: QFont = label.font()
    font.setBold(True)
    label.setFont(font)
