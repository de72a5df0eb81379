from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.search import branch
from analysis.search.budget import Budget
from analysis.search.exact import Exact
from analysis.search.front import ConvexFront
from analysis.search.problem import CostTable
from analysis.search.quiet import stdout_to_stderr
from tests.analysis.search.cases import amounts, assignments, keeps, random_table, truth

seeds = st.integers(0, 10_000)
small = settings(max_examples=30)
budgets = st.sampled_from(
    [
        "bits<=4.5",
        "bits<=7",
        "size<=0.15x",
        "size<=0.3x,bops<=0.1x",
        "bits<=6,bops<=0.15x",
        "bits<=8,size<=0.2x,bops<=0.3x",
        "bops<=0.1x",
        "error<=0.02",
        "bits<=7,error<=0.05",
    ]
)


def check(table: CostTable, budget: Budget, scale: float = 1.0) -> None:
    best = truth(table, budget)
    if best is None:
        with pytest.raises(AnalysisError, match="smallest possible"):
            Exact().run(table, budget)
        return
    found = Exact().run(table, budget)
    assert keeps(table, found.choice, budget)
    alone = str(budget).startswith("error")
    value = found.bits / 8 if alone else found.cost / scale
    assert value == pytest.approx(best if alone else best / scale, rel=1e-8)
    assert found.proven
    assert found.gap <= 1e-9


@small
@given(seeds, budgets)
def test_equals_brute_force(seed: int, text: str) -> None:
    check(random_table(seed, 5), Budget.parse(text))


@small
@given(seeds, st.sampled_from([1e-12, 1e12]), st.sampled_from(["bits<=5", "bops<=.1x"]))
def test_scale_of_the_scores_does_not_matter(
    seed: int, scale: float, text: str
) -> None:
    check(random_table(seed, 5, scale=scale), Budget.parse(text), scale)


@small
@given(seeds, budgets)
def test_ties_hold(seed: int, text: str) -> None:
    check(random_table(seed, 6, ties=((0, 3), (1, 4, 5))), Budget.parse(text))


@small
@given(seeds, budgets)
def test_what_is_not_offered_is_not_chosen(seed: int, text: str) -> None:
    table = random_table(seed, 5)
    rng = np.random.default_rng(seed)
    cost = table.cost.copy()
    cost[:, 1:][rng.random((5, 3)) < 0.3] = np.inf
    cost[2] = np.inf
    cost[2, 2] = 0.01
    table = CostTable(table.layers, table.palette, cost, table.bits, table.bops)
    check(table, Budget.parse(text))


@small
@given(seeds, st.integers(0, 4**4 - 1))
def test_a_limit_met_exactly_is_kept(seed: int, which: int) -> None:
    table = random_table(seed, 4)
    choice = list(assignments(table))[which]
    size = amounts(table, choice)["size"]
    check(table, Budget.parse(f"size<={size:.17g}"))
    error = amounts(table, choice)["error"]
    if error > 0:
        check(table, Budget.parse(f"error<={error:.17g}"))


@small
@given(seeds)
def test_equal_costs_and_equal_sizes(seed: int) -> None:
    table = random_table(seed, 5)
    cost = np.round(table.cost * 50)
    check(
        CostTable(table.layers, table.palette, cost, table.bits, table.bops),
        Budget.parse("bits<=4.5,bops<=0.14x"),
    )


def test_enough_room_means_no_error() -> None:
    found = Exact().run(random_table(0), Budget.parse("size<=1x"))
    assert (found.cost, found.gap, found.proven) == (0.0, 0.0, True)


@pytest.mark.parametrize("limit", ["bits<=1", "size<=10", "size<=0.01x", "bops<=0.01x"])
def test_smallest_possible_is_named_and_reachable(limit: str) -> None:
    table = random_table(4)
    with pytest.raises(AnalysisError, match=f"No assignment keeps {limit}") as caught:
        Exact().run(table, Budget.parse(limit))
    assert caught.value.allowed is not None
    possible = caught.value.allowed.split()[0]
    found = Exact().run(table, Budget.parse(possible))
    assert keeps(table, found.choice, Budget.parse(possible))


def test_smallest_error_is_named_and_reachable() -> None:
    table = random_table(4)
    with pytest.raises(
        AnalysisError, match="error<=1e-09 together with bits"
    ) as caught:
        Exact().run(table, Budget.parse("bits<=4,error<=1e-9"))
    assert caught.value.allowed is not None
    found = Exact().run(
        table, Budget.parse(f"bits<=4,{caught.value.allowed.split()[0]}")
    )
    assert found.proven


def conflicting() -> CostTable:
    """Return two layers of which one is cheap in size, the other in operations."""
    table = random_table(0, 2)
    bits = np.array([[64.0, 8, 16, 32]] * 2)
    operations = np.array([[64.0, 64, 32, 8]] * 2)
    return CostTable(table.layers, table.palette, table.cost, bits, operations)


@pytest.mark.parametrize(
    ("text", "message", "possible"),
    [
        ("size<=2,bops<=16", "bops<=16 together with size<=2B", "bops<=128 or"),
        ("bops<=16,size<=2", "size<=2B together with bops<=16", "size<=8B or"),
        ("bits<=8,bops<=16,size<=2", "size<=2B .*bits<=8, bops<=16", "size<=8B or"),
        ("bits<=8,size<=2,bops<=16", "bops<=16 .*bits<=8, size<=2B", "bops<=128 or"),
    ],
)
def test_limits_that_only_conflict(text: str, message: str, possible: str) -> None:
    table = conflicting()
    with pytest.raises(AnalysisError, match=message) as caught:
        Exact().run(table, Budget.parse(text))
    assert caught.value.allowed is not None
    assert caught.value.allowed.startswith(possible)


def test_limits_that_no_longer_conflict() -> None:
    found = Exact().run(conflicting(), Budget.parse("size<=8,bops<=16"))
    assert found.choice.tolist() == [3, 3]


def test_no_layers() -> None:
    found = Exact().run(random_table(0, 0), Budget.parse("bits<=4,bops<=1x"))
    assert (found.choice.tolist(), found.cost, found.proven) == ([], 0.0, True)


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_found(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(status=1, x=None)

    monkeypatch.setattr("scipy.optimize.milp", none_found)


@pytest.mark.usefixtures("no_time")
def test_out_of_time_is_said_when_no_small_assignment_keeps_the_limits() -> None:
    # The smallest in bits, in operations, and in both together each break a limit.
    table = random_table(0, 1)
    cost = np.array([[1.0, 2, 3, 4]])
    bits = np.array([[16.0, 1, 13, 14]])
    operations = np.array([[1.0, 16, 13, 14]])
    table = CostTable(table.layers, table.palette, cost, bits, operations)
    with pytest.raises(AnalysisError, match=r"in time.*seconds.*front"):
        Exact().run(table, Budget.parse("size<=1.75,bops<=14"))


@pytest.mark.usefixtures("no_time")
def test_time_up_returns_a_quick_answer_unproven() -> None:
    table, budget = random_table(7, 300), Budget.parse("bits<=6,bops<=0.12x")
    found = Exact().run(table, budget)
    assert keeps(table, found.choice, budget)
    assert 0 < found.gap < 0.05
    assert not found.proven


def test_time_up_returns_the_best_so_far() -> None:
    table, budget = random_table(7, 3000), Budget.parse("bits<=6,bops<=0.12x")
    found = Exact(seconds=0.01).run(table, budget)
    assert keeps(table, found.choice, budget)
    assert found.gap < 0.05
    assert found.proven == (found.gap <= 1e-9)


def test_operations_need_a_trace() -> None:
    table = random_table(0)
    table = CostTable(table.layers, table.palette, table.cost, table.bits)
    with pytest.raises(AnalysisError, match="bit operations .* not known"):
        Exact().run(table, Budget.parse("bops<=1G"))


@pytest.mark.parametrize("field", [{"gap": -1.0}, {"gap": 2.0}, {"seconds": 0.0}])
def test_parameters_are_checked(field: dict[str, float]) -> None:
    with pytest.raises(AnalysisError, match=f"exact.{next(iter(field))} is out of"):
        Exact(**field)


@pytest.mark.parametrize("text", ["bits<=4", "bits<=6,bops<=0.12x", "error<=0.5"])
def test_large_search_is_proven_and_beats_the_front(text: str) -> None:
    table, budget = random_table(7, 1500), Budget.parse(text)
    found = Exact().run(table, budget)
    assert found.proven
    assert keeps(table, found.choice, budget)
    quick = ConvexFront().run(table, budget)
    if text.startswith("error"):
        assert found.bits <= quick.bits
    else:
        assert found.cost <= quick.cost
    if "," not in text:
        assert quick.gap < 0.01


def test_a_small_core_grows_until_it_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch, "CORE", 1)
    for seed in range(10):
        check(random_table(seed, 5), Budget.parse("bits<=6,bops<=0.15x"))


def test_a_wanted_gap_is_enough() -> None:
    found = Exact(gap=0.5).run(random_table(7, 300), Budget.parse("bits<=4"))
    assert found.proven
    assert found.gap <= 0.5


def test_prints_of_compiled_code_stay_off_standard_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    c = ctypes.CDLL(None)
    print("before")  # noqa: T201
    with stdout_to_stderr():
        c.printf(b"stray\n")
    print("after")  # noqa: T201
    captured = capfd.readouterr()
    assert captured.out == "before\nafter\n"
    assert captured.err == "stray\n"
