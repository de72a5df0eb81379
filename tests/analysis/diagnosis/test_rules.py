"""Each rule fires on evidence made for it, and on nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.diagnosis import (
    RULES,
    SEVERITIES,
    Finding,
    Missing,
    diagnose,
    verdicts,
)
from analysis.diagnosis.concentration import CARRIED
from analysis.diagnosis.symmetry import UNUSED
from analysis.method import Row, Update
from analysis.project import Project
from analysis.quality import ORDER
from quant_core.scheme import Scheme, parse_scheme
from tests.analysis.diagnosis.projects import add_errors, add_statistics, made
from tests.budget import assert_within, clock

INT4, INT8 = Scheme("int4"), Scheme("int8")
FLAT = {("weight", "int4"): [1.0] * 10, ("weight", "int8"): [0.01] * 10}


def said(project: Project, rule: str) -> tuple[Finding, ...] | Missing:
    return next(v for r, v in verdicts(project) if r.key == rule)


def only(project: Project, rule: str) -> Finding:
    found = said(project, rule)
    assert not isinstance(found, Missing), found.needs
    assert len(found) == 1, [f.title for f in found]
    return found[0]


def numbers(finding: Finding) -> dict[str, float]:
    return {number.name: number.value for number in finding.numbers}


def put(project: Project, keys: list[str | None], part: str = "weight") -> None:
    """Assign one scheme per layer, ties and locks aside."""
    plan = project.assignment
    for i, key in enumerate(keys):
        scheme = None if key is None else parse_scheme(key)
        plan = plan.with_weight([i], scheme) if part == "weight" else (
            plan.with_input([i], scheme)
        )  # fmt: skip
    project.set_assignment(plan)


# -- all rules ---------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.key)
def test_rules_are_documented(rule: object) -> None:
    assert dataclasses.is_dataclass(rule)
    text = type(rule).__doc__ or ""
    first, _, rest = text.strip().partition("\n")
    assert first.endswith(".")
    assert len(rest.split()) > 8
    assert rule.title  # type: ignore[attr-defined]


def test_keys_are_unique() -> None:
    assert len({rule.key for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("layers", [0, 1, 10])
def test_a_project_without_results_yields_no_finding_but_needs(layers: int) -> None:
    found = diagnose(made(layers))
    assert not found.findings
    needs = {gap.rule for gap in found.unjudged}
    assert {"calibration_size", "culprit", "weight_outliers", "coverage"} <= needs
    assert all(gap.needs for gap in found.unjudged)
    assert len(found.unjudged) + len(found.clear) == len(RULES)


def test_even_errors_are_not_worth_a_finding() -> None:
    found = diagnose(made(10, FLAT))
    assert [f.title for f in found.findings] == []


# -- sanity ------------------------------------------------------------------------


def test_layers_that_weights_left_out_are_not_finite() -> None:
    project = made(4)
    assert isinstance(said(project, "nonfinite"), Missing)
    add_statistics(project, "weights", {"absmax": [1, np.nan, 1, 1]})
    finding = only(project, "nonfinite")
    assert finding.layers == (1,)
    assert finding.severity == "problem"


def test_refused_activations_are_named() -> None:
    project = made(3)
    run = project.begin_run("activations")
    refused = np.array(["l2", "l2:softmax"])
    arrays = {"activations/refused": refused}
    project.apply(run, Update(1, 1, arrays=arrays))
    project.end_run(run)
    finding = only(project, "nonfinite")
    assert finding.layers == (2,)
    assert "first at l2" in finding.reason


@pytest.mark.parametrize(("error", "fires"), [(0.0, False), (1e-3, True)])
def test_the_float_model_must_equal_itself(error: float, fires: bool) -> None:
    project = made(3)
    project.record_measured(project.assignment, error, 0.0, "nats", 8)
    # Judged by the float plan, whatever is assigned.
    put(project, ["int4"] * 3)
    put(project, ["int8/tensor"] * 3, "input")
    assert bool(said(project, "float_identity")) is fires


# -- calibration -------------------------------------------------------------------


def test_uncertain_layers_ask_for_more_samples() -> None:
    project = made(10, FLAT, samples=100, stderr=0.5)
    finding = only(project, "calibration_size")
    assert numbers(finding)["median relative standard error of a layer"] == 50
    assert "400 samples" in finding.advice, "(0.5 / 0.25)^2 times 100"


def test_few_samples_are_too_few_whatever_their_error_bar_says() -> None:
    assert (
        "4 calibration samples"
        in only(made(10, FLAT, samples=4), "calibration_size").title
    )


def test_random_data_are_told() -> None:
    project = made(10, FLAT, data_source="random")
    assert "random" in only(project, "calibration_size").title


def test_two_data_sets_that_agree_say_nothing() -> None:
    project = made(10, FLAT)
    assert isinstance(said(project, "calibration_match"), Missing)
    add_errors(project, FLAT, data_digest="2")
    assert said(project, "calibration_match") == ()


def test_two_data_sets_that_differ_name_the_layers() -> None:
    project = made(10, FLAT)
    other = {("weight", "int4"): [1.0] * 8 + [2.0, 3.0]}
    add_errors(project, other, data_digest="2", data_source="validation")
    finding = only(project, "calibration_match")
    assert finding.layers == (9, 8)
    assert "validation" in finding.title
    assert finding.runs == (1, 2)


def test_ranges_that_grow_on_other_data_are_told() -> None:
    project = made(4)
    for digest, absmax in (("1", [1, 1, 1, 1]), ("2", [1, 1.2, 1.5, 1])):
        add_statistics(project, "activations", {"absmax": absmax}, data_digest=digest)
    finding = only(project, "calibration_match")
    assert finding.layers == (2,)
    assert numbers(finding)["largest growth of a range"] == 1.5


# -- culprit -----------------------------------------------------------------------


def split(weight: float, inputs: float) -> Project:
    errors = {
        ("weight", "int4"): [weight] * 10,
        ("input", "int8/tensor"): [inputs] * 10,
    }
    return made(10, errors)


@pytest.mark.parametrize(
    ("weight", "inputs", "title"),
    [
        (1.0, 0.1, "The weights cause 91 %"),
        (0.1, 1.0, "The activations cause 91 %"),
        (1.0, 1.0, "Weights cause 50 %"),
    ],
)
def test_the_guilty_side_is_named(weight: float, inputs: float, title: str) -> None:
    finding = only(split(weight, inputs), "culprit")
    assert finding.title.startswith(title)
    found = numbers(finding)
    assert found["predicted, weights alone"] == pytest.approx(10 * weight, rel=1e-5)
    assert found["predicted, activations alone"] == pytest.approx(10 * inputs, rel=1e-5)
    assert found["predicted, both"] == pytest.approx(10 * (weight + inputs), rel=1e-5)


def test_measured_plans_stand_beside_the_prediction() -> None:
    project = split(1.0, 0.1)
    put(project, ["int4"] * 10)
    project.record_measured(project.assignment, 9.5, 0.1, "nats", 8)
    put(project, ["int8/tensor"] * 10, "input")
    assert numbers(only(project, "culprit"))["measured, weights alone"] == 9.5


def test_without_input_formats_the_culprit_is_not_judged() -> None:
    found = said(made(10, FLAT), "culprit")
    assert isinstance(found, Missing)
    assert "input format" in found.needs


# -- outliers ----------------------------------------------------------------------

BULK = {"outlier_ratio": [1.5] * 4, "kurtosis": [3.0] * 4, "channel_spread": [2.0] * 4}


def with_one(quantity: str, value: float) -> dict[str, list[float]]:
    numbers = {name: list(values) for name, values in BULK.items()}
    numbers[quantity][2] = value
    return numbers


def test_weight_outliers_weigh_more_under_one_scale() -> None:
    project = made(4)
    add_statistics(project, "weights", with_one("outlier_ratio", 20.0))
    assert only(project, "weight_outliers").severity == "note"
    put(project, ["int4"] * 4)
    assert only(project, "weight_outliers").severity == "note"
    put(project, ["int4/tensor"] * 4)
    finding = only(project, "weight_outliers")
    assert finding.severity == "warning"
    assert finding.layers == (2,)
    assert numbers(finding)["largest over 99.9 % magnitude, l2"] == 20


def test_a_layer_in_float_has_no_range_to_spoil() -> None:
    project = made(4)
    add_statistics(project, "weights", with_one("outlier_ratio", 20.0))
    put(project, ["int4/tensor", "int4/tensor", None, "int4/tensor"])
    assert said(project, "weight_outliers") == ()


def test_outlier_channels_of_inputs_are_counted() -> None:
    project = made(4)
    columns = {"outlier_columns": [0, 0, 1, 0]}
    ranges = {"l2": ([-1.0] * 200, [1.0] * 199 + [60.0])}
    values = {**with_one("channel_spread", 60.0), **columns}
    add_statistics(project, "activations", values, ranges, params={"threshold": 6.0})
    finding = only(project, "input_outliers")
    assert finding.layers == (2,)
    assert numbers(finding)["channels beyond 6 in l2"] == 1
    assert "16 bits" in finding.advice, "1 of 200 is few"


def test_normal_tensors_have_no_outliers() -> None:
    project = made(4)
    for measure in ("weights", "activations"):
        add_statistics(project, measure, BULK)
    assert said(project, "weight_outliers") == said(project, "input_outliers") == ()


# -- granularity, concentration, onset, edges ---------------------------------------


def test_finer_scales_are_advised_where_they_help() -> None:
    fine = [1.0] * 9 + [0.1]
    errors = {("weight", "int4/tensor"): [1.0] * 10, ("weight", "int4"): fine}
    project = made(10, errors)
    put(project, ["int4/tensor"] * 10)
    finding = only(project, "granularity")
    assert finding.layers == (9,)
    assert numbers(finding)["error now over error then"] == pytest.approx(10)
    assert numbers(finding)["more to store"] == pytest.approx(15 * 2 / 1e3)
    put(project, ["int4"] * 10)
    assert said(project, "granularity") == ()


def test_a_group_size_is_no_advice_for_layers_it_does_not_divide() -> None:
    rows, odd = "int4/group(16)", "int4/group(24)"  # of 32 values per channel
    errors = {("weight", key): [1.0] * 10 for key in ("int4", rows, odd)}
    errors[("weight", rows)][9] = errors[("weight", odd)][8] = 0.1
    project = made(10, errors)
    finding = only(project, "granularity")
    assert finding.layers == (9,)
    assert numbers(finding)["more to store"] == pytest.approx(16 * 2 / 1e3)
    assert said(made(10, {("weight", odd): [1.0] * 10}), "concentration") == ()


def test_one_granularity_cannot_be_compared() -> None:
    assert isinstance(said(made(10, FLAT), "granularity"), Missing)


def test_the_layers_that_carry_the_error_are_named() -> None:
    errors = [0.1] * 10
    errors[3], errors[7] = 5.0, 9.0
    wide = [e / 100 for e in errors]
    project = made(10, {("weight", "int4"): errors, ("weight", "int8"): wide})
    put(project, ["int4"] * 10)
    finding = only(project, "concentration")
    assert finding.layers == (7, 3)
    found = numbers(finding)
    assert found["share of the error they carry"] == pytest.approx(100 * 14 / 14.8)
    assert found["share of the error they carry"] >= 100 * CARRIED
    assert found["predicted error with them in int8"] == pytest.approx(0.94, rel=1e-4)
    assert found["more to store"] == pytest.approx(2 * 16 * 32 * 4 / 8 / 1e3)


def test_onset_is_the_step_that_makes_most_of_the_final_error() -> None:
    project = made(5)
    assert isinstance(said(project, "onset"), Missing)
    curve = [0.1, 0.2, 5.0, 5.5, 6.0]
    rows = tuple(
        Row(f"l{i}", "int4", e, 0.01, quantity="cumulative")
        for i, e in enumerate(curve)
    )
    run = project.begin_run("measured_error", unit="nats")
    project.apply(run, Update(1, 1, rows=rows))
    project.end_run(run)
    finding = only(project, "onset")
    assert finding.layers == (2,)
    assert numbers(finding)["error added here"] == pytest.approx(4.8)


def test_onset_follows_the_order_in_which_layers_are_used() -> None:
    project = made(3)
    # Defined as l0, l1, l2; used as l1, l2, l0.
    curve = {"l1": 0.1, "l2": 5.0, "l0": 5.1}
    rows = tuple(Row(k, "int4", v, quantity="cumulative") for k, v in curve.items())
    run = project.begin_run("measured_error", unit="nats")
    project.apply(run, Update(1, 1, rows=rows, arrays={ORDER: np.array([1, 2, 0])}))
    project.end_run(run)
    finding = only(project, "onset")
    assert finding.layers == (2,)
    assert numbers(finding)["layers before it"] == 1


def test_edges_are_judged_by_their_share_of_the_error() -> None:
    heavy = {("weight", "int4"): [5.0] + [1.0] * 9, ("weight", "int8"): [0.01] * 10}
    project = made(10, heavy)
    put(project, ["int4"] * 10)
    assert only(project, "edge_layers").layers == (0,)
    put(project, ["int8", *["int4"] * 9])
    assert said(project, "edge_layers") == (), "the last layer has an average share"
    unknown = made(10)
    put(unknown, ["int4"] * 10)
    assert only(unknown, "edge_layers").layers == (0, 9)
    put(unknown, ["int8", *["int4"] * 8, None])
    assert said(unknown, "edge_layers") == ()


# -- channels and symmetry -----------------------------------------------------------


def behind_gelu(scheme: str) -> Project:
    project = made(2)
    values = {"mean": [0.0, 1.0], "std": [1.0, 1.0], "skewness": [0.0, 3.0]}
    ranges = {"l0": ([-4.0], [4.0]), "l1": ([-0.2, 0.0], [3.0, 4.0])}
    add_statistics(project, "activations", values, ranges)
    put(project, [scheme, scheme], "input")
    return project


def test_one_sided_inputs_waste_codes_of_symmetric_formats() -> None:
    finding = only(behind_gelu("int8/tensor"), "asymmetric")
    assert finding.layers == (1,)
    wasted = numbers(finding)["codes never used at l1"]
    assert wasted == pytest.approx(100 * (1 - 4.2 / 8))
    assert wasted >= 100 * UNUSED


@pytest.mark.parametrize("scheme", ["int8_asym/tensor", "uint8/tensor"])
def test_formats_with_a_zero_point_waste_none(scheme: str) -> None:
    assert said(behind_gelu(scheme), "asymmetric") == ()


def test_dead_and_constant_channels_are_counted() -> None:
    project = made(2)
    ranges = {"l0": ([0.0, -1.0, 0.0, 2.0], [0.0, 1.0, 0.0, 2.0])}
    add_statistics(project, "weights", {"absmax": [1, 1]}, ranges)
    finding = only(project, "unused_channels")
    assert finding.title.startswith("2 output channels")
    assert finding.layers == (0,)
    add_statistics(project, "activations", {"absmax": [1, 1]}, ranges)
    both = said(project, "unused_channels")
    assert isinstance(both, tuple)
    assert both[1].title.startswith("3 input channels"), "a constant 2 counts here"


# -- what was chosen -----------------------------------------------------------------


def test_ties_with_unequal_formats_are_a_problem() -> None:
    project = made(6)
    project.set_ties([(0, 1, 2), (3, 4)])
    put(project, ["int4", "int4", "int8", "int4", "int4", None])
    finding = only(project, "ties")
    assert finding.layers == (0, 1, 2)
    put(project, ["int4"] * 6)
    assert said(project, "ties") == ()
    put(project, ["int8/tensor"], "input")
    assert only(project, "ties").layers == (0, 1, 2)


def test_formats_the_target_cannot_run_are_a_problem() -> None:
    project = made(4)
    put(project, ["int8", "int4", "nf4", None])
    project.target = "int8-symmetric"
    finding = only(project, "target")
    assert finding.layers == (1, 2)
    assert "int8 accelerator" in finding.title
    project.target = "any"
    assert said(project, "target") == ()


def test_schemes_without_a_prediction_are_named() -> None:
    project = made(10, FLAT)
    put(project, ["int4"] * 9 + ["int6"])
    finding = only(project, "coverage")
    assert finding.layers == (9,)
    assert "int6" in finding.advice


def test_a_mixed_plan_that_loses_to_a_plain_one_is_a_problem() -> None:
    errors = {
        ("weight", "int4"): [1.0] * 10,
        ("weight", "int6"): [0.1] * 10,
        ("weight", "int8"): [0.09] * 10,
        ("weight", "int2"): [30.0] * 10,
    }
    project = made(10, errors)
    put(project, ["int2"] * 3 + ["int8"] * 7)
    finding = only(project, "worse_than_uniform")
    assert "int6" in finding.title
    found = numbers(finding)
    assert found["size in int6"] <= found["size now"]
    assert found["predicted error in int6"] == pytest.approx(1.0, rel=1e-4)
    put(project, ["int4"] * 6 + ["int8"] * 4)
    assert said(project, "worse_than_uniform") == (), "int4 is smaller, and worse"


def test_errors_in_step_reinforce_each_other() -> None:
    project = made(10, FLAT, in_step=True)
    put(project, ["int4"] * 10)
    finding = only(project, "additivity")
    found = numbers(finding)
    assert found["sum over layers"] == pytest.approx(10, rel=1e-4)
    assert found["with interactions, as predicted"] == pytest.approx(100, rel=1e-4)
    assert said(made(10, FLAT), "additivity") == ()


# -- agreement with measurements -----------------------------------------------------


@pytest.mark.parametrize(("measured", "fires"), [(10.5, False), (40.0, True)])
def test_a_measured_plan_far_from_its_prediction(measured: float, fires: bool) -> None:
    project = made(10, FLAT)
    put(project, ["int4"] * 10)
    project.record_measured(project.assignment, measured, 0.5, "nats", 8)
    assert bool(said(project, "agreement")) is fires


@pytest.mark.parametrize(("turn", "fires"), [(1, False), (-1, True)])
def test_layers_measured_in_another_order(turn: int, fires: bool) -> None:
    errors = [float(i) for i in range(1, 11)]
    project = made(10, {("weight", "int4"): errors})
    rows = tuple(Row(f"l{i}", "int4", 1.1 * e) for i, e in enumerate(errors[::turn]))
    run = project.begin_run("measured_error", unit="nats")
    project.apply(run, Update(1, 1, rows=rows))
    project.end_run(run)
    found = said(project, "agreement")
    assert isinstance(found, tuple)
    assert bool(found) is fires
    if fires:
        assert numbers(found[0])["rank correlation (Spearman)"] == pytest.approx(-1)


# -- as documents ---------------------------------------------------------------------


def test_the_worst_is_read_first_then_in_the_order_of_the_rules() -> None:
    fine = [1.0] * 9 + [0.1]
    errors = {("weight", "int4/tensor"): [1.0] * 10, ("weight", "int4"): fine}
    project = made(10, errors, samples=16)
    project.set_ties([(0, 1)])
    put(project, ["int8"] + ["int4/tensor"] * 9)
    found = diagnose(project).findings
    judged = [f for _, v in verdicts(project) if not isinstance(v, Missing) for f in v]
    levels = [SEVERITIES.index(finding.severity) for finding in found]
    assert sorted(levels) == levels
    assert levels != [SEVERITIES.index(f.severity) for f in judged], "rules differ"
    for severity in SEVERITIES:
        same = [f for f in judged if f.severity == severity]
        assert [f for f in found if f.severity == severity] == same


def test_json_and_markdown_name_layers_and_gaps() -> None:
    project = made(3)
    put(project, ["int4"] * 3)
    found = diagnose(project, subject="mine")
    names = [layer.name for layer in project.info.layers]
    document = found.to_json(names)
    assert document["findings"][0]["layers"] == ["l0", "l2"]
    assert {gap["rule"] for gap in document["not_judged"]} >= {"culprit"}
    text = found.to_markdown(names)
    assert text.startswith("# Findings on mine")
    assert "`l0`" in text
    assert "## Not judged" in text


def test_sixty_thousand_layers_are_diagnosed_at_once() -> None:
    errors = list(np.random.default_rng(0).lognormal(size=60_000))
    project = Project.create(made(60_000).info)
    rows = tuple(
        Row(f"l{i}", key, e / bits, 0.1 * e)
        for key, bits in (("int4", 1), ("int8", 256))
        for i, e in enumerate(errors)
    )
    run = project.begin_run("predicted_error", unit="nats", samples=64)
    project.apply(run, Update(1, 1, rows=rows, samples=64))
    project.end_run(run)
    project.set_weight(range(60_000), INT4)
    project.set_weight(range(0, 60_000, 7), INT8)
    start = clock()
    slowest = 0.0
    for _ in verdicts(project):
        slowest = max(slowest, clock() - start)
        start = clock()
    assert_within(0.1, [slowest], "one rule, in one turn of the window")
