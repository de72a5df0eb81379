"""Channels and outliers: what is listed, and what a click marks elsewhere."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt

from analysis.method import Row, Update
from analysis.project import Project
from app.models.channel_ranges import INPUTS, kept_ranges
from app.models.kept import INPUT, WEIGHTS
from app.models.top_positions import kept_positions
from app.theme import theme
from app.views.channels import CHANNELS, LISTED, POSITIONS, ChannelsView
from app.views.distribution import DistributionView
from tests.app.helpers import settle
from tests.app.panel_projects import histogram, make_info

LAYER = 2


def make_weights() -> np.ndarray:
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.1, (24, 40))
    weights[7] *= 6
    weights[:, 5] *= 20
    return weights


def ends(prefix: str, x: np.ndarray, axis: int) -> dict[str, np.ndarray]:
    return {
        f"{prefix}_min": x.min(axis).astype(np.float32),
        f"{prefix}_max": x.max(axis).astype(np.float32),
    }


def record(project: Project, measure: str, arrays: dict[str, np.ndarray]) -> None:
    name = project.info.layers[LAYER].name
    run = project.begin_run(measure, samples=32)
    part = "input" if measure == INPUT else "weight"
    row = Row(name, None, 8.5, quantity="kurtosis", part=part)
    kept = {f"{measure}/{name}/{key}": array for key, array in arrays.items()}
    project.apply(run, Update(1.0, 1.0, rows=(row,), arrays=kept, samples=32))
    project.end_run(run)


def leading(x: np.ndarray) -> dict[str, np.ndarray]:
    """Two positions of samples of three tokens each."""
    values = np.array([-9.5, 8.25], np.float32)
    numbers = np.array([3 * 5 + 2, 3 * 1 + 0])
    kept = {"values": values, "channels": np.array([7, 3]), "numbers": numbers}
    kept |= {"shape": np.array([3]), "tokens": np.array(["[SEP]", "##ing"])}
    return {f"position_{key}": array for key, array in kept.items()}


@pytest.fixture
def view(qtbot, context) -> ChannelsView:
    view = ChannelsView(context)
    qtbot.addWidget(view)
    view.resize(900, 700)
    view.show()
    return view


@pytest.fixture
def project(context) -> Project:
    project = Project.create(make_info(6))
    x = make_weights()
    counts, edges = histogram(x)
    kept = {"hist_counts": counts, "hist_edges": edges, **ends("channel", x, 1)}
    squares = {"channel_squares": (x**2).sum(1), "input_squares": (x**2).sum(0)}
    record(project, WEIGHTS, {**kept, **ends("input", x, 0), **squares})
    hits = np.zeros(8, np.int64)
    hits[7] = 12
    seen = {"outlier_hits": hits, "positions": np.array([48])}
    seen |= {"channel_squares": (x**2).sum(1), **leading(x)}
    record(project, INPUT, {**kept, **seen})
    context.set_project(project)
    context.selection.set([LAYER])
    settle()
    return project


def test_output_channels_with_their_share_of_energy(view, project):
    weights = make_weights()
    assert "24 channels" in view.subtitle
    assert "kurtosis 8.50" in view.subtitle
    extent = np.abs(weights).max(1)
    assert f"spread {extent.max() / np.median(extent):.3g}"[:10] in view.subtitle
    table = view.table()
    assert table.rows == 24
    column = dict(zip(table.titles, table.columns, strict=True))
    assert column["channel"] == np.argsort(-extent, kind="stable").tolist()
    energy = (weights**2).sum(1) / (weights**2).sum()
    first = column["channel"][0]
    assert column["share of energy [%]"][0] == pytest.approx(100 * energy[first])
    assert sum(column["share of energy [%]"]) == pytest.approx(100)
    assert column["× median"][0] == pytest.approx(extent.max() / np.median(extent))
    assert view.lists.views[CHANNELS].model().rowCount() == LISTED


def test_input_channels_and_activations(view, project):
    view.source_box.setCurrentIndex(1)
    settle()
    assert "40 channels" in view.subtitle
    assert view.table().columns[0][0] == 5
    assert view.describe(5).startswith("channel 5")
    view.source_box.setCurrentIndex(2)
    settle()
    assert "LLM.int8(): 12 outlier values in 1 channels" in view.subtitle
    assert "32 calibration samples" in view.subtitle
    table = view.table()
    column = dict(zip(table.titles, table.columns, strict=True))
    at = column["channel"].index(7)
    assert column["outlier values"][at] == 12
    assert column["positions [%]"][at] == 25


def test_top_tokens_with_their_values(view, project):
    assert not view.lists.isTabVisible(1)
    view.source_box.setCurrentIndex(2)
    settle()
    assert view.lists.isTabVisible(1)
    assert view.lists.tabText(1) == "Top tokens"
    assert "largest -9.50, token [SEP], channel 7, sample 5" in view.subtitle
    weights = make_weights()
    column = dict(zip(view.table().titles, view.table().columns, strict=True))
    energy = (weights**2).sum(1) / (weights**2).sum()
    assert column["share of energy [%]"][0] == pytest.approx(100 * energy[7])
    view.lists.setCurrentIndex(1)
    table = view.table()
    assert table.titles == ("token", "value", "channel", "sample", "position")
    assert [c[1] for c in table.columns] == ["##ing", 8.25, 3, 1, 0]
    rows = view.lists.views[POSITIONS]
    rows.clicked.emit(rows.model().index(1, 0))
    assert view._chosen == 3
    assert view.read_out.full == "8.25, token ##ing, channel 3, sample 1, position 0"
    view.source_box.setCurrentIndex(0)
    settle()
    assert not view.lists.isTabVisible(1)
    assert view.table().titles[0] == "channel"


def test_positions_of_pixels_and_of_whole_samples(project):
    layer = replace(project.info.layers[LAYER], kind="conv2d")
    prefix = f"{INPUT}/{layer.name}/position_"
    kept = {
        prefix + "values": np.array([2.0], np.float32),
        prefix + "channels": np.array([1]),
        prefix + "numbers": np.array([2 * 35 + 4 * 7 + 6]),
        prefix + "shape": np.array([5, 7]),
    }
    found = kept_positions(SimpleNamespace(array=kept.get), layer)
    assert found.noun == "positions"
    assert found.describe(0) == "2.00, channel 1, sample 2, row 4, column 6"
    kept[prefix + "shape"], kept[prefix + "numbers"] = np.zeros(0), np.array([9])
    found = kept_positions(SimpleNamespace(array=kept.get), layer)
    assert found.noun == "samples"
    assert found.table().titles == ("value", "channel", "sample")
    del kept[prefix + "shape"]
    assert kept_positions(SimpleNamespace(array=kept.get), layer) is None


def test_a_click_marks_the_channel_in_the_distribution_too(
    view, project, context, qtbot
):
    other = DistributionView(context)
    qtbot.addWidget(other)
    other.resize(800, 600)
    other.show()
    other.scheme_box.setCurrentIndex(0)
    settle()
    view.plot.clicked.emit(QPointF(7.0, 0.0), Qt.KeyboardModifier.NoModifier)
    settle()
    assert view._chosen == 7
    assert view.plot._chosen.value() == 7.0
    assert view.read_out.full.startswith("channel 7")
    assert other.channel_box.value() == 7
    view.sort_box.setChecked(True)
    settle()
    assert view.plot.channel_at(view.plot._chosen.value()) == 7
    # A row of the list, by mouse or by key.
    rows = view.lists.views[CHANNELS]
    rows.activated.emit(rows.model().index(3, 0))
    assert view._chosen == view._ranges.order[3]
    context.choose_channel(LAYER, 2)
    assert view._chosen == 2
    context.choose_channel(LAYER + 1, 4)
    assert view._chosen == 2


def test_results_without_the_sides_are_said_to_miss_them(view, context):
    project = Project.create(make_info(6))
    x = make_weights()
    counts, edges = histogram(x)
    kept = {"hist_counts": counts, "hist_edges": edges, **ends("channel", x, 1)}
    record(project, WEIGHTS, kept)
    layer = project.info.layers[LAYER]
    assert kept_ranges(project, WEIGHTS, layer).squares is None
    assert kept_ranges(project, INPUTS, layer) is None
    context.set_project(project)
    context.selection.set([LAYER])
    view.source_box.setCurrentIndex(1)
    settle()
    assert view.empty_title == "No weight statistics yet"
    assert view._bar.isVisible()


def test_empty_states_and_pin(view, context, project):
    view._selection.set_pinned(True)
    context.selection.set([4])
    settle()
    assert not view.is_empty
    view._selection.set_pinned(False)
    settle()
    assert view.empty_title == "No weight statistics yet"
    context.selection.clear()
    settle()
    assert view.empty_title == "No layer selected"
    context.set_project(None)
    settle()
    assert view.empty_title == "No model open"
    assert view.table() is None


def test_zeros_and_both_themes_draw(view, context):
    project = Project.create(make_info(6))
    x = np.zeros((3, 4))
    kept = {"hist_counts": np.array([12]), "hist_edges": np.array([0.0, 1.0])}
    squares = {"channel_squares": np.zeros(3)}
    record(project, WEIGHTS, {**kept, **ends("channel", x, 1), **squares})
    context.set_project(project)
    context.selection.set([LAYER])
    settle()
    assert "spread 1.00" in view.subtitle
    for mode, width in (("dark", 420), ("light", 1400)):
        theme().set_mode(mode)
        view.resize(width, 500)
        settle()
        assert not view.grab().isNull()
    theme().set_mode("system")
