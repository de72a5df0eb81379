"""The two buttons of a panel's title, in the colours of the theme."""

from __future__ import annotations

from PySide6.QtCore import QLineF, QObject, QPointF, QRectF, Qt, Slot
from PySide6.QtGui import QIcon, QPainter, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QAbstractButton, QDockWidget

from app.theme import theme

SIDE = 10
"""Of the pictures, in their own units."""


class DockButtons(QObject):
    """Draws *float* and *close* anew: those of Fusion are dark grey on any ground."""

    def __init__(self, dock: QDockWidget) -> None:
        """Follow the theme, and the dock, which takes its own pictures back."""
        super().__init__(dock)
        self._dock = dock
        theme().themeChanged.connect(self.draw)
        for changed in (dock.topLevelChanged, dock.visibilityChanged):
            changed.connect(self.draw)
        self.draw()

    @Slot()
    def draw(self, *_: object) -> None:
        """Put the pictures on the buttons."""
        for name, picture in (("float", _floating()), ("close", _closing())):
            button = self._dock.findChild(
                QAbstractButton, f"qt_dockwidget_{name}button"
            )
            if button is not None:
                button.setIcon(picture)


def _painter(pixmap: QPixmap) -> QPainter:
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(pixmap.width() / SIDE, pixmap.height() / SIDE)
    painter.setPen(QPen(theme().colour("muted"), 1.2))
    return painter


def _canvas() -> QPixmap:
    # Four times as fine as on an ordinary screen: Qt scales icons down only.
    return QPixmap(4 * SIDE, 4 * SIDE)


def _closing() -> QIcon:
    """Return a cross."""
    pixmap = _canvas()
    painter = _painter(pixmap)
    painter.drawLines([QLineF(2, 2, 8, 8), QLineF(2, 8, 8, 2)])
    painter.end()
    return QIcon(pixmap)


def _floating() -> QIcon:
    """Return a window before another one."""
    pixmap = _canvas()
    painter = _painter(pixmap)
    painter.drawRect(QRectF(1.5, 4, 4.5, 4.5))
    behind = ((4, 4), (4, 1.5), (8.5, 1.5), (8.5, 6), (6, 6))
    painter.drawPolyline(QPolygonF([QPointF(*corner) for corner in behind]))
    painter.end()
    return QIcon(pixmap)
