from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.search.budget import Budget
from analysis.search.front import ConvexFront, front, lower_hull
from analysis.search.problem import CostTable
from tests.analysis.search.cases import (
    WIDTHS,
    amounts,
    assignments,
    keeps,
    random_table,
    truth,
)
from tests.budget import assert_within, clock

seeds = st.integers(0, 10_000)
small = settings(max_examples=25)


def brute_hull(points: np.ndarray) -> np.ndarray:
    """Return the falling part of the lower convex hull, one point after another."""
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    hull: list[np.ndarray] = []
    for p in points:
        if hull and p[1] >= min(q[1] for q in hull):
            continue
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2], hull[-1]
            if (y1 - y0) * (p[0] - x0) < (p[1] - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append(p)
    return np.array(hull)


@small
@given(seeds, st.sampled_from([1e-12, 1.0, 1e12]))
def test_front_is_the_hull_of_all_assignments(seed: int, scale: float) -> None:
    table = random_table(seed, 4, scale=scale, ties=((0, 2),))
    every = [amounts(table, choice) for choice in assignments(table)]
    points = np.array([(p["size"] * 8, p["error"] / scale) for p in every])
    corners = brute_hull(points)
    found = front(table)
    # Steps of equal slope put points on edges, so compare the two as curves.
    np.testing.assert_allclose(
        np.interp(found.bits, *corners.T), found.cost / scale, rtol=1e-9, atol=1e-13
    )
    for bits, cost in corners:
        np.testing.assert_allclose(
            np.interp(bits, found.bits, found.cost / scale), cost, rtol=1e-9, atol=1e-13
        )


@small
@given(seeds)
def test_every_point_is_optimal_for_its_price(seed: int) -> None:
    table = random_table(seed, 4)
    found = front(table)
    every = [amounts(table, choice) for choice in assignments(table)]
    bits = np.array([8 * p["size"] for p in every])
    cost = np.array([p["error"] for p in every])
    prices = -np.diff(found.cost) / np.diff(found.bits)
    for point, price in enumerate(prices):
        here = found.cost[point] + price * found.bits[point]
        assert here <= (cost + price * bits).min() * (1 + 1e-9)


@small
@given(seeds)
def test_choices_have_the_totals_of_the_front(seed: int) -> None:
    table = random_table(seed, 6, ties=((1, 3), (3, 4)))
    found = front(table)
    for point in range(len(found)):
        choice = found.choice(point)
        assert choice.dtype == np.int16
        assert len({choice[1], choice[3], choice[4]}) == 1
        assert table.total(table.bits, choice) == found.bits[point]
        assert table.total(table.cost, choice) == pytest.approx(found.cost[point])
    assert (np.diff(found.bits) > 0).all()
    assert (np.diff(found.cost) < 0).all()


def test_ends_with_the_float_at_no_error() -> None:
    found = front(random_table(0))
    assert found.cost[-1] == 0.0
    assert not found.choice(len(found) - 1).any()


def test_point_outside_the_front() -> None:
    found = front(random_table(0))
    with pytest.raises(IndexError, match="the front has"):
        found.choice(len(found))


def test_more_bits_with_more_error_are_never_chosen() -> None:
    table = random_table(0, 3)
    cost = table.cost.copy()
    cost[:, 3] = cost[:, 2] * 2  # int8 worse than int4
    found = front(CostTable(table.layers, table.palette, cost, table.bits))
    for point in range(len(found)):
        assert 3 not in found.choice(point)


def test_locked_layers_keep_their_choice() -> None:
    table = random_table(3, 5)
    locked = np.array([True, False, False, True, False])
    choice = np.array([3, 0, 0, 1, 0])
    found = front(table, locked, choice)
    for point in range(len(found)):
        assert found.choice(point)[0] == 3
        assert found.choice(point)[3] == 1


def test_further_ties_hold_too() -> None:
    found = front(random_table(3, 5), ties=((0, 4),))
    for point in range(len(found)):
        assert found.choice(point)[0] == found.choice(point)[4]


def test_nothing_to_choose_is_one_point() -> None:
    table = random_table(1, 3)
    found = front(table, np.ones(3, dtype=bool), np.array([1, 2, 3]))
    assert len(found) == 1
    assert found.choice(0).tolist() == [1, 2, 3]


def test_no_layers_is_one_empty_point() -> None:
    found = front(random_table(1, 0))
    assert (found.bits.tolist(), found.cost.tolist()) == ([0.0], [0.0])
    assert found.choice(0).shape == (0,)


@small
@given(
    seeds,
    st.sampled_from(
        ["bits<=4", "bits<=6.5", "size<=0.2x", "bops<=0.2x", "error<=0.01"]
    ),
)
def test_result_keeps_the_budget_and_its_gap(seed: int, text: str) -> None:
    table, budget = random_table(seed, 5), Budget.parse(text)
    best = truth(table, budget)
    if best is None:
        with pytest.raises(AnalysisError, match="smallest possible"):
            ConvexFront().run(table, budget)
        return
    found = ConvexFront().run(table, budget)
    assert keeps(table, found.choice, budget)
    value = found.bits / 8 if text.startswith("error") else found.cost
    assert best <= value * (1 + 1e-9)
    assert value * (1 - found.gap) <= best * (1 + 1e-9)
    if found.proven:
        assert value == pytest.approx(best)


@pytest.mark.parametrize("option", [1, 2, 3])
def test_equals_or_beats_uniform_at_equal_size(option: int) -> None:
    table = random_table(11, 40)
    uniform = np.full(40, option)
    bits = table.total(table.bits, uniform)
    found = ConvexFront().run(table, Budget.parse(f"size<={bits / 8:.17g}"))
    assert found.bits <= bits
    # The front skips what lies above the hull, at most one step of one layer.
    step = np.diff(-front(table).cost).max()
    assert found.cost <= table.total(table.cost, uniform) + step


def test_several_limits_hold_together() -> None:
    table = random_table(5, 30)
    budget = Budget.parse("bits<=7,bops<=0.2x")
    found = ConvexFront().run(table, budget)
    assert keeps(table, found.choice, budget)


def test_limits_that_no_point_keeps_together() -> None:
    table = random_table(5, 30)
    path = front(table)
    least = path.cost[len(path) // 2]
    budget = f"bits<={path.bits[3] / table.parameters:.17g},error<={least:.17g}"
    with pytest.raises(AnalysisError, match="all limits at once.*exact"):
        ConvexFront().run(table, Budget.parse(budget))


def test_ten_thousand_layers_within_a_second() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(1, 2000, (10_000, 1)) * np.array([32.0, *range(1, 9)])
    cost = np.exp(rng.normal(0, 3, (10_000, 1))) * 4.0 ** -np.arange(9)[None]
    cost *= np.exp(rng.normal(0, 0.3, cost.shape))
    cost[:, 0] = 0
    start = clock()
    path = lower_hull(bits, cost)
    for point in np.linspace(0, len(path.size) - 1, 20).astype(int):
        path.options(point)
    assert_within(0.1, [clock() - start])
    assert len(path.size) > 40_000


def test_widths_are_those_of_the_palette() -> None:
    assert [32.0 if s is None else s.bits for s in random_table(0).palette] == [*WIDTHS]
