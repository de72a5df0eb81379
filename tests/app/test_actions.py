"""The table of commands: complete, without clashes, reachable by keyboard."""

from __future__ import annotations

from collections import Counter

import pytest
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QMainWindow, QToolBar

from app.actions import COMMANDS, ActionSet
from app.ask import shortcuts_dialog
from app.commander import Commander


@pytest.fixture
def window(qtbot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    return window


def test_every_command_can_be_carried_out():
    for command in COMMANDS:
        group = command.key.partition("_")[0]
        if group not in ("bits", "size", "theme"):
            assert hasattr(Commander, f"do_{command.key}"), command.key


def test_every_command_is_explained():
    for command in COMMANDS:
        assert command.tip.endswith("."), command.key
        assert command.text.replace("&", ""), command.key


def test_keys_and_shortcuts_are_unique(qapp):
    assert len({c.key for c in COMMANDS}) == len(COMMANDS)
    used = Counter(QKeySequence(s).toString() for c in COMMANDS for s in c.shortcuts)
    used.update(["Ctrl+Z", "Ctrl+Shift+Z", "Ctrl+Y", "Alt+1", "Alt+2", "Alt+3"])
    assert [s for s, number in used.items() if number > 1] == []
    assert "" not in used


def test_mnemonics_are_unique_within_a_menu():
    menus: dict[str, list[str]] = {}
    for command in COMMANDS:
        where = command.text.index("&")
        menus.setdefault(command.menu, []).append(command.text[where + 1].lower())
    # Added to these menus elsewhere: undo and redo, recent files.
    menus["&Edit"] += ["u", "r"]
    menus["&File"] += ["r"]
    for menu, letters in menus.items():
        twice = [x for x, number in Counter(letters).items() if number > 1]
        assert twice == [], menu


def test_menus_and_toolbar_hold_every_command(window):
    actions = ActionSet(window)
    actions.fill_menus(window.menuBar())
    tools = QToolBar(window)
    actions.fill_toolbar(tools)
    for command in COMMANDS:
        assert actions[command.key] in actions.menu(command.menu).actions()
        assert (actions[command.key] in tools.actions()) == bool(command.toolbar)
    titles = [a.text() for a in window.menuBar().actions()]
    assert titles == ["&File", "&Edit", "&Layers", "&Analysis", "&View", "&Help"]


def test_only_what_can_act_is_enabled(window):
    actions = ActionSet(window)
    actions.allow(set())
    assert actions["open"].isEnabled()
    assert not actions["save"].isEnabled()
    assert not actions["bits_4"].isEnabled()
    actions.allow({"project", "layers", "job"})
    assert actions["bits_4"].isEnabled()
    assert actions["cancel"].isEnabled()
    assert not actions["analyse"].isEnabled()


def test_an_action_tells_its_key(window, qtbot):
    actions = ActionSet(window)
    with qtbot.waitSignal(actions.chosen) as caught:
        actions["bits_4"].trigger()
    assert caught.args == ["bits_4"]
    assert actions["bits_4"].shortcut() == QKeySequence("4")
    assert "(4)" in actions["bits_4"].toolTip()


def test_shortcuts_are_listed(qtbot):
    dialog = shortcuts_dialog()
    qtbot.addWidget(dialog)
    from PySide6.QtWidgets import QTreeWidget

    table = dialog.findChild(QTreeWidget)
    rows = {
        table.topLevelItem(i).text(0): table.topLevelItem(i).text(1)
        for i in range(table.topLevelItemCount())
    }
    assert rows["4 bit"] == "4"
    assert rows["Undo"] == "Ctrl+Z"
    assert rows["In a plot: zoom"] == "+, -"
    assert len(rows) >= len(COMMANDS)
