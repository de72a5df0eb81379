"""At 200 % no text is clipped that is whole at 100 %, and pictures are as sharp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from app.widgets.plot import Plot
from tests.app.clipped import clipped
from tests.app.helpers import settle


@pytest.mark.parametrize("scale", [1, 2])
def test_no_text_of_any_panel_is_clipped_at(scale):
    """Qt reads the scale once, before the first window: in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.clipped"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"QT_SCALE_FACTOR": str(scale)},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["clipped"] == []
    assert told["window"] == [scale, scale], "pixels of a picture for one on screen"
    assert len(told["pictures"]) >= 5
    assert set(told["pictures"].values()) == {2.0}, "saved ones are for print"


def test_what_is_clipped_is_found(qtbot):
    root = QWidget()
    qtbot.addWidget(root)
    row = QHBoxLayout(root)
    label, button, plot = QLabel("A long &text"), QPushButton("Press"), Plot("plot")
    plot.set_axis("left", "error")
    for widget in (label, button, plot):
        row.addWidget(widget)
    root.resize(600, 300)
    root.show()
    settle()
    assert clipped(root) == []
    label.setFixedWidth(20)
    button.setFixedWidth(10)
    plot.axis("left").label.setPlainText("never folded " * 20)
    settle()
    assert [text.split()[0] for text in clipped(root)] == [
        "QLabel",
        "QPushButton",
        "Plot",
    ]
