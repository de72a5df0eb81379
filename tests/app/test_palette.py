"""The boxes that find commands and layers."""

from __future__ import annotations

import statistics

import pytest
from PySide6.QtCore import Qt

from app.actions import COMMANDS, WHY
from app.widgets.command_palette import LIMIT, CommandPalette, Detail
from tests.app.helpers import analysed
from tests.app.shell import shell
from tests.budget import assert_within, clock


@pytest.fixture
def window(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(36)) as window:
        yield window


def rows(box: CommandPalette) -> list[str]:
    model = box.model
    return [model.index(row).data() for row in range(model.rowCount())]


def test_every_command_is_found_with_its_key(window):
    window.actions_["palette"].trigger()
    box = window.findChild(CommandPalette)
    found = {
        name: box.model.detail(number).note for number, name in enumerate(rows(box))
    }
    assert len(found) == len(COMMANDS) + 2 + len(window.desk.docks)
    assert found["View: Reset layout"] == ""
    assert found["Layers: 4 bit"] == "4"
    assert found["Edit: Undo"] == "Ctrl+Z"
    assert found["View: Show Layers"] == "Alt+1"
    box.close()


def test_typing_and_return_carry_a_command_out(window, qtbot):
    window.context.selection.set([3])
    box = window.commander.palettes.commands()
    qtbot.keyClicks(box.line, "5 bit")
    assert rows(box)[0] == "Layers: 5 bit"
    with qtbot.waitSignal(window.actions_.chosen) as caught:
        qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert caught.args == ["bits_5"]
    assert not box.isVisible()
    assert window.context.undo_stack.undoText().startswith("Set")


def test_what_cannot_act_says_why_and_does_nothing(window, qtbot):
    box = window.commander.palettes.commands()
    qtbot.keyClicks(box.line, "analysis cancel")
    index = box.model.index(0)
    assert index.data() == "Analysis: Cancel"
    assert box.model.detail(0).why == WHY["job"]
    assert WHY["job"] in index.data(Qt.ItemDataRole.AccessibleTextRole)
    assert index.data(Qt.ItemDataRole.ToolTipRole) == WHY["job"]
    with qtbot.assertNotEmitted(window.actions_.chosen):
        qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert box.isVisible()
    qtbot.keyClick(box.line, Qt.Key.Key_Escape)
    assert not box.isVisible()


def test_undo_is_offered_once_there_is_something_to_undo(window):
    def why(name: str) -> str:
        box = window.commander.palettes.commands()
        try:
            number = next(n for n, row in enumerate(rows(box)) if row.startswith(name))
            return box.model.detail(number).why
        finally:
            box.close()

    assert why("Edit: Undo") == "There is nothing to undo."
    window.context.set_locked([0], True)
    assert why("Edit: Undo") == ""


def test_arrows_move_while_typing(window, qtbot):
    box = window.commander.palettes.layers()
    qtbot.keyClicks(box.line, "value")
    for _ in range(2):
        qtbot.keyClick(box.line, Qt.Key.Key_Down)
    qtbot.keyClick(box.line, Qt.Key.Key_Up)
    with qtbot.waitSignal(box.chosen):
        qtbot.keyClick(box.line, Qt.Key.Key_Return)
    name = window.layers.model.layers.names[window.context.selection.current]
    assert name == "layers.1.value"


def test_a_layer_that_the_filter_hides_is_still_selected(window, qtbot):
    window.layers.model.set_query("query")
    box = window.commander.palettes.layers()
    qtbot.keyClicks(box.line, "2 down")
    qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert window.context.selection.layers.tolist() == [17]
    assert "filter hides" in window.statusBar().currentMessage()


def test_a_click_chooses(window, qtbot):
    box = window.commander.palettes.layers()
    where = box.list.visualRect(box.model.index(4)).center()
    qtbot.mouseClick(box.list.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert window.context.selection.current == 4


def test_nothing_found_is_said(window, qtbot):
    box = window.commander.palettes.layers()
    qtbot.keyClicks(box.line, "zzz")
    assert rows(box) == []
    assert box._note.text() == "No layer found"
    qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert box.isVisible()
    box.close()


def test_sixty_thousand_names_answer_in_time(qtbot):
    names = [f"layers.{i // 6}.block.{i % 6}" for i in range(60_000)]
    described = []

    def detail(number: int) -> Detail:
        described.append(number)
        return Detail("linear")

    box = CommandPalette(names, detail, title="Go to layer", noun="layer")
    qtbot.addWidget(box)
    box.resize(600, 400)
    box.show()
    times = []
    for letter in "layers.77.block.3":
        before = clock()
        qtbot.keyClicks(box.line, letter)
        box.grab()
        times.append(clock() - before)
    assert rows(box)[0] == "layers.77.block.3"
    box.line.setText("a")
    assert len(rows(box)) == LIMIT
    assert box._note.text() == "The first 500 of 60,000 layers"
    # Only what is seen is described.
    assert len(described) < 100 * len(times)
    assert_within(0.1, [statistics.median(times)])


def test_an_empty_model_has_no_layers_to_go_to(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(0)) as window:
        box = window.commander.palettes.layers()
        assert rows(box) == []
        box.close()
