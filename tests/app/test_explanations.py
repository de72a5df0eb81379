"""What the window shows is explained where it stands."""

from __future__ import annotations

import ast
from pathlib import Path

import pyqtgraph as pg
from PySide6.QtCore import Qt

from analysis.glossary import explain_axis, explain_column
from app.models.layer_columns import COLUMNS
from app.models.layer_table import LayerTableModel
from app.widgets.explain import wrapped
from app.widgets.plot import PlotAxis

APP = Path(__file__).parents[2] / "app"


def test_every_column_of_the_layer_table_has_an_entry(qapp):
    missing = [c.key for c in COLUMNS if explain_column(c.key) is None]
    assert missing == [], "add column.KEY to resources/glossary.toml"
    model = LayerTableModel()
    for section, column in enumerate(COLUMNS):
        orientation = Qt.Orientation.Horizontal
        tip = model.headerData(section, orientation, Qt.ItemDataRole.ToolTipRole)
        assert tip == wrapped(column.tip)


def axis_titles() -> set[str]:
    """Return the axis titles written in the source of the window.

    A title put together at run time counts with its fixed beginning, if it has one.
    """
    found = set()
    for file in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                place = {"set_axis": 1, "set_title": 0}.get(node.func.attr)
                if place is not None and len(node.args) > place:
                    title = node.args[place]
                    while isinstance(title, ast.BinOp):
                        title = title.left
                    if isinstance(title, ast.Constant) and isinstance(title.value, str):
                        found.add(title.value)
    return found


def test_every_axis_has_an_entry():
    titles = axis_titles()
    assert {"channel", "predicted error", "value"} <= titles
    missing = [title for title in sorted(titles) if explain_axis(title) is None]
    assert missing == [], "add axis.TITLE to resources/glossary.toml"


def test_an_axis_explains_itself(qapp):
    axis = PlotAxis("left")
    axis.set_title("predicted error", "nats per sample")
    assert "to second order" in axis.toolTip()
    axis.set_title("something new")
    assert axis.toolTip() == ""
    assert isinstance(axis, pg.AxisItem)


def test_tooltips_break_their_lines_and_show_signs_as_they_are():
    assert wrapped("a < b", "", "c") == "<p>a &lt; b</p><p>c</p>"
