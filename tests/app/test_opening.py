"""A model that does not open costs nothing of the project that is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from analysis.messages import Failed, Finished, Message, Opened
from analysis.project import Project
from app.main_window import MainWindow
from quant_core.scheme import Scheme
from tests.app.helpers import analysed, model_info
from tests.app.shell import shell

SOURCE = "tests.app.helpers:model_info"


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path) -> Iterator[MainWindow]:
    with analysed(36) as project:
        project.save(tmp_path / "tiny.qscope")
    with shell(qtbot, tmp_path) as window:
        window.session.problem.disconnect(window.show_problem)
        window.session.open(str(tmp_path / "tiny.qscope"))
        window.context.set_weight([3], Scheme("int2"))
        window.context.selection.set([3, 5], 5)
        yield window


def say(window: MainWindow, *messages: Message) -> None:
    """Answer as the worker does."""
    window.session.runner._client.say(*messages)


@pytest.mark.parametrize(
    "answer",
    [Failed({"what": "The callable failed."}, opening=True), Finished("cancelled")],
    ids=["failed", "cancelled"],
)
def test_the_project_returns_as_it_was(
    window: MainWindow, qtbot: QtBot, answer: Message
) -> None:
    project = window.context.project
    assert project is not None
    plan = project.assignment
    window.commander.open(SOURCE)
    assert window.context.project is None
    assert not window.undo.isEnabled()
    assert window.start._busy.full == f"Opening {SOURCE}…"
    say(window, answer)
    qtbot.waitUntil(lambda: window.context.project is project)
    assert project.assignment is plan
    assert project.dirty
    assert not project.read_only
    assert list(window.context.selection.layers) == [3, 5]
    assert window.context.selection.current == 5
    assert window.start._busy.full == ""
    assert window.layers.isVisible()
    window.undo.trigger()
    assert project.assignment.scheme_of(3) != Scheme("int2")
    window.redo.trigger()
    assert project.assignment is plan
    window.session.save(None)
    assert not project.dirty


def test_a_model_that_cannot_be_taken_over_returns_the_project(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, problems = window.context.project, []
    window.session.problem.connect(problems.append)
    window.commander.open(SOURCE)

    def refuse(_info: object) -> Project:
        raise ValueError("no such layers")

    monkeypatch.setattr(Project, "create", refuse)
    say(window, Opened(model_info(12), can_run=True, task="kl"))
    qtbot.waitUntil(lambda: window.context.project is project)
    assert len(problems) == 1


def test_a_model_that_opens_takes_the_place(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    before = window.context.project
    window.commander.open(SOURCE)
    say(window, Opened(model_info(12), can_run=True, task="kl"))
    qtbot.waitUntil(lambda: window.context.project is not None)
    assert window.context.project is not before
    assert window.layers.model.rowCount() == 12
    assert not window.undo.isEnabled(), "the steps of another project"
    with Project.open(tmp_path / "tiny.qscope") as free:
        assert free.read_only == "", "the old project was let go"


def test_closing_while_a_model_opens_lets_go_of_the_project(
    window: MainWindow, tmp_path: Path
) -> None:
    window.commander.open(SOURCE)
    window.session.shut_down()
    with Project.open(tmp_path / "tiny.qscope") as free:
        assert free.read_only == ""
        assert not free.recovered


def test_the_project_put_aside_can_be_opened_again(
    window: MainWindow, tmp_path: Path
) -> None:
    before = window.context.project
    window.commander.open(SOURCE)
    window.session.open(str(tmp_path / "tiny.qscope"))
    project = window.context.project
    assert project is not None
    assert project is not before
    assert project.read_only == ""
