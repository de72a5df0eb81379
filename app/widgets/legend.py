"""A legend beside the plot, not over the data: marks with their meaning, wrapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyqtgraph.graphicsItems.ScatterPlotItem import drawSymbol
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QBrush, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.theme import theme


@dataclass(frozen=True, slots=True)
class Entry:
    """One mark and what it stands for.

    Attributes:
        text: Meaning, a few words.
        kind: "line", "fill", or a pyqtgraph symbol drawn by itself.
        pen: Outline of the mark, or the line.
        brush: Inside of the mark.
    """

    text: str
    kind: Literal["line", "fill"] | str
    pen: QPen
    brush: QBrush


class Legend(QWidget):
    """Entries in reading order, in as many rows as the width needs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without entries; an empty legend takes no room."""
        super().__init__(parent)
        self._entries: tuple[Entry, ...] = ()
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        theme().themeChanged.connect(self._repaint)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is shown."""
        return self._entries

    def set_entries(self, entries: tuple[Entry, ...]) -> None:
        """Show other entries."""
        if entries == self._entries:
            return
        self._entries = entries
        self.setVisible(bool(entries))
        self.setAccessibleName("Legend: " + ", ".join(e.text for e in entries))
        self.updateGeometry()
        self.update()

    @Slot()
    def _repaint(self) -> None:
        self.update()

    def _place(self, width: int) -> tuple[list[QRectF], float]:
        """Return the rectangle of each entry and the height in all."""
        metrics, gap = self.fontMetrics(), theme().em(1.6)
        row = metrics.height() * 1.25
        x = y = 0.0
        places = []
        for entry in self._entries:
            wide = self._mark_width() + metrics.horizontalAdvance(entry.text)
            if x > 0 and x + wide > width:
                x, y = 0.0, y + row
            places.append(QRectF(x, y, wide, row))
            x += wide + gap
        return places, y + row if places else 0.0

    @staticmethod
    def _mark_width() -> float:
        return float(theme().em(2.6))

    def hasHeightForWidth(self) -> bool:
        """Say that the height follows the width."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Return the height of the wrapped entries."""
        return round(self._place(width)[1])

    def sizeHint(self) -> QSize:
        """Return the size at the present width."""
        width = self.width() or 400
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        """Return the height of one row."""
        return QSize(0, self.heightForWidth(10**6))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw marks and texts."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        places, _ = self._place(self.width())
        for entry, place in zip(self._entries, places, strict=True):
            self._paint_mark(painter, entry, place)
            painter.setPen(theme().colour("muted"))
            text = place.adjusted(self._mark_width(), 0, theme().em(1), 0)
            align = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
            painter.drawText(text, align, entry.text)
        painter.end()

    def _paint_mark(self, painter: QPainter, entry: Entry, place: QRectF) -> None:
        wide = self._mark_width() * 0.75
        centre = place.center().y()
        painter.save()
        painter.setPen(entry.pen)
        painter.setBrush(entry.brush)
        if entry.kind == "line":
            painter.drawLine(
                QPointF(place.x(), centre), QPointF(place.x() + wide, centre)
            )
        elif entry.kind == "fill":
            half = place.height() * 0.3
            painter.drawRect(QRectF(place.x(), centre - half, wide, 2 * half))
        else:
            painter.translate(place.x() + wide / 2, centre)
            # The arms of the cross-hair reach out of the size asked for.
            share = 0.38 if entry.kind == "crosshair" else 0.6
            size = place.height() * share
            drawSymbol(painter, entry.kind, size, entry.pen, entry.brush)
        painter.restore()
