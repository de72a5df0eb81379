"""How plots are drawn outlives the window; what they show does not."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QCheckBox

from app.remembered import PREFIX, remember
from app.settings import Settings
from tests.app.helpers import analysed
from tests.app.shell import shell


@pytest.mark.parametrize("first", [True, False])
def test_a_box_is_found_as_it_was_left(qapp, tmp_path, first):
    path = tmp_path / "settings.ini"

    def session() -> tuple[QCheckBox, Settings]:
        box, settings = QCheckBox(), Settings(path)
        box.setChecked(first)
        remember(settings, "plot/log", box)
        return box, settings

    box, settings = session()
    assert box.isChecked() is first
    box.setChecked(not first)
    settings.sync()
    box, settings = session()
    assert box.isChecked() is not first
    # What is damaged counts as absent.
    settings.set(f"{PREFIX}plot/log", "perhaps")
    settings.sync()
    assert session()[0].isChecked() is first


def test_the_log_axes_of_plots_are_remembered_between_windows(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(6)) as window:
        boxes = window.distribution.log_box, window.sensitivity.log_box
        assert all(box.isChecked() for box in boxes)
        boxes[0].setChecked(False)
        window.sensitivity.order_box.setChecked(True)
    with shell(qtbot, tmp_path, analysed(6)) as window:
        assert not window.distribution.log_box.isChecked()
        assert window.sensitivity.log_box.isChecked()
        assert window.sensitivity.order_box.isChecked()
        assert window.sensitivity.wish.is_network
        window.desk.show("distribution")
        assert window.distribution.histogram.axis("left").scale_log is None
