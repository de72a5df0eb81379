"""Whatever a mouse can do, a key can do too; and a whole job without a mouse."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QDialog

import app
from app.dialogs.columns import ColumnsDialog
from app.main_window import MainWindow
from app.models.compare import BASELINE
from app.widgets.command_palette import CommandPalette
from app.widgets.plot import Plot
from quant_core.scheme import Scheme
from tests.app.helpers import analysed
from tests.app.shell import shell

Key, Modifier = Qt.Key, Qt.KeyboardModifier
CTRL, SHIFT, NONE = (
    Modifier.ControlModifier,
    Modifier.ShiftModifier,
    Modifier.NoModifier,
)

MOUSE_EVENT = re.compile(r"(mouse|wheel|contextMenu|drop|hover)\w*Event$")
MOUSE_SIGNAL = re.compile(
    r"(sigMouse\w+|sigDragged|\w*[dD]ragged|customContextMenuRequested|doubleClicked"
    r"|itemClicked|anchorClicked)$"
)
MOUSE_CLICK = re.compile(r"(^|\.)(plot|channels)\.clicked$")
KEYS = {
    "main_window MainWindow dropEvent": "Ctrl+O, Ctrl+Shift+O",
    "start self.recent.itemClicked": "Enter",
    "help self.browser.anchorClicked": "Tab and Enter",
    "plot PlotBox mouseDragEvent": "Ctrl with arrows, + and -; Shift with Up, Down",
    "plot Plot mousePressEvent": "only keeps the event",
    "plot Plot mouseReleaseEvent": "only keeps the event",
    "plot Plot mouseMoveEvent": "the cross-hair; see who listens to `hovered`",
    "plot self.scene().sigMouseClicked": "see who listens to `clicked`",
    "plot_panel PlotPanel contextMenuEvent": "the menu button; the menu key",
    "color_bar ColorBar mousePressEvent": "Up, Down; with Shift the lower limit",
    "color_bar ColorBar mouseMoveEvent": "Up, Down",
    "color_bar ColorBar mouseReleaseEvent": "Up, Down",
    "color_bar ColorBar mouseDoubleClickEvent": "Home",
    "finding_card Card mouseReleaseEvent": "the arrow before the headline",
    "layer_menus view.table.customContextMenuRequested": "the menu key",
    "layer_menus header.customContextMenuRequested": "Ctrl+Shift+L",
    "channels self.plot.clicked": "the list below, Enter",
    "bar_columns plot.clicked": "arrows",
    "layer_folds view.table.doubleClicked": "Ctrl+Shift+G",
    "heatmap self.plot.clicked": "arrows, Enter",
    "trade_off self.plot.clicked": "Enter",
    "error_map plot.clicked": "Enter",
    "distribution self.histogram.dragged": "the two number boxes",
    "distribution self.channels.clicked": "the box of the channel",
    "histogram_plot line.sigDragged": "the two number boxes",
    "histogram_plot self.scene().sigMouseClicked": "Reset",
}
"""What listens to the mouse, and the key that does the same.

Read-outs of what is under the mouse are left out: *Show as table* has the numbers.
"""


def listeners() -> Iterator[str]:
    """Yield the methods and connections of the window that the mouse sets off."""
    for path in Path(app.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and MOUSE_EVENT.match(
                        part.name
                    ):
                        yield f"{path.stem} {node.name} {part.name}"
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                signal = ast.unparse(node.func.value)
                if node.func.attr == "connect" and (
                    MOUSE_SIGNAL.search(signal) or MOUSE_CLICK.search(signal)
                ):
                    yield f"{path.stem} {signal}"


def test_every_mouse_action_has_a_key():
    found = set(listeners())
    assert len(found) > 20
    assert found - set(KEYS) == set(), "name the key that does the same"


@pytest.fixture
def window(qtbot, tmp_path) -> Iterator[MainWindow]:
    with shell(qtbot, tmp_path, analysed(36), size=(1920, 1200)) as window:
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow)
        yield window
        # Qt remembers the modifiers of the last key for clicks without any.
        qtbot.keyClick(window, Key.Key_Home)


def press(qtbot, key: Key | str, modifier: Modifier = NONE) -> None:
    """Press a key, or type a text, where the keyboard is."""
    if isinstance(key, str):
        qtbot.keyClicks(QApplication.focusWidget(), key)
    else:
        qtbot.keyClick(QApplication.focusWidget(), key, modifier)


# -- plots -----------------------------------------------------------------------------


def key_event(key: Key, modifier: Modifier = NONE) -> QKeyEvent:
    return QKeyEvent(QEvent.Type.KeyPress, key, modifier)


@pytest.fixture
def plot(qtbot) -> Plot:
    plot = Plot("plot")
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    plot.show()
    plot.show_range([0.0, 10.0], [0.0, 4.0])
    return plot


def test_keys_zoom_about_the_middle_and_pan(plot):
    plot.keyPressEvent(key_event(Key.Key_Plus))
    np.testing.assert_allclose(plot.box.viewRange(), [[1.0, 9.0], [0.4, 3.6]])
    plot.keyPressEvent(key_event(Key.Key_Minus))
    np.testing.assert_allclose(plot.box.viewRange(), [[0.0, 10.0], [0.0, 4.0]])
    plot.keyPressEvent(key_event(Key.Key_Right, CTRL))
    plot.keyPressEvent(key_event(Key.Key_Up, CTRL))
    np.testing.assert_allclose(plot.box.viewRange(), [[1.0, 11.0], [0.4, 4.4]])
    plot.zoom_back()
    np.testing.assert_allclose(plot.box.viewRange(), [[0.0, 10.0], [0.0, 4.0]])


def test_keys_move_only_the_axes_that_the_mouse_moves(plot):
    plot.box.setMouseEnabled(x=True, y=False)
    plot.box.invertY(True)
    plot.keyPressEvent(key_event(Key.Key_Plus))
    plot.keyPressEvent(key_event(Key.Key_Up, CTRL))
    np.testing.assert_allclose(plot.box.viewRange(), [[1.0, 9.0], [0.0, 4.0]])
    plot.box.setMouseEnabled(x=True, y=True)
    plot.keyPressEvent(key_event(Key.Key_Up, CTRL))
    # Upward are the smaller values now.
    np.testing.assert_allclose(plot.box.viewRange()[1], [-0.4, 3.6])


def test_a_plain_arrow_is_left_to_the_panel(plot):
    event = key_event(Key.Key_Left)
    plot.keyPressEvent(event)
    assert not event.isAccepted()


# -- tables and panels -----------------------------------------------------------------


def test_the_sort_key_goes_round_like_the_header(window, qtbot):
    model, table = window.layers.model, window.layers.table
    before = [model.layer_at(row) for row in range(36)]
    at = [column.key for column in model.columns].index("error")
    while table.currentIndex().column() != at:
        press(qtbot, Key.Key_Right)
    errors = model.layers.error
    press(qtbot, "s")
    rising = [errors[model.layer_at(row)] for row in range(36)]
    assert rising == sorted(rising)
    assert table.currentIndex().column() == at
    press(qtbot, "s")
    assert [errors[model.layer_at(row)] for row in range(36)] == rising[::-1]
    press(qtbot, "s")
    assert [model.layer_at(row) for row in range(36)] == before


def test_a_panel_is_detached_and_put_back_by_key(window, qtbot, monkeypatch):
    dock = window.desk.docks["inspector"]
    # Which window is active is for the system to say, and takes its time.
    focus = [window.inspector.tree]
    monkeypatch.setattr(QApplication, "focusWidget", lambda: focus[0])
    for is_floating in (True, False):
        window.actions_["detach"].trigger()
        assert dock.isFloating() == is_floating
        assert dock.isVisible()
    focus[0] = window.menuBar()
    window.actions_["detach"].trigger()
    assert not any(dock.isFloating() for dock in window.desk.docks.values())
    assert "Go to a panel first" in window.statusBar().currentMessage()


def test_columns_are_chosen_by_key(window, qtbot, monkeypatch):
    asked = []

    def answer(dialog: QDialog) -> QDialog.DialogCode:
        asked.append(dialog)
        return QDialog.DialogCode.Rejected

    monkeypatch.setattr(ColumnsDialog, "exec", answer)
    press(qtbot, Key.Key_L, CTRL | SHIFT)
    assert len(asked) == 1


def test_a_whole_job_without_a_mouse(window, qtbot, tmp_path):
    context, project = window.context, window.context.project
    press(qtbot, "/")
    press(qtbot, "up")
    qtbot.waitUntil(lambda: window.layers.model.rowCount() == 6)
    press(qtbot, Key.Key_Return)
    qtbot.waitUntil(window.layers.table.hasFocus)
    press(qtbot, Key.Key_A, CTRL)
    press(qtbot, "4")
    ups = np.arange(4, 36, 6)
    assert all(project.assignment.scheme_of(i) == Scheme("int4") for i in ups)
    press(qtbot, "b")
    assert BASELINE in project.assignments
    press(qtbot, "]")
    first = context.selection.current
    press(qtbot, "8")
    press(qtbot, "l")
    assert project.assignment.locked[first]
    assert project.assignment.scheme_of(first) == Scheme("int8")
    press(qtbot, Key.Key_Z, CTRL)
    press(qtbot, Key.Key_Z, CTRL)
    assert project.assignment.scheme_of(first) == Scheme("int4")
    window.commander.ask.project_path = lambda _: tmp_path / "by-key.qscope"
    press(qtbot, Key.Key_S, CTRL)
    qtbot.waitUntil(lambda: not window.isWindowModified())
    assert (tmp_path / "by-key.qscope").is_file()
    press(qtbot, Key.Key_P, CTRL)
    palette = window.findChild(CommandPalette)
    qtbot.keyClicks(palette.line, "5.down")
    qtbot.keyClick(palette.line, Key.Key_Return)
    assert context.selection.current == 35
