"""Long work in the window's thread: over many turns, given up, refused."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from app.widgets import turns
from app.widgets.turns import Turns
from quant_core.errors import QuantError

Steps = Generator[None, None, int]


class Told:
    """What the work said, in order."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def steps(self, number: int, *, refuse: bool = False) -> Steps:
        try:
            for step in range(number):
                self.said.append(step)
                yield
            if refuse:
                raise QuantError("No.")
        finally:
            self.said.append("closed")
        return number


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def work(qapp, told) -> Turns[int]:
    return Turns(told.said.append, told.said.append)


def test_quick_work_is_done_at_once(work, told):
    work.start(told.steps(3))
    assert told.said == [0, 1, 2, "closed", 3]
    assert not work.is_busy
    assert work.seconds > 0


def test_one_step_a_turn_where_each_takes_long(work, told, monkeypatch, qtbot):
    monkeypatch.setattr(turns, "SLICE_SECONDS", 0.0)
    work.start(told.steps(3))
    assert told.said == [0]
    assert work.is_busy
    work.advance()
    assert told.said == [0, 1]
    qtbot.waitUntil(lambda: not work.is_busy)
    assert told.said == [0, 1, 2, "closed", 3]


def test_other_work_gives_up_the_first(work, told, monkeypatch, qtbot):
    monkeypatch.setattr(turns, "SLICE_SECONDS", 0.0)
    work.start(told.steps(5))
    work.start(told.steps(1))
    assert told.said == [0, "closed", 0]
    qtbot.waitUntil(lambda: not work.is_busy)
    assert told.said == [0, "closed", 0, "closed", 1]
    work.advance()
    assert not work.is_busy


def test_a_refusal_is_told_and_other_errors_are_raised(work, told):
    work.start(told.steps(1, refuse=True))
    assert [str(x) for x in told.said] == ["0", "closed", "No."]
    assert not work.is_busy

    def broken() -> Steps:
        yield
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        work.start(broken())
    assert not work.is_busy
