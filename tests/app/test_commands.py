"""Edits through the context: one undo step each, locks and ties respected."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from app.context import AppContext
from quant_core.scheme import Scheme
from tests.app.helpers import analysed

FOUR, EIGHT = Scheme("int4"), Scheme("int8")


@pytest.fixture
def context(qapp) -> Iterator[AppContext]:
    context = AppContext()
    context.set_project(analysed(36))
    context.said = []
    context.message.connect(context.said.append)
    yield context
    context.set_project(None)


def keys(context: AppContext) -> list[str]:
    plan = context.project.assignment
    return ["float" if s is None else s.key for s in map(plan.scheme_of, range(36))]


def test_one_step_for_many_layers(context):
    context.set_weight(np.arange(30), FOUR)
    assert context.undo_stack.undoText() == "Set 30 layers to int4"
    assert keys(context) == ["int4"] * 30 + ["float"] * 6
    context.undo_stack.undo()
    assert keys(context) == ["float"] * 36
    context.undo_stack.redo()
    assert keys(context)[:30] == ["int4"] * 30
    assert context.undo_stack.count() == 1


def test_tied_layers_follow_and_are_told(context):
    context.set_weight([0], FOUR)
    assert keys(context)[:4] == ["int4", "int4", "int4", "float"]
    assert context.said[-1] == "Set 3 layers to int4. 2 tied layers changed along."


def test_locked_layers_stay_and_are_told(context):
    context.set_locked([3, 4], True)
    assert context.undo_stack.undoText() == "Lock 2 layers"
    assert context.said[-1] == "Locked 2 layers."
    context.set_weight([3, 4, 5], EIGHT)
    assert keys(context)[3:6] == ["float", "float", "int8"]
    assert "2 layers kept: locked" in context.said[-1]
    context.undo_stack.undo()
    context.undo_stack.undo()
    assert not context.project.assignment.locked.any()


def test_what_the_target_refuses_is_skipped_and_told(context):
    context.project.target = "int8-symmetric"
    context.set_weight([3, 5], FOUR)
    assert context.undo_stack.count() == 0
    assert "cannot run int4" in context.said[-1]
    context.set_weight([3, 5], EIGHT)
    assert context.undo_stack.count() == 1


def test_a_group_that_fits_some_layers_is_given_to_those(context):
    context.set_weight([3, 4], Scheme("int4", "group(64)"))
    # 128 inputs split into groups of 64, 160 do not.
    assert keys(context)[3:5] == ["int4/group(64)", "float"]


def test_nothing_to_do_makes_no_step(context):
    context.set_weight([3], FOUR)
    context.set_weight([3], FOUR)
    context.set_locked([3], False)
    assert context.undo_stack.count() == 1
    assert context.said[-1] == "Nothing to set to int4."


def test_replacing_the_assignment_is_one_step(context):
    found = context.project.assignment.with_weight(range(36), EIGHT)
    context.replace_assignment(found, "Search bits<=8")
    assert context.undo_stack.undoText() == "Search bits<=8"
    context.undo_stack.undo()
    assert keys(context) == ["float"] * 36


def test_totals_and_prediction_follow_every_step(context):
    before = context.project.totals, context.project.prediction
    context.set_weight(range(36), FOUR)
    after = context.project.totals, context.project.prediction
    assert after[0].bytes < before[0].bytes / 7
    assert after[1].value > before[1].value == 0
    context.undo_stack.undo()
    assert (context.project.totals, context.project.prediction) == before


def test_many_changes_in_one_turn_are_told_once(context, qtbot):
    seen = []
    context.assignmentChanged.connect(seen.append)
    context.set_weight([3], FOUR)
    context.set_weight([9, 4], EIGHT)
    context.undo_stack.undo()
    assert seen == []
    qtbot.waitUntil(lambda: bool(seen))
    assert [layers.tolist() for layers in seen] == [[3, 4, 9]]


def test_measure_table(context):
    values, stderrs, formats = context.measure_table()
    assert values.shape == stderrs.shape == (36, 5)
    assert formats == ("int2", "int3", "int4", "int6", "int8")
    assert (np.diff(np.median(values, axis=0)) < 0).all(), "more bits, less error"


def test_another_project_starts_afresh(context, qtbot):
    context.set_weight([3], FOUR)
    old = context.project
    with qtbot.waitSignal(context.projectChanged):
        context.set_project(analysed(6))
    assert context.undo_stack.count() == 0
    assert context.selection.layers.tolist() == [0]
    with qtbot.assertNotEmitted(context.assignmentChanged, wait=20):
        old.set_weight([7], EIGHT)


def test_without_a_project_nothing_happens(qapp):
    context = AppContext()
    context.set_weight([0], FOUR)
    context.set_locked([0], True)
    assert context.undo_stack.count() == 0
    assert context.measure_table()[2] == ()
