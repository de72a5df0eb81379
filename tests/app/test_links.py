"""Plots of the same quantity move together, where a person wants it."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.project import Project
from app.models.kept import WEIGHTS
from app.views.distribution import DistributionView
from tests.app.helpers import analysed, open_, settle
from tests.app.panel_projects import add_distribution, make_info
from tests.app.shell import shell


@pytest.fixture
def view(qtbot, context) -> DistributionView:
    view = DistributionView(context)
    qtbot.addWidget(view)
    view.resize(800, 600)
    view.show()
    project = Project.create(make_info(2))
    rng = np.random.default_rng(0)
    for layer, scale in zip(project.info.layers, (1.0, 5.0), strict=True):
        x = scale * rng.normal(size=(32, 64))
        add_distribution(project, WEIGHTS, layer.name, x, axis=0)
    open_(context, project)
    return view


def test_channels_show_the_values_of_the_histogram_while_linked(view, context):
    values = view.channels.box.viewRange()[1]
    view.histogram.box.setXRange(-0.5, 0.5, padding=0)
    assert view.channels.box.viewRange()[1] == values, "not linked at first"
    view.link_switch.setChecked(True)
    np.testing.assert_allclose(view.channels.box.viewRange()[1], [-0.5, 0.5])
    view.histogram.box.setXRange(-1.0, 2.0, padding=0)
    np.testing.assert_allclose(view.channels.box.viewRange()[1], [-1.0, 2.0])
    context.selection.set([1])
    settle()
    np.testing.assert_allclose(
        view.channels.box.viewRange()[1], view.histogram.box.viewRange()[0]
    )
    view.histogram.box.setXRange(-1.0, 2.0, padding=0)
    view.link_switch.setChecked(False)
    assert view.channels.box.viewRange()[1] == view.channels.values
    view.histogram.box.setXRange(0.0, 2.0, padding=0)
    assert view.channels.box.viewRange()[1] == view.channels.values


def test_a_switch_without_any_data_does_no_harm(qtbot, context):
    view = DistributionView(context)
    qtbot.addWidget(view)
    before = view.channels.box.viewRange()
    view.link_switch.setChecked(True)
    assert view.channels.box.viewRange() == before
    view.histogram.box.setXRange(-1.0, 2.0, padding=0)
    view.link_switch.setChecked(False)
    assert view.channels.box.viewRange() == before


def test_heatmap_and_bars_move_together_while_they_list_the_same(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(36), size=(1920, 1200)) as window:
        heatmap, bars = window.heatmap, window.sensitivity
        for key in ("sensitivity", "heatmap"):
            window.desk.show(key)
            settle()
        assert heatmap.rows_shown() == bars.rows_shown() == (0.0, 36.0)
        heatmap.show_rows(4, 14)
        assert bars.rows_shown() == (0.0, 36.0), "not linked at first"
        heatmap.link_switch.setChecked(True)
        assert bars.rows_shown() == (0.0, 36.0), "the most sensitive come first"
        window.desk.show("sensitivity")
        bars.order_box.setChecked(True)
        settle()
        heatmap.show_rows(10, 20)
        np.testing.assert_allclose(bars.rows_shown(), (10, 20))
        bars.show_rows(3, 9)
        np.testing.assert_allclose(heatmap.rows_shown(), (3, 9))
        bars.show_rows(-5, 99)
        np.testing.assert_allclose(heatmap.rows_shown(), (0, 36))
        heatmap.link_switch.setChecked(False)
        bars.show_rows(3, 9)
        np.testing.assert_allclose(heatmap.rows_shown(), (0, 36))
        # The switch is among what is remembered.
        assert window.settings.get("panels/heatmap/linked", True) is False


@pytest.mark.parametrize("layers", [1, 3])
def test_few_rows_do_not_send_each_other_round(qtbot, tmp_path, layers):
    with shell(qtbot, tmp_path, analysed(layers), size=(1920, 1200)) as window:
        window.desk.show("sensitivity")
        window.sensitivity.order_box.setChecked(True)
        settle()
        window.desk.show("heatmap")
        settle()
        window.heatmap.link_switch.setChecked(True)
        window.sensitivity.show_rows(0, 5)
        window.heatmap.show_rows(0, 1)
        assert window.heatmap.rows_shown() == (0.0, float(layers))
