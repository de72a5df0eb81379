"""Comparing two assignments: totals, changed layers, taking rows across, history."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QGuiApplication

from analysis.errors import AnalysisError
from app.context import AppContext
from app.models.compare import BASELINE, differences, stored_float, totals
from app.models.compare_table import DifferenceModel, TotalsModel
from app.views.compare import PRESENT, STORED, CompareView
from app.views.history import HistoryView
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from tests.app.helpers import analysed, model_info


@pytest.fixture
def view(qtbot, context) -> Iterator[CompareView]:
    view = CompareView(context)
    qtbot.addWidget(view)
    view.resize(900, 600)
    view.show()
    yield view
    view.close()


def settled(context: AppContext, view: CompareView) -> None:
    context._flush()
    view._catch_up()


def stored(layers: int) -> Assignment:
    return Assignment.float(model_info(layers).layers, "tiny", "d" * 64)


@pytest.mark.parametrize("layers", [0, 1, 3, 3000])
def test_models_keep_the_rules_of_qt(qtmodeltester, qapp, layers):
    project = analysed(layers, samples=4)
    project.set_weight(range(layers), Scheme("int4"))
    model, sums = DifferenceModel(), TotalsModel()
    left = stored(layers)
    model.show(differences(project, left, project.assignment), ("A", "B"))
    sums.show(totals(project, left, project.assignment), ("A", "B"))
    assert model.rowCount() == layers
    qtmodeltester.check(model, force_py=layers > 3)
    qtmodeltester.check(sums)


def test_only_changed_layers_are_listed(qapp):
    project = analysed(12)
    project.set_weight([3], Scheme("int4"))
    left = project.assignment
    project.set_weight([5], Scheme("int2"))
    project.set_locked([9], True)
    project.set_input([10], Scheme("int8", "tensor"))
    found = differences(project, left, project.assignment)
    assert found.layers.tolist() == [5, 9, 10]
    errors = project.values("predicted_error", "int2")
    np.testing.assert_allclose(found.right.error, [errors[5], 0, 0])
    np.testing.assert_allclose(found.left.error, 0)
    np.testing.assert_allclose(found.left.bits, 32)
    assert [found.also(row) for row in range(3)] == [
        "",
        "locked",
        "input float → int8/tensor",
    ]
    model = DifferenceModel()
    model.show(found, ("A", "B"))
    assert model.line(0)[:3] == ("layers.0.down", "float", "int2")
    assert model.line(0)[8].startswith("-")
    assert model.line(0)[5].startswith("+")


def test_the_stored_float_has_nothing_left_of_the_present_one(qapp):
    project = analysed(12)
    project.set_weight([3], Scheme("int4"))
    project.set_input([4], Scheme("int8", "tensor"))
    project.set_locked([5], True)
    site = project.assignment.with_site("a:softmax", Scheme("int8", "tensor"))
    project.set_assignment(site)
    plain = stored_float(project)
    assert not len(plain.diff(stored(12)))
    assert plain.digest == stored(12).digest


def test_differences_within_the_error_are_grey_and_say_so(qapp):
    project = analysed(12)
    project.set_weight([3], Scheme("int6"))
    left = project.assignment
    project.set_weight([3], Scheme("int8"))
    found = differences(project, left, project.assignment)
    model = DifferenceModel()
    model.show(found, ("A", "B"))
    spread = np.hypot(found.left.stderr[0], found.right.stderr[0])
    is_noise = abs(found.right.error[0] - found.left.error[0]) < spread
    ink = model.index(0, 5).data(Qt.ItemDataRole.ForegroundRole)
    assert found.is_noise(0) == is_noise
    assert (ink is not None) == is_noise
    found.right.stderr[:] = 1e9
    assert found.is_noise(0)
    assert model.line(0)[5].startswith("≈ ")
    found.right.stderr[:], found.left.stderr[:] = 0.0, 0.0
    assert not model.line(0)[5].startswith("≈")
    found.right.stderr[:] = 1e9
    assert "may be chance" in model.index(0, 5).data(Qt.ItemDataRole.ToolTipRole)


@pytest.mark.parametrize("column", range(10))
def test_sorting_by_any_column_keeps_unknown_values_last(qapp, column):
    project = analysed(12)
    project.set_weight([3], Scheme("int4"))
    project.set_weight([4], Scheme("int5"))  # not analysed
    project.set_weight([5], Scheme("int2"))
    model = DifferenceModel()
    model.show(differences(project, stored(12), project.assignment), ("A", "B"))
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        model.sort(column, order)
        rows = model.layers_at(np.arange(3)).tolist()
        assert sorted(rows) == [3, 4, 5]
        if column in (4, 5):
            falling = order == Qt.SortOrder.DescendingOrder
            assert rows == ([5, 3, 4] if falling else [3, 5, 4])


def test_totals_stand_side_by_side(qapp):
    project = analysed(12)
    project.set_weight(range(12), Scheme("int8"))
    left = project.assignment
    project.record_measured(left, 0.5, 0.01, "nats", 32)
    project.set_weight(range(12), Scheme("int2"))
    project.record_measured(project.assignment, 0.9, 0.01, "nats", 32)
    lines = {
        x.title.partition(" [")[0]: x for x in totals(project, left, project.assignment)
    }
    assert lines["Average bits"].better == 1
    assert lines["Size"].change.startswith("-")
    assert lines["Quantized layers"].change == "0"
    assert lines["Predicted error"].better == -1
    assert lines["Measured error"].left == "0.500 ± 0.010"
    assert lines["Measured error"].change == "+0.400"
    model = TotalsModel()
    model.show(tuple(lines.values()), ("one", "other"))
    assert model.texts(3)[3].endswith("(worse)")
    assert model.header[1:3] == ("A: one", "B: other")


def test_what_is_not_known_is_a_dash(qapp):
    from analysis.project import Project

    project = Project.create(model_info(6))
    left = project.assignment
    project.set_weight([3], Scheme("int4"))
    lines = totals(project, left, project.assignment)
    assert [x.change for x in lines if "error" in x.title] == ["–", "–"]


# -- the panel -------------------------------------------------------------------------


def test_it_holds_the_present_against_the_baseline(context, view):
    context.set_project(analysed(36))
    settled(context, view)
    assert view._empty.title == "No differences"
    assert (view.left_box.currentText(), view.right_box.currentText()) == (
        STORED,
        PRESENT,
    )
    context.project.keep_assignment(BASELINE)
    view.compare(BASELINE)
    context.set_weight([3, 4], Scheme("int4"))
    settled(context, view)
    assert view._stack.currentIndex() == 0
    assert view.model.rowCount() == 2
    assert "2 layers of 36 differ" in view._note.text()
    view.swap()
    settled(context, view)
    assert view.left_box.currentText() == PRESENT
    assert not view.take_button.isEnabled()


def test_any_two_kept_assignments_can_be_chosen(context, view):
    context.set_project(analysed(12))
    for name, bits in (("four", 4), ("eight", 8)):
        context.set_weight(range(12), Scheme(f"int{bits}"))
        context.project.keep_assignment(name)
    context.set_weight(range(12), None)
    settled(context, view)
    view.compare("four", "eight")
    settled(context, view)
    assert view.model.line(0)[1:3] == ("int4", "int8")
    context.project.delete_assignment("eight")
    settled(context, view)
    assert view.right_box.currentText() == PRESENT


def test_selected_rows_go_across_as_one_undo_step(context, view):
    project = analysed(36)
    context.set_project(project)
    context.set_weight(range(6), Scheme("int4"))
    context.set_weight(range(6, 12), Scheme("int3"))
    project.keep_assignment(BASELINE)
    before = project.assignment
    context.set_weight(range(36), Scheme("int8"))
    context.set_locked([9], True)
    changed = project.assignment
    view.compare(BASELINE)
    settled(context, view)
    context.selection.set([3, 9, 10, 30])
    steps = context.undo_stack.count()
    assert view.take_button.text() == f"Use 4 selected rows of {BASELINE}"
    view.take_button.click()
    assert context.undo_stack.count() == steps + 1
    # Key and value of block 5 come along with its query.
    assert context.undo_stack.undoText() == f"Copy 5 layers from {BASELINE}"
    now = project.assignment
    assert [now.scheme_of(i) for i in (3, 10, 30)] == [
        Scheme("int4"),
        Scheme("int3"),
        None,
    ]
    assert now.scheme_of(9) == Scheme("int8"), "locked"
    assert before.scheme_of(4) != now.scheme_of(4), "not selected"
    context.undo_stack.undo()
    assert not len(project.assignment.diff(changed))


def test_rows_and_selection_follow_each_other(qtbot, context, view):
    context.set_project(analysed(36))
    context.set_weight([3, 4, 10, 11], Scheme("int4"))
    settled(context, view)
    context.selection.set([4, 10, 20])
    chosen = view.model.layers_at(view.table.selected_rows())
    assert chosen.tolist() == [4, 10]
    assert context.selection.layers.tolist() == [4, 10, 20], "no echo"
    flags = QItemSelectionModel.SelectionFlag
    view.table.selectionModel().select(
        view.model.index(0, 0), flags.ClearAndSelect | flags.Rows
    )
    assert context.selection.layers.tolist() == [3]


def test_the_comparison_can_be_taken_away(context, view):
    context.set_project(analysed(36))
    context.set_weight([3, 4], Scheme("int4"))
    settled(context, view)
    context.selection.set([3])
    view.copy_text()
    lines = QGuiApplication.clipboard().text().split("\n")
    assert lines[0].startswith("Layer\tA\tB\tError A")
    assert lines[1].startswith("layers.0.output\tfloat\tint4")
    view.copy_markdown()
    text = QGuiApplication.clipboard().text()
    assert "| Average bits |" in text
    assert "| layers.0.up | float | int4 |" in text


@pytest.mark.parametrize("layers", [0, 1, 36])
def test_it_shows_models_of_any_size(context, view, layers):
    context.set_project(analysed(layers, samples=4))
    context.set_weight(range(layers), Scheme("int4"))
    settled(context, view)
    assert view.model.rowCount() == layers
    view.grab()


# -- history ---------------------------------------------------------------------------


def test_history_names_every_edit_and_goes_back(qtbot, context, tmp_path):
    history = HistoryView(context)
    qtbot.addWidget(history)
    project = analysed(12)
    context.set_project(project)
    context.set_weight([3], Scheme("int4"))
    context.set_locked([3], True)
    project.save(tmp_path / "p.qscope")
    context._flush()
    context.replace_assignment(stored(12), "Search bits<=4")
    model = history.model()
    names = [model.index(row, 0).data() for row in range(model.rowCount())]
    assert names == [
        "As opened",
        "Set 1 layer to int4",
        "Lock 1 layer",
        "Search bits<=4",
    ]
    assert context.undo_stack.cleanIndex() == 2, "where it was saved"
    history.setCurrentIndex(model.index(1, 0))
    assert project.assignment.scheme_of(3) == Scheme("int4")
    assert not project.assignment.locked[3]


@pytest.mark.parametrize("name", [PRESENT, STORED, "stored FLOAT", "Current"])
def test_no_kept_assignment_has_a_name_that_the_lists_use(name):
    project = analysed(6)
    with pytest.raises(AnalysisError, match="This name stands for the"):
        project.keep_assignment(name)
    assert not project.assignments
