"""Titles of axes: all of them where there is room, never cut off."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QRect
from PySide6.QtGui import QFontMetricsF, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QStyleOptionViewItem

from app.models.layer_roles import BAR_ROLE
from app.theme import theme
from app.views.layer_table import LayerTableView
from app.widgets.name_axis import NameAxis
from app.widgets.plot import Plot
from app.widgets.plot_axis import fold
from tests.app.helpers import analysed, open_, settle

TITLE = "predicted error [relative squared error]"


def metrics() -> QFontMetricsF:
    return QFontMetricsF(QApplication.font())


def test_a_text_is_folded_at_spaces_into_the_room_there_is(qapp):
    wide = metrics().horizontalAdvance
    assert fold("weights per bin", metrics(), wide("weights per bin"), 2) == (
        "weights per bin",
    )
    assert fold("weights per bin", metrics(), wide("weights p"), 2) == (
        "weights",
        "per bin",
    )
    assert fold("", metrics(), 10, 2) == ("",)
    assert fold(TITLE, metrics(), 0, 2) == (TITLE,), "no size yet"


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9])
def test_no_line_of_a_folded_text_is_longer_than_its_room(qapp, lines, share):
    room = share * metrics().horizontalAdvance(TITLE)
    found = fold(TITLE, metrics(), room, lines)
    assert 1 <= len(found) <= lines
    assert all(metrics().horizontalAdvance(line) <= room for line in found)


def drawn(plot: Plot, side: str) -> tuple[str, float]:
    """Return the title as drawn, and how much longer it is than its axis."""
    axis = plot.axis(side)
    label = axis.label
    margins = 2 * label.document().documentMargin()
    upright = side in ("left", "right")
    room = axis.size().height() if upright else axis.size().width()
    text = label.toPlainText().replace("\n", " ")
    return text, label.boundingRect().width() - margins - room


def test_the_title_of_a_short_axis_takes_two_lines_and_its_tooltip_has_all(qtbot):
    plot = Plot("plot")
    qtbot.addWidget(plot)
    plot.set_axis("left", "predicted error", "relative squared error")
    plot.resize(500, 600)
    plot.show()
    settle()
    axis = plot.axis("left")
    assert drawn(plot, "left")[0] == TITLE
    assert TITLE not in axis.toolTip()
    narrow = axis.width()
    beside = plot.height() - axis.size().height()
    wide = metrics().horizontalAdvance
    plot.resize(500, round(beside + 0.7 * wide(TITLE)))
    settle()
    text, over = drawn(plot, "left")
    assert text == TITLE
    assert over <= 1
    assert axis.width() > narrow, "two lines take more room"
    plot.resize(500, round(beside + 0.4 * wide(TITLE)))
    settle()
    text, over = drawn(plot, "left")
    assert text != TITLE
    assert over <= 1
    assert TITLE in axis.toolTip()
    plot.resize(500, 600)
    settle()
    assert drawn(plot, "left")[0] == TITLE
    assert axis.width() == pytest.approx(narrow)


def test_an_axis_of_names_keeps_its_room_for_the_names(qtbot):
    plot = Plot("plot", axes={"left": NameAxis("left")})
    qtbot.addWidget(plot)
    plot.axis("left").set_title("layer, worst at int4/group(64) first")
    plot.resize(400, 120)
    plot.show()
    settle()
    label = plot.axis("left").label
    assert "\n" not in label.toPlainText()
    assert drawn(plot, "left")[1] <= 1


def test_a_number_over_a_bar_is_never_cut_off_at_its_beginning(qtbot, context):
    """Where it is too long, its end is left out and marked as such."""
    open_(context, analysed(6))
    view = LayerTableView(context)
    qtbot.addWidget(view)
    model = view.model
    index = model.index(0, model.column_of("error"))
    assert index.data(BAR_ROLE) is not None
    text = str(index.data())
    room = round(view.fontMetrics().horizontalAdvance(text) * 0.7)
    pixmap = QPixmap(room + theme().em(6), theme().line(2))
    pixmap.fill("white")
    option = QStyleOptionViewItem()
    option.rect = QRect(theme().em(3), 0, room, pixmap.height())
    painter = QPainter(pixmap)
    view.table.itemDelegateForIndex(index).paint(painter, option, index)
    painter.end()
    image = pixmap.toImage()
    outside = [*range(theme().em(3)), *range(theme().em(3) + room, image.width())]
    assert all(
        image.pixelColor(x, y).name() == "#ffffff"
        for x in outside
        for y in range(image.height())
    )
