"""Table cells drawn by hand: bit widths, padlocks, and errors with their bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import (
    QAbstractItemModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import (
    QColor,
    QPainter,
    QPainterPath,
    QPalette,
    QPen,
    QStandardItemModel,
)
from PySide6.QtWidgets import (
    QComboBox,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app.theme import theme

Index = QModelIndex | QPersistentModelIndex
Choice = tuple[str, str | None]
"""Text of a format, and why it cannot be chosen (None when it can)."""


# Looking a member up in an enumeration costs as much as drawing a short text, and a
# table draws hundreds of cells with every edit.
DISPLAY, INK, PAPER, PLACE = (
    int(role)
    for role in (
        Qt.ItemDataRole.DisplayRole,
        Qt.ItemDataRole.ForegroundRole,
        Qt.ItemDataRole.BackgroundRole,
        Qt.ItemDataRole.TextAlignmentRole,
    )
)
_CELL, _SELECTED = (
    QStyle.ControlElement.CE_ItemViewItem,
    QStyle.StateFlag.State_Selected,
)
_TEXT, _HIGHLIGHTED = QPalette.ColorRole.Text, QPalette.ColorRole.HighlightedText
_MIDDLE, _END = Qt.TextElideMode.ElideMiddle, Qt.TextElideMode.ElideRight
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


def draw_cell(
    painter: QPainter, option: QStyleOptionViewItem, index: Index
) -> tuple[QStyleOptionViewItem, QColor, bool]:
    """Draw background, selection and focus.

    The model is asked for the two colours only: `initStyleOption` asks for seven
    roles, and asking takes longer than drawing.

    Returns:
        The option, the colour of the text, and whether the cell is selected.
    """
    cell = QStyleOptionViewItem(option)
    paper = index.data(PAPER)
    if paper is not None:
        cell.backgroundBrush = paper
    widget = cell.widget
    if widget is not None:
        widget.style().drawControl(_CELL, cell, painter, widget)
    if cell.state & _SELECTED:
        return cell, cell.palette.color(_HIGHLIGHTED), True
    ink = index.data(INK)
    return cell, cell.palette.color(_TEXT) if ink is None else QColor(ink), False


class TextDelegate(QStyledItemDelegate):
    """Draws a text as the table has it, in the place that the model says."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Draw the text, the middle left out where it is too long."""
        cell, colour, _ = draw_cell(painter, option, index)
        gap = theme().em(0.5)
        room = cell.rect.adjusted(gap, 0, -gap, 0)
        text = cell.fontMetrics.elidedText(index.data(DISPLAY), _MIDDLE, room.width())
        painter.setPen(colour)
        painter.drawText(room, int(index.data(PLACE)), text)


class BitsDelegate(QStyledItemDelegate):
    """Shows a format as a coloured number and its name; edits by a list.

    The colour of a bit width is the same everywhere; the number says it again.

    Args:
        bits_role: Model role of the width, None for the stored float.
        choices: Called when an editor opens; returns the formats to offer.
        parent: Owner.
    """

    chosen = Signal(object, object)

    def __init__(
        self,
        bits_role: int,
        choices: Callable[[Index], Sequence[Choice]],
        parent: QObject | None = None,
    ) -> None:
        """Keep what an editor needs."""
        super().__init__(parent)
        self._role = bits_role
        self._choices = choices

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Draw the chip and the name of the format."""
        cell, colour, selected = draw_cell(painter, option, index)
        bits = index.data(self._role)
        text = str(index.data(DISPLAY))
        gap = theme().em(0.6)
        chip = cell.rect.adjusted(gap, 0, 0, 0)
        chip.setWidth(theme().em(3))
        chip.setHeight(cell.fontMetrics.height())
        chip.moveTop(cell.rect.center().y() - chip.height() // 2)
        fill = theme().bit_colour(bits)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        radius = chip.height() / 4
        if bits is None:
            painter.setPen(QPen(colour if selected else fill, 1))
            painter.drawRoundedRect(chip.adjusted(0, 0, -1, -1), radius, radius)
        else:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(fill)
            painter.drawRoundedRect(chip, radius, radius)
            painter.setPen(theme().colour("base"))
            painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, f"{bits:g}")
        muted = bits is None and not selected
        painter.setPen(theme().colour("muted") if muted else colour)
        rest = QRect(cell.rect)
        rest.setLeft(chip.right() + gap)
        elided = cell.fontMetrics.elidedText(text, _END, rest.width())
        painter.drawText(rest, Qt.AlignmentFlag.AlignVCenter, elided)
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """Return the size of one cell."""
        return QSize(theme().em(12), super().sizeHint(option, index).height())

    def createEditor(  # noqa: N802 - Qt naming
        self, parent: QWidget, option: QStyleOptionViewItem, index: Index
    ) -> QWidget:
        """Return a list of formats; those the target refuses are grey."""
        box = QComboBox(parent)
        box.setAccessibleName("Format of the selected layers")
        items = box.model()
        for text, reason in self._choices(index):
            box.addItem(text)
            if reason is not None and isinstance(items, QStandardItemModel):
                item = items.item(box.count() - 1)
                item.setEnabled(False)
                item.setToolTip(reason)
        box.activated.connect(self._commit)
        return box

    def setEditorData(self, editor: QWidget, index: Index) -> None:  # noqa: N802
        """Show the present format, list open."""
        if isinstance(editor, QComboBox):
            text = str(index.data(DISPLAY))
            editor.setCurrentIndex(max(0, editor.findText(text)))
            editor.showPopup()

    def setModelData(  # noqa: N802 - Qt naming
        self, editor: QWidget, model: QAbstractItemModel, index: Index
    ) -> None:
        """Hand the choice to the view, which knows the other selected layers."""
        if isinstance(editor, QComboBox):
            text = editor.currentText()
            if text != index.data(DISPLAY):
                self.chosen.emit(index.row(), text)

    def _commit(self, _row: int) -> None:
        editor = self.sender()
        if isinstance(editor, QWidget):
            self.commitData.emit(editor)
            self.closeEditor.emit(editor)


class LockDelegate(QStyledItemDelegate):
    """Draws a padlock where the text says "locked"."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Draw the padlock, or nothing."""
        cell, colour, _ = draw_cell(painter, option, index)
        if not index.data(DISPLAY):
            return
        height = cell.fontMetrics.ascent()
        body = QRectF(0, 0, height * 0.8, height * 0.55)
        body.moveCenter(
            QRectF(cell.rect).center() + QRectF(0, 0, 0, height).center() / 2
        )
        arch = QRectF(0, 0, body.width() * 0.6, height * 0.7)
        arch.moveCenter(body.center())
        arch.moveBottom(body.center().y())
        path = QPainterPath()
        path.moveTo(arch.left(), body.top())
        path.lineTo(arch.left(), arch.center().y())
        top = QRectF(arch.left(), arch.top(), arch.width(), arch.width())
        path.arcTo(top, 180, -180)
        path.lineTo(arch.right(), body.top())
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(colour, max(1.0, height / 9)))
        painter.drawPath(path)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawRoundedRect(body, height / 8, height / 8)
        painter.restore()


class BarDelegate(QStyledItemDelegate):
    """Draws a number over a bar, with an error bar where the number has an error.

    Args:
        bar_role: Model role of (value, low end, high end) as shares of the cell.
        parent: Owner.
    """

    def __init__(self, bar_role: int, parent: QObject | None = None) -> None:
        """Keep the role."""
        super().__init__(parent)
        self._role = bar_role

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: Index
    ) -> None:
        """Draw bar, error bar and text."""
        cell, colour, selected = draw_cell(painter, option, index)
        bar = index.data(self._role)
        room = cell.rect.adjusted(theme().em(0.3), 0, -theme().em(0.3), 0)
        painter.save()
        if bar is not None:
            self._bar(painter, room, bar, colour if selected else None)
        painter.setPen(colour)
        # Cut off at its beginning, a number would read as another one.
        text = str(index.data(DISPLAY))
        text = cell.fontMetrics.elidedText(text, _END, room.width())
        painter.drawText(room, _RIGHT, text)
        painter.restore()

    @staticmethod
    def _bar(
        painter: QPainter,
        room: QRect,
        bar: tuple[float, float, float],
        ink: QColor | None,
    ) -> None:
        """Draw value and error bar; `ink` replaces the colours on a selected row."""
        value, low, high = (room.left() + share * room.width() for share in bar)
        thick = max(2, room.height() // 10)
        bottom = room.bottom() - 2 * thick
        fill = ink or theme().colour("float_data")
        painter.fillRect(
            QRectF(room.left(), bottom, max(1.0, value - room.left()), thick), fill
        )
        if low >= high:
            return
        painter.setPen(QPen(ink or theme().colour("quantized"), 1))
        middle = bottom + thick / 2
        painter.drawLine(int(low), int(middle), int(high), int(middle))
        for end in (low, high):
            painter.drawLine(
                int(end), int(middle - thick), int(end), int(middle + thick)
            )
