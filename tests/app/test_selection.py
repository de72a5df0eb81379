"""The shared selection."""

from __future__ import annotations

import numpy as np
import pytest

from app.context import AppContext
from app.selection import PinnableSelection, Selection
from app.widgets.pin_button import PinButton
from tests.app.helpers import analysed


@pytest.fixture
def selection(qapp) -> Selection:
    return Selection()


def test_is_sorted_and_without_repeats(selection):
    selection.set([5, 2, 5, 9])
    assert selection.layers.tolist() == [2, 5, 9]
    assert selection.current == 2


def test_keeps_the_current_layer_while_it_is_selected(selection):
    selection.set([1, 2, 3], 2)
    selection.set([2, 7])
    assert selection.current == 2
    selection.set([7, 8])
    assert selection.current == 7
    selection.set(np.zeros(0, dtype=np.int64))
    assert selection.current == -1


def test_setting_the_same_again_is_silent(selection, qtbot):
    selection.set([1, 2], 1)
    with qtbot.assertNotEmitted(selection.changed):
        selection.set([2, 1], 1)
        selection.set(np.array([1, 2]))
    with qtbot.waitSignal(selection.changed):
        selection.set([1, 2], 2)


def test_cannot_be_changed_behind_its_back(selection):
    given = np.array([3, 1])
    selection.set(given)
    given[:] = 0
    assert selection.layers.tolist() == [1, 3]
    with pytest.raises(ValueError, match="read-only"):
        selection.layers[0] = 4


def test_two_views_do_not_drive_each_other_in_circles(selection):
    calls = []

    def echo() -> None:
        calls.append(selection.layers.tolist())
        selection.set(selection.layers, selection.current)

    selection.changed.connect(echo)
    selection.set([4])
    selection.clear()
    assert calls == [[4], []]


def test_a_pin_holds_the_layers_of_one_panel(qtbot, selection):
    selection.set([4, 5], 5)
    seen = PinnableSelection(selection)
    seen.set_pinned(True)
    with qtbot.assertNotEmitted(seen.changed):
        selection.set([9])
    assert (seen.layers.tolist(), seen.current) == ([4, 5], 5)
    with qtbot.waitSignal(seen.changed):
        seen.set_pinned(False)
    assert (seen.layers.tolist(), seen.current) == ([9], 9)


def test_a_pin_without_news_changes_nothing(qtbot, selection):
    selection.set([4])
    seen = PinnableSelection(selection)
    with qtbot.assertNotEmitted(seen.changed):
        seen.set_pinned(True)
        seen.set_pinned(False)


def test_a_pinned_panel_still_selects_for_the_others(qtbot, selection):
    seen = PinnableSelection(selection)
    seen.set_pinned(True)
    seen.set([3])
    assert selection.current == 3
    assert seen.current == -1


def test_the_button_shows_and_moves_the_pin(qtbot, selection):
    seen = PinnableSelection(selection)
    button = PinButton(seen)
    qtbot.addWidget(button)
    button.click()
    assert seen.is_pinned
    assert "Unpin" in button.accessibleName()
    seen.set_pinned(False)
    assert not button.isChecked()
    button.resize(24, 24)
    free = button.grab().toImage()
    button.click()
    assert button.grab().toImage() != free


def test_another_project_takes_pins_out_before_its_layers_are_asked_for(qapp):
    context = AppContext()
    context.set_project(analysed(12))
    seen = PinnableSelection(context.selection)
    context.selection.set([11])
    seen.set_pinned(True)
    asked = []
    context.projectChanged.connect(lambda: asked.append(seen.current))
    context.set_project(analysed(6))
    assert asked == [0]
    assert not seen.is_pinned
    context.set_project(None)
    assert seen.current == -1
