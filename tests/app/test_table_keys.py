"""The keys of table, bookmarks and comparison, pressed in the whole window."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox

from analysis.project import Project
from app.jobs import JobRunner
from app.main_window import MainWindow
from app.models.compare import BASELINE
from app.session import Session
from app.settings import Settings
from quant_core.scheme import Scheme
from tests.app.helpers import FakeClient, analysed, model_info

Key, Modifier = Qt.Key, Qt.KeyboardModifier


@pytest.fixture
def window(qtbot, tmp_path) -> Iterator[MainWindow]:
    settings = Settings(tmp_path / "settings.ini")
    session = Session(settings, runner=JobRunner(FakeClient()))
    window = MainWindow(settings, session)
    window.problems = []
    session.problem.disconnect(window.show_problem)
    session.problem.connect(window.problems.append)
    window.commander.ask.unsaved = lambda _: QMessageBox.StandardButton.Discard
    qtbot.addWidget(window)
    window.resize(1280, 800)
    window.show()
    window.session._adopt(analysed(36))
    qtbot.waitUntil(lambda: window.layers.model.rowCount() == 36)
    window.layers.table.setFocus()
    yield window
    # Qt remembers the modifiers of the last key for clicks that come without any.
    qtbot.keyClick(window, Key.Key_Home)
    window.close()


def press(qtbot, window: MainWindow, key: Key, modifier=Modifier.NoModifier) -> None:
    qtbot.keyClick(window.layers.table, key, modifier)


def test_bookmarks_are_set_and_stepped_by_key(qtbot, window, tmp_path):
    selection = window.context.selection
    for layer in (4, 20):
        selection.set([layer])
        press(qtbot, window, Key.Key_B, Modifier.ControlModifier)
    window.context._flush()
    press(qtbot, window, Key.Key_F4)
    assert selection.current == 4
    press(qtbot, window, Key.Key_F4, Modifier.ShiftModifier)
    assert selection.current == 20
    window._fill_bookmarks()
    assert window._bookmarks.actions()[0].text() == "layers.0.up"
    path = tmp_path / "p.qscope"
    window.session.save(path)
    window.session.close_project()
    with Project.open(path) as again:
        assert np.flatnonzero(again.starred).tolist() == [4, 20]


def test_the_whole_block_is_selected_by_key(qtbot, window):
    window.context.selection.set([4, 20])
    press(qtbot, window, Key.Key_G, Modifier.ControlModifier)
    chosen = window.context.selection.layers.tolist()
    assert chosen == [*range(0, 6), *range(18, 24)]


def test_bookmarks_go_over_by_name_to_the_layers_a_network_tells(window):
    known = Project.create(model_info(12))
    known.set_starred([3, 7], True)
    info = dataclasses.replace(known.info, layers=known.info.layers[::-1][:6], ties=())
    window.session._adopt_layers(info, known)
    project = window.context.project
    starred = [project.info.layers[i].name for i in np.flatnonzero(project.starred)]
    assert starred == [known.info.layers[7].name]
    known.close()


def test_what_nobody_selected_does_not_go_over(window):
    known = Project.create(model_info(12))
    info = dataclasses.replace(known.info, layers=known.info.layers[::-1], ties=())
    window.session._adopt(known)
    window.session._adopt_layers(info, known)
    assert window.context.selection.layers.tolist() == [0]
    known = window.context.project
    window.context.selection.set([2])
    info = dataclasses.replace(known.info, layers=known.info.layers[::-1])
    window.session._adopt_layers(info, known)
    assert window.context.selection.layers.tolist() == [9]


def test_find_by_key(qtbot, window):
    press(qtbot, window, Key.Key_F, Modifier.ControlModifier)
    bar = window.layers.finder.bar
    assert bar.isVisible()
    qtbot.keyClicks(bar.line, "output")
    for expected in (3, 9):
        press(qtbot, window, Key.Key_F3)
        assert window.context.selection.current == expected
    press(qtbot, window, Key.Key_F3, Modifier.ShiftModifier)
    assert window.context.selection.current == 3
    assert window.layers.model.rowCount() == 36
    press(qtbot, window, Key.Key_F, Modifier.ControlModifier | Modifier.ShiftModifier)
    qtbot.keyClicks(window.layers.filter.line, "key")
    qtbot.waitUntil(lambda: window.layers.model.rowCount() == 6)


def test_the_baseline_is_pinned_by_key_and_survives(qtbot, window, tmp_path):
    window.context.set_weight([3, 4], Scheme("int4"))
    press(qtbot, window, Key.Key_B)
    window.context.set_weight([3], Scheme("int2"))
    window.desk.show("compare")
    compare = window.compare
    qtbot.waitUntil(lambda: compare.model.rowCount() == 1)
    assert compare.left_box.currentText() == BASELINE
    assert compare.model.line(0)[1:3] == ("int4", "int2")
    path = tmp_path / "p.qscope"
    window.session.save(path)
    window.session.close_project()
    with Project.open(path) as again:
        assert again.assignments[BASELINE].scheme_of(3) == Scheme("int4")


def test_an_assignment_is_kept_under_a_name(window):
    asked = []
    window.commander.ask.assignment_name = lambda taken: asked.append(taken) or "mine"
    window.context.set_weight([3], Scheme("int4"))
    for _ in range(2):
        window.actions_["keep"].trigger()
    assert asked == [[], ["mine"]]
    assert window.context.project.assignments["mine"].scheme_of(3) == Scheme("int4")
    window.commander.ask.assignment_name = lambda _: ""
    window.actions_["keep"].trigger()
    assert list(window.context.project.assignments) == ["mine"]
    window.commander.ask.assignment_name = lambda _: "current"
    window.actions_["keep"].trigger()
    assert "being edited" in window.problems[0].what


def test_editing_undoing_and_the_list_of_edits_agree(qtbot, window):
    window.context.selection.set([3, 4])
    press(qtbot, window, Key.Key_4)
    press(qtbot, window, Key.Key_L)
    press(qtbot, window, Key.Key_Z, Modifier.ControlModifier)
    stack = window.context.undo_stack
    assert (stack.text(0), stack.text(1), stack.index()) == (
        "Set 2 layers to int4",
        "Lock 2 layers",
        1,
    )
    window.desk.show("history")
    assert window.history.currentIndex().row() == 1
