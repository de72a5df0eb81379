"""What the window looks like on any system and in both themes."""

from __future__ import annotations

from PySide6.QtCore import QLocale
from PySide6.QtWidgets import QAbstractButton, QDoubleSpinBox

from app.theme import theme
from app.widgets.format import NOTATION, integer
from tests.app.helpers import analysed
from tests.app.shell import shell


def test_numbers_have_one_notation_on_any_system(qtbot, tmp_path):
    before = QLocale()
    QLocale.setDefault(QLocale(QLocale.Language.German, QLocale.Country.Germany))
    try:
        with shell(qtbot, tmp_path, analysed(6)) as window:
            spin = QDoubleSpinBox(window)
            spin.setGroupSeparatorShown(True)
            spin.setMaximum(1e6)
            spin.setValue(1234.5)
            assert (spin.text(), integer(30522)) == ("1,234.50", "30,522")
            assert window.distribution.clip_bar.locale() == NOTATION
    finally:
        QLocale.setDefault(before)


def test_buttons_of_panels_are_seen_on_any_ground(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(6)) as window:
        for mode in ("light", "dark", "dark"):
            theme().set_mode(mode)
            # The dock takes its own pictures back when it is placed anew.
            window.desk.arrange()
            ground = theme().colour("window").lightness()
            for name in ("float", "close"):
                dock = window.desk.docks["layers"]
                button = dock.findChild(QAbstractButton, f"qt_dockwidget_{name}button")
                drawn = button.icon().pixmap(20, 20).toImage()
                inks = (drawn.pixelColor(x, y) for x in range(20) for y in range(20))
                shades = [ink.lightness() for ink in inks if ink.alpha() > 200]
                assert min(abs(shade - ground) for shade in shades) > 100
