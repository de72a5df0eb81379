"""A short notice that fades by itself."""

from __future__ import annotations

from PySide6.QtCore import QPropertyAnimation, QSize, Qt, QTimer, Slot
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import QGraphicsOpacityEffect, QLabel, QSizePolicy, QWidget

from app.theme import theme

SHOWN_MS, PER_LETTER_MS = 3_000, 50
"""How long a notice stays: long enough to be read at a slow pace."""
FADE_MS = 400


class Toast(QLabel):
    """Tells what was just done, to eyes and to screen readers, and asks for nothing.

    It takes neither the keyboard nor the mouse. What it says must also stand where it
    lasts.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty; an empty notice is not seen."""
        super().__init__(parent)
        self.setAccessibleName("Notice of what was done")
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._full = ""
        self._stay = QTimer(self)
        self._stay.setSingleShot(True)
        self._stay.timeout.connect(self._fade_out)
        self._effect = QGraphicsOpacityEffect(self)
        self.setGraphicsEffect(self._effect)
        self._fade = QPropertyAnimation(self._effect, b"opacity", self)
        self._fade.setDuration(FADE_MS)
        self._fade.setStartValue(1.0)
        self._fade.setEndValue(0.0)
        self._fade.finished.connect(self.clear_notice)
        theme().themeChanged.connect(self._paint)
        self.clear_notice()

    @property
    def notice(self) -> str:
        """What is shown, in full; "" when it has faded."""
        return self._full

    def tell(self, text: str) -> None:
        """Show a sentence for a while and have it read out."""
        self._fade.stop()
        self._effect.setEnabled(False)
        self._full = text
        self.setAccessibleDescription(text)
        self.updateGeometry()
        self._shorten()
        self._paint()
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, text))
        if self.isVisible():
            self._stay.start(SHOWN_MS + PER_LETTER_MS * len(text))

    @Slot()
    def clear_notice(self) -> None:
        """Show nothing, and leave no timer behind."""
        self._stay.stop()
        self._fade.stop()
        self._full = ""
        self._effect.setEnabled(False)
        self.setAccessibleDescription("")
        self.setText("")
        self._paint()

    @Slot()
    def _fade_out(self) -> None:
        self._effect.setEnabled(True)
        self._fade.start()

    def sizeHint(self) -> QSize:
        """Return the size of the whole sentence."""
        metrics, edges = self.fontMetrics(), self.contentsMargins()
        across = edges.left() + edges.right() + theme().em(3)
        wide = metrics.horizontalAdvance(self._full) if self._full else 0
        return QSize(wide + across, metrics.height() + theme().em(0.8))

    def minimumSizeHint(self) -> QSize:
        """Return next to nothing: the tools beside it come first."""
        return QSize(0, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shorten the sentence to the room there is."""
        super().resizeEvent(event)
        self._shorten()

    def _shorten(self) -> None:
        room = max(self.width() - theme().em(2), 0)
        side = Qt.TextElideMode.ElideRight
        self.setText(self.fontMetrics().elidedText(self._full, side, room))

    @Slot()
    def _paint(self) -> None:
        colours, pad = theme().colours, theme().em(0.8)
        look = (
            f"Toast {{ background: {colours.base}; color: {colours.text}; "
            f"border: 1px solid {colours.accent}; padding: 0 {pad}px; "
            f"border-radius: {theme().em(0.4)}px; }}"
            if self._full
            else "Toast { background: transparent; border: none; }"
        )
        if (
            look != self.styleSheet()
        ):  # setting it again costs as much as the first time
            self.setStyleSheet(look)
