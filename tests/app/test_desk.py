"""The panels: two ready layouts, numbers, and a state that outlives no change."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit, QMainWindow, QVBoxLayout, QWidget

from app.desk import STATE_KEY, Desk, Panel, Place
from app.settings import Settings


class Window(QMainWindow):
    """Eleven small panels: enough that two have no number."""

    def __init__(self, path, names="abcdefghijk") -> None:
        super().__init__()
        self.settings = Settings(path / "desk.ini")
        places = {
            "a": (Place("left"), Place("left")),
            "b": (Place("centre"), Place("centre_below")),
            "c": (Place("centre"), Place("centre", is_shown=False)),
            "d": (Place("right"), None),
            "e": (Place("centre_below"), None),
            "f": (Place("left_below"), Place("centre")),
        }
        bottom = Place("bottom", is_shown=False), None
        panels = [
            Panel(name, name.upper(), _view(), *places.get(name, bottom))
            for name in names
        ]
        self.desk = Desk(self, panels, self.settings)
        self.resize(1280, 800)


def _view() -> QWidget:
    view = QWidget()
    QVBoxLayout(view).addWidget(QLineEdit(view))
    return view


@pytest.fixture
def window(qtbot, tmp_path) -> Window:
    window = Window(tmp_path)
    qtbot.addWidget(window)
    window.show()
    return window


def shown(window: Window) -> str:
    return "".join(k for k, dock in window.desk.docks.items() if not dock.isHidden())


def tabs(window: Window, key: str) -> set[str]:
    docks = window.tabifiedDockWidgets(window.desk.docks[key])
    return {dock.objectName().removeprefix("dock_") for dock in docks}


def test_a_wide_window_has_three_columns(window, qtbot):
    window.resize(1900, 1000)
    window.desk.open()
    assert shown(window) == "abcdef"
    x = {k: dock.geometry() for k, dock in window.desk.docks.items()}
    qtbot.waitUntil(lambda: window.desk.docks["d"].geometry().width() > 200)
    x = {k: dock.geometry() for k, dock in window.desk.docks.items()}
    assert x["a"].right() < x["b"].left() < x["b"].right() < x["d"].left()
    assert x["a"].bottom() < x["f"].top()
    assert x["b"].bottom() < x["e"].top()
    assert "c" in tabs(window, "b")
    assert x["d"].width() < x["b"].width()


def test_a_narrow_window_has_two(window, qtbot):
    window.desk.open()
    assert tabs(window, "b") == {"c", "e", "f"}
    a, b, d = (window.desk.docks[key] for key in "abd")
    qtbot.waitUntil(lambda: b.width() > 300)
    assert a.geometry().bottom() < d.geometry().top()
    assert d.geometry().right() < b.geometry().left()


def test_in_a_narrow_window_guests_stand_behind_the_panels_of_a_zone(window, qtbot):
    window.desk.open()
    window.desk.arrange("assign")
    f, b = window.desk.docks["f"], window.desk.docks["b"]
    assert "b" in tabs(window, "f")
    qtbot.waitUntil(lambda: not f.visibleRegion().isEmpty())
    assert b.visibleRegion().isEmpty()


def test_the_layouts_differ_and_reset_returns(window, qtbot):
    window.resize(1900, 1000)
    window.desk.open()
    window.desk.arrange("assign")
    assert shown(window) == "abdef"
    window.desk.show("c")
    assert tabs(window, "f") == {"c"}
    window.desk.docks["a"].close()
    window.desk.docks["d"].setFloating(True)
    window.desk.arrange()
    assert shown(window) == "abcdef"
    assert not window.desk.docks["d"].isFloating()


def test_nine_panels_have_a_number_which_also_takes_the_keyboard(window, qtbot):
    keys = [action.shortcut().toString() for action in window.desk.show_actions]
    assert keys == [f"Alt+{number}" for number in range(1, 10)] + ["", ""]
    assert not any(action.isEnabled() for action in window.desk.show_actions)
    window.desk.open()
    window.activateWindow()
    with qtbot.waitExposed(window, timeout=30_000):
        pass
    c = window.desk.docks["c"]
    qtbot.keyClick(window, Qt.Key.Key_3, Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: c.isAncestorOf(window.focusWidget() or window))
    g = window.desk.docks["g"]
    assert g.isHidden()
    qtbot.keyClick(window, Qt.Key.Key_7, Qt.KeyboardModifier.AltModifier)
    assert not g.isHidden()


def test_a_saved_state_is_restored_only_to_the_same_panels(qtbot, tmp_path):
    first = Window(tmp_path)
    qtbot.addWidget(first)
    first.show()
    first.desk.open()
    first.desk.docks["b"].close()
    first.desk.save()
    first.settings.sync()
    first.close()
    assert not first.settings.bytes(STATE_KEY).isEmpty()
    same, more = Window(tmp_path), Window(tmp_path, "abcdefghijkl")
    for window in (same, more):
        qtbot.addWidget(window)
        window.show()
        window.desk.open()
    assert shown(same) == "acdef"
    assert shown(more) == "abcdef"


def test_the_panel_menu_names_the_keys(window):
    menu = window.menuBar().addMenu("View")
    window.desk.fill_menu(menu)
    texts = [action.text() for action in menu.actions()]
    assert texts[0] == "A\tAlt+1"
    assert texts[-1] == "K"


@pytest.mark.parametrize(
    ("key", "way", "grows"),
    [
        ("a", "wider", True),
        ("a", "narrower", False),
        ("d", "wider", True),
        ("d", "narrower", False),
        ("e", "taller", True),
        ("a", "shorter", False),
    ],
)
def test_a_panel_grows_and_shrinks_by_key(window, qtbot, key, way, grows):
    window.resize(1900, 1000)
    window.desk.open()
    dock = window.desk.docks[key]
    qtbot.waitUntil(lambda: window.desk.docks["d"].width() > 200)
    inside = dock.widget().findChild(QLineEdit)

    def length() -> int:
        return dock.height() if way in ("taller", "shorter") else dock.width()

    before = length()
    assert window.desk.resize(inside, way)
    qtbot.waitUntil(lambda: length() != before)
    assert (length() > before) == grows
    dock.setFloating(True)
    before = length()
    assert window.desk.resize(inside, way)
    assert (length() > before) == grows


def test_without_the_keyboard_in_a_panel_none_is_resized(window):
    window.desk.open()
    assert not window.desk.resize(None, "wider")
    assert not window.desk.resize(window.menuBar(), "wider")
