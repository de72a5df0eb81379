"""Refinement by interactions against every assignment, and against fresh rows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.budget import Budget
from analysis.search.exact import Exact
from analysis.search.exchange import Landscape, descend, neighbours
from analysis.search.interacting import Interacting
from analysis.search.problem import CostTable, Probes
from analysis.search.question import ask
from tests.analysis.search.cases import assignments, keeps, random_table

Floats = NDArray[np.float64]


def table_with_rows(
    seed: int,
    layers: int = 5,
    *,
    rows: int = 64,
    coupling: float = 0.7,
    ties: tuple[tuple[int, ...], ...] = (),
    draw: int = 0,
) -> CostTable:
    """Return a table whose errors are those of its rows.

    Args:
        seed: Of the table and of how layers hang together.
        layers: How many.
        rows: Rows, two to a sample.
        coupling: Share of a projection that all layers have in common.
        ties: Groups of layers.
        draw: Seed of the rows alone.
    """
    table = random_table(seed, layers, ties=ties)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], layers)
    rng = np.random.default_rng([seed, draw])
    common, own = rng.normal(size=(rows, 1)), rng.normal(size=(rows, layers))
    unit = coupling * common * signs + np.sqrt(1 - coupling**2) * own
    v = unit[:, :, None] * np.sqrt(table.cost)
    return from_rows(table, v.reshape(rows, -1).astype(np.float32))


def from_rows(table: CostTable, v: NDArray[np.float32]) -> CostTable:
    """Return the table with projections, one column per option in order."""
    rows, shape = len(v), table.cost.shape
    column = np.full((*shape, 2), -1)
    column[:, :, 0] = np.arange(shape[0] * shape[1]).reshape(shape)
    column[:, 0] = -1
    cost = (v.astype(np.float64) ** 2).mean(0).reshape(shape)
    cost[:, 0] = 0
    probes = Probes(v, np.ones(rows), np.arange(rows) // 2, column, np.zeros(rows))
    return replace(table, cost=cost, probes=probes)


def least(table: CostTable, budget: Budget) -> float:
    """Return the least second-order error by trying every assignment."""
    probes = table.probes
    assert probes is not None
    return min(
        probes.error(choice)
        for choice in assignments(table)
        if keeps(table, choice, budget)
    )


@pytest.mark.parametrize("seed", range(12))
def test_descent_ends_near_the_best_of_all_assignments(seed: int) -> None:
    table = table_with_rows(seed, ties=((0, 3),) if seed % 3 == 0 else ())
    budget = Budget.parse("bits<=6,bops<=0.3x" if seed % 2 else "bits<=6")
    probes, question = table.probes, ask(table, budget)
    assert probes is not None
    start = Exact().run(table, budget).choice
    option = np.zeros(len(question.groups.cost), dtype=np.int64)
    option[question.groups.of_row] = start
    land = Landscape.of(question, probes)
    found = question.groups.expand(descend(land, 1.0, option, 1000))
    assert keeps(table, found, budget)
    assert all(len({int(found[i]) for i in tie}) == 1 for tie in table.ties)
    assert probes.error(found) <= probes.error(start) * (1 + 1e-6)
    # No single change and no exchange is left that would gain.
    for choice in assignments(table):
        differs = (choice[question.groups.of_row != -1] != found).sum()
        tied = sum(len(tie) - 1 for tie in table.ties)
        if differs <= 2 + tied and keeps(table, choice, budget):
            groups = len(set(question.groups.of_row[choice != found].tolist()))
            if groups <= 2:
                assert probes.error(choice) >= probes.error(found) * (1 - 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_the_best_single_changes_and_exchanges(seed: int) -> None:
    table = table_with_rows(seed, 4, ties=((0, 2),) if seed % 2 else ())
    budget = Budget.parse("bits<=6,bops<=0.3x")
    probes, question = table.probes, ask(table, budget)
    assert probes is not None
    of_row = question.groups.of_row
    start = Exact().run(table, budget).choice
    option = np.zeros(len(question.groups.cost), dtype=np.int64)
    option[of_row] = start
    truth = sorted(
        (probes.error(choice), tuple(choice.tolist()))
        for choice in assignments(table)
        if keeps(table, choice, budget)
        and 1 <= len(set(of_row[choice != start].tolist())) <= 2
    )
    land = Landscape.of(question, probes)
    found = [question.groups.expand(x) for x in neighbours(land, 1.0, option, 8)]
    assert len(found) == min(8, len(truth))
    for choice, (error, _) in zip(found, truth, strict=False):
        assert keeps(table, choice, budget)
        assert probes.error(choice) == pytest.approx(error, rel=1e-4)


def test_interaction_is_the_share_of_the_cross_terms() -> None:
    table = table_with_rows(1)
    probes = table.probes
    assert probes is not None
    assert Probes.none(table.cost.shape).interaction(table.cost.argmin(1)) == 0.0
    for choice in itertools.islice(assignments(table), 1, 40, 7):
        cross = np.zeros(len(probes.v))
        for row, option in enumerate(choice):
            for other, its in enumerate(choice):
                if row != other:
                    pair = probes.column_of(row, option), probes.column_of(other, its)
                    cross += pair[0] * pair[1]
        of_sample = [cross[probes.cluster == k] for k in np.unique(probes.cluster)]
        variance = sum(len(x) * x.var(ddof=1) for x in of_sample)
        shrunk = max(0.0, 1.0 - variance / cross.sum() ** 2) if cross.any() else 0.0
        own = len(cross) * table.error(choice)
        expected = shrunk * cross.sum() / own if own else 0.0
        assert probes.interaction(choice) == pytest.approx(expected, rel=1e-5)


def test_most_descents_find_the_optimum() -> None:
    hits = 0
    for seed in range(20):
        table, budget = table_with_rows(seed), Budget.parse("bits<=5")
        found = Interacting().run(table, budget)
        question, probes = ask(table, budget), table.probes
        assert probes is not None
        land = Landscape.of(question, probes)
        option = descend(land, 1.0, Exact().run(table, budget).choice, 1000)
        value = probes.error(option.astype(np.int16))
        hits += value <= least(table, budget) * (1 + 1e-6)
        assert found.interaction is not None
    assert hits >= 16


def test_the_running_error_is_the_error() -> None:
    table, budget = table_with_rows(3, ties=((1, 2),)), Budget.parse("bits<=7")
    question, probes = ask(table, budget), table.probes
    assert probes is not None
    land = Landscape.of(question, probes)
    for share in (0.0, 0.5, 1.0):
        start = question.groups.cost.argmax(1)
        for most in (1, 2, 5):
            found = question.groups.expand(descend(land, share, start, most))
            alone = table.error(found)
            mixed = (1 - share) * alone + share * probes.error(found)
            before = question.groups.expand(start)
            began = (1 - share) * table.error(before) + share * probes.error(before)
            if question.holds(start):
                assert mixed <= began * (1 + 1e-6)


def test_layers_that_cancel_are_found() -> None:
    """Two layers whose errors undo each other may both be small."""
    table = random_table(1, 3)
    table = replace(table, bits=np.tile(table.bits[:1], (3, 1)))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=400)
    apart = rng.normal(size=400)
    v = np.zeros((400, 3, 4), dtype=np.float32)
    for layer, column in enumerate((noise, -noise, 0.9 * apart)):
        v[:, layer, 1:] = column[:, None] * np.array([1.0, 0.3, 0.01])
    table = from_rows(table, v.reshape(400, -1))
    limit = (2 * table.bits[0, 1] + table.bits[0, 3]) / 8
    budget = Budget.parse(f"size<={limit:.17g}")
    found = Interacting().run(table, budget)
    told = found.interaction
    assert told is not None
    assert found.choice.tolist() == [1, 1, 3]
    assert told.share > 0
    assert told.after < 0.01 * told.before
    assert told.gain > 5 * told.gain_stderr
    assert "0." in told.describe()


@pytest.mark.parametrize("coupling", [0.0, 0.15, 0.5])
def test_noise_is_not_chased(coupling: float) -> None:
    """On rows that nobody searched over the refined choice is not worse.

    Few rows and many options: without cross-validation the descent finds promises.
    """
    budget = Budget.parse("bits<=5")
    added, free = [], []
    for seed in range(24):
        table = table_with_rows(seed, 8, rows=24, coupling=coupling)
        fresh = table_with_rows(seed, 8, rows=20_000, coupling=coupling, draw=1)
        judge = fresh.probes
        assert judge is not None
        start = Exact().run(table, budget).choice
        found = Interacting().run(table, budget).choice
        question, probes = ask(table, budget), table.probes
        assert probes is not None
        rash = descend(Landscape.of(question, probes), 1.0, start, 1000)
        began = judge.error(start)
        added.append(judge.error(found) / began)
        free.append(judge.error(rash.astype(np.int16)) / began)
    assert np.mean(added) <= 1.02
    if coupling < 0.2:
        # What the caution is for: all of the cross terms believed does harm.
        assert np.mean(free) > np.mean(added)


def test_locked_layers_and_refused_options_stay() -> None:
    table = table_with_rows(4)
    table.cost[2] = np.inf
    table.cost[2, 3] = 0.0
    table.cost[0, 1] = np.inf
    found = Interacting(moves=50).run(table, Budget.parse("bits<=6"))
    assert found.choice[2] == 3
    assert found.choice[0] != 1


def test_without_rows_the_additive_solution_stays() -> None:
    table, budget = random_table(2), Budget.parse("bits<=6")
    found = Interacting(start="greedy").run(table, budget)
    assert found.interaction is None
    assert found.cost >= Exact().run(table, budget).cost


def test_an_error_limit_alone_is_only_reported_on() -> None:
    table = table_with_rows(5)
    budget = Budget.parse(f"error<={table.cost[:, 2].sum():.17g}")
    found = Interacting().run(table, budget)
    assert found.choice.tolist() == Exact().run(table, budget).choice.tolist()
    assert found.interaction is not None
    assert found.interaction.share == 0
    assert "no exchange" in found.interaction.describe()


def test_factors_scale_projections_and_own_errors_alike() -> None:
    table = table_with_rows(6)
    probes = table.probes
    assert probes is not None
    factor = np.ones(table.cost.shape)
    factor[1, 1] = 3.0
    scaled = replace(probes, factor=factor)
    choice = np.array([0, 1, 0, 0, 0], dtype=np.int16)
    assert scaled.error(choice) == pytest.approx(9 * probes.error(choice))
    np.testing.assert_allclose(scaled.column_of(1, 1), 3 * probes.column_of(1, 1))


def test_rows_must_fit() -> None:
    probes = table_with_rows(0).probes
    assert probes is not None
    with pytest.raises(AnalysisError, match="do not fit its rows and columns"):
        replace(probes, weight=np.ones(3))
    with pytest.raises(AnalysisError, match="Every option of a search needs its proj"):
        replace(table_with_rows(0), probes=table_with_rows(0, 3).probes)
