"""Folded blocks: one row that stands for layers, and never for more than it says."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QGuiApplication

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


def names(view: LayerTableView) -> list[str]:
    return [view.model.text(row, "name") for row in range(view.model.rowCount())]


def click(view: LayerTableView, row: int) -> None:
    """Select one row as a click does."""
    flags = QItemSelectionModel.SelectionFlag
    index = view.model.index(row, 0)
    both = flags.ClearAndSelect | flags.Rows
    view.table.selectionModel().setCurrentIndex(index, both)


def test_a_block_is_folded_into_one_row_and_comes_back(layers, context):
    context.selection.set([8])
    layers.folds.toggle()
    assert layers.model.rowCount() == 31
    assert names(layers)[5:8] == [
        "layers.0.down",
        "▸ layers.1 (6)",
        "layers.2.query",
    ]
    assert context.selection.layers.tolist() == [6, 7, 8, 9, 10, 11]
    assert context.selection.current == 8
    assert len(layers.model.rows.listed) == 36
    layers.folds.toggle()
    assert layers.model.rowCount() == 36
    layers.folds.toggle_all()
    assert names(layers) == [f"▸ layers.{i} (6)" for i in range(6)]
    layers.folds.toggle_all()
    assert layers.model.order.tolist() == list(range(36))


def test_an_edit_of_a_folded_row_is_one_step_for_all_its_layers(layers, context):
    project = context.project
    layers.folds.toggle_all()
    click(layers, 2)
    chosen = context.selection.layers
    assert chosen.tolist() == [12, 13, 14, 15, 16, 17]
    context.set_weight(chosen, Scheme("int4"))
    layers._on_bits_chosen(3, "int8")
    assert [project.assignment.scheme_of(i) for i in (12, 17)] == [Scheme("int4")] * 2
    assert [project.assignment.scheme_of(i) for i in (18, 23)] == [Scheme("int8")] * 2
    assert project.assignment.scheme_of(24) is None
    assert context.undo_stack.count() == 2
    column = layers.model.column_of("locked")
    for locked in (True, False):
        layers._on_clicked(layers.model.index(1, column))
        settle()
        assert bool(project.assignment.locked[6:12].all()) is locked
        assert not project.assignment.locked[12:].any()


def test_cells_of_a_folded_row_add_up_and_say_what_differs(layers, context):
    data = layers.model.layers
    context.set_weight([0, 1, 2], Scheme("int4"))
    settle()
    layers.folds.toggle_all()

    def cell(row: int, key: str, role=Role.DisplayRole) -> object:
        return layers.model.index(row, layers.model.column_of(key)).data(role)

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


def test_what_selects_a_part_of_a_block_unfolds_it(layers, context):
    layers.folds.toggle_all()
    context.selection.set([13])
    assert layers.model.rowCount() == 11
    assert layers.model.layers_at(layers.table.selected_rows()).tolist() == [13]
    context.selection.set(np.arange(18, 24))
    assert layers.model.rowCount() == 11, "all of it is selected"
    assert layers.table.selected_rows().tolist() == [8]


def test_steps_go_from_row_to_row_and_find_looks_inside(qtbot, layers, context):
    layers.folds.toggle_all()
    click(layers, 0)
    layers.step(1)
    assert context.selection.layers.tolist() == [6, 7, 8, 9, 10, 11]
    layers.finder.open()
    qtbot.keyClicks(layers.finder.bar.line, "layers.4.up")
    qtbot.waitUntil(lambda: layers.model.found.tolist() == [28])
    papers = [layers.model.index(r, 1).data(Role.BackgroundRole) for r in range(6)]
    assert [r for r, paper in enumerate(papers) if paper is not None] == [1, 4]
    layers.finder.step(1)
    assert context.selection.layers.tolist() == [28]
    assert layers.model.text(layers.model.row_of(28), "name") == "layers.4.up"
    assert layers.finder.bar.count.text() == "1 of 1"


def test_filter_sort_and_copy_treat_a_folded_block_as_its_layers(layers, context):
    layers.folds.toggle_all()
    layers._on_filter("up | down")
    assert names(layers)[0] == "▸ layers.0 (2)"
    layers.select_all()
    assert len(context.selection.layers) == 12
    click(layers, 1)
    assert context.selection.layers.tolist() == [10, 11]
    layers.copy()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["layers.1.up", "layers.1.down"]
    layers._on_filter("layers.3.up")
    assert names(layers) == ["layers.3.up"], "one layer is no block"
    layers._on_filter("")
    assert layers.model.rowCount() == 11, "of block 1 two layers are selected"
    layers.model.sort(
        layers.model.column_of("parameters"), Qt.SortOrder.DescendingOrder
    )
    # The largest layers are the last of their blocks.
    firsts = [layers.model.layer_at(row) for row in range(layers.model.rowCount())]
    sizes = layers.model.layers.parameters[firsts]
    assert (np.diff(sizes) <= 0).all()


def test_a_double_click_on_the_name_unfolds_and_another_model_has_no_folds(
    layers, context
):
    layers.folds.toggle_all()
    layers.table.doubleClicked.emit(
        layers.model.index(4, layers.model.column_of("size"))
    )
    assert layers.model.rowCount() == 6
    layers.table.doubleClicked.emit(layers.model.index(4, 0))
    assert layers.model.rowCount() == 11
    context.set_project(analysed(12))
    assert layers.model.rowCount() == 12
