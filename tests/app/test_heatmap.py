"""The heatmap: what it shows, what a click does, how fast it draws."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QApplication

from analysis.project import Project
from app.theme import theme
from app.views.heatmap import HeatmapView
from quant_core.scheme import parse_scheme
from tests.app.helpers import open_, settle
from tests.app.panel_projects import KEYS, add_errors, analysed, make_errors, make_info
from tests.budget import assert_within, spent

NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def view(qtbot, context) -> HeatmapView:
    view = HeatmapView(context)
    qtbot.addWidget(view)
    view.resize(900, 760)
    view.show()
    return view


def click(view: HeatmapView, row: int, column: int, keys=NONE) -> None:
    view.plot.clicked.emit(QPointF(column + 0.5, row + 0.5), keys)
    settle()


def test_empty_states_name_the_first_step(view, context):
    assert view.empty_title == "No model open"
    open_(context, Project.create(make_info(6)))
    assert view.empty_title == "No predicted error yet"
    open_(context, Project.create(make_info(0)))
    assert view.empty_title == "Nothing to quantize"


def test_says_what_is_measured_and_on_how_much(view, context):
    open_(context, analysed(12))
    assert not view.is_empty
    for text in ("relative squared error", "lower is better", "64 calibration samples"):
        assert text in view.subtitle
    assert view.accessibleDescription().startswith("12 layers, worst encoder.layer.")
    assert "int2" in view.accessibleDescription()


def test_cells_are_the_errors_float_first(view, context):
    values = make_errors(12)
    values[3, 2] = np.nan
    project = Project.create(make_info(12))
    add_errors(project, values)
    open_(context, project)
    codes = view.map.cells.codes
    assert codes.shape == (12, len(KEYS) + 1)
    assert (codes[:, 0] == 1).all()
    assert codes[3, 3] == 0
    assert (codes[:, 1] > codes[:, 7]).all()
    worst = np.unravel_index(np.nanargmax(values), values.shape)
    assert codes[worst[0], worst[1] + 1] == 255
    text = view.describe(3, 3)
    assert "int4" in text
    assert "not analysed" in text


def test_results_stream_in(view, context):
    project = Project.create(make_info(6))
    open_(context, project)
    values = make_errors(6)
    half = values.copy()
    half[3:] = np.nan
    run = add_errors(project, half, end=False)
    settle()
    assert not view.is_empty
    assert (view.map.cells.codes[3:, 1:] == 0).all()
    assert "Still running" in view.subtitle
    project.end_run(run)
    add_errors(project, values)
    settle()
    assert (view.map.cells.codes[:, 1:] > 0).all()
    assert "Still running" not in view.subtitle


def test_read_out_has_layer_format_value_error_unit_and_choice(view, context):
    project = open_(context, analysed(12))
    project.set_weight([5], parse_scheme("int6"))
    project.set_locked([5], True)
    text = view.describe(5, 3)
    name, key, value, now, locked = text.split("  ·  ")
    assert name == project.info.layers[5].name
    assert key == "int4"
    assert "±" in value
    assert value.endswith("relative squared error")
    assert (now, locked) == ("now int6", "locked")
    assert "no error" in view.describe(5, 0)
    view._on_hover(QPointF(3.5, 5.5))
    assert view.read_out.full == text
    project.set_weight([5], None)
    project.set_locked([5], False)
    project.set_weight([5], parse_scheme("int4"))
    settle()
    assert view.read_out.full.endswith("now int4")
    view._on_hover(None)
    assert view.read_out.full == ""
    project.set_weight([5], None)
    settle()
    assert view.read_out.full == ""


def test_click_assigns_and_undo_takes_it_back(view, context):
    project = open_(context, analysed(12))
    click(view, 4, 3)
    assert project.assignment.scheme_of(4) == parse_scheme("int4")
    assert context.selection.layers.tolist() == [4]
    assert view.map.cells.marks.chosen[4] == 3
    context.undo_stack.undo()
    settle()
    assert project.assignment.scheme_of(4) is None
    assert view.map.cells.marks.chosen[4] == 0
    click(view, 4, 3)
    click(view, 4, 0)
    assert project.assignment.scheme_of(4) is None


def test_click_in_a_selection_assigns_all_of_it_in_one_step(view, context):
    project = open_(context, analysed(12))
    context.selection.set([2, 3, 9])
    click(view, 3, 7)
    used = [project.assignment.scheme_of(i) for i in (2, 3, 9)]
    assert used == [parse_scheme("int8")] * 3
    assert context.undo_stack.count() == 1
    # A click outside of the selection concerns that layer alone.
    click(view, 0, 1)
    assert project.assignment.scheme_of(2) == parse_scheme("int8")
    assert project.assignment.scheme_of(0) == parse_scheme("int2")


def test_locked_and_tied_layers_are_respected(view, context):
    project = open_(context, analysed(12, ties=((0, 1, 2),)))
    project.set_locked([5], True)
    click(view, 1, 3)
    assert [project.assignment.scheme_of(i) for i in (0, 1, 2)] == [
        parse_scheme("int4")
    ] * 3
    click(view, 5, 3)
    assert project.assignment.scheme_of(5) is None
    assert bool(view.map.cells.marks.locked[5])


def test_selecting_with_keys_held_edits_nothing(view, context):
    project = open_(context, analysed(12))
    before = project.assignment
    click(view, 2, -1)
    assert context.selection.layers.tolist() == [2]
    click(view, 6, 3, Qt.KeyboardModifier.ShiftModifier)
    assert context.selection.layers.tolist() == [2, 3, 4, 5, 6]
    click(view, 4, 3, Qt.KeyboardModifier.ControlModifier)
    assert context.selection.layers.tolist() == [2, 3, 5, 6]
    assert project.assignment is before


def test_what_the_target_refuses_is_marked_and_not_assigned(view, context, qtbot):
    project = open_(context, analysed(12))
    project.target = "int8-symmetric"
    settle()
    refused = view.map.cells.marks.refused
    assert refused(0, 5)
    assert not refused(0, 0)
    assert "not offered" in view.describe(0, 5)
    with qtbot.waitSignal(context.message) as said:
        click(view, 0, 5)
    assert said.args[0].startswith(project.info.layers[0].name)
    assert project.assignment.scheme_of(0) is None


def test_worst_first_and_back(view, context):
    values = make_errors(30)
    values[7] = np.nan
    project = Project.create(make_info(30))
    add_errors(project, values)
    open_(context, project)
    view.order_box.setCurrentText("Worst first")
    settle()
    assert view.table().columns[0][0] == (
        project.info.layers[int(np.nanargmax(values.max(1)))].name
    )
    assert view.table().columns[0][-1] == project.info.layers[7].name
    view.order_box.setCurrentText("Worst at int6")
    settle()
    click(view, 0, 4)
    worst = int(np.nanargmax(values[:, KEYS.index("int6")]))
    assert project.assignment.scheme_of(worst) == parse_scheme("int4/group(64)")
    view.order_box.setCurrentText("Network order")
    settle()
    assert view.map.cells.marks.chosen[worst] == 4


def test_keyboard_does_what_the_mouse_does(view, context, qtbot):
    project = open_(context, analysed(12))
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Right, Qt.Key.Key_Right):
        qtbot.keyClick(view.plot, key)
    assert context.selection.current == 2
    assert "int2" in view.read_out.full
    qtbot.keyClick(view.plot, Qt.Key.Key_Down)
    assert view.read_out.full.startswith(project.info.layers[3].name)
    qtbot.keyClick(view.plot, Qt.Key.Key_Up)
    qtbot.keyClick(view.plot, Qt.Key.Key_Return)
    assert project.assignment.scheme_of(2) == parse_scheme("int2")
    qtbot.keyClick(view.plot, Qt.Key.Key_Escape)
    assert len(context.selection.layers) == 0


def test_fit_shows_the_selection_then_everything(view, context):
    open_(context, analysed(300))
    context.selection.set(np.arange(100, 110))
    settle()
    view.fit()
    low, high = view.plot.box.viewRange()[1]
    assert (low, high) == (98.0, 112.0)
    view.fit()
    assert view.plot.box.viewRange()[1] == [0.0, 300.0]
    view.map.show_rows(0, 20)
    context.selection.set([250])
    settle()
    low, high = view.plot.box.viewRange()[1]
    assert low <= 250 < high
    assert high - low == pytest.approx(20)


def test_values_are_written_into_large_cells(view, context):
    open_(context, analysed(12))
    cells = view.map.cells
    assert cells.shows_symbols
    assert cells.shows_texts
    assert cells.marks.text(0, 0) == "0"
    assert float(cells.marks.text(0, 1).lstrip("~")) == pytest.approx(
        make_errors(12)[0, 0], rel=0.1
    )
    for mode in ("dark", "light"):
        theme().set_mode(mode)
        settle()
        assert not view.grab().isNull()
    theme().set_mode("system")


def test_hidden_view_catches_up_when_shown(view, context):
    view.hide()
    project = open_(context, analysed(12))
    project.set_weight([1], parse_scheme("int4"))
    settle()
    assert view.is_empty
    view.show()
    assert not view.is_empty
    assert view.map.cells.marks.chosen[1] == 3


def test_sixty_thousand_layers_stay_honest_and_quick(view, context):
    layers = 60_000
    project = Project.create(make_info(layers))
    values = make_errors(layers, KEYS[:4])
    values[41_234, 3] = values.max() * 10
    run = project.begin_run("predicted_error", unit="nats", samples=8)
    project.end_run(run)
    context.measure_table = lambda: (values, 0.1 * values, KEYS[:4])
    open_(context, project)
    cells = view.map.cells
    # The one bad layer is the colour of its pixel, and the read-out names it.
    shown = cells._image.image
    assert len(shown) <= view.plot.box.height() * view.devicePixelRatioF() + 1
    assert shown[:, 4].max() == 255
    place = view.map.cell_at(QPointF(4.5, 41_200.5))
    assert place == (41_234, 4)
    # What cannot be seen by itself is not edited: the first click zooms in.
    view.plot.clicked.emit(QPointF(4.5, 41_200.5), NONE)
    settle()
    assert project.assignment.scheme_of(41_234) is None
    assert not view.map.shares_pixels
    assert context.selection.current == 41_234
    times = {"overview": [], "close": []}
    for name, span in (("overview", 30_000), ("close", 40)):
        for i in range(15):
            view.map.show_rows(i * span / 50, i * span / 50 + span)
            times[name].append(spent(QApplication.processEvents))
        assert_within(0.016, times[name], name)


def test_table_has_values_and_standard_errors(view, context):
    open_(context, analysed(6))
    table = view.table()
    assert table.rows == 6
    assert table.titles[0] == "layer"
    assert table.titles[1:3] == (
        "int2 [relative squared error]",
        "int2 standard error [relative squared error]",
    )
    assert table.columns[1] == pytest.approx(make_errors(6)[:, 0])
