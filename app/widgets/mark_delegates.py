"""Table cells with a mark: the link of tied layers, the star of bookmarked ones."""

from __future__ import annotations

import math

from PySide6.QtCore import (
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPointF,
    QRectF,
    Qt,
)
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from app.theme import theme
from app.widgets.bits_delegate import DISPLAY, draw_cell
from app.widgets.shorten import shorten_path

Index = QModelIndex | QPersistentModelIndex
MARK = 2.4
"""Width of the mark of tied layers [digits]."""
INNER = 0.42
"""Inner over outer radius of the star."""


class PathDelegate(QStyledItemDelegate):
    """Shortens names of layers so that the number of their block stays."""

    def initStyleOption(  # noqa: N802 - Qt naming
        self, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Put the text into the room of the cell."""
        super().initStyleOption(option, index)
        room = option.rect.width() - theme().em(1.2)
        metrics = QFontMetricsF(option.fontMetrics)
        text = option.text
        option.text = shorten_path(metrics, text, room)


class NameDelegate(QStyledItemDelegate):
    """Draws a name and, at the right end, two links of a chain where it is tied.

    Args:
        tied_role: Model role that tells whether the layer is tied.
        parent: Owner.
    """

    def __init__(self, tied_role: int, parent: QObject | None = None) -> None:
        """Keep the role."""
        super().__init__(parent)
        self._role = tied_role

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Draw name and mark."""
        cell, colour, _ = draw_cell(painter, option, index)
        room = cell.rect.adjusted(theme().em(0.5), 0, -theme().em(0.5), 0)
        painter.save()
        if index.data(self._role):
            room.setRight(room.right() - theme().em(MARK))
            self._chain(painter, QRectF(cell.rect), colour)
        painter.setPen(colour)
        text, metrics = str(index.data(DISPLAY)), QFontMetricsF(cell.fontMetrics)
        shown = shorten_path(metrics, text, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, shown)
        painter.restore()

    @staticmethod
    def _chain(painter: QPainter, cell: QRectF, colour: QColor) -> None:
        """Draw two links that hold each other."""
        em = theme().em(1)
        link = QRectF(0, 0, 1.25 * em, 0.75 * em)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(colour, max(1.0, em / 7)))
        for place in (-2.2, -1.4):
            link.moveCenter(QPointF(cell.right() + place * em, cell.center().y()))
            painter.drawRoundedRect(link, link.height() / 2, link.height() / 2)


class StarDelegate(QStyledItemDelegate):
    """Draws a star where the text says "starred"."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Draw the star, or nothing."""
        cell, colour, _ = draw_cell(painter, option, index)
        if not index.data(DISPLAY):
            return
        outer = cell.fontMetrics.ascent() / 2
        middle = QRectF(cell.rect).center() + QPointF(0, outer / 10)
        points = []
        for corner in range(10):
            radius = INNER * outer if corner % 2 else outer
            turn = corner * math.pi / 5
            step = QPointF(radius * math.sin(turn), -radius * math.cos(turn))
            points.append(middle + step)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(QPolygonF(points))
        painter.restore()
