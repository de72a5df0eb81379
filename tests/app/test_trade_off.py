"""The trade-off panel: front, single points, the present assignment, applying."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from PySide6.QtCore import Qt

from analysis.project import Project
from app.models.trade_off import Offer, current_choice, offer_of, state_key
from app.theme import theme
from app.views.trade_off import TradeOffView
from quant_core.scheme import parse_scheme
from tests.app import helpers
from tests.app.helpers import open_, settle
from tests.app.panel_projects import KEYS, add_errors, analysed, make_errors, make_info

NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def view(qtbot, context) -> TradeOffView:
    view = TradeOffView(context)
    qtbot.addWidget(view)
    view.resize(900, 640)
    view.show()
    return view


def test_empty_states_name_the_first_step(view, context):
    assert view.empty_title == "No model open"
    open_(context, Project.create(make_info(6)))
    assert view.empty_title == "No predicted error yet"


def test_uniform_points_are_sums_over_layers(qapp):
    project = analysed(12)
    values = make_errors(12)
    offer = offer_of(project)
    assert [c.name for c in offer.uniform] == list(KEYS)
    for column, candidate in enumerate(offer.uniform):
        assert candidate.error == pytest.approx(values[:, column].sum())
        spread = np.sqrt(((0.1 * values[:, column]) ** 2).sum())
        assert candidate.stderr == pytest.approx(spread)
        all_of_it = project.assignment.with_weight(
            range(12), parse_scheme(candidate.name)
        )
        assert candidate.size == pytest.approx(all_of_it.totals().bytes)
    assert offer.smallest_error() == pytest.approx(values.sum(0).min())


def test_no_uniform_point_lies_below_the_front(qapp):
    offer = offer_of(analysed(18))
    for candidate in offer.uniform:
        best = np.interp(8 * candidate.size, offer.front.bits, offer.front.cost)
        assert candidate.error >= best * (1 - 1e-9)


def test_layers_that_cannot_take_a_format_are_counted(qapp):
    values = make_errors(12)
    values[3, 2] = np.nan
    project = Project.create(make_info(12))
    add_errors(project, values)
    int4 = offer_of(project).uniform[2]
    assert (int4.name, int4.others) == ("int4", 1)
    assert np.isfinite(int4.error)


def test_only_locks_and_the_target_make_the_front_old(qapp):
    project = analysed(12)
    offer = offer_of(project)
    project.set_weight([3], parse_scheme("int4"))
    assert state_key(project, offer.held) == offer.key
    project.set_locked([3], True)
    assert state_key(project, offer.held) != offer.key
    offer = offer_of(project)
    assert offer.held.tolist() == [i == 3 for i in range(12)]
    project.target = "int8-symmetric"
    assert state_key(project, offer.held) != offer.key


def test_shows_front_points_present_and_units(view, context):
    project = open_(context, analysed(12))
    project.set_weight(range(12), parse_scheme("int6"))
    project.keep_assignment("mine")
    settle()
    assert not view.is_empty
    assert (
        view.plot.axis("left").labelText == "predicted error [relative squared error]"
    )
    assert view.plot.axis("bottom").labelText == "size of the weights [kB]"
    assert "64 calibration samples" in view.subtitle
    texts = [entry.text for entry in view.legend.entries]
    assert texts[:3] == ["now", "now, layers added up", "best trade-offs"]
    assert "all 4-bit" in texts
    assert "kept assignment" in texts
    present = view.plot.present
    assert present.size == project.totals.bytes
    assert present.error == pytest.approx(make_errors(12)[:, KEYS.index("int6")].sum())
    assert set(view.plot.names) <= {*KEYS, "mine"}
    assert len(view.plot.names) >= 6


def test_a_panel_without_height_draws_nothing(view, context):
    open_(context, helpers.analysed(12))
    for axis in ("left", "bottom"):
        assert view.plot.axis(axis).tickValues(0.0, 1.0, 0.0) == []
    view.plot.box.resize(0, 0)
    view.plot._draw_visible()
    assert view.plot._grid.getData()[0] is None or not len(view.plot._grid.getData()[0])


def test_present_point_moves_at_once_and_the_front_stays(view, context):
    project = open_(context, helpers.analysed(12))
    offer = view._offer
    assert view.plot.present.error == 0.0
    project.set_weight([0, 5, 7], parse_scheme("int3"))
    settle()
    assert view._offer is offer
    prediction = project.prediction
    present = view.plot.present
    assert present.error == prediction.value
    assert present.alone == prediction.additive
    assert present.stderr == prediction.stderr
    project.set_locked([5], True)
    settle()
    assert view._offer is not offer


def test_click_on_the_front_applies_it_in_one_step(view, context):
    project = open_(context, analysed(12, ties=((0, 1, 2),)))
    project.set_weight([4], parse_scheme("int8"))
    project.set_locked([4], True)
    settle()
    offer = view._offer
    point = len(offer.front) // 2
    view.plot.clicked.emit(view.plot.place_of(point), NONE)
    settle()
    choice = current_choice(project, offer.table)
    np.testing.assert_array_equal(choice, offer.front.choice(point))
    assert project.assignment.scheme_of(4) == parse_scheme("int8")
    assert len({project.assignment.scheme_of(i) for i in (0, 1, 2)}) == 1
    assert 8 * view.plot.present.size == pytest.approx(offer.front.bits[point])
    assert view.plot.present.error == pytest.approx(offer.front.cost[point])
    assert context.undo_stack.count() == 1
    assert context.undo_stack.undoText().startswith("Apply trade-off at")
    context.undo_stack.undo()
    assert project.assignment.scheme_of(0) is None


def test_click_on_a_uniform_point_applies_the_format(view, context):
    project = open_(context, analysed(12))
    number = len(view._offer.front) + KEYS.index("int6")
    place = view.plot.place_of(number)
    assert view.plot.at(place) == number
    view.plot.clicked.emit(place, NONE)
    settle()
    assert project.assignment.used() == (parse_scheme("int6"),)


def test_click_far_from_all_points_does_nothing(view, context):
    project = open_(context, analysed(12))
    before = project.assignment
    (left, right), (low, high) = view.plot.box.viewRange()
    from PySide6.QtCore import QPointF

    corner = QPointF(right - 0.02 * (right - left), high - 0.02 * (high - low))
    assert view.plot.at(corner) == -1
    view.plot.clicked.emit(corner, NONE)
    assert project.assignment is before
    view._on_hover(corner)
    assert "error" in view.read_out.full


def test_read_out_of_points(view, context):
    open_(context, analysed(12))
    offer = view._offer
    text = view.describe(0)
    assert text.startswith("best trade-off")
    assert "× stored" in text
    assert "bits per weight" in text
    number = len(offer.front) + 2
    assert view.describe(number).startswith("all layers at int4")
    assert "±" in view.describe(number)
    view._on_hover(view.plot.place_of(number))
    assert view.read_out.full.endswith("click to apply")


def test_keyboard_walks_along_the_front(view, context, qtbot):
    project = open_(context, analysed(12))
    last = len(view._offer.front) - 1
    qtbot.keyClick(view.plot, Qt.Key.Key_Left)
    qtbot.keyClick(view.plot, Qt.Key.Key_Left)
    assert view._cursor == last - 2
    assert view.read_out.full.endswith("Enter applies")
    qtbot.keyClick(view.plot, Qt.Key.Key_Return)
    settle()
    choice = current_choice(project, view._offer.table)
    np.testing.assert_array_equal(choice, view._offer.front.choice(last - 2))


def test_names_never_overlap(view, context):
    open_(context, analysed(36))
    places = [
        text.mapRectToScene(text.boundingRect())
        for text in view.plot._texts
        if text.isVisible()
    ]
    assert len(places) == len(KEYS)
    for i, one in enumerate(places):
        for other in places[i + 1 :]:
            # Texts have a margin of four pixels all round.
            shared = one.adjusted(4, 4, -4, -4).intersected(other)
            assert shared.width() * shared.height() < 1.0
    view.names_box.setChecked(False)
    assert view.plot.names == ()


def test_a_slow_front_is_not_renewed_at_every_row(view, context):
    project = open_(context, analysed(6))
    offer, view._seconds = view._offer, 60.0
    add_errors(project, 2 * make_errors(6))
    context.rowsAdded.emit("predicted_error")
    assert view._renewal.isActive()
    view._renewal.stop()
    view._on_change()
    settle()
    assert view._offer is not offer
    assert view._seconds < 60.0


def test_a_long_front_is_made_over_many_turns(view, context, monkeypatch, qtbot):
    monkeypatch.setattr("app.widgets.turns.SLICE_SECONDS", 0.0)
    context.set_project(analysed(12))
    context._flush()
    view._catch_up()
    assert view._work.is_busy
    assert view.empty_title == "Looking for the best trade-offs…"
    assert view.proposal.proposal is None
    qtbot.waitUntil(lambda: not view._work.is_busy)
    assert not view.is_empty
    first = view._offer
    view._on_change()
    view._catch_up()
    assert view._work.is_busy
    assert view._offer is first, "the front before stays until the new one is there"
    assert not view.is_empty
    other = analysed(6)
    context.set_project(other)
    assert not view._work.is_busy
    assert view._offer is None
    qtbot.waitUntil(lambda: view._offer is not None)
    assert len(view._offer.table.layers) == 6


def test_a_lock_set_while_a_front_is_made_is_in_the_next(
    view, context, monkeypatch, qtbot
):
    project = open_(context, analysed(12))
    monkeypatch.setattr("app.widgets.turns.SLICE_SECONDS", 0.0)
    view._on_change()
    view._catch_up()
    assert view._work.is_busy
    project.set_locked([5], True)
    held = [i == 5 for i in range(12)]
    qtbot.waitUntil(lambda: view._offer.held.tolist() == held)


def test_colours_alone_make_no_new_front(view, context):
    open_(context, analysed(12))
    offer = view._offer
    theme().themeChanged.emit()
    settle()
    assert view._offer is offer


def test_nothing_left_to_choose_is_explained(view, context, monkeypatch):
    from analysis.errors import AnalysisError

    def refuse(project: Project) -> Generator[None, None, Offer]:
        yield
        raise AnalysisError("No scheme is left for layer a.", hint="Unlock one.")

    monkeypatch.setattr("app.views.trade_off.offer_steps", refuse)
    open_(context, analysed(6))
    assert view.empty_title == "No trade-off to show"
    assert "Unlock one." in view.accessibleDescription()


def test_both_themes_draw_and_the_table_has_all_points(view, context):
    project = open_(context, helpers.analysed(12))
    project.set_weight(range(12), parse_scheme("int3"))
    for mode in ("dark", "light"):
        theme().set_mode(mode)
        settle()
        assert not view.grab().isNull()
    theme().set_mode("system")
    table = view.table()
    assert table.rows == len(view._offer.front) + len(helpers.FORMATS)
    assert table.titles[1] == "size [bytes]"


def test_a_measured_error_stays_as_a_mark_while_bits_change(view, context):
    project = open_(context, helpers.analysed(36))
    assert view.plot.measured == ()
    context.set_weight([3], parse_scheme("int4"))
    measured, size = project.assignment, project.totals.bytes
    unit = project.latest_run("predicted_error").unit
    project.record_measured(measured, 0.02, 0.001, unit, 32)
    settle()
    (mark,) = view.plot.measured
    assert (mark.size, mark.error, mark.stderr) == (size, 0.02, 0.001)
    assert "measured" in [entry.text for entry in view.legend.entries]
    context.set_weight([4], parse_scheme("int2"))
    settle()
    assert view.plot.measured == (mark,)
    assert view.plot.present.size < size
    open_(context, helpers.analysed(12))
    assert view.plot.measured == ()


def test_interactions_are_claimed_only_when_they_are_known(view, context):
    open_(context, analysed(12))
    assert context.project.prediction is None
    assert "interactions between layers add is not known" in view.subtitle
    open_(context, helpers.analysed(36))
    assert "interactions between layers included" in view.subtitle


def test_all_points_stay_in_view_until_a_person_zooms(view, context):
    project = open_(context, helpers.analysed(36))
    whole = view.plot.box.viewRange()
    context.set_weight([0, 3, 9], parse_scheme("int2"))
    context.set_locked([0, 3, 9], True)
    settle()
    assert view.plot.box.viewRange() != whole
    view.plot.box.sigRangeChangedManually.emit([True, True])
    view.plot.show_range([0.2, 0.3], [-3.0, -2.0])
    project.set_locked([9], False)
    settle()
    x, y = view.plot.box.viewRange()
    assert x == pytest.approx([0.2, 0.3])
    assert y == pytest.approx([-3.0, -2.0])
