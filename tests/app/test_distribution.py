"""The distribution panel, and levels computed without tensors against the quantizer."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt

from analysis.method import Update
from analysis.project import Project
from app.models.kept import INPUT, WEIGHTS
from app.models.level_grid import SHARED, Distribution, envelope, grid_of
from app.theme import theme
from app.views.distribution import DistributionView
from quant_core.scheme import Scheme, parse_scheme
from tests.app.helpers import settle
from tests.app.panel_projects import (
    add_distribution,
    add_errors,
    histogram,
    make_errors,
    make_info,
)

LAYER = 2


def make_weights() -> np.ndarray:
    """Return `[24, 400]` weights with one wide channel and one of zeros."""
    rng = np.random.default_rng(1)
    weights = rng.normal(0.02, 0.1, (24, 400))
    weights[7] *= 6
    weights[11] = 0
    return weights.astype(np.float32).astype(np.float64)


def distribution_of(x: np.ndarray) -> Distribution:
    counts, edges = histogram(x, 2048)
    none = np.zeros(0, dtype=np.int64)
    return Distribution(counts, edges, x.min(1), x.max(1), none)


@pytest.fixture
def view(qtbot, context) -> DistributionView:
    view = DistributionView(context)
    qtbot.addWidget(view)
    view.resize(900, 700)
    view.show()
    return view


@pytest.fixture
def project(context) -> Project:
    project = Project.create(make_info(6))
    name = project.info.layers[LAYER].name
    weights = make_weights()
    add_distribution(project, WEIGHTS, name, weights, axis=0)
    rng = np.random.default_rng(2)
    inputs = rng.normal(0, 1, (500, 60))
    inputs[:, 33] *= 9
    add_distribution(project, INPUT, name, inputs, axis=1)
    add_errors(project, make_errors(6))
    context.set_project(project)
    context.selection.set([LAYER])
    settle()
    return project


def project_changed(view: DistributionView) -> None:
    view._on_rows(view.source)
    settle()


# -- levels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "int2",
        "int4",
        "int8/tensor",
        "int4_asym",
        "uint4",
        "uint8/tensor",
        "nf4",
        "fp4_e2m1",
        "fp8_e4m3",
        "int4/tensor/mse",
        "int4/tensor/percentile(99.5)",
        "uint4/tensor/percentile(99.5)",
        "int4/manual(-0.4:0.3)",
        "uint4/manual(-0.2:0.7)",
        "fp4_e2m1/manual(-0.5:0.5)",
    ],
)
def test_levels_are_those_of_the_quantizer(key):
    torch = pytest.importorskip("torch")
    from quant_core.quantizer import Quantizer

    x, scheme = make_weights(), parse_scheme(key)
    quantizer = Quantizer(scheme)
    tensor = torch.from_numpy(x.astype(np.float32))
    params = quantizer.fit(tensor, (0,))
    scales = params.scale.double().numpy().ravel()
    for channel in (0, 7):
        grid = grid_of(scheme, distribution_of(x), channel)
        row = 0 if scheme.granularity == "tensor" else channel
        zero = 0.0 if params.zero_point is None else float(params.zero_point[row])
        truth = (scheme.number_format.levels() - zero) * scales[row]
        exact = scheme.range.startswith(("minmax", "manual"))
        step = np.diff(truth).max()
        np.testing.assert_allclose(
            grid.levels, truth, atol=(1e-6 if exact else 0.1) * step
        )
        assert grid.channel == (SHARED if scheme.granularity == "tensor" else channel)


def test_shares_of_clipped_and_zeroed_values():
    x = make_weights()
    scheme = parse_scheme("int4/tensor/percentile(99)")
    grid = grid_of(scheme, distribution_of(x))
    step = grid.levels[1] - grid.levels[0]
    clipped = np.mean(np.abs(x) > grid.levels[-1] + step / 2)
    zeroed = np.mean(np.abs(x) < step / 2)
    assert grid.clipped == pytest.approx(clipped, abs=0.002)
    assert grid.zeroed == pytest.approx(zeroed, abs=0.01)
    assert grid_of(parse_scheme("int4/tensor"), distribution_of(x)).clipped == 0.0
    assert np.isnan(grid_of(parse_scheme("int4"), distribution_of(x)).clipped)


def test_typical_channel_has_the_median_range():
    x = make_weights()
    data = distribution_of(x)
    grid = grid_of(Scheme("int4"), data)
    assert np.sum(data.extent < data.extent[grid.channel]) in (11, 12)
    assert grid.steps[1] > 4 * grid.step
    # A channel of zeros keeps a scale of one and stays exactly zero.
    assert 0.0 in grid_of(Scheme("int4"), data, 11).levels


@pytest.mark.parametrize(
    ("key", "note"),
    [
        ("int4/group(64)", "widest group"),
        ("int4/channel/mse", "then clips"),
        ("int8/token", "Every token"),
        ("int8/tensor/mse", "width of a bin"),
    ],
)
def test_what_cannot_be_known_without_the_tensor_is_said(key, note):
    assert note in grid_of(parse_scheme(key), distribution_of(make_weights())).note


def test_float_types_have_no_levels():
    assert grid_of(Scheme("bfloat16"), distribution_of(make_weights())) is None


@pytest.mark.parametrize("most", [1, 7, 100, 5000])
def test_joined_channels_keep_their_extremes(most):
    rng = np.random.default_rng(0)
    low, high = -rng.random(3000), rng.random(3000)
    high[1234] = 50
    x, bottom, top, size = envelope(low, high, 10, 2990, most)
    assert len(x) <= most + 1
    assert size == max(1, -(-2980 // most))
    assert top.max() == 50
    assert bottom.min() <= low[10:2990].min()
    assert len(envelope(low, high, 5, 5, 10)[0]) == 0


# -- panel -----------------------------------------------------------------------------


def test_empty_states_name_the_first_step(view, context):
    assert view.empty_title == "No model open"
    context.set_project(Project.create(make_info(6)))
    settle()
    assert view.empty_title == "No weight statistics yet"
    assert "encoder.layer.0.attention.self.query" in view.accessibleDescription()
    project = context.project
    run = project.begin_run("weights", unit="dB", samples=0, total=1.0)
    why = "encoder.layer.0.attention.self.query: The values are not finite: NaN."
    project.apply(run, Update(1, 1, warnings=("encoder.layer.0: no.", why)))
    project.end_run(run)
    context.selection.set([1])
    settle()
    assert view.empty_title == "No weight statistics yet"
    context.selection.set([0])
    settle()
    assert view.empty_title == "No weight statistics"
    assert view.accessibleDescription() == f"No weight statistics. {why}"
    context.selection.clear()
    settle()
    assert view.empty_title == "No layer selected"


def test_weights_with_their_levels(view, project):
    name = project.info.layers[LAYER].name
    assert view.accessibleName() == "Distribution"
    assert view.histogram.counts.sum() == make_weights().size
    assert len(view.histogram.levels) == 0
    assert "kept in float" in view.subtitle
    project.set_weight([LAYER], parse_scheme("int4"))
    settle()
    assert len(view.histogram.levels) == 15
    assert "9,600 weights in 24 channels" in view.subtitle
    assert "15 levels" in view.subtitle
    assert view._title.full == f"Weights of {name}"
    texts = [entry.text for entry in view.legend.entries]
    assert any(text.startswith("levels of int4 in channel") for text in texts)
    # Other channels reach further: nothing is clipped there.
    assert not view.histogram._outside[0].isVisible()


def test_another_scheme_can_be_tried_without_assigning(view, project):
    view.scheme_box.setCurrentText("int6")
    settle()
    assert len(view.histogram.levels) == 63
    assert project.assignment.scheme_of(LAYER) is None


def test_click_on_a_channel_shows_its_levels(view, project):
    view.scheme_box.setCurrentText("int4")
    settle()
    view.channels.clicked.emit(QPointF(7.0, 0.0), Qt.KeyboardModifier.NoModifier)
    settle()
    assert view.channel_box.value() == 7
    top = np.abs(make_weights()[7]).max()
    assert view.histogram.levels[-1] == pytest.approx(top, rel=1e-5)
    assert view.channels._chosen.value() == 7.0
    view.sort_box.setChecked(True)
    settle()
    assert view.channels._chosen.value() == 0.0
    assert view.channels.channel_at(0.0) == 7
    assert view.channels.channel_at(500.0) == -1


def test_inputs_name_their_outlier_channels(view, project):
    view.source_box.setCurrentIndex(1)
    settle()
    assert "32 calibration samples" in view.subtitle
    text = view.describe_channel(33.0)
    assert text.startswith("channel 33")
    assert "rank 1" in text
    assert view.channels._names[0].textItem.toPlainText() == "33"
    assert "widest channels" in [entry.text for entry in view.legend.entries]
    project.set_input([LAYER], parse_scheme("uint8/tensor"))
    settle()
    assert len(view.histogram.levels) == 256
    assert "are clipped" in view.subtitle
    assert view.histogram._outside[0].isVisible()


def test_read_out_says_what_a_value_becomes(view, project):
    view.scheme_box.setCurrentText("int2")
    view.channel_box.setValue(7)
    settle()
    text = view.describe_value(0.05)
    assert "in the bin" in text
    assert "becomes 0" in text
    assert "off by 0.05" in text
    view._on_hover_value(QPointF(0.05, 1.0))
    assert view.read_out.full == text
    view._on_hover_value(None)
    assert view.read_out.full == ""


def test_dragging_a_clip_line_tells_the_error_at_once(view, project):
    view.scheme_box.setCurrentText("int4")
    settle()
    bar, (low, high) = view.clip_bar, view.histogram._ends
    assert bar.cost is None
    assert "for all channels" in bar.text.full
    assert len(view.histogram.after[0]) == 0
    high.setValue(0.4)
    view.histogram._on_dragged(high)
    # In the same frame: levels, the mirrored line, the error, the outline.
    assert view.histogram.levels[-1] == pytest.approx(0.4)
    assert low.value() == pytest.approx(-0.4)
    assert bar.text.full.startswith("SQNR ")
    assert "computed from the histogram" in bar.text.full
    truth = np.clip(np.rint(make_weights() / (0.4 / 7)), -7, 7) * (0.4 / 7)
    mse = np.mean((truth - make_weights()) ** 2)
    assert bar.cost.mse == pytest.approx(mse, rel=0.05)
    assert len(view.histogram.after[0]) == 2 * 16
    high.sigPositionChangeFinished.emit(high)
    settle()
    assert "int4 in a range by hand" in view.subtitle
    assert view.histogram._outside[0].isVisible()


def test_range_by_hand_by_keyboard_and_back(view, project, context):
    view.scheme_box.setCurrentText("int4")
    settle()
    bar = view.clip_bar
    before = view.histogram.levels.copy()
    bar.high_box.setFocus()
    bar.high_box.stepBy(-20)
    settle()
    assert bar.by_hand
    assert view.histogram.levels[-1] < before[-1]
    bar.reset_button.click()
    settle()
    assert not bar.by_hand
    np.testing.assert_array_equal(view.histogram.levels, before)
    bar.high_box.stepBy(-20)
    view.scheme_box.setCurrentText("int6")
    settle()
    assert not bar.by_hand
    bar.high_box.stepBy(-5)
    view.histogram.resetRequested.emit()
    assert not bar.by_hand
    context.selection.clear()
    settle()
    assert not bar.isVisible()


def test_limits_by_hand_are_stored_as_one_undo_step(view, project, context):
    asked = []
    view.actionRequested.connect(asked.append)
    view.scheme_box.setCurrentText("int4")
    settle()
    assert not view.clip_bar.use_button.isEnabled()
    view.clip_bar.drag(1, 0.250000003)
    settle()
    tried = view.clip_bar.grid.levels
    assert view.clip_bar.use_button.isEnabled()
    view.clip_bar.use_button.click()
    settle()
    scheme = project.assignment.scheme_of(LAYER)
    assert scheme == parse_scheme("int4/manual(-0.25:0.25)")
    assert scheme.granularity == "tensor"
    assert context.undo_stack.count() == 1
    # What was tried is what is stored, and shown as assigned.
    assert view.scheme_box.currentIndex() == 0
    assert not view.clip_bar.by_hand
    np.testing.assert_allclose(view.histogram.levels, tried, atol=1e-8)
    assert "predicted error not known" in view.subtitle
    assert project.prediction is None or project.prediction.missing == 1
    assert view.clip_bar.predict_button.isVisible()
    view.clip_bar.predict_button.click()
    assert asked == ["predict_assigned"]
    add_errors(project, np.full((6, 1), 0.01), (scheme.key,))
    settle()
    assert not view.clip_bar.predict_button.isVisible()
    assert "not known" not in view.subtitle
    context.undo_stack.undo()
    settle()
    assert project.assignment.scheme_of(LAYER) is None
    context.undo_stack.redo()
    assert project.assignment.scheme_of(LAYER) == scheme


def test_limits_of_an_input_and_of_a_locked_layer(view, project, context):
    said = []
    context.message.connect(said.append)
    view.source_box.setCurrentIndex(1)
    project.set_input([LAYER], parse_scheme("uint8/tensor"))
    settle()
    view.clip_bar.drag(0, -0.5)
    view.clip_bar.drag(1, 1.5)
    view.clip_bar.use()
    settle()
    assert project.assignment.input_of(LAYER).key == "uint8/tensor/manual(-0.5:1.5)"
    assert project.assignment.scheme_of(LAYER) is None
    assert context.undo_stack.count() == 1
    project.set_locked([LAYER], True)
    view.clip_bar.drag(1, 2.5)
    view.clip_bar.use()
    settle()
    assert project.assignment.input_of(LAYER).key == "uint8/tensor/manual(-0.5:1.5)"
    assert context.undo_stack.count() == 1
    assert said[-1] == "Nothing changed: locked or equal."


def test_after_rounding_is_shown_where_all_share_a_range(view, project):
    project.set_weight([LAYER], parse_scheme("int4/tensor/mse"))
    settle()
    assert len(view.histogram.after[0]) == 2 * 16
    assert any("after rounding" in entry.text for entry in view.legend.entries)
    best = view.clip_bar.cost.sqnr
    view.clip_bar.drag(1, 0.9)
    assert "mse has" in view.clip_bar.text.full
    # No range found by hand beats least squares by more than its grid of factors.
    assert view.clip_bar.cost.sqnr < best + 0.2


def test_pinned_panel_stays_on_its_layer(view, project, context):
    name = project.info.layers[LAYER].name
    view._selection.set_pinned(True)
    context.selection.set([4])
    settle()
    assert view._title.full == f"Weights of {name}"
    view._selection.set_pinned(False)
    settle()
    assert view.is_empty


def test_a_sampled_histogram_says_so(view, project):
    view.source_box.setCurrentIndex(view.source_box.findData(INPUT))
    settle()
    assert view.subtitle.startswith("30,000 values in 60 channels · 32 calibration")
    assert "about" not in view.describe_value(0.05)
    values = np.random.default_rng(3).normal(0, 1, (500, 60))
    name = project.info.layers[LAYER].name
    add_distribution(project, INPUT, name, values, axis=1, binned=1875)
    project_changed(view)
    assert "histogram from 1,875 evenly spaced ones" in view.subtitle
    assert ", about " in view.describe_value(0.05).replace("  ·  ", ", ")


def test_counts_are_linear_or_log_with_a_place_for_none(view, project):
    axis = view.histogram.axis("left")
    assert axis.scale_log is not None
    view.log_box.setChecked(False)
    settle()
    assert axis.scale_log is None
    assert axis.labelText == "weights per bin"


def test_selection_elsewhere_changes_the_layer(view, project, context):
    context.selection.set([4])
    settle()
    assert view.is_empty
    assert view.empty_title == "No weight statistics yet"
    assert view._bar.isVisible()
    context.selection.set([LAYER])
    settle()
    assert not view.is_empty


def test_both_themes_and_a_narrow_panel_draw(view, project):
    view.scheme_box.setCurrentText("int8")
    for mode, width in (("dark", 420), ("light", 1400)):
        theme().set_mode(mode)
        view.resize(width, 500)
        settle()
        assert not view.grab().isNull()
    theme().set_mode("system")


def test_table_has_bins_and_channels(view, project):
    table = view.table()
    assert table.rows == max(len(view.histogram.counts), 24)
    assert table.titles[2] == "count"
    text = table.text().splitlines()
    assert len(text) == table.rows + 1
