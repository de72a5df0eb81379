"""The start page, and what is remembered between sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMainWindow, QPushButton

from app.actions import ActionSet
from app.settings import RECENT_LIMIT, Recent, Settings
from app.theme import theme
from app.views.start import EXAMPLES, StartView


@pytest.fixture
def settings(qapp, tmp_path) -> Settings:
    return Settings(tmp_path / "settings.ini")


@pytest.fixture
def start(qtbot, settings) -> StartView:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.actions_ = ActionSet(window)
    view = StartView(window.actions_, settings, window)
    window.setCentralWidget(view)
    window.resize(1280, 800)
    window.show()
    view.window_ = window
    return view


def test_recent_entries_survive_a_restart(settings, tmp_path):
    for number in range(RECENT_LIMIT + 3):
        settings.add_recent(f"/models/{number}", "abc")
    settings.add_recent("/models/7")
    settings.sync()
    again = Settings(tmp_path / "settings.ini")
    assert len(again.recent) == RECENT_LIMIT
    assert again.recent[0] == Recent("/models/7")
    assert again.recent[1] == Recent(f"/models/{RECENT_LIMIT + 2}", "abc")


def test_values_keep_their_types_over_a_restart(settings, tmp_path):
    settings.set("a", True)
    settings.set("b", 5)
    settings.set("c", [])
    settings.set("d", {"x": 1.5})
    settings.mode = "dark"
    settings.sync()
    again = Settings(tmp_path / "settings.ini")
    assert again.get("a", False) is True
    assert again.get("b", 0) == 5
    assert again.get("c", [1]) == []
    assert again.get("d", {}) == {"x": 1.5}
    assert again.mode == "dark"


def test_damaged_settings_count_as_absent(tmp_path, qapp):
    path = tmp_path / "settings.ini"
    path.write_text('[General]\nrecent=nonsense\ntheme="{"\nb="true"\n')
    settings = Settings(path)
    assert settings.recent == ()
    assert settings.mode == "system"
    assert settings.get("b", 7) == 7


def test_fresh_forgets_everything(settings):
    settings.add_recent("/models/1")
    settings.forget_all()
    assert settings.recent == ()


def test_first_start_shows_no_empty_list(start):
    assert not start.recent.isVisible()
    assert start._none.isVisible()


def test_missing_files_are_grey(start, settings, tmp_path):
    there = tmp_path / "model.safetensors"
    there.touch()
    settings.add_recent(str(there))
    settings.add_recent(str(tmp_path / "gone.qscope"))
    settings.add_recent("example:digits-vit")
    start.refresh()
    items = [start.recent.item(i) for i in range(start.recent.count())]
    enabled = [bool(i.flags() & Qt.ItemFlag.ItemIsEnabled) for i in items]
    assert enabled == [True, False, True]
    assert "no longer there" in items[1].text()


def test_a_recent_entry_opens(start, settings, qtbot, tmp_path):
    settings.add_recent(str(tmp_path))
    start.refresh()
    with qtbot.waitSignal(start.openRequested) as caught:
        start.recent.itemClicked.emit(start.recent.item(0))
    assert caught.args == [str(tmp_path)]


def test_the_list_can_be_cleared(start, settings):
    settings.add_recent("/models/1")
    start.refresh()
    start._clear.click()
    assert settings.recent == ()
    assert not start.recent.isVisible()


def test_examples_open(start, qtbot):
    buttons = {b.text(): b for b in start.findChildren(QPushButton)}
    for source, name, _ in EXAMPLES:
        with qtbot.waitSignal(start.openRequested) as caught:
            buttons[name].click()
        assert caught.args == [source]


def test_busy_page_takes_no_clicks(start):
    start.show_busy("Opening package.module:callable…")
    assert not start._page.isEnabled()
    start.show_busy("")
    assert start._page.isEnabled()


def test_recent_knows_sources_without_files():
    assert not Recent("example:digits-vit").is_missing
    assert not Recent("package.module:callable").is_missing
    assert Recent("/nowhere/model.qscope").is_missing
    assert Recent("/models/big/model").title == "model"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_theme_switches_live(qapp, qtbot, mode):
    look = theme()
    with qtbot.waitSignal(look.themeChanged):
        look.set_mode(mode)
    assert look.is_dark == (mode == "dark")
    assert qapp.palette().window().color() == look.colour("window")
    look.set_mode("system")
    assert not look.is_dark, "an unknown system scheme counts as light"


def test_text_can_be_read_in_both_themes(qapp):
    from app.theme import DARK, LIGHT

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in channels
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(first: str, second: str) -> float:
        high, low = sorted([luminance(first), luminance(second)], reverse=True)
        return (high + 0.05) / (low + 0.05)

    for look in (LIGHT, DARK):
        for background in (look.base, look.window, look.partner):
            assert contrast(look.text, background) > 7
            assert contrast(look.muted, background) > 4.5
            assert contrast(look.danger, background) > 4.5
            assert contrast(look.warning, background) > 4.5
        assert contrast(look.accent_text, look.accent) > 4.5


def test_bit_widths_have_distinct_colours_and_marks(qapp):
    look = theme()
    widths = [1, 2, 3, 4, 5, 6, 7, 8, 16, None]
    for mode in ("light", "dark"):
        look.set_mode(mode)
        assert len({look.bit_colour(b).name() for b in widths}) == len(widths)
    assert len({look.bit_mark(b) for b in widths}) == len(widths)
    assert look.bit_mark(32) == look.bit_mark(None)
    look.set_mode("system")


def test_paths_of_the_system_are_not_touched(tmp_path, qapp):
    settings = Settings()
    assert not Path(settings._store.fileName()).is_relative_to(Path.home())
