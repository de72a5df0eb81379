"""The settings dialog: every setting does something, and keys never clash."""

from __future__ import annotations

import os

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import QPushButton

from analysis.worker import WorkerClient
from app.actions import COMMANDS, default_shortcuts
from app.dialogs.settings import SettingsDialog, ShortcutEditor
from app.settings import Preferences, Settings
from app.theme import theme
from tests.app.helpers import analysed
from tests.app.shell import shell

OTHER = Preferences("dark", 60, 1, {"analyse": ("Ctrl+J",), "cancel": ()}, 5)


@pytest.fixture
def editor(qtbot) -> ShortcutEditor:
    editor = ShortcutEditor(default_shortcuts(), {"Ctrl+Z": "Undo"})
    qtbot.addWidget(editor)
    return editor


def choose(editor: ShortcutEditor, command: str) -> None:
    keys = [c.key for c in COMMANDS]
    editor.table.setCurrentItem(editor.table.topLevelItem(keys.index(command)))


def test_preferences_outlive_a_restart(tmp_path):
    path = tmp_path / "settings.ini"
    kept = Settings(path)
    kept.preferences = OTHER
    kept.sync()
    assert Settings(path).preferences == OTHER


@pytest.mark.parametrize("damage", ["x", "[1]", "-3", '{"a": 1}'])
def test_damaged_preferences_count_as_absent(tmp_path, damage):
    settings = Settings(tmp_path / "settings.ini")
    keys = ("autosave/seconds", "worker/threads", "shortcuts", "theme")
    for key in (*keys, "numbers/digits"):
        settings._store.setValue(key, damage)
    assert settings.preferences == Preferences()


def test_the_form_returns_what_it_was_given(qtbot):
    dialog = SettingsDialog(OTHER, {})
    qtbot.addWidget(dialog)
    assert dialog.preferences() == OTHER
    old = Preferences(shortcuts={"a command of long ago": ("F9",)})
    dialog = SettingsDialog(old, {})
    qtbot.addWidget(dialog)
    assert dialog.preferences() == Preferences()


def test_a_key_is_given_taken_and_given_back(editor, qtbot):
    choose(editor, "analyse")
    qtbot.keyClick(editor.edit, Qt.Key.Key_J, Qt.KeyboardModifier.ControlModifier)
    editor.give.click()
    assert editor.own() == {"analyse": ("Ctrl+J",)}
    assert editor.table.currentItem().text(1) == "Ctrl+J"
    editor.take.click()
    assert editor.own() == {"analyse": ()}
    assert not editor.take.isEnabled()
    editor.back.click()
    assert editor.own() == {}
    assert not editor.back.isEnabled()


@pytest.mark.parametrize(
    ("key", "owner"), [("Ctrl+S", "Save project"), ("Ctrl+Z", "Undo")]
)
def test_a_key_that_is_taken_is_refused(editor, key, owner):
    choose(editor, "analyse")
    editor.edit.setKeySequence(QKeySequence(key))
    assert not editor.give.isEnabled()
    assert editor.note.text() == f"{key} is the key of: {owner}."


def test_a_default_that_was_given_away_does_not_come_back(editor):
    choose(editor, "analyse")
    editor.take.click()
    choose(editor, "cancel")
    editor.edit.setKeySequence(QKeySequence("Ctrl+Return"))
    editor.give.click()
    choose(editor, "analyse")
    editor.back.click()
    assert editor.shortcuts["analyse"] == ()
    assert "Cancel" in editor.note.text()


def inspected(window) -> str:
    window.inspector.copy_text()
    return QGuiApplication.clipboard().text()


def test_chosen_preferences_take_effect_at_once(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(6)) as window:
        asked = []

        def answer(fixed, reset):
            asked.append(fixed)
            reset()
            return OTHER

        window.commander.ask.preferences = answer
        window.desk.docks["heatmap"].close()
        assert window.layers.model.text(0, "kurtosis") == "3.00"
        assert "3.00\n" in inspected(window)
        window.actions_["settings"].trigger()
        assert window.layers.model.text(0, "kurtosis") == "3.0000"
        qtbot.waitUntil(lambda: "3.0000\n" in inspected(window))
        assert {"Ctrl+Z", "Ctrl+Shift+Z", "Alt+1"} <= set(asked[0])
        assert not window.desk.docks["heatmap"].isHidden()
        assert theme().is_dark
        assert window.actions_["theme_dark"].isChecked()
        analyse = window.actions_["analyse"]
        assert analyse.shortcut().toString() == "Ctrl+J"
        assert "(Ctrl+J)" in analyse.toolTip()
        assert window.actions_["cancel"].shortcuts() == []
        assert window.session.guard._autosave.interval() == 60_000
        assert window.session.runner._client.threads == 1
        window.commander.ask.preferences = lambda *_: None
        window.actions_["settings"].trigger()
        assert window.settings.preferences == OTHER
    with shell(qtbot, tmp_path) as window:
        assert window.actions_["analyse"].shortcut().toString() == "Ctrl+J"
        assert window.session.guard._autosave.interval() == 60_000


def test_the_reset_button_resets(qtbot):
    dialog = SettingsDialog(Preferences(), {})
    qtbot.addWidget(dialog)
    button = next(
        b for b in dialog.findChildren(QPushButton) if b.text() == "&Reset layout"
    )
    with qtbot.waitSignal(dialog.layoutReset):
        button.click()


class Pipe:
    """Stands for the near end of the pipe to a living process."""

    def __init__(self) -> None:
        self.sent: list[tuple] = []

    def send(self, request: tuple) -> None:
        self.sent.append(request)


def test_the_worker_is_told_of_threads_only_when_they_change(monkeypatch):
    client, pipe = WorkerClient(), Pipe()
    monkeypatch.setattr(WorkerClient, "alive", True)
    client._pipe = pipe
    for threads in (0, 2, 2, 0):
        client.threads = threads
        client._send("open", ("open",))
    told = [request for request in pipe.sent if request[0] == "threads"]
    assert told == [("threads", 2), ("threads", 0)]
    assert pipe.sent[1] == ("threads", 2)


def test_the_worker_uses_the_threads_it_is_told():
    import torch

    from analysis.worker_process import use_threads

    before = torch.get_num_threads()
    try:
        use_threads(1)
        assert torch.get_num_threads() == 1
        use_threads(0)
        assert torch.get_num_threads() == max(1, len(os.sched_getaffinity(0)) - 1)
    finally:
        torch.set_num_threads(before)
