"""10,000 random searches, each answered by trying every assignment.

8,000 cases with one limit go through `dynamic`, 2,000 with one to three limits through
`exact` (HiGHS takes 10 ms a call, which is what decides the split); every fourth of the
8,000 with at most five layers goes through the heuristics as well, which must keep the
budget and never beat the truth. Tables have 1 to 8 layers and 4 options, of which some
are not offered, some layers are locked and some tied; errors are as they come, or
rounded so that many are equal, and scaled by 1e-12, 1 or 1e+12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.budget import Budget, Limit
from analysis.search.dynamic import Dynamic
from analysis.search.exact import Exact
from analysis.search.front import ConvexFront
from analysis.search.greedy import Greedy
from analysis.search.nearest import Infeasible
from analysis.search.pareto import Pareto
from analysis.search.problem import CostTable, SearchResult
from analysis.search.uniform import Uniform
from quant_core.scheme import Scheme
from quant_core.sites import Layer

PALETTE = (None, Scheme("int2"), Scheme("int4"), Scheme("fp4_e2m1"))
QUANTITIES = ("bits", "size", "compression", "bops", "latency", "error")
SLACK = 1e-11

pytestmark = pytest.mark.slow

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A table, and the totals of every assignment that it allows.

    Attributes:
        table: The costs.
        totals: `[n]` by quantity, in the unit of its limit; compression as the bits
            it limits.
    """

    table: CostTable
    totals: dict[str, Floats]

    def holds(self, budget: Budget) -> NDArray[np.bool_]:
        """Return which assignments keep a budget."""
        within = np.ones(len(self.totals["error"]), dtype=np.bool_)
        for limit in budget.limits:
            most = limit.absolute(self.table.stored(limit))
            within &= self.totals[limit.quantity] <= most * (1 + SLACK)
        return within

    def best(self, budget: Budget) -> float | None:
        """Return the least objective within a budget, None if nothing keeps it."""
        alone = all(limit.quantity == "error" for limit in budget.limits)
        values = self.totals["bits" if alone else "error"][self.holds(budget)]
        return float(values.min()) if len(values) else None


def case(rng: np.random.Generator, most_layers: int = 8) -> Case:
    layers = int(rng.integers(1, most_layers + 1))
    parameters = rng.integers(1, 40, layers) * 64
    widths = np.array([32.0, 2.0, 4.0, 4.0])
    cost = np.exp(rng.normal(0, 2, (layers, 1))) * 4.0**-widths
    cost = cost * np.exp(rng.normal(0, 0.8, cost.shape))
    cost[:, 0] = 0.0
    if rng.random() < 0.2:
        cost = np.round(cost * 200)
    cost *= rng.choice([1e-12, 1.0, 1e12])
    hidden = rng.random(cost.shape) < 0.1
    hidden[:, 0] &= rng.random(layers) < 0.5
    for row in np.flatnonzero(rng.random(layers) < 0.1):  # locked
        hidden[row] = np.arange(4) != rng.integers(4)
    hidden[hidden.all(1), 2] = False
    ties: tuple[tuple[int, ...], ...] = ()
    if layers > 2 and rng.random() < 0.3:
        tied = rng.choice(layers, 2, replace=False)
        if not (hidden[tied[0]] | hidden[tied[1]]).all():
            ties = (tuple(int(i) for i in tied),)
    cost = np.where(hidden, np.inf, cost)
    bits = parameters[:, None] * widths + np.array([0, 128, 128, 160])
    table = CostTable(
        tuple(
            Layer(f"l{i}", f"l{i}.weight", "linear", (8, int(n) // 8), "float32")
            for i, n in enumerate(parameters)
        ),
        PALETTE,
        cost,
        bits,
        bits * rng.integers(1, 50, (layers, 1)) * 8,
        ties,
        costs={"latency": rng.random((layers, 4)) * np.sqrt(bits)},
    )
    return Case(table, _totals(table))


def _totals(table: CostTable) -> dict[str, Floats]:
    """Return what every assignment costs, by adding one layer after the other."""
    units = {"bits": table.parameters, "size": 8.0, "compression": 1.0}
    arrays = {"error": table.cost, "bops": table.bops, **table.costs}
    arrays |= {name: table.bits / unit for name, unit in units.items()}
    done: set[int] = set()
    totals = {name: np.zeros(1) for name in arrays}
    for layer in range(len(table.layers)):
        if layer in done:
            continue
        group = next((tie for tie in table.ties if layer in tie), (layer,))
        done |= set(group)
        members = list(group)
        offered = np.isfinite(table.cost[members]).all(0)
        for name, array in arrays.items():
            assert array is not None
            own = array[members].sum(0)[offered]
            totals[name] = (totals[name][:, None] + own).ravel()
    return totals


def limit(rng: np.random.Generator, of: Case, quantity: str) -> Limit | None:
    """Return a limit that is met exactly, or lies anywhere, or cannot be met."""
    totals = of.totals[quantity]
    low, high = float(totals.min()), float(totals.max())
    kind = rng.random()
    if kind < 0.3:
        most = float(rng.choice(totals))
    elif kind < 0.95:
        most = low + (high - low) * rng.random() ** 2
    else:
        most = low * rng.uniform(0.3, 0.99)
    if quantity == "compression":
        most = float(of.table.bits[:, 0].sum()) / most
    return Limit(quantity, most) if most > 0 else None


def check(of: Case, budget: Budget, found: SearchResult | Infeasible) -> None:
    """Compare an exact answer with the truth."""
    best = of.best(budget)
    if isinstance(found, Infeasible):
        assert best is None, budget
        assert of.holds(found.nearest).any()
        place = [x.quantity for x in budget.limits].index(found.binding.quantity)
        assert not of.holds(Budget(budget.limits[: place + 1])).any()
        return
    assert best is not None, budget
    keeps(of, budget, found)
    assert value(of, budget, found) == pytest.approx(best, rel=1e-9, abs=0)
    assert found.proven


def keeps(of: Case, budget: Budget, found: SearchResult) -> None:
    """Check limits, ties and what is offered."""
    table, rows = of.table, np.arange(len(of.table.layers))
    assert np.isfinite(table.cost[rows, found.choice]).all()
    for tie in table.ties:
        assert len({int(found.choice[i]) for i in tie}) == 1
    for one in budget.limits:
        total = table.total(table.amount(one), found.choice) / table.per_unit(one)
        assert total <= one.absolute(table.stored(one)) * (1 + SLACK)


def value(of: Case, budget: Budget, found: SearchResult) -> float:
    alone = all(x.quantity == "error" for x in budget.limits)
    return found.bits / of.table.parameters if alone else found.cost


@pytest.mark.parametrize("batch", range(8))
def test_dynamic_equals_brute_force(batch: int) -> None:
    rng = np.random.default_rng(batch)
    for number in range(1000):
        of = case(rng)
        one = limit(rng, of, QUANTITIES[number % len(QUANTITIES)])
        if one is None:
            one = Limit("bits", 6.0)
        budget = Budget((one,))
        try:
            found: SearchResult | Infeasible = Dynamic().run(of.table, budget)
        except Infeasible as error:
            found = error
        check(of, budget, found)
        if number % 4 == 0 and len(of.table.layers) <= 5:
            never_better(of, budget)


def never_better(of: Case, budget: Budget) -> None:
    """Check that quick searches keep the budget and claim no more than is true."""
    best = of.best(budget)
    orders = [Greedy(order=order) for order in ("mptq", "nncf", "aimet")]
    for method in (ConvexFront(), Pareto(), Pareto(bins=3), Uniform(), *orders):
        try:
            found = method.run(of.table, budget)
        except AnalysisError:
            continue
        assert best is not None
        keeps(of, budget, found)
        reached = value(of, budget, found)
        assert reached >= best * (1 - 1e-9)
        assert reached * (1 - found.gap) <= best * (1 + 1e-9)
        if found.proven or method == Pareto():
            assert reached == pytest.approx(best, rel=1e-9, abs=0)


@pytest.mark.parametrize("batch", range(8))
def test_exact_equals_brute_force(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if batch % 2:  # one limit goes to HiGHS as well
        monkeypatch.setattr("analysis.search.dynamic.EFFORT", 0)
    rng = np.random.default_rng(100 + batch)
    for _ in range(250):
        of = case(rng)
        count = int(rng.integers(1, 4))
        names = rng.choice(QUANTITIES, count, replace=False)
        limits = [limit(rng, of, str(name)) for name in names]
        budget = Budget(tuple(x for x in limits if x is not None))
        if not budget.limits:
            budget = Budget((Limit("bits", 6.0),))
        try:
            found: SearchResult | Infeasible = Exact().run(of.table, budget)
        except Infeasible as error:
            found = error
        check(of, budget, found)
        if len(budget.limits) == 1 and not isinstance(found, Infeasible):
            check(of, budget, Dynamic().run(of.table, budget))


def test_scale_of_the_scores_changes_no_choice() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        of = case(rng, 6)
        budget = Budget((Limit("bits", float(np.median(of.totals["bits"]))),))
        for method in (Exact(), Dynamic(), ConvexFront(), Pareto()):
            choices = []
            # Powers of two leave equal errors equal.
            for scale in (2.0**-40, 1.0, 2.0**40):
                table = CostTable(
                    of.table.layers,
                    PALETTE,
                    of.table.cost * scale,
                    of.table.bits,
                    ties=of.table.ties,
                )
                choices.append(method.run(table, budget).choice.tolist())
            assert choices[0] == choices[1] == choices[2]
