"""Every control has a name, a key, a place in the tab order and a visible focus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QMenu,
    QScrollArea,
    QScrollBar,
    QTabBar,
    QTextEdit,
    QWidget,
)

from app.ask import shortcuts_dialog
from app.dialogs.analyse import AnalyseDialog
from app.dialogs.search import SearchDialog
from app.dialogs.settings import SettingsDialog
from app.errors import ErrorDialog, Problem
from app.settings import Preferences, Settings
from app.theme import theme
from app.widgets.command_palette import CommandPalette, Detail
from app.widgets.plot import Plot
from tests.app.helpers import analysed
from tests.app.shell import shell

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QKeySequenceEdit,
    QLineEdit,
    QTextEdit,
    Plot,
)
OUTER = (QComboBox, QAbstractSpinBox, QLineEdit, QAbstractItemView, QKeySequenceEdit)


@pytest.fixture
def window(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(12), size=(1920, 1200)) as window:
        yield window


@pytest.fixture(params=["analyse", "search", "settings", "shortcuts", "error", "find"])
def dialog(request, qtbot, tmp_path) -> QDialog:
    settings = Settings(tmp_path / "settings.ini")
    dialog = {
        "analyse": lambda: AnalyseDialog(settings),
        "search": lambda: SearchDialog(settings, "any"),
        "settings": lambda: SettingsDialog(Preferences(), {}),
        "shortcuts": shortcuts_dialog,
        "error": lambda: ErrorDialog(Problem("What", "value", details="trace")),
        "find": lambda: CommandPalette(
            ["a", "b"], lambda _: Detail(), title="Go to layer", noun="layer"
        ),
    }[request.param]()
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def controls(root: QWidget) -> Iterator[QWidget]:
    """Yield what a person can act on; not the parts Qt builds controls from."""
    for widget in root.findChildren(QWidget):
        is_part = isinstance(widget, QHeaderView | QScrollBar | QTabBar) or (
            widget.objectName().startswith("qt_")
        )
        parent = widget.parentWidget()
        while parent is not None and not isinstance(parent, OUTER):
            parent = parent.parentWidget()
        own = widget.window() is root.window()
        # A button without anything to do is hidden itself, not only its page.
        if widget.isHidden() or not own or is_part or parent is not None:
            continue
        if isinstance(widget, CONTROLS):
            yield widget


def nameless(root: QWidget) -> list[str]:
    """Return the controls for which a screen reader has nothing to say."""
    labelled = {label.buddy() for label in root.findChildren(QLabel) if label.buddy()}
    found = []
    for widget in controls(root):
        text = widget.text() if isinstance(widget, QAbstractButton) else ""
        if not (text or widget.accessibleName() or widget in labelled):
            found.append(f"{type(widget).__name__} in {type(widget.parent()).__name__}")
    return found


def mnemonics(texts: list[str]) -> list[str]:
    """Return the letters that stand behind a single ampersand."""
    letters = []
    for text in texts:
        plain = text.replace("&&", "")
        if "&" in plain[:-1]:
            letters.append(plain[plain.index("&") + 1].lower())
    return letters


def twice(texts: list[str]) -> list[str]:
    return [x for x, number in Counter(mnemonics(texts)).items() if number > 1]


def texts_of(root: QWidget) -> list[str]:
    """Return the texts of the buttons and of the labels that lead to a control."""
    texts = [w.text() for w in controls(root) if isinstance(w, QAbstractButton)]
    texts += [label.text() for label in root.findChildren(QLabel) if label.buddy()]
    return texts


def test_every_control_of_every_panel_has_a_name(window):
    for key in window.desk.docks:
        window.desk.show(key)
    assert nameless(window) == []


def test_every_panel_has_a_name(window):
    views = {key: dock.widget() for key, dock in window.desk.docks.items()}
    assert [key for key, view in views.items() if not view.accessibleName()] == []


def test_every_control_of_the_start_page_has_a_name(qtbot, tmp_path):
    with shell(qtbot, tmp_path) as window:
        assert nameless(window) == []


def test_every_control_of_a_dialog_has_a_name(dialog):
    assert nameless(dialog) == []


def menus(window) -> Iterator[QMenu]:
    for menu in window.menuBar().findChildren(QMenu):
        menu.aboutToShow.emit()
        yield menu


def test_no_menu_uses_a_letter_twice(window):
    bar = [action.text() for action in window.menuBar().actions()]
    assert twice(bar) == []
    seen = 0
    for menu in menus(window):
        texts = [a.text() for a in menu.actions() if not a.isSeparator()]
        assert twice(texts) == [], menu.title()
        seen += len(texts)
    assert seen > 30


def test_no_panel_uses_a_letter_of_the_menu_bar_or_of_its_own_twice(window):
    bar = [action.text() for action in window.menuBar().actions()]
    for key, dock in window.desk.docks.items():
        window.desk.show(key)
        assert twice([*bar, *texts_of(dock.widget())]) == [], key


def test_no_dialog_uses_a_letter_twice(dialog):
    assert twice(texts_of(dialog)) == []


def chain(root: QWidget) -> list[QWidget]:
    """Return the controls in the order Tab visits them."""
    found, widget = [], root.nextInFocusChain()
    while widget is not root:
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible():
            # The inside of a plot hands the keyboard on to the plot.
            if widget.focusProxy() is not None:
                pass
            elif root.isAncestorOf(widget) and widget.isEnabled():
                found.append(widget)
        widget = widget.nextInFocusChain()
    return found


def test_tab_reaches_every_control_of_every_panel(window):
    for key, dock in window.desk.docks.items():
        window.desk.show(key)
        QApplication.processEvents()
        reached = set(chain(window))
        missed = [
            f"{key}: {type(widget).__name__} {widget.accessibleName()}"
            for widget in controls(dock.widget())
            if widget.isVisible() and widget.isEnabled() and widget not in reached
        ]
        assert missed == []


def place_of(widget: QWidget, root: QWidget) -> QRect:
    """Return where a control is, or would begin below the edge of what scrolls."""
    place = QRect(widget.mapTo(root, QPoint(0, 0)), widget.size())
    around = widget.parentWidget()
    while around is not None and around is not root:
        if isinstance(around, QScrollArea):
            end = around.mapTo(root, around.rect().bottomLeft()).y()
            place.moveTop(min(place.top(), end))
        around = around.parentWidget()
    return place


def test_tab_goes_down_the_dialog(dialog):
    places = [place_of(widget, dialog) for widget in chain(dialog)]
    # Within a line the order is that of reading; lines differ by less than a line.
    # What is further up than the control before must begin a column of its own.
    backwards, right = [], 0
    for above, below in zip(places, places[1:], strict=False):
        right = max(right, above.right())
        is_up = below.top() < above.top() - theme().line()
        if is_up and below.left() <= right:
            backwards.append((above, below))
    assert backwards == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_focus_can_be_seen(window, qtbot, mode):
    theme().set_mode(mode)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    unseen = []
    for key, dock in window.desk.docks.items():
        window.desk.show(key)
        QApplication.processEvents()
        for widget in chain(dock.widget()):
            widget.clearFocus()
            before = widget.grab().toImage()
            # As by key: frames are drawn for those who use the keyboard.
            widget.setFocus(Qt.FocusReason.ShortcutFocusReason)
            if widget.hasFocus() and widget.grab().toImage() == before:
                unseen.append(f"{key}: {type(widget).__name__}")
    assert unseen == []


def test_a_plot_shows_the_focus_until_it_goes(window, qtbot):
    window.desk.show("heatmap")
    plot = next(w for w in controls(window.heatmap) if isinstance(w, Plot))
    window.layers.table.setFocus()
    frame = window._focus_frame
    assert frame.isHidden()
    plot.setFocus()
    assert frame.parentWidget() is plot
    assert frame.isVisible()
    window.resize(1500, 900)
    qtbot.waitUntil(lambda: frame.size() == plot.size())
    corner, middle = QPoint(1, 1), plot.rect().center()
    image = frame.grab().toImage()
    assert image.pixelColor(corner) == theme().colour("accent")
    assert not frame.mask().contains(middle)
    window.layers.table.setFocus()
    assert frame.isHidden()
    assert frame.parentWidget() is window
