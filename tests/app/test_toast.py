"""Notices of what was done: seen, heard, gone by themselves, and kept elsewhere."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import QApplication

import app.widgets.toast as toast_module
from app.widgets.toast import Toast
from tests.app.helpers import analysed, settle
from tests.app.shell import shell


@pytest.fixture
def heard(monkeypatch) -> list[str]:
    """Return what a screen reader is told."""
    told: list[str] = []

    class Spy:
        @staticmethod
        def updateAccessibility(event) -> None:
            assert event.type() == QAccessible.Event.Announcement
            told.append(event.message())

    monkeypatch.setattr(toast_module, "QAccessible", Spy)
    return told


def test_a_notice_is_read_out_and_fades(qtbot, heard, monkeypatch):
    monkeypatch.setattr(toast_module, "SHOWN_MS", 0)
    monkeypatch.setattr(toast_module, "PER_LETTER_MS", 0)
    toast = Toast()
    qtbot.addWidget(toast)
    toast.show()
    toast.tell("3 layers copied.")
    assert heard == ["3 layers copied."]
    assert toast.notice == toast.accessibleDescription() == "3 layers copied."
    qtbot.waitUntil(lambda: not toast.notice)
    assert toast.text() == toast.accessibleDescription() == ""
    assert heard == ["3 layers copied."]


def test_a_newer_notice_takes_the_place_of_a_fading_one(qtbot, heard):
    toast = Toast()
    qtbot.addWidget(toast)
    toast.show()
    toast.tell("Old.")
    toast._fade_out()
    toast.tell("New.")
    assert toast.notice == "New."
    assert not toast.graphicsEffect().isEnabled()
    assert heard == ["Old.", "New."]


def test_a_long_notice_is_shortened_and_its_description_has_all(qtbot):
    toast = Toast()
    qtbot.addWidget(toast)
    text = "Set 30 layers to int4. " * 8
    toast.tell(text)
    toast.resize(200, 30)
    toast.show()
    settle()
    assert toast.text().endswith("…")
    assert toast.fontMetrics().horizontalAdvance(toast.text()) < 200
    assert toast.accessibleDescription() == text


@pytest.mark.parametrize("width", [800, 1280])
def test_what_the_window_did_is_told_beside_the_tools_and_kept_in_the_log(
    qtbot, tmp_path, width
):
    with shell(qtbot, tmp_path, analysed(12), size=(width, 700)) as window:
        focus = QApplication.focusWidget()
        window.context.set_weight([0, 1, 2], None)
        window.layers.select_all()
        window.actions_["bits_4"].trigger()
        text = window.toast.notice
        assert text.startswith("Set 12 layers to int4")
        assert window.statusBar().currentMessage() == text
        assert text in [entry.text for entry in window.logbook.entries]
        assert QApplication.focusWidget() is focus
        for _ in range(3):
            window.say(f"{text} " * 9)
        settle()
        tools = window.toast.parentWidget()
        shown = [tools.widgetForAction(x) for x in tools.actions() if not x.menu()]
        for button in shown:
            assert button.isVisible(), "no tool gives way to a notice"
            assert tools.rect().contains(button.geometry())
        ignores = Qt.WidgetAttribute.WA_TransparentForMouseEvents
        assert window.toast.testAttribute(ignores)
