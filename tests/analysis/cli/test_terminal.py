from __future__ import annotations

import io
import json
import math

import pytest

from analysis.cli import terminal as terminal_module
from analysis.cli.terminal import (
    Progress,
    Terminal,
    duration,
    plain,
    size,
    table,
    with_error,
)
from analysis.errors import AnalysisError


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(terminal_module.time, "monotonic", lambda: now[0])
    return now


def test_table_aligns_numbers_to_the_right() -> None:
    text = table(("name", ">bits"), [("a", "4"), ("longer", "16")])
    assert text.splitlines() == ["name    bits", "a          4", "longer    16"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12 bytes"), (1500, "1.5 kB"), (11.3e6, "11.3 MB"), (2.5e12, "2.5 TB")],
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_unknown_error_bar_is_left_out() -> None:
    assert with_error(0.5, math.nan) == "0.5"
    assert with_error(0.5, 0.01) == "0.5 ± 0.01"
    assert with_error(math.nan, math.nan) == "-"


def test_json_has_no_nan() -> None:
    assert plain({"a": [math.nan, math.inf, 1.5]}) == {"a": [None, None, 1.5]}


def test_errors_are_one_paragraph_or_one_object() -> None:
    error = AnalysisError("It is bad.", value="x", allowed="y", hint="Do z.")
    terminal = Terminal(out=io.StringIO(), err=io.StringIO())
    terminal.fail(error)
    assert terminal.err.getvalue() == (  # type: ignore[attr-defined]
        "quantscope: It is bad. Given: x. Allowed: y. Do z.\n"
    )
    terminal = Terminal(json=True, out=io.StringIO(), err=io.StringIO())
    terminal.fail(error)
    assert terminal.err.getvalue() == ""  # type: ignore[attr-defined]
    assert json.loads(terminal.out.getvalue()) == {  # type: ignore[attr-defined]
        "error": {"what": "It is bad.", "value": "x", "allowed": "y", "hint": "Do z."}
    }


def test_progress_on_a_screen_shows_percent_note_and_time_left(
    clock: list[float],
) -> None:
    screen = Screen()
    progress = Progress(Terminal(err=screen), "weights")
    clock[0] = 10.0
    progress.update(25, 100, "layer.3")
    assert " 25 %" in screen.getvalue()
    assert "0:30 left" in screen.getvalue()
    assert "layer.3" in screen.getvalue()
    clock[0] = 40.0
    progress.close("done")
    assert screen.getvalue().endswith("\rweights: done (0:40)\n")


def test_progress_in_a_file_is_a_few_plain_lines(clock: list[float]) -> None:
    file = io.StringIO()
    progress = Progress(Terminal(err=file), "weights")
    for step in range(1, 100):
        clock[0] = 0.25 * step
        progress.update(step, 100, "layer")
    progress.close("done")
    lines = file.getvalue().splitlines()
    assert 2 < len(lines) <= 5
    assert not any("\r" in line for line in lines)
    assert lines[-1] == "weights: done (0:25)"


@pytest.mark.parametrize("how", [{"json": True}, {"quiet": True}])
def test_progress_can_be_silent(how: dict[str, bool], clock: list[float]) -> None:
    screen = Screen()
    progress = Progress(Terminal(err=screen, **how), "weights")
    clock[0] = 10.0
    progress.update(1, 2)
    progress.close("done")
    assert screen.getvalue() == ""
