"""What a person feels at 60,000 rows: sort, filter, select, edit, undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PySide6.QtCore import Qt

from analysis.method import Row, Update
from analysis.project import Project
from app.context import AppContext
from app.models.layer_columns import KEYS
from app.views.layer_table import LayerTableView
from app.views.totals import TotalsBar
from quant_core.scheme import Scheme
from tests.app.helpers import model_info
from tests.budget import assert_within, spent

LAYERS = 60_000
BUDGET_SECONDS = 0.1


@pytest.fixture(scope="module")
def big_project() -> Project:
    project = Project.create(model_info(LAYERS))
    rng = np.random.default_rng(0)
    run = project.begin_run("predicted_error", unit="nats", samples=32)
    own = rng.lognormal(size=(2, LAYERS))
    names = np.array([layer.name for layer in project.info.layers])
    columns = np.stack([np.full(LAYERS, "weight"), names, np.full(LAYERS, "int4")], 1)
    arrays = {
        "predicted_error/weight": np.ones(32),
        "predicted_error/sample": np.arange(32),
        "predicted_error/v": rng.normal(size=(32, LAYERS)).astype(np.float32),
        "predicted_error/columns": columns,
        "predicted_error/own": own,
    }
    rows = tuple(
        Row(name, "int4", value, stderr)
        for name, value, stderr in zip(names.tolist(), *own.tolist(), strict=True)
    )
    project.apply(run, Update(1, 1, rows=rows, arrays=arrays, samples=32))
    project.end_run(run, "complete")
    return project


@pytest.fixture
def context(qapp, big_project) -> Iterator[AppContext]:
    context = AppContext()
    context.set_project(big_project)
    yield context
    context.set_project(None)
    big_project.set_assignment(
        big_project.assignment.float(big_project.info.layers, "tiny", "d" * 64)
    )


@pytest.fixture
def view(qtbot, context) -> Iterator[LayerTableView]:
    view = LayerTableView(context)
    view.totals = TotalsBar(context)
    qtbot.addWidget(view.totals)
    qtbot.addWidget(view)
    view.resize(1200, 800)
    view.show()
    view.totals.show()
    view.grab()
    yield view
    view.close()


@pytest.fixture
def timed(view, qapp, capsys) -> Callable[[str, Callable[[], object]], None]:
    def time_one(name: str, act: Callable[[], object]) -> None:
        def act_and_paint() -> None:
            act()
            qapp.processEvents()
            view.table.viewport().grab()

        qapp.processEvents()
        seconds = spent(act_and_paint)
        with capsys.disabled():
            print(f"  {name}: {1000 * seconds:.0f} ms", end="")  # noqa: T201
        assert_within(BUDGET_SECONDS, [seconds], name)

    return time_one


@pytest.mark.parametrize("key", ["error", "name", "parameters"])
def test_sort(view, timed, key):
    view.model.layers.natural_rank()
    column = KEYS.index(key)
    view.table.horizontalHeader().setSortIndicator(column, Qt.SortOrder.AscendingOrder)
    timed(
        key,
        lambda: view.table.horizontalHeader().setSortIndicator(
            column, Qt.SortOrder.DescendingOrder
        ),
    )


def test_sort_with_scattered_selection(view, context, timed):
    context.selection.set(np.arange(0, LAYERS, 12))
    column = KEYS.index("error")
    timed(
        "sort",
        lambda: view.table.horizontalHeader().setSortIndicator(
            column, Qt.SortOrder.DescendingOrder
        ),
    )
    assert len(view.table.selected_rows()) == LAYERS // 12


def test_filter(view, timed):
    timed("filter", lambda: view.filter.set_text("query bits>8 error>1"))
    timed("all", lambda: view.filter.set_text(""))


def test_select_all_and_clear(view, context, timed):
    timed("select", view.select_all)
    assert len(context.selection.layers) == LAYERS
    timed("click one", lambda: context.selection.set([5]))


def test_edit_and_undo_everything(view, context, timed):
    view.select_all()
    everything = context.selection.layers
    timed("edit", lambda: context.set_weight(everything, Scheme("int4")))
    assert context.project.totals.average_bits < 5
    timed("undo", context.undo_stack.undo)
    timed("redo", context.undo_stack.redo)
    timed("edit one", lambda: context.set_weight([7], Scheme("int8")))


def test_scroll(view, timed):
    bar = view.table.verticalScrollBar()
    timed("page", lambda: bar.setValue(bar.value() + bar.pageStep()))
