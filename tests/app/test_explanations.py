"""What the window shows is explained where it stands."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from analysis.glossary import explain_axis, explain_column, explain_heading
from app.models.channel_ranges import ChannelRanges, kept_ranges
from app.models.compare import differences, totals
from app.models.compare_table import DifferenceModel, TotalsModel
from app.models.layer_columns import COLUMNS
from app.models.layer_table import LayerTableModel
from app.widgets.data_table import TableModel
from app.widgets.explain import wrapped
from app.widgets.plot_axis import PlotAxis
from quant_core.scheme import Scheme
from tests.app.helpers import analysed
from tests.app.panel_projects import add_distribution

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


def heading(model, section: int) -> str | None:
    across = Qt.Orientation.Horizontal
    return model.headerData(section, across, Qt.ItemDataRole.ToolTipRole)


def test_the_tables_beside_the_plots_explain_their_headings(qapp):
    project = analysed(6)
    layer = project.info.layers[0]
    add_distribution(project, "weights", layer.name, np.ones((4, 8)), 0)
    ranges = kept_ranges(project, "weights", layer)
    all_of_it = ChannelRanges(ranges.data, np.ones(4), np.ones(4), 8)
    titles = all_of_it.titles
    assert len(titles) == 7
    model = TableModel(all_of_it.table(np.arange(4)))
    for section, title in enumerate(titles):
        assert heading(model, section), title
    assert "One scale for all" in heading(model, titles.index("× median"))


def test_the_comparison_explains_its_columns_and_totals(qapp):
    project = analysed(6)
    before = project.assignment
    project.set_weight(range(6), Scheme("int4"))
    model = DifferenceModel()
    model.show(differences(project, before, project.assignment), ("one", "two"))
    for section in range(model.columnCount()):
        assert "A is one, B is two" in heading(model, section)
    assert "scales" in heading(model, 6)
    lines = TotalsModel()
    lines.show(totals(project, before, project.assignment), ("one", "two"))
    assert lines.rowCount() == 5
    for row in range(lines.rowCount()):
        tip = lines.index(row, 0).data(Qt.ItemDataRole.ToolTipRole)
        assert tip, lines.texts(row)
    assert explain_heading("Bit operations per sample") is not None


def test_tooltips_break_their_lines_and_show_signs_as_they_are():
    assert wrapped("a < b", "", "c") == "<p>a &lt; b</p><p>c</p>"
