"""The budget slider of the trade-off panel: proposals, acceptance, reasons."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt

from analysis.project import Project
from app.context import AppContext
from app.models.proposal import Proposal
from app.models.proposal_table import TITLES
from app.models.trade_off import offer_of
from app.views.proposal import STEPS
from app.views.trade_off import TradeOffView
from quant_core.scheme import parse_scheme
from tests.app.helpers import settle
from tests.app.panel_projects import analysed, make_errors, make_info


@pytest.fixture
def view(qtbot, context) -> TradeOffView:
    view = TradeOffView(context)
    qtbot.addWidget(view)
    view.resize(900, 760)
    view.show()
    return view


def open_(view: TradeOffView, context: AppContext, layers: int = 12, **more) -> Project:
    project = analysed(layers, **more)
    context.set_project(project)
    settle()
    view.layers_box.setChecked(True)
    settle()
    return project


def cell(view: TradeOffView, row: int, title: str) -> str:
    model = view.proposal.model
    return model.index(row, TITLES.index(title)).data()


def test_the_slider_proposes_the_best_of_every_size(view, context):
    project = open_(view, context)
    line = view._offer.front
    for place in range(0, STEPS + 1, 100):
        view.proposal.slider.setValue(place)
        found = view.proposal.proposal
        wanted = line.bits[0] * (line.bits[-1] / line.bits[0]) ** (place / STEPS)
        within = np.flatnonzero(line.bits <= wanted * (1 + 1e-9))
        assert found.point == max(int(within[-1]), 0)
        assert np.array_equal(found.choice, line.choice(found.point))
        assert found.size == pytest.approx(
            found.assignment(project.assignment).totals().bytes
        )
    assert view.proposal.slider.value() == STEPS
    assert found.point == len(line) - 1


def test_dragging_changes_nothing_until_it_is_accepted(view, context):
    project = open_(view, context)
    before = project.assignment.digest
    view.proposal.slider.setValue(300)
    settle()
    assert project.assignment.digest == before
    proposed = view.proposal.proposal.assignment(project.assignment)
    assert view.proposal.all_button.isEnabled()
    view.proposal.all_button.click()
    settle()
    assert project.assignment.digest == proposed.digest
    assert not view.proposal.all_button.isEnabled()
    assert view.proposal.model.rowCount() == 0
    context.undo_stack.undo()
    settle()
    assert project.assignment.digest == before


def test_the_slider_stays_with_the_assignment_until_it_is_dragged(view, context, qtbot):
    project = open_(view, context)
    pane, bits = view.proposal, view._offer.front.bits

    def assign_all(key: str) -> int:
        made = project.assignment.with_weight(np.arange(12), parse_scheme(key))
        context.replace_assignment(made, f"Set {key}")
        return int(np.abs(bits - 8 * made.totals().bytes).argmin())

    for key in ("int4", "int8"):
        point = assign_all(key)
        qtbot.waitUntil(lambda point=point: pane.proposal.point == point)
    pane.slider.setValue(0)
    renewed = []
    pane.changed.connect(renewed.append)
    assert assign_all("int4") != 0
    qtbot.waitUntil(lambda: bool(renewed))
    assert pane.proposal.point == 0
    assert pane.slider.value() == 0


def test_a_group_alone_takes_what_is_proposed(view, context):
    project = open_(view, context)
    view.proposal.slider.setValue(300)
    context.selection.set([])
    settle()
    assert not view.proposal.some_button.isEnabled()
    context.selection.set([2, 5, 7])
    settle()
    proposed = view.proposal.proposal.assignment(project.assignment)
    view.proposal.some_button.click()
    settle()
    for layer in range(12):
        scheme = project.assignment.scheme_of(layer)
        wanted = proposed.scheme_of(layer) if layer in (2, 5, 7) else None
        assert scheme == wanted
    shown = view.proposal.model.layers_at(np.arange(view.proposal.model.rowCount()))
    assert shown.tolist() == [i for i in range(12) if i not in (2, 5, 7)]


def test_rows_show_mine_beside_the_proposal(view, context):
    project = open_(view, context)
    project.set_weight(range(12), parse_scheme("int4"))
    view.proposal.slider.setValue(200)
    settle()
    found, model = view.proposal.proposal, view.proposal.model
    changed = found.changed()
    assert model.rowCount() == len(changed) > 0
    layer = int(changed[0])
    scheme = found.assignment(project.assignment).scheme_of(layer)
    assert cell(view, 0, "Layer") == project.info.layers[layer].name
    assert cell(view, 0, "Now") == "int4"
    assert cell(view, 0, "Proposal") == ("float" if scheme is None else scheme.key)
    table, rows = found.offer.table, np.arange(12)
    fall = table.cost[rows, found.choice] - table.cost[rows, found.mine]
    assert np.allclose(found.error_change(), fall)
    view.proposal.changes_box.setChecked(False)
    assert model.rowCount() == 12


def test_what_the_next_step_buys_is_the_steepest(qapp):
    project = analysed(9, ties=((0, 4),))
    offer = offer_of(project)
    found = Proposal.of(project, offer, len(offer.front) // 2)
    table = offer.table
    for layer in range(9):
        members = [0, 4] if layer in (0, 4) else [layer]
        best = (0.0, np.nan, np.nan)
        for option in range(len(table.palette)):
            more = sum(
                table.bits[i, option] - table.bits[i, found.choice[i]] for i in members
            )
            fall = sum(
                table.cost[i, found.choice[i]] - table.cost[i, option] for i in members
            )
            if more > 0 and fall > 0 and fall / more > best[0]:
                best = (fall / more, more / 8, fall)
        assert found.spent[layer] == pytest.approx(best[1], nan_ok=True)
        assert found.bought[layer] == pytest.approx(best[2], nan_ok=True)


def test_every_layer_has_the_format_of_least_error_plus_price(qapp):
    project = analysed(12, ties=((1, 2, 3),))
    offer = offer_of(project)
    for point in range(0, len(offer.front), 5):
        found = Proposal.of(project, offer, point)
        for layer in range(12):
            options = found.alternatives(layer)
            (chosen,) = [x for x in options if x.is_chosen]
            least = min(x.total for x in options)
            assert chosen.total <= least * (1 + 1e-9) + 1e-15
            assert [x.size for x in options] == sorted(x.size for x in options)
    assert found.tied(2) == 3
    own = make_errors(12)[[1, 2, 3]].sum(0)
    errors = {x.name: x.error for x in found.alternatives(2)}
    assert errors["int2"] == pytest.approx(own[0])


def test_the_reason_follows_the_layer_looked_at(view, context):
    open_(view, context)
    context.selection.set([])
    settle()
    assert view.proposal.why_title.text().startswith("Select a layer")
    view.proposal.slider.setValue(250)
    context.selection.set([4])
    settle()
    found = view.proposal.proposal
    text = view.proposal.why_title.text()
    assert found.offer.table.layers[4].name in text
    assert f"gets {found.name(4, mine=False)}" in text
    model = view.proposal.why.model()
    names = [model.index(row, 0).data() for row in range(model.rowCount())]
    assert [n for n in names if n.endswith("✓")] == [f"{found.name(4, mine=False)}  ✓"]
    context.set_locked([4], True)
    settle()
    assert "locked" in view.proposal.why_title.text()


def test_selected_rows_are_selected_layers(view, context):
    open_(view, context)
    view.proposal.slider.setValue(300)
    settle()
    view.proposal.table.selectRow(3)
    settle()
    layer = view.proposal.model.layers_at(np.array([3]))
    assert context.selection.layers.tolist() == layer.tolist()


def test_sorting_keeps_to_the_changed_layers(view, context):
    open_(view, context)
    view.proposal.slider.setValue(300)
    column = TITLES.index("Error")
    view.proposal.table.sortByColumn(column, Qt.SortOrder.AscendingOrder)
    model = view.proposal.model
    layers = model.layers_at(np.arange(model.rowCount()))
    change = view.proposal.proposal.error_change()[layers]
    assert (np.diff(change) >= 0).all()


@pytest.mark.parametrize("layers", [0, 1])
def test_without_much_to_propose(view, context, layers):
    project = Project.create(make_info(layers))
    context.set_project(project)
    settle()
    assert not view.proposal.bar.isEnabled()
    assert view.proposal.proposal is None
    view.proposal.accept_all()
    view.proposal.accept_selected()
    assert not project.assignment.weight.any()


def test_measured_assignments_are_points_wherever_they_came_from(view, context):
    project = open_(view, context)
    unit = project.latest_run("predicted_error").unit
    other = project.assignment.with_weight(range(12), parse_scheme("int3"))
    project.record_measured(other, 0.5, 0.01, unit, 64)
    project.record_measured(project.assignment, 0.25, 0.01, unit, 64)
    project.record_measured(
        project.assignment.with_weight([0], parse_scheme("int8")), 1.0, 0.1, "dB", 64
    )
    settle()
    runs = view.plot.measured
    assert [run.error for run in runs] == [0.5, 0.25]
    assert runs[0].size == other.totals().bytes


def test_the_front_has_the_error_bars_of_its_layers(view, context):
    open_(view, context, ties=((0, 1),))
    offer = view._offer
    assert len(offer.stderr) == len(offer.front)
    for point in range(0, len(offer.front), 7):
        choice = offer.front.choice(point)
        own = offer.table.stderr[np.arange(12), choice]
        assert offer.stderr[point] == pytest.approx(np.sqrt((own**2).sum()))
    assert view.plot.band_shown
    first, last = view.table().columns[4][0], view.table().columns[4][1]
    assert (first, last) == (offer.stderr[0], offer.stderr[1])


def test_the_list_is_there_only_when_it_is_asked_for(view, context):
    assert not view.proposal.bar.isVisible()  # nothing to drag without a model
    project = open_(view, context)
    assert view.proposal.isVisible()
    view.layers_box.setChecked(False)
    project.set_locked([3], True)  # renews the front
    settle()
    assert not view.proposal.isVisible()
    assert view.proposal.bar.isVisible()
