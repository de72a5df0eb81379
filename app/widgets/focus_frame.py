"""Shows where the keyboard is on widgets whose style draws nothing for it."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QEvent, QObject, QRect, Qt, Slot
from PySide6.QtGui import QPainter, QPaintEvent, QRegion
from PySide6.QtWidgets import (
    QApplication,
    QGraphicsView,
    QScrollArea,
    QTextEdit,
    QWidget,
)

from app.theme import theme

UNFRAMED = (QGraphicsView, QScrollArea, QTextEdit)
"""Plots, pages and scrolled panels: Fusion frames fields and buttons, but not these."""
WIDTH = 2
"""Of the frame [logical pixels]."""


class FocusFrame(QWidget):
    """A frame over the plot or page that has the keyboard.

    It lies inside that widget, so that it moves with it, and lets the mouse through.
    """

    def __init__(self, owner: QWidget) -> None:
        """Watch the focus; `owner` keeps it while nothing is framed."""
        super().__init__(owner)
        self._owner = owner
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.focusChanged.connect(self._on_focus)

    @Slot(QWidget, QWidget)
    def _on_focus(self, _: QWidget | None, new: QWidget | None) -> None:
        if not shiboken6.isValid(self._owner):
            return  # the window is being taken apart
        framed = self.parentWidget()
        if framed is not None and framed is not self._owner:
            framed.removeEventFilter(self)
        inside = new is not None and new.window() is self._owner
        if new is None or not inside or not isinstance(new, UNFRAMED):
            self.hide()
            # Not left on a widget that may be deleted, and the frame with it.
            self.setParent(self._owner)
            return
        self.setParent(new)
        new.installEventFilter(self)
        self._fit(new)
        self.show()
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stay as large as what is framed."""
        if event.type() == QEvent.Type.Resize and isinstance(watched, QWidget):
            self._fit(watched)
        return False

    def _fit(self, widget: QWidget) -> None:
        around = QRect(widget.rect())
        self.setGeometry(around)
        inner = around.adjusted(WIDTH, WIDTH, -WIDTH, -WIDTH)
        # Only the frame is composed, not the whole plot under it.
        self.setMask(QRegion(around).subtracted(QRegion(inner)))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt naming
        """Fill what the mask leaves."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme().colour("accent"))
        painter.end()
