"""Find without filtering, bookmarks, and rows as text, CSV and Markdown."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu, QToolButton

from app.models.layer_columns import KEYS
from app.views.layer_table import LayerTableView
from app.widgets.find_bar import FindBar
from app.widgets.markdown import markdown
from quant_core.scheme import Scheme


def found(view: LayerTableView) -> list[int]:
    return view.model.found.tolist()


def test_find_marks_rows_and_hides_none(qtbot, layers, context):
    layers.finder.open()
    qtbot.keyClicks(layers.finder.bar.line, "key")
    qtbot.keyClick(layers.finder.bar.line, Qt.Key.Key_Return)
    assert found(layers) == [1, 7, 13, 19, 25, 31]
    assert layers.model.rowCount() == 36
    assert context.selection.layers.tolist() == [1]
    assert layers.finder.bar.count.text() == "1 of 6"
    paper = Qt.ItemDataRole.BackgroundRole
    marked = [r for r in range(36) if layers.model.index(r, 3).data(paper) is not None]
    assert set(found(layers)) <= set(marked)
    qtbot.keyClick(layers.finder.bar.line, Qt.Key.Key_Escape)
    assert found(layers) == []
    assert layers.finder.bar.isHidden()


def test_find_steps_round_the_end_in_the_order_shown(layers, context):
    layers.table.sortByColumn(KEYS.index("name"), Qt.SortOrder.DescendingOrder)
    layers.finder.open()
    layers.finder.bar.line.setText("key")
    context.selection.set([31])
    layers.finder.step(1)
    assert context.selection.current == 25
    layers.finder.step(-1)
    layers.finder.step(-1)
    assert context.selection.current == 1
    assert layers.finder.bar.count.text() == "6 of 6"


def test_find_follows_the_numbers(layers, context):
    layers.finder.open()
    layers.finder.bar.line.setText("bits<8")
    layers.finder.step(1)
    assert layers.finder.bar.count.text() == "none"
    context.set_weight([9], Scheme("int4"))
    layers.model.layers.read_assignment()
    layers.finder.step(1)
    assert context.selection.current == 9


def test_find_explains_a_mistake(layers):
    layers.finder.open()
    layers.finder.bar.line.setText("colour:red")
    layers.finder.step(1)
    assert layers.finder.bar.count.text() == "not understood"
    assert "no such field" in layers.finder.bar.line.toolTip()
    layers.finder.bar.line.setText("")
    layers.finder.step(1)
    assert found(layers) == []


def test_the_step_buttons_step(qtbot):
    bar = FindBar("help")
    qtbot.addWidget(bar)
    bar.show()
    arrows = [b for b in bar.findChildren(QToolButton) if not b.text()]
    for button, by in zip(arrows, (-1, 1), strict=True):
        with qtbot.waitSignal(bar.stepped) as caught:
            button.click()
        assert caught.args == [by]
    bar.close()


# -- bookmarks -------------------------------------------------------------------------


def test_stars_are_set_shown_filtered_and_stepped(qtbot, layers, context):
    context.selection.set([4, 9])
    layers.finder.star()
    context.selection.set([9, 20])
    layers.finder.star()
    assert np.flatnonzero(context.project.starred).tolist() == [4, 9, 20]
    qtbot.waitUntil(lambda: layers.model.text(20, "starred") == "starred")
    layers.filter.set_text("starred")
    assert layers.model.rowCount() == 3
    layers.filter.set_text("")
    context.selection.set([9])
    layers.finder.step_star(1)
    assert context.selection.current == 20
    layers.finder.step_star(1)
    assert context.selection.current == 4
    context.selection.set([4, 9, 20])
    layers.finder.star()
    assert not context.project.starred.any()
    with qtbot.waitSignal(context.message) as caught:
        layers._catch_up()
        context._flush()
        layers.finder.step_star(1)
    assert "No layer shown is bookmarked" in caught.args[0]


def test_a_click_on_the_star_sets_it(layers, context):
    index = layers.model.index(3, KEYS.index("starred"))
    layers.table.clicked.emit(index)
    assert context.project.starred[3]
    layers.model.layers.read_starred()
    layers.table.clicked.emit(index)
    assert not context.project.starred[3]
    assert not context.undo_stack.count(), "a bookmark is no edit"


def test_the_menu_lists_and_goes_there(qtbot, layers, context):
    menu = QMenu()
    layers.finder.fill_menu(menu)
    assert "No layer is bookmarked" in menu.actions()[0].text()
    context.project.set_starred([4, 30], True)
    layers.model.layers.read_starred()
    layers.finder.fill_menu(menu)
    assert menu.actions()[0].text() == "layers.0.up"
    layers.filter.set_text("layers.0")
    layers.finder.on_menu(menu.actions()[1])
    assert context.selection.current == 30
    assert layers.model.row_of(30) >= 0, "the filter that hid it is gone"
    layers.finder.on_menu(menu.actions()[-1])
    assert context.selection.layers.tolist() == [4, 30]
    menu.deleteLater()


# -- taking away -----------------------------------------------------------------------


def test_csv_has_numbers_in_full(layers, context):
    context.selection.set([0, 3])
    layers.copy("csv")
    rows = list(csv.DictReader(io.StringIO(QGuiApplication.clipboard().text())))
    errors = context.project.values("predicted_error", "int4")
    assert float(rows[1]["Predicted error"]) == pytest.approx(errors[3], rel=1e-8)
    assert float(rows[1]["Standard error"]) > 0
    assert float(rows[0]["Size [bytes]"]) == 64 * 32 * 4
    assert rows[0]["Parameters"] == "2048"
    assert rows[0]["Layer"] == "layers.0.query"


def test_markdown_is_a_table_as_shown(layers, context):
    context.selection.set([0, 3])
    layers.copy("markdown")
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0].startswith("| Layer | Bits | Lock |")
    assert "---:" in lines[1]
    assert lines[2].startswith("| layers.0.query | float |")
    assert len(lines) == 4


def test_markdown_escapes_what_would_split_a_cell():
    assert markdown(["a", "b"], [["x|y", "1\n2"]], [False, True]) == (
        "| a | b |\n| --- | ---: |\n| x\\|y | 1 2 |\n"
    )
