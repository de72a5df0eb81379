"""The layer table: model, order, filter, selection, edits, copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QComboBox

from app.models.layer_columns import COLUMNS, KEYS
from app.models.layer_data import LayerData, scheme_of_bits
from app.models.layer_roles import BAR_ROLE, BITS_ROLE
from app.models.layer_table import LayerTableModel
from app.settings import Settings
from app.views.layer_table import LayerTableView
from quant_core.scheme import Scheme
from tests.app.helpers import FORMATS, analysed, model_info


@pytest.fixture
def shown(qtbot) -> Iterator[Callable[[LayerTableView, int], None]]:
    # qtbot keeps weak references only, and a collected widget may be in a paint.
    kept: list[LayerTableView] = []

    def show(view: LayerTableView, layers: int) -> None:
        kept.append(view)
        _show(view, layers, qtbot)

    yield show
    for view in kept:
        view.close()


def _show(view: LayerTableView, layers: int, qtbot) -> None:
    qtbot.addWidget(view)
    view.resize(1200, 600)
    view.show()
    qtbot.waitUntil(lambda: len(view.model.layers) == layers)


@pytest.mark.parametrize("layers", [0, 1, 3, 3000])
def test_model_keeps_the_rules_of_qt(qtmodeltester, qapp, layers):
    model = LayerTableModel()
    model.set_layers(LayerData(analysed(layers, samples=4)))
    qtmodeltester.check(model, force_py=layers > 3)
    assert model.rowCount() == layers
    assert model.columnCount() == len(COLUMNS)


def test_every_column_says_something(qapp):
    model = LayerTableModel()
    project = analysed(12)
    project.set_weight([3], Scheme("int4"))
    project.set_locked([5], True)
    model.set_layers(LayerData(project))
    row = {key: model.text(3, key) for key in KEYS}
    assert "±" in row.pop("error")
    assert row == {
        "name": "layers.0.output",
        "bits": "int4",
        "locked": "",
        "size": "4.22 kB",  # 4096 bytes of codes and 64 scales of 2
        "sqnr": "24.0",
        "kurtosis": "6.00",
        "kind": "linear",
        "shape": "64 × 128",
        "parameters": "8,192",
        "starred": "",
        "share": "9.52",  # 8192 of 12 layers of 64 x (32 to 192), 86016
        "error_share": "100.00",  # the only quantized layer
        "gain": row["gain"],
        "proposed": "–",
        "block": "layers.0",
    }
    assert model.text(5, "locked") == "locked"
    assert model.text(0, "bits") == "float"


def test_float_layers_show_the_error_at_four_bits_in_grey(qapp):
    model = LayerTableModel()
    project = analysed(6)
    model.set_layers(LayerData(project))
    at_four = project.values("predicted_error", "int4")
    np.testing.assert_allclose(model.layers.error, at_four)
    assert bool(model.layers.is_reference.all())
    index = model.index(0, KEYS.index("error"))
    assert index.data(Qt.ItemDataRole.ForegroundRole) is not None
    assert "at int4" in index.data(Qt.ItemDataRole.ToolTipRole)
    assert index.data(BITS_ROLE) is None
    value, low, high = index.data(BAR_ROLE)
    assert 0 <= low <= value <= high <= 1


def test_unknown_values_are_dashes_and_sort_last(qapp):
    model = LayerTableModel()
    project = analysed(0)
    data = LayerData(project)
    model.set_layers(data)
    model.set_layers(LayerData(analysed(12)))
    model.layers.kurtosis[[2, 7]] = np.nan
    column = KEYS.index("kurtosis")
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        model.sort(column, order)
        last = {model.layer_at(10), model.layer_at(11)}
        assert last == {2, 7}
        known = [model.layers.kurtosis[model.layer_at(row)] for row in range(10)]
        steps = np.diff(known)
        falling = order == Qt.SortOrder.DescendingOrder
        assert bool((steps <= 0).all() if falling else (steps >= 0).all())
    assert model.text(11, "kurtosis") == "–"
    model.sort(-1)
    assert [model.layer_at(row) for row in range(12)] == list(range(12))


def test_names_sort_by_number(qapp):
    model = LayerTableModel()
    model.set_layers(LayerData(analysed(72, samples=2)))
    model.sort(KEYS.index("name"), Qt.SortOrder.AscendingOrder)
    blocks = [int(model.text(row, "name").split(".")[1]) for row in range(72)]
    assert blocks == sorted(blocks)


def test_selection_survives_sort_and_filter(qtbot, shown, context):
    context.set_project(analysed(36))
    view = LayerTableView(context)
    shown(view, 36)
    context.selection.set([2, 7, 8], 7)
    view.table.sortByColumn(KEYS.index("error"), Qt.SortOrder.DescendingOrder)
    chosen = view.model.layers_at(view.table.selected_rows())
    assert sorted(chosen) == [2, 7, 8]
    assert view.model.layer_at(view.table.currentIndex().row()) == 7
    view.filter.set_text("layers.0")
    assert view.model.rowCount() == 6
    assert view.model.layers_at(view.table.selected_rows()).tolist() == [2]
    assert context.selection.layers.tolist() == [2, 7, 8]
    view.filter.set_text("")
    assert len(view.table.selected_rows()) == 3


def test_choosing_rows_sets_the_shared_selection(qtbot, shown, context):
    context.set_project(analysed(36))
    view = LayerTableView(context)
    shown(view, 36)
    model, selection = view.model, view.table.selectionModel()
    flags = QItemSelectionModel.SelectionFlag
    with qtbot.waitSignal(context.selection.changed):
        selection.select(model.index(4, 0), flags.ClearAndSelect | flags.Rows)
    assert context.selection.layers.tolist() == [4]
    view.select_all()
    assert len(context.selection.layers) == 36
    view.step(1)
    assert context.selection.layers.tolist() == [5]


def test_filter_counts_and_explains(qtbot, shown, context):
    context.set_project(analysed(36))
    view = LayerTableView(context)
    shown(view, 36)
    view.filter.set_text("query")
    assert "6 of 36" in view.filter._label.text()
    view.filter.set_text("colour:red")
    assert view.model.rowCount() == 6, "a mistake leaves the rows as they were"
    assert "no such field" in view.filter.line.toolTip()
    view.filter.set_text("nothing-like-this")
    assert view._stack.currentIndex() == 1
    assert view._empty.title == "No layer matches"
    view._empty.actionTriggered.emit()
    assert view.model.rowCount() == 36


def test_edits_show_at_once_and_rows_stay(qtbot, shown, context):
    context.set_project(analysed(36))
    view = LayerTableView(context)
    shown(view, 36)
    view.table.sortByColumn(KEYS.index("bits"), Qt.SortOrder.AscendingOrder)
    before = [view.model.layer_at(row) for row in range(36)]
    with qtbot.waitSignal(context.assignmentChanged) as caught:
        context.set_weight([3, 4], Scheme("int2"))
    assert caught.args[0].tolist() == [3, 4]
    assert view.model.text(view.model.row_of(3), "bits") == "int2"
    assert [view.model.layer_at(row) for row in range(36)] == before


def test_an_edit_announces_every_column_that_changes_and_not_the_name(
    qtbot, shown, context
):
    project = analysed(12)
    context.set_project(project)
    view = LayerTableView(context)
    shown(view, 12)
    model, told = view.model, set()
    columns = range(model.columnCount())
    roles = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ForegroundRole, BAR_ROLE

    def cells(column: int) -> list[object]:
        every = [model.index(row, column) for row in range(12)]
        return [index.data(role) for index in every for role in roles]

    model.dataChanged.connect(
        lambda first, last: told.update(range(first.column(), last.column() + 1))
    )
    for edit in (
        lambda: context.set_weight(range(12), Scheme("int4")),
        lambda: context.set_locked([3], True),
        context.undo_stack.undo,
    ):
        before = [cells(column) for column in columns]
        told.clear()
        edit()
        context._flush()
        changed = {c for c in columns if cells(c) != before[c]}
        assert changed
        assert changed <= told
        assert KEYS.index("name") not in told
    told.clear()
    project.set_starred([2], True)
    context._flush()
    assert KEYS.index("starred") in told


def test_list_of_formats_acts_on_all_selected_rows(qtbot, shown, context):
    context.set_project(analysed(36))
    view = LayerTableView(context)
    shown(view, 36)
    context.selection.set([3, 9, 15])
    index = view.model.index(9, KEYS.index("bits"))
    view.table.edit(index)
    box = view.table.findChild(QComboBox)
    assert [box.itemText(i) for i in range(box.count())] == ["float", *FORMATS]
    box.setCurrentText("int3")
    with qtbot.waitSignal(context.assignmentChanged):
        box.activated.emit(box.currentIndex())
    assert context.project.assignment.weight.nonzero()[0].tolist() == [3, 9, 15]
    assert context.undo_stack.count() == 1
    assert context.undo_stack.undoText() == "Set 3 layers to int3"


def test_locked_rows_cannot_be_edited(qtbot, shown, context):
    context.set_project(analysed(6))
    context.set_locked([4], True)
    view = LayerTableView(context)
    shown(view, 6)
    column = KEYS.index("bits")
    editable = Qt.ItemFlag.ItemIsEditable
    assert not view.model.flags(view.model.index(4, column)) & editable
    assert view.model.flags(view.model.index(3, column)) & editable


def test_refused_formats_are_grey_with_a_reason(qtbot, shown, context):
    project = analysed(6)
    project.target = "int8-symmetric"
    context.set_project(project)
    view = LayerTableView(context)
    shown(view, 6)
    view.table.edit(view.model.index(3, KEYS.index("bits")))
    items = view.table.findChild(QComboBox).model()
    assert not items.item(1).isEnabled()
    assert "int8 accelerator" in items.item(1).toolTip()
    assert items.item(5).isEnabled()


def test_copy_with_and_without_titles(qtbot, shown, context):
    context.set_project(analysed(6))
    view = LayerTableView(context)
    shown(view, 6)
    context.selection.set([0, 1])
    view.copy()
    lines = QGuiApplication.clipboard().text().split("\n")
    assert [line.split("\t")[0] for line in lines] == [
        "layers.0.query",
        "layers.0.key",
    ]
    view.copy(header=True)
    assert QGuiApplication.clipboard().text().startswith("Layer\tBits\t")


def test_tied_rows_are_marked(qtbot, shown, context):
    context.set_project(analysed(12))
    view = LayerTableView(context)
    shown(view, 12)
    context.selection.set([0])
    role = Qt.ItemDataRole.BackgroundRole
    marked = [r for r in range(12) if view.model.index(r, 0).data(role) is not None]
    assert marked == [0, 1, 2]
    tip = view.model.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "layers.0.key" in tip


def test_streaming_results_reach_the_table(qtbot, shown, context):
    context.set_project(analysed(0))
    view = LayerTableView(context)
    shown(view, 0)
    assert view._empty.title == "Nothing to quantize"
    context.set_project(analysed(6))
    qtbot.waitUntil(lambda: view.model.rowCount() == 6)
    assert view._at.count() == 1 + len(FORMATS)


def test_header_is_remembered(qtbot, shown, context, tmp_path):
    settings = Settings(tmp_path / "settings.ini")
    view = LayerTableView(context, settings)
    shown(view, 0)
    view.table.setColumnHidden(KEYS.index("shape"), True)
    view.table.setColumnWidth(0, 77)
    view.save_settings()
    settings.sync()
    again = LayerTableView(context, Settings(tmp_path / "settings.ini"))
    shown(again, 0)
    assert again.table.isColumnHidden(KEYS.index("shape"))
    assert again.table.columnWidth(0) == 77


def test_menus_offer_columns_and_formats(qtbot, shown, context):
    context.set_project(analysed(6))
    view = LayerTableView(context)
    shown(view, 6)
    actions = {action.text(): action for action in view.menus.columns().actions()}
    assert "Layer" not in actions
    actions["Parameters"].trigger()
    assert view.table.isColumnHidden(KEYS.index("parameters"))
    actions["Gain per kB"].trigger()
    assert not view.table.isColumnHidden(KEYS.index("gain"))
    actions["&Reset columns"].trigger()
    assert not view.table.isColumnHidden(KEYS.index("parameters"))
    assert view.table.isColumnHidden(KEYS.index("gain"))
    formats = view.menus.rows().actions()[0].menu()
    formats.actions()[2].trigger()
    assert context.project.assignment.scheme_of(0) == Scheme("int3")


@pytest.mark.parametrize(
    ("bits", "analysed_keys", "key"),
    [
        (0, (), None),
        (4, (), "int4"),
        (4, ("nf4", "int4/group(64)"), "int4/group(64)"),
        (4, ("nf4",), "nf4"),
        (7, ("int4",), "int7"),
    ],
)
def test_digit_keys_prefer_what_was_analysed(bits, analysed_keys, key):
    scheme = scheme_of_bits(bits, analysed_keys)
    assert (None if scheme is None else scheme.key) == key


def test_a_model_without_results_lists_its_layers(qapp):
    from analysis.project import Project

    model = LayerTableModel()
    model.set_layers(LayerData(Project.create(model_info(12))))
    assert model.text(0, "error") == "–"
    assert model.index(0, KEYS.index("error")).data(BAR_ROLE) is None
    assert model.text(0, "size") == "8.19 kB"


def test_a_format_the_target_refuses_says_so_in_its_cell(qapp):
    model = LayerTableModel()
    project = analysed(6)
    project.target = "int8-symmetric"
    project.set_weight([3], Scheme("int4"))
    project.set_weight([4], Scheme("int8"))
    model.set_layers(LayerData(project))
    role = Qt.ItemDataRole.ToolTipRole
    tips = [model.index(row, KEYS.index("bits")).data(role) for row in (3, 4, 5)]
    assert "An int8 accelerator does not run weights in int4." in tips[0]
    assert tips[1:] == ["layers.0.up", "layers.0.down"]
