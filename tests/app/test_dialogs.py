"""The forms that ask what to analyse, and the tick boxes in them."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QDialogButtonBox

from app.dialogs.analyse import EXAMPLE, SETTINGS_KEY, AnalyseDialog
from app.settings import Settings
from app.theme import theme
from app.widgets.tick_box import TickBox


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path / "settings.ini")


def test_example_data_are_offered_only_to_examples(qtbot, settings):
    form = AnalyseDialog(settings, has_example=True)
    qtbot.addWidget(form)
    assert form.request().data == EXAMPLE
    assert form.mistake() == ""
    form.accept()
    assert settings.get(SETTINGS_KEY, {})["data"] == EXAMPLE
    form = AnalyseDialog(settings, has_example=False)
    qtbot.addWidget(form)
    assert form.request().data == ""
    assert form.mistake().startswith("Choose calibration data")
    buttons = form.findChild(QDialogButtonBox).buttons()
    assert not next(b for b in buttons if b.text() == "&Run").isEnabled()
    form._data.setCurrentText(EXAMPLE)
    assert "bundled examples" in form.mistake()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("checked", [False, True])
def test_an_empty_tick_box_can_be_seen(qtbot, mode, checked):
    theme().set_mode(mode)
    box = TickBox("Names")
    box.setChecked(checked)
    qtbot.addWidget(box)
    image = box.grab().toImage()
    middle, left = image.height() // 2, range(image.height())
    background = theme().colour("window").lightness()
    shades = [image.pixelColor(x, middle).lightness() for x in left]
    theme().set_mode("system")
    assert max(abs(shade - background) for shade in shades) > 80
