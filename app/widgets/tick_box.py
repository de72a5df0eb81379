"""A tick box whose empty box can be seen on a dark window."""

from __future__ import annotations

from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QCheckBox, QStyle, QStyleOptionButton

from app.theme import theme

RADIUS = 2.0
"""Of the corners, as the Fusion style rounds them [pixels]."""


class TickBox(QCheckBox):
    """Draws the outline of its box in a colour of the theme.

    The Fusion style outlines the box darker than the window, which on a dark window
    is next to nothing.
    """

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the box, then its outline."""
        super().paintEvent(event)
        option = QStyleOptionButton()
        self.initStyleOption(option)
        element = QStyle.SubElement.SE_CheckBoxIndicator
        box = self.style().subElementRect(element, option, self).toRectF()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(theme().pen("muted" if self.isEnabled() else "border"))
        painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), RADIUS, RADIUS)
        painter.end()
