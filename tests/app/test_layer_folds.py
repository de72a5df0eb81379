"""Folded blocks: one row that stands for layers, and never for more than it says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QGuiApplication

from app.context import AppContext
from app.models.block_cells import MIXED
from app.models.layer_folds import Rows
from app.models.layer_roles import BAR_ROLE, BITS_ROLE
from app.views.layer_table import LayerTableView
from quant_core.scheme import Scheme
from tests.app.helpers import analysed, settle

Role = Qt.ItemDataRole


def slow_rows(listed, blocks, folded) -> list[list[int]]:
    """Return the layers of every row, the obvious way."""
    rows: list[list[int]] = []
    row_of_block: dict[int, int] = {}
    for layer in listed:
        block = int(blocks[layer])
        if folded[block] and block in row_of_block:
            rows[row_of_block[block]].append(int(layer))
            continue
        if folded[block]:
            row_of_block[block] = len(rows)
        rows.append([int(layer)])
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_found_the_obvious_way(seed):
    rng = np.random.default_rng(seed)
    total, kinds = int(rng.integers(1, 30)), 5
    blocks = rng.integers(0, kinds, total)
    listed = rng.permutation(total)[: rng.integers(0, total + 1)]
    folded = rng.random(kinds) < 0.6
    rows = Rows.of(listed, blocks, folded)
    expected = slow_rows(listed, blocks, folded)
    assert rows.order.tolist() == [members[0] for members in expected]
    for number, members in enumerate(expected):
        assert rows.layers_at(np.array([number])).tolist() == members
        assert rows.members(number).tolist() == members
        assert rows.row[members].tolist() == [number] * len(members)
        assert rows.is_folded(number) == (len(members) > 1)
    hidden = np.setdiff1d(np.arange(total), listed)
    assert (rows.row[hidden] == -1).all()
    assert (rows.place[listed] == np.arange(len(listed))).all()
    given = rng.permutation(total)[: rng.integers(0, total + 1)]
    cut = [m[0] for m in expected if 0 < len(np.intersect1d(m, given)) < len(m)]
    assert rows.cut(given).tolist() == cut


@pytest.fixture
def context(qapp) -> Iterator[AppContext]:
    context = AppContext()
    context.set_project(analysed(36))
    yield context
    context.set_project(None)


@pytest.fixture
def view(qtbot, context) -> Iterator[LayerTableView]:
    view = LayerTableView(context)
    qtbot.addWidget(view)
    view.resize(1200, 600)
    view.show()
    yield view
    view.close()


def names(view: LayerTableView) -> list[str]:
    return [view.model.text(row, "name") for row in range(view.model.rowCount())]


def click(view: LayerTableView, row: int) -> None:
    """Select one row as a click does."""
    flags = QItemSelectionModel.SelectionFlag
    index = view.model.index(row, 0)
    both = flags.ClearAndSelect | flags.Rows
    view.table.selectionModel().setCurrentIndex(index, both)


def test_a_block_is_folded_into_one_row_and_comes_back(view, context):
    context.selection.set([8])
    view.folds.toggle()
    assert view.model.rowCount() == 31
    assert names(view)[5:8] == [
        "layers.0.down",
        "▸ layers.1 (6)",
        "layers.2.query",
    ]
    assert context.selection.layers.tolist() == [6, 7, 8, 9, 10, 11]
    assert context.selection.current == 8
    assert len(view.model.rows.listed) == 36
    view.folds.toggle()
    assert view.model.rowCount() == 36
    view.folds.toggle_all()
    assert names(view) == [f"▸ layers.{i} (6)" for i in range(6)]
    view.folds.toggle_all()
    assert view.model.order.tolist() == list(range(36))


def test_an_edit_of_a_folded_row_is_one_step_for_all_its_layers(view, context):
    project = context.project
    view.folds.toggle_all()
    click(view, 2)
    chosen = context.selection.layers
    assert chosen.tolist() == [12, 13, 14, 15, 16, 17]
    context.set_weight(chosen, Scheme("int4"))
    view._on_bits_chosen(3, "int8")
    assert [project.assignment.scheme_of(i) for i in (12, 17)] == [Scheme("int4")] * 2
    assert [project.assignment.scheme_of(i) for i in (18, 23)] == [Scheme("int8")] * 2
    assert project.assignment.scheme_of(24) is None
    assert context.undo_stack.count() == 2
    column = view.model.column_of("locked")
    for locked in (True, False):
        view._on_clicked(view.model.index(1, column))
        settle()
        assert bool(project.assignment.locked[6:12].all()) is locked
        assert not project.assignment.locked[12:].any()


def test_cells_of_a_folded_row_add_up_and_say_what_differs(view, context):
    data = view.model.layers
    context.set_weight([0, 1, 2], Scheme("int4"))
    settle()
    view.folds.toggle_all()

    def cell(row: int, key: str, role=Role.DisplayRole) -> object:
        return view.model.index(row, view.model.column_of(key)).data(role)

    assert cell(0, "bits") == MIXED
    assert cell(0, "bits", BITS_ROLE) is None
    assert cell(1, "bits") == "float"
    assert cell(0, "parameters") == f"{int(data.parameters[:6].sum()):,}"
    assert cell(0, "kind") == "linear"
    assert cell(0, "shape") == MIXED
    assert float(cell(1, "error")) == pytest.approx(data.error[6:12].sum(), rel=0.01)
    low, _, high = str(cell(0, "kurtosis")).partition(" … ")
    kurtosis = data.numbers("kurtosis")[:6]
    assert (float(low), float(high)) == (kurtosis.min(), kurtosis.max())
    assert cell(0, "size", BAR_ROLE) is None
    assert "added up" in str(cell(0, "error", Role.ToolTipRole))
    assert cell(0, "name", Role.AccessibleTextRole) == "layers.0, folded, 6 layers"
    assert cell(0, "locked", Role.AccessibleTextRole) == "0 of 6 locked"
    context.set_weight(np.arange(6), Scheme("int8"))
    settle()
    assert cell(0, "bits") == "int8"
    assert cell(0, "bits", BITS_ROLE) == 8


def test_what_selects_a_part_of_a_block_unfolds_it(view, context):
    view.folds.toggle_all()
    context.selection.set([13])
    assert view.model.rowCount() == 11
    assert view.model.layers_at(view.table.selected_rows()).tolist() == [13]
    context.selection.set(np.arange(18, 24))
    assert view.model.rowCount() == 11, "all of it is selected"
    assert view.table.selected_rows().tolist() == [8]


def test_steps_go_from_row_to_row_and_find_looks_inside(qtbot, view, context):
    view.folds.toggle_all()
    click(view, 0)
    view.step(1)
    assert context.selection.layers.tolist() == [6, 7, 8, 9, 10, 11]
    view.finder.open()
    qtbot.keyClicks(view.finder.bar.line, "layers.4.up")
    qtbot.waitUntil(lambda: view.model.found.tolist() == [28])
    papers = [view.model.index(r, 1).data(Role.BackgroundRole) for r in range(6)]
    assert [r for r, paper in enumerate(papers) if paper is not None] == [1, 4]
    view.finder.step(1)
    assert context.selection.layers.tolist() == [28]
    assert view.model.text(view.model.row_of(28), "name") == "layers.4.up"
    assert view.finder.bar.count.text() == "1 of 1"


def test_filter_sort_and_copy_treat_a_folded_block_as_its_layers(view, context):
    view.folds.toggle_all()
    view._on_filter("up | down")
    assert names(view)[0] == "▸ layers.0 (2)"
    view.select_all()
    assert len(context.selection.layers) == 12
    click(view, 1)
    assert context.selection.layers.tolist() == [10, 11]
    view.copy()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["layers.1.up", "layers.1.down"]
    view._on_filter("layers.3.up")
    assert names(view) == ["layers.3.up"], "one layer is no block"
    view._on_filter("")
    assert view.model.rowCount() == 11, "of block 1 two layers are selected"
    view.model.sort(view.model.column_of("parameters"), Qt.SortOrder.DescendingOrder)
    # The largest layers are the last of their blocks.
    firsts = [view.model.layer_at(row) for row in range(view.model.rowCount())]
    sizes = view.model.layers.parameters[firsts]
    assert (np.diff(sizes) <= 0).all()


def test_a_double_click_on_the_name_unfolds_and_another_model_has_no_folds(
    view, context
):
    view.folds.toggle_all()
    view.table.doubleClicked.emit(view.model.index(4, view.model.column_of("size")))
    assert view.model.rowCount() == 6
    view.table.doubleClicked.emit(view.model.index(4, 0))
    assert view.model.rowCount() == 11
    context.set_project(analysed(12))
    assert view.model.rowCount() == 12
