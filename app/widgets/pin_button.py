"""A button that keeps a panel on its layers while the selection moves on."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QSize, Qt, Slot
from PySide6.QtGui import QPainter, QPaintEvent, QPolygonF
from PySide6.QtWidgets import (
    QStyle,
    QStyleOptionToolButton,
    QStylePainter,
    QToolButton,
    QWidget,
)

from app.selection import PinnableSelection
from app.theme import theme

FREE = "Pin: stay on this layer while the selection moves on"
PINNED = "Pinned to its layer. Unpin to follow the selection again"


class PinButton(QToolButton):
    """Puts the pin of a panel in and takes it out; upright while it is in.

    Args:
        selection: What the panel shows.
        parent: Owner.
    """

    def __init__(
        self, selection: PinnableSelection, parent: QWidget | None = None
    ) -> None:
        """Follow the selection's pin."""
        super().__init__(parent)
        self._selection = selection
        self.setCheckable(True)
        self.setAutoRaise(True)
        self.toggled.connect(selection.set_pinned)
        selection.pinnedChanged.connect(self._on_pinned)
        theme().themeChanged.connect(self.update)
        self._on_pinned(selection.is_pinned)

    @Slot(object)
    def _on_pinned(self, pinned: object) -> None:
        self.setChecked(bool(pinned))
        text = PINNED if pinned else FREE
        self.setToolTip(text)
        self.setAccessibleName("Unpin this panel" if pinned else "Pin this panel")
        self.setAccessibleDescription(text)
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt naming
        """Return a square of one line of controls."""
        side = theme().line(1.5)
        return QSize(side, side)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt naming
        """Draw the frame of a tool button with a drawing pin in it."""
        option = QStyleOptionToolButton()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(QPointF(self.rect().center()) + QPointF(0.5, 0.5))
        unit = min(self.width(), self.height()) / 16
        painter.scale(unit, unit)
        if not self.isChecked():
            painter.rotate(40)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme().colour("accent" if self.isChecked() else "muted"))
        painter.drawRoundedRect(-3, -6, 6, 2, 0.8, 0.8)
        neck = ((-2, -4), (2, -4), (2.6, 0), (4, 2), (-4, 2), (-2.6, 0))
        painter.drawPolygon(QPolygonF([QPointF(*point) for point in neck]))
        tip = ((-0.7, 2), (0.7, 2), (0, 7))
        painter.drawPolygon(QPolygonF([QPointF(*point) for point in tip]))
