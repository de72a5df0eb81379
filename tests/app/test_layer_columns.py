"""Columns of the layer table: derived numbers, further results, choice and order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QPushButton, QStyleOptionViewItem

from analysis.method import Row, Update
from analysis.network_blocks import block_of
from analysis.project import Project
from analysis.select import select
from app.dialogs.columns import ColumnsDialog
from app.models.layer_columns import COLUMNS, KEYS
from app.models.layer_data import FLOAT, LayerData
from app.models.layer_gain import gains
from app.models.layer_roles import BAR_ROLE, TIED_ROLE
from app.models.layer_table import LayerTableModel
from app.models.target_fits import TargetFits
from app.settings import Settings
from app.theme import theme
from app.views.layer_table import (
    ALWAYS_SEEN,
    HEADER_KEY,
    NARROWEST_NAME,
    WIDEST_NAME,
    LayerTableView,
)
from app.widgets.column_layout import ColumnLayout
from app.widgets.mark_delegates import NameDelegate, StarDelegate
from quant_core.scheme import Scheme, parse_scheme
from tests.app.helpers import analysed, model_info, open_


@pytest.fixture
def view(qtbot, context, tmp_path) -> Iterator[LayerTableView]:
    view = LayerTableView(context, Settings(tmp_path / "settings.ini"))
    qtbot.addWidget(view)
    view.resize(1200, 600)
    view.show()
    yield view
    view.close()


def true_gain(errors, bits, error_now, bits_now, group, layer) -> float:
    """Return the best gain per byte of a layer's group, format by format."""
    members = [i for i in range(len(group)) if group[i] == group[layer]]
    found = []
    for column in range(errors.shape[1]):
        spent = sum(bits[i, column] - bits_now[i] for i in members) / 8
        fall = sum(error_now[i] - errors[i, column] for i in members)
        if np.isfinite(spent) and np.isfinite(fall) and spent > 0:
            found.append(fall / spent)
    return max(found, default=np.nan)


def test_gains_are_those_of_the_whole_group():
    rng = np.random.default_rng(3)
    errors = rng.lognormal(size=(30, 5))
    bits = 800 * np.array([2, 3, 4, 6, 32]) * np.ones((30, 5))
    errors[4, 1] = np.nan
    bits[7, 2] = np.inf
    group = np.repeat(np.arange(0, 30, 3), 3)
    now = rng.integers(0, 5, 30)
    error_now, bits_now = errors[range(30), now], bits[range(30), now]
    found = gains(errors, bits, error_now, bits_now, group)
    for layer in range(30):
        truth = true_gain(errors, bits, error_now, bits_now, group, layer)
        assert found.value[layer] == pytest.approx(truth, nan_ok=True)
        assert (found.choice[layer] < 0) == np.isnan(truth)


def test_gain_names_the_next_step_and_the_layers_that_come_along(qapp):
    project = analysed(12)
    project.set_weight(range(12), Scheme("int2"))
    data = LayerData(project)
    assert data.next_step(0) == "int3"
    errors = project.values("predicted_error", "int2")
    fall = errors - project.values("predicted_error", "int3")
    sizes = [project.assignment.weight_bits_in(Scheme(f"int{n}")) / 8 for n in (2, 3)]
    spent = sizes[1] - sizes[0]
    expected = 1000 * fall[:3].sum() / spent[:3].sum()
    assert data.numbers("gain")[[0, 1, 2]] == pytest.approx([expected] * 3)
    model = LayerTableModel()
    model.set_layers(data)
    tip = model.index(0, KEYS.index("gain")).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == "By going from int2 to int3, 2 tied along."


def test_gain_keeps_to_what_the_target_runs(qapp):
    project = analysed(6)
    project.target = "int8-symmetric"
    project.set_weight([3], Scheme("int4"))
    data = LayerData(project)
    assert data.next_step(3) == "int8"
    assert data.next_step(4) == "", "nothing is larger than the stored float"


def test_shares_add_up(qapp):
    project = analysed(36)
    data = LayerData(project)
    assert data.numbers("share").sum() == pytest.approx(100)
    assert data.numbers("error_share").sum() == pytest.approx(100)
    project.set_weight([3, 4], Scheme("int3"))
    data.read_assignment()
    shares = data.numbers("error_share")
    assert np.flatnonzero(np.isfinite(shares)).tolist() == [3, 4]
    assert np.nansum(shares) == pytest.approx(100)


def test_the_search_result_kept_last_is_proposed(context, view):
    project = analysed(12)
    context.set_project(project)
    found = project.assignment.with_weight([5], Scheme("int3"))
    project.add_assignment("by hand", found)
    qtwait(view)
    assert view.model.text(5, "proposed") == "–"
    project.add_assignment("4 bits", found, {"search": "exact"})
    qtwait(view)
    assert view.model.text(5, "proposed") == "int3"
    assert view.model.text(0, "proposed") == FLOAT
    tip = view.model.headerData(
        KEYS.index("proposed"), Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole
    )
    assert "Here: 4 bits." in tip
    chosen = select("proposed<4", view.model.layers.fields())
    assert np.flatnonzero(chosen).tolist() == [5]


def qtwait(view: LayerTableView) -> None:
    view._context._flush()
    view._catch_up()


def add_measure(project, measure="hessian") -> None:
    run = project.begin_run(measure, unit="nats", samples=4)
    rows = [
        Row(layer.name, None, float(i), quantity="trace")
        for i, layer in enumerate(project.info.layers)
    ]
    rows += [
        Row(layer.name, key, 1.0 / float(key[3:]), quantity="error")
        for layer in project.info.layers
        for key in ("int2", "int4")
    ]
    rows.append(Row("", None, 1.0, quantity="whole", part="model"))
    rows.append(Row("somewhere:softmax", None, 1.0, quantity="std", part="input"))
    project.apply(run, Update(1, 1, rows=tuple(rows), samples=4))
    project.end_run(run)


def test_any_further_measure_gives_columns(context, view):
    project = analysed(12)
    context.set_project(project)
    assert view.model.columns == COLUMNS
    add_measure(project)
    qtwait(view)
    further = [column.key for column in view.model.columns[len(COLUMNS) :]]
    assert further == ["hessian/trace/weight", "hessian/error/weight"]
    project.set_weight([3], Scheme("int2"))
    qtwait(view)
    row = view.model.row_of(3)
    assert view.model.text(row, further[0]) == "3.00"
    assert view.model.text(row, further[1]) == "0.500"
    chosen = select("trace>9", view.model.layers.fields())
    assert np.flatnonzero(chosen).tolist() == [10, 11]
    number = view.model.column_of(further[0])
    assert view.table.isColumnHidden(number), "shown when asked for"
    view.table.sortByColumn(number, Qt.SortOrder.DescendingOrder)
    assert view.model.layer_at(0) == 11


def test_bars_stand_for_the_number(qapp):
    model = LayerTableModel()
    model.set_layers(LayerData(analysed(12)))
    for column in (c for c in COLUMNS if c.bar and c.key != "gain"):
        values = model.layers.numbers(column.key)
        bars = [
            model.index(r, KEYS.index(column.key)).data(BAR_ROLE) for r in range(12)
        ]
        lengths = np.array([bar[0] for bar in bars])
        assert lengths.max() == pytest.approx(1), column.key
        order = np.argsort(values, kind="stable")
        assert (np.diff(lengths[order]) >= 0).all(), column.key
    for plain in ("name", "bits", "parameters"):
        assert model.index(0, KEYS.index(plain)).data(BAR_ROLE) is None


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("encoder.layer.3.output.dense", "encoder.layer.3"),
        ("h.11", "h.11"),
        ("0.weight_1.x", "0"),
        ("embeddings.word_embeddings", "embeddings"),
        ("conv2.proj", "conv2"),
        ("lm_head", "lm_head"),
        ("", ""),
    ],
)
def test_blocks_end_at_the_first_number(name, block):
    assert block_of(name) == block


def test_blocks_sort_filter_and_show(context, view):
    context.set_project(analysed(72, samples=2))
    assert view.model.text(63, "block") == "layers.10"
    chosen = select("block:layers.1", view.model.layers.fields())
    assert np.flatnonzero(chosen).tolist() == [*range(6, 12), *range(60, 72)]
    chosen = select("block:layers.1?", view.model.layers.fields())
    assert np.flatnonzero(chosen).tolist() == list(range(60, 72))
    view.table.sortByColumn(KEYS.index("block"), Qt.SortOrder.AscendingOrder)
    assert view.model.order.tolist() == list(range(72)), "2 comes before 10"


def test_ties_of_the_target_count(qapp):
    project = analysed(12)
    model = LayerTableModel()
    model.set_layers(LayerData(project))
    tied = [row for row in range(12) if model.index(row, 0).data(TIED_ROLE)]
    assert tied == [0, 1, 2, 6, 7, 8]
    project.update_model(dataclasses.replace(project.info, ties=()))
    data = LayerData(project)
    assert (data.tie < 0).all()
    project.target = "vllm-like"
    data.read_assignment()
    assert data.partners(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("delegate", [NameDelegate, StarDelegate])
def test_marks_are_drawn(qapp, delegate):
    model = LayerTableModel()
    project = analysed(6)
    project.set_starred([0], True)
    model.set_layers(LayerData(project))
    is_name = delegate is NameDelegate
    drawn = delegate(TIED_ROLE) if is_name else delegate()
    pictures = []
    for row in (0, 3):
        image = QImage(200, 24, QImage.Format.Format_RGB32)
        image.fill(Qt.GlobalColor.white)
        painter = QPainter(image)
        option = QStyleOptionViewItem()
        option.rect = image.rect()
        column = KEYS.index("name" if is_name else "starred")
        drawn.paint(painter, option, model.index(row, column))
        painter.end()
        pictures.append(image.copy(150 if is_name else 75, 0, 50, 24))
    assert pictures[0] != pictures[1]


def test_fits_ask_the_target_once_per_kind_of_layer(qapp, monkeypatch):
    project = analysed(36)
    fits = TargetFits(project)
    asked = []
    refused = type(project).refused
    monkeypatch.setattr(
        type(project), "refused", lambda *a: asked.append(a[2]) or refused(*a)
    )
    project.target = "int8-symmetric"
    for key, _ in itertools.product(("int4", "int8"), range(3)):
        mask = fits.mask(parse_scheme(key))
        truth = [refused(project, parse_scheme(key), i) is None for i in range(36)]
        assert mask.tolist() == truth
    assert len(asked) == 2 * 6, "six shapes, two formats"
    assert fits.mask(None).all()


# -- choice and order ------------------------------------------------------------------


def titles(view: LayerTableView) -> list[str]:
    return [view.model.columns[c].key for c in view.table.visible_columns()]


def test_order_and_choice_are_remembered_by_key(qtbot, context, view, tmp_path):
    context.set_project(analysed(6))
    order = [
        "name",
        "gain",
        "size",
        *(k for k in KEYS if k not in ("name", "gain", "size")),
    ]
    view.columns.arrange(order, ["name", "gain", "size", "bits"])
    assert titles(view) == ["name", "gain", "size", "bits"]
    view.table.setColumnWidth(KEYS.index("gain"), 123)
    view.save_settings()
    again = LayerTableView(context, Settings(tmp_path / "settings.ini"))
    qtbot.addWidget(again)
    add_measure(context.project)
    again.show()
    qtwait(again)
    assert titles(again) == ["name", "gain", "size", "bits"]
    assert again.table.columnWidth(KEYS.index("gain")) == 123
    again.columns.reset()
    assert titles(again) == [c.key for c in COLUMNS if c.shown]
    again.close()


@pytest.mark.parametrize(
    "saved",
    [
        {"order": "name", "widths": [1], "shown": 3},
        {"order": [1, "nothing"], "widths": {"name": "wide"}, "shown": {"bits": 1}},
        {"widths": {"name": -5}},
    ],
)
def test_damaged_settings_count_as_absent(qtbot, context, tmp_path, saved):
    settings = Settings(tmp_path / "settings.ini")
    settings.set(HEADER_KEY, saved)
    view = LayerTableView(context, settings)
    qtbot.addWidget(view)
    assert titles(view) == [c.key for c in COLUMNS if c.shown]
    assert view.table.columnWidth(0) > 50


def test_the_dialog_moves_and_ticks(qtbot):
    dialog = ColumnsDialog(COLUMNS, ["name", "bits"])
    qtbot.addWidget(dialog)
    assert dialog.shown == ["name", "bits"]
    name = dialog.list.item(0)
    assert not name.flags() & Qt.ItemFlag.ItemIsUserCheckable
    dialog.list.setCurrentRow(1)
    up, down = (
        next(b for b in dialog.findChildren(QPushButton) if b.property("by") == by)
        for by in (-1, 1)
    )
    up.click()
    assert dialog.order[:2] == ["bits", "name"]
    up.click()
    down.click()
    down.click()
    assert dialog.order[:3] == ["name", "locked", "bits"]
    dialog.list.item(1).setCheckState(Qt.CheckState.Checked)
    assert dialog.shown == ["name", "locked", "bits"]


def test_a_layout_without_settings_forgets(view):
    layout = ColumnLayout(view.table, None, "x")
    layout.apply(COLUMNS)
    layout.save()
    assert not ColumnLayout(view.table, None, "x").knows("name")


def test_long_names_leave_room_for_what_matters_until_a_person_decides(view, context):
    info = model_info(6)
    names = (f"{'very_long_' * 6}{i}" for i in range(6))
    layers = (
        dataclasses.replace(layer, name=name)
        for layer, name in zip(info.layers, names, strict=True)
    )
    open_(
        context,
        Project.create(dataclasses.replace(info, layers=tuple(layers), ties=())),
    )
    header, name = view.table.horizontalHeader(), KEYS.index("name")

    def beyond(wide: int) -> int:
        """Return how far the columns that matter reach out of the table [pixels]."""
        view.resize(wide, 500)
        ends = (
            header.sectionPosition(i) + header.sectionSize(i)
            for i in (KEYS.index(key) for key in ALWAYS_SEEN)
        )
        return max(ends) - view.table.viewport().width()

    assert beyond(700) <= 0
    assert beyond(760) <= 0
    assert theme().em(NARROWEST_NAME) < header.sectionSize(name)
    header.resizeSection(KEYS.index("error"), 600)
    assert beyond(700) > 0
    assert header.sectionSize(name) == theme().em(NARROWEST_NAME)
    assert beyond(2000) < 0
    assert header.sectionSize(name) == theme().em(WIDEST_NAME)
    view.columns.capture()
    assert not view.columns.knows("name")
    header.resizeSection(name, 123)
    beyond(700)
    assert header.sectionSize(name) == 123
    view.columns.capture()
    assert view.columns.knows("name")
