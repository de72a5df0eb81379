"""Genetic, annealing, greedy, frontier, uniform: what each claims for itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.search import SEARCHES, solve
from analysis.search.annealing import Annealing
from analysis.search.budget import Budget
from analysis.search.dynamic import Dynamic
from analysis.search.exact import Exact
from analysis.search.genetic import Genetic
from analysis.search.greedy import Greedy
from analysis.search.pareto import Pareto
from analysis.search.problem import BlockCosts, CostTable, SearchMethod
from analysis.search.uniform import Uniform
from tests.analysis.search.cases import assignments, keeps, random_table, truth

BUDGETS = ["bits<=5", "bits<=7,bops<=0.2x", "error<=0.05"]
QUICK = Annealing(runs=8, moves=4, cooling=0.98)
RANDOM = [Genetic(), QUICK, replace(QUICK, sweep=True)]


@pytest.mark.parametrize("method", RANDOM, ids=["genetic", "annealing", "sweep"])
@pytest.mark.parametrize("text", BUDGETS)
def test_random_searches_keep_the_budget_and_never_beat_the_truth(
    method: SearchMethod, text: str
) -> None:
    budget = Budget.parse(text)
    for seed in range(4):
        table = random_table(seed, 6, ties=((0, 3),))
        best = truth(table, budget)
        assert best is not None
        found = method.run(table, budget)
        assert keeps(table, found.choice, budget)
        assert found.choice[0] == found.choice[3]
        value = found.bits / 8 if text.startswith("error") else found.cost
        assert value >= best * (1 - 1e-9)
        assert value * (1 - found.gap) <= best * (1 + 1e-9)


@pytest.mark.parametrize("method", [Genetic(), Annealing(runs=16)])
def test_random_searches_reach_the_optimum_of_eight_layers(
    method: SearchMethod,
) -> None:
    for seed in range(3):
        table = random_table(seed, 8)
        best = Exact().run(table, Budget.parse("bits<=5"))
        found = method.run(table, Budget.parse("bits<=5"))
        assert found.cost == pytest.approx(best.cost)


@pytest.mark.parametrize("method", RANDOM, ids=["genetic", "annealing", "sweep"])
def test_the_same_seed_finds_the_same(method: SearchMethod) -> None:
    table, budget = random_table(1, 40), Budget.parse("bits<=5")
    first = method.run(table, budget).choice
    assert method.run(table, budget).choice.tobytes() == first.tobytes()
    other = replace(method, seed=7).run(table, budget)  # type: ignore[type-var]
    assert keeps(table, other.choice, budget)


def test_a_large_norm_protects_the_worst_layer() -> None:
    table, budget = random_table(2, 8), Budget.parse("bits<=5")
    rows = np.arange(8)
    least = min(
        (table.cost[rows, choice] ** 4).sum()
        for choice in assignments(table)
        if keeps(table, choice, budget)
    )
    plain = table.cost[rows, Annealing(runs=16).run(table, budget).choice]
    norm = Annealing(runs=16, norm=4.0).run(table, budget)
    guarded = table.cost[rows, norm.choice]
    assert (guarded**4).sum() == pytest.approx(least)
    assert guarded.max() <= plain.max()
    assert guarded.sum() >= plain.sum()


def test_only_genetic_sees_what_layers_cost_together() -> None:
    table, budget = random_table(3, 5), Budget.parse("bits<=4")
    alone = Exact().run(table, budget)
    low = np.flatnonzero(alone.choice == 1)[:2]
    assert len(low) == 2
    own = table.cost[low, 1]
    # Together they hurt a thousand times more than one by one.
    block = BlockCosts(
        (int(low[0]), int(low[1])), 1, np.array([0.0, *own, 1000 * own.sum()])
    )
    together = replace(table, blocks=(block,))
    assert together.error(alone.choice) > 10 * alone.cost
    blind = Exact().run(together, budget)
    assert blind.choice.tolist() == alone.choice.tolist()
    assert not blind.proven
    assert np.isnan(blind.gap)
    found = Genetic().run(together, budget)
    best = min(
        together.error(choice)
        for choice in assignments(together)
        if keeps(together, choice, budget)
    )
    assert found.cost == pytest.approx(best)
    assert found.cost < blind.cost


def test_a_block_needs_a_cost_for_every_subset() -> None:
    with pytest.raises(AnalysisError, match=r"2\^n subsets.*\(4,\)"):
        BlockCosts((0, 1), 1, np.zeros(3))


def test_greedy_by_ratio_is_optimal_for_convex_errors_and_equal_sizes() -> None:
    rng = np.random.default_rng(0)
    base = random_table(0, 6)
    for _ in range(10):
        bits = np.tile([8.0, 2.0, 4.0, 6.0], (6, 1))  # one step saves the same
        drops = np.sort(rng.random((6, 3)), axis=1)
        cost = np.zeros((6, 4))
        cost[:, [3, 2, 1]] = np.cumsum(drops, axis=1)
        table = CostTable(base.layers, base.palette, cost, bits)
        budget = Budget.parse(f"size<={6 * 4.5 / 8}")
        found = Greedy().run(table, budget)
        assert found.cost == pytest.approx(Exact().run(table, budget).cost)


def test_nncf_order_lowers_the_least_sensitive_first() -> None:
    table = random_table(4, 8)
    found = Greedy(order="nncf").run(table, Budget.parse("bits<=12"))
    low = found.choice == 1
    assert low.any()
    assert not low.all()
    assert table.cost[low, 1].max() <= table.cost[~low, 1].min()


def test_aimet_order_is_a_prefix_of_the_sorted_pairs() -> None:
    table = random_table(4, 8)
    found = Greedy(order="aimet").run(table, Budget.parse("bits<=6"))
    taken = table.cost[np.arange(8), found.choice].max()
    for layer, option in enumerate(found.choice):
        smaller = table.bits[layer] < table.bits[layer, option]
        # Nothing smaller came earlier in the list.
        assert (table.cost[layer, smaller] >= taken * (1 - 1e-12)).all()


def test_dynamic_says_what_thinning_may_have_lost() -> None:
    table, budget = random_table(7, 400), Budget.parse("bits<=4.7")
    whole = Dynamic().run(table, budget)
    thin = Dynamic(states=2).run(table, budget)
    assert whole.proven
    assert keeps(table, thin.choice, budget)
    assert whole.cost <= thin.cost * (1 + 1e-12)
    assert thin.cost * (1 - thin.gap) <= whole.cost * (1 + 1e-9)


def test_dynamic_takes_one_limit() -> None:
    with pytest.raises(AnalysisError, match="takes one limit.*exact"):
        Dynamic().run(random_table(0), Budget.parse("bits<=7,bops<=0.5x"))


def test_bins_of_the_frontier_cost_little() -> None:
    table, budget = random_table(7, 300), Budget.parse("bits<=4.7")
    best = Exact().run(table, budget).cost
    found = Pareto(bins=500).run(table, budget)
    assert keeps(table, found.choice, budget)
    assert best <= found.cost * (1 + 1e-12) <= best * 1.01
    assert not found.proven


def test_uniform_takes_the_best_format_that_fits() -> None:
    table = random_table(5, 6)
    found = Uniform().run(table, Budget.parse("bits<=9"))
    fitting = [
        table.total(table.cost, np.full(6, option))
        for option in range(4)
        if table.total(table.bits, np.full(6, option)) <= 9 * table.parameters
    ]
    assert found.cost == min(fitting)
    assert len(set(found.choice.tolist())) == 1


def test_layers_that_cannot_take_the_format_take_the_next_larger() -> None:
    table = random_table(5, 6)
    table.cost[2, 2] = np.inf  # not int4
    found = Uniform().run(table, Budget.parse("bits<=7"))
    assert found.choice.tolist() == [2, 2, 3, 2, 2, 2]


def test_no_single_format_may_fit() -> None:
    table = random_table(5, 6)
    table.cost[0, [0, 1]] = np.inf
    text = f"size<={table.bits[:, 1].sum() / 8 + 1e-6},error<=1e9"
    with pytest.raises(AnalysisError, match=r"No assignment keeps size"):
        Uniform().run(table, Budget.parse(text))
    least = (table.bits[:, 1].sum() - table.bits[0, 1] + table.bits[0, 2]) / 8
    found = Uniform().run(table, Budget.parse(f"size<={least:.17g}"))
    assert found.choice.tolist() == [2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.key)
def test_every_result_has_the_uniform_one_beside_it(kind: type[SearchMethod]) -> None:
    params = {"runs": 4, "moves": 2, "cooling": 0.9} if kind is Annealing else {}
    found = solve(random_table(6, 6), "bits<=6", kind.key, params)
    assert found.uniform is not None
    assert found.uniform.name == "int4"
    assert found.uniform.cost >= found.cost
    assert found.uniform.bits <= 6 * random_table(6, 6).parameters


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("genetic", {"mutation": 2.0}, "genetic.mutation is out of range"),
        ("annealing", {"cooling": 1.0}, "annealing.cooling is out of range"),
        ("greedy", {"order": "magic"}, "greedy.order has an unknown value.*mptq"),
        ("dynamic", {"states": 1}, "dynamic.states is out of range"),
        ("pareto", {"bins": -1}, "pareto.bins is out of range"),
    ],
)
def test_parameters_are_checked(
    kind: str, params: dict[str, object], message: str
) -> None:
    with pytest.raises(AnalysisError, match=message):
        solve(random_table(0), "bits<=6", kind, params)
