"""What measures cost, estimated before they run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.expense import Expense, Workload, expense
from analysis.measures import NAMES

WORK = Workload(layers=26, formats=8, inputs=1, samples=64)


def passes(measure: str, **params: object) -> float:
    found = expense(measure, params, WORK)
    assert found is not None
    return found.passes


def test_every_measure_of_the_registry_that_needs_no_data_needs_no_pass():
    known = {name: expense(name, {}, WORK) for name in NAMES}
    free = [name for name, cost in known.items() if cost and not cost.passes]
    assert free == ["weights", "error_map"]


def test_what_is_not_known_is_not_estimated():
    assert expense("tomorrow", {}, WORK) is None


@pytest.mark.parametrize(
    ("measure", "parameter"),
    [
        ("predicted_error", "probes"),
        ("hessian", "probes"),
        ("hessian_eigenvalues", "products"),
        ("hessian_spectrum", "starts"),
        ("fisher", "draws"),
    ],
)
def test_twice_the_probes_cost_twice_as_much_but_for_the_first_pass(measure, parameter):
    one = passes(measure, **{parameter: 8})
    two = passes(measure, **{parameter: 16})
    assert 1.8 * one < two <= 2 * one


@pytest.mark.parametrize(
    ("measure", "cost"),
    [
        # Measured on digits-vit: 26 layers, 8 formats, 64 samples.
        ("activations", 3.1),
        ("predicted_error", 20.5),
        ("hessian", 10.2),
        ("fisher", 10.2),
        ("relevance", 6.2),
        ("hessian_spectrum", 216.0),
    ],
)
def test_the_laws_are_right_to_a_factor_of_two(measure, cost):
    assert cost / 2 < passes(measure) < 2 * cost


def test_own_limits_and_choices_count():
    assert (
        passes("hessian_eigenvalues", samples=16)
        == passes("hessian_eigenvalues", samples=64) / 4
    )
    assert passes("fisher", labels="data") == passes("fisher", draws=1)
    assert passes("hessian", operator="hessian") > passes("hessian")
    assert passes("relevance", gradient=True) > passes("relevance")
    alone = passes("measured_error")
    assert passes("measured_error", scopes=["alone", "cumulative"]) > 1.9 * alone
    assert passes("measured_error", scopes=["alone", "local"]) < 1.1 * alone
    early = expense("fisher", {"precision": 0.05}, WORK)
    assert early is not None
    assert early.is_limit


def test_layers_times_formats_are_measured_one_by_one():
    less = expense("measured_error", {}, replace(WORK, formats=2))
    assert less is not None
    ratio = passes("measured_error") / less.passes
    assert ratio == pytest.approx((8 + 1) / (2 + 1), rel=0.05)
    assert Expense(235.0, True).text == "at most 240 forward passes"
