"""The shared selection."""

from __future__ import annotations

import numpy as np
import pytest

from app.selection import Selection


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
    with qtbot.waitSignal(selection.changed, timeout=1000):
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
