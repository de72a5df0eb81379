"""The inspector: what it says of one layer, of several, and how it is copied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from app.models.inspector import BAR_ROLE, InspectorModel
from app.models.layer_facts import Group, error_facts, layer_facts
from app.models.layers_facts import common, layers_facts
from app.models.target_fits import TargetFits
from app.views.inspector import InspectorView
from quant_core.scheme import Scheme, parse_scheme
from tests.app.helpers import FORMATS, analysed
from tests.app.panel_projects import add_distribution


@pytest.fixture
def view(qtbot, context) -> Iterator[InspectorView]:
    view = InspectorView(context)
    qtbot.addWidget(view)
    view.resize(420, 700)
    view.show()
    yield view
    view.close()


def facts(groups: tuple[Group, ...], title: str) -> dict[str, str]:
    (group,) = [g for g in groups if g.title.partition(" [")[0] == title]
    return {fact.label: fact.value for fact in group.facts}


@pytest.mark.parametrize("chosen", [[], [0], [0, 1, 2]])
@pytest.mark.parametrize("layers", [3, 36])
def test_model_keeps_the_rules_of_qt(qtmodeltester, qapp, layers, chosen):
    model = InspectorModel()
    project = analysed(layers)
    if len(chosen) == 1:
        model.show(layer_facts(project, 0))
    elif chosen:
        model.show(layers_facts(project, np.array(chosen), TargetFits(project)))
    qtmodeltester.check(model)


def test_one_layer_is_told_in_full(qapp):
    project = analysed(12)
    project.set_weight([3], parse_scheme("int4/group(16)"))
    project.set_locked([3], True)
    project.set_starred([3], True)
    groups = layer_facts(project, 3)
    assert facts(groups, "Layer") == {
        "Name": "layers.0.output",
        "Kind": "linear",
        "Number": "4 of 12",
        "Locked": "yes",
        "Bookmarked": "yes",
    }
    assert facts(groups, "Shape") == {
        "Shape": "64 × 128",
        "Weights": "8,192, 9.52 % of all",
        "Stored as": "float32",
        "Output channels": "64 along axis 0",
    }
    assert facts(groups, "Assigned") == {
        "Weights": "int4/group(16)",
        "Bits per weight": "4, scales not included",
        "Levels": "15, from -7 to 7",
        "Granularity": "group(16)",
        "Range": "minmax",
        "Zero point": "no",
        "Rounding": "nearest",
        "Scales": "512, one per group(16)",
        "Input": "float",
    }
    assert facts(groups, "Size") == {
        "Now": "5.12 kB",  # 4096 bytes of codes and 512 scales of 2
        "As stored": "32.8 kB",
        "Ratio": "6.40 × smaller",
    }
    assert facts(groups, "Weights") == {"Kurtosis": "6.00"}
    errors = facts(groups, "Predicted error per format")
    assert list(errors) == list(FORMATS)
    assert all("±" in value for value in errors.values())
    assert facts(groups, "SQNR of the weights per format")["int4"] == "24.0"
    assert facts(groups, "Target") == {"Name": "Any target"}
    titles = [group.title for group in groups]
    assert "Tied with" not in titles


def test_ties_and_refusals_are_named(qapp):
    project = analysed(12)
    project.target = "int8-symmetric"
    groups = layer_facts(project, 1)
    assert list(facts(groups, "Tied with").values()) == [
        "layers.0.query",
        "layers.0.value",
    ]
    refused = facts(groups, "Target")
    assert "An int8 accelerator does not run weights in int4." in refused.values()
    assert "Refuses int8" not in refused


def test_outlier_channels_come_with_their_values(qapp):
    project = analysed(6)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 32))
    x[17] *= 40
    name = project.info.layers[0].name
    add_distribution(project, "weights", name, x, axis=0)
    found = facts(layer_facts(project, 0), "Largest channels of the weights")
    first = next(iter(found))
    assert first == "Channel 17"
    assert "× the median" in found[first]


def test_levels_lie_on_the_range_of_the_weights(qapp):
    project = analysed(6)
    x = np.linspace(-1, 3, 64 * 32).reshape(64, 32)
    add_distribution(project, "weights", project.info.layers[0].name, x, axis=0)
    project.set_weight([0], Scheme("int4", "tensor"))
    found = facts(layer_facts(project, 0), "Assigned")
    assert found["Levels lie"] == "-3.00 … 3.00"
    assert found["Step"] == "0.429"  # 3 / 7
    assert found["Clipped"] == "0 % of the weights"
    zeroed = 100 * (np.abs(x) < 3 / 14).mean()
    assert float(found["Become zero"].split()[0]) == pytest.approx(zeroed, rel=0.05)


def test_kept_assignments_say_what_they_give_the_layer(qapp):
    project = analysed(6)
    project.keep_assignment("as it was")
    project.set_weight([3], Scheme("int4"))
    project.keep_assignment("small")
    found = facts(layer_facts(project, 3), "In kept assignments")
    assert found == {"as it was": "float", "small": "int4"}


def test_several_layers_share_mix_and_add_up(qapp):
    project = analysed(12)
    project.set_weight([3, 4], Scheme("int4"))
    project.set_locked([5], True)
    groups = layers_facts(project, np.array([3, 4, 5]), TargetFits(project))
    assert facts(groups, "3 layers")["Kind"] == "linear"
    assert facts(groups, "3 layers")["Locked"] == "mixed: 1 of 3"
    assert facts(groups, "3 layers")["Bookmarked"] == "none"
    parameters = sum(project.info.layers[i].parameters for i in (3, 4, 5))
    assert facts(groups, "Shape")["Weights"].startswith(f"{parameters:,} in all")
    assert facts(groups, "Assigned")["Weights"] == "mixed: int4 (2), float (1)"
    now = project.assignment.weight_bits()[[3, 4, 5]].sum() / 8
    assert facts(groups, "Size in all")["Now"] == f"{now / 1000:.1f} kB"
    errors = facts(groups, "Own predicted errors added up")
    total = project.values("predicted_error", "int2")[[3, 4, 5]].sum()
    assert float(errors["int2"]) == pytest.approx(total, rel=0.01)
    assert facts(groups, "Weights")["Kurtosis"] == "mixed: 6.00 to 8.00"
    outside = layers_facts(project, np.array([0, 3]), TargetFits(project))
    assert facts(outside, "2 layers")["Tied from outside"] == "2 layers"


def test_common_values_name_the_frequent_ones():
    assert common(Counter("aaa")) == "a"
    assert common(Counter("abcabcadefg")) == (
        "mixed: a (3), b (2), c (2), d (1), 3 others"
    )


def test_bars_are_logarithmic_and_hold_their_error():
    bars = [f.bar for f in error_facts("abc", [1e-4, 1e-2, 0.0], [1e-5, np.nan, 0.0])]
    assert bars[0][0] == pytest.approx(0)
    assert bars[1] == (1.0, 1.0, 1.0)
    assert bars[0][1] <= bars[0][0] <= bars[0][2]
    assert bars[2] == (0.0, 0.0, 0.0)
    assert error_facts("a", [np.nan], [np.nan]) == ()


def test_it_follows_selection_edits_and_pin(qtbot, context, view):
    assert view._empty.title == "No layer selected"
    context.set_project(analysed(12))
    qtbot.waitUntil(lambda: view._title.full == "layers.0.query")
    context.set_weight([4], Scheme("int3"))
    context.selection.set([4])
    qtbot.waitUntil(lambda: "int3" in view.model.as_text())
    view.selection.set_pinned(True)
    context.selection.set([1, 2])
    context.set_weight([4], Scheme("int8"))
    qtbot.waitUntil(lambda: "int8\nBits" in view.model.as_text())
    assert view._title.full == "layers.0.up"
    view.selection.set_pinned(False)
    qtbot.waitUntil(lambda: view._title.full == "2 layers")
    context.selection.clear()
    qtbot.waitUntil(lambda: view._title.full == "")


def test_folded_groups_stay_folded(qtbot, context, view):
    context.set_project(analysed(12))
    qtbot.waitUntil(lambda: bool(view.model.groups))
    view.tree.collapse(view.model.index(1, 0))
    context.selection.set([5])
    qtbot.waitUntil(lambda: view._title.full == "layers.0.down")
    assert not view.tree.isExpanded(view.model.index(1, 0))
    assert view.tree.isExpanded(view.model.index(2, 0))


def test_values_lines_and_everything_can_be_copied(qtbot, context, view):
    context.set_project(analysed(12))
    qtbot.waitUntil(lambda: bool(view.model.groups))
    clipboard = QGuiApplication.clipboard()
    name = view.model.index(0, 0, view.model.index(0, 0))
    view.tree.setCurrentIndex(name)
    view.copy_values()
    assert clipboard.text() == "layers.0.query"
    view.copy_text()
    assert clipboard.text().startswith("layers.0.query\n\nLayer\nName\tlayers.0.query")
    view.copy_markdown()
    assert "| Shape | Stored as | float32 |" in clipboard.text()


def test_error_bars_reach_the_delegate(qtbot, context, view):
    context.set_project(analysed(12))
    qtbot.waitUntil(lambda: bool(view.model.groups))
    titles = [group.title for group in view.model.groups]
    row = next(i for i, t in enumerate(titles) if t.startswith("Predicted error"))
    heading = view.model.index(row, 0)
    low, value, high = (
        view.model.index(0, 1, heading).data(BAR_ROLE)[i] for i in (1, 0, 2)
    )
    assert low < value < high
    assert "logarithmic" in view.model.index(0, 1, heading).data(
        Qt.ItemDataRole.ToolTipRole
    )


@pytest.mark.parametrize("layers", [0, 1, 36])
def test_it_shows_models_of_any_size(qtbot, context, view, layers):
    context.set_project(analysed(layers, samples=4))
    context.selection.set(np.arange(layers))
    view._catch_up()
    assert view.model.rowCount() >= (1 if layers else 0)
    view.grab()


def test_labels_are_whole_where_there_is_room_and_never_take_more_than_half(
    view, context
):
    context.set_project(analysed(12))
    view.renew()
    view.resize(600, 500)
    header, wide = view.tree.header(), view.tree.fontMetrics().horizontalAdvance
    longest = max(wide(label) for _, label, _ in view.model.lines())
    assert header.sectionSize(0) > longest + view.tree.indentation()
    view.resize(200, 500)
    assert header.sectionSize(0) <= view.tree.viewport().width() / 2
    view.resize(600, 500)
    assert header.sectionSize(0) > longest
    header.resizeSection(0, 77)
    view.resize(500, 500)
    view.renew()
    assert header.sectionSize(0) == 77, "a person chose it"
