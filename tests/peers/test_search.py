"""Our searches beside the solvers of other tools, on the same random tables."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from analysis.search.budget import Budget
from analysis.search.dynamic import Dynamic
from analysis.search.exact import Exact
from analysis.search.problem import CostTable
from tests.benchmarks import search as benchmark

TABLES = 20
LAYERS = 12


def tables() -> list[tuple[CostTable, float]]:
    """Return tables of random sizes and errors, each with a budget in bits."""
    rng = np.random.default_rng(3)
    scales = (1e-6, 1.0, 1e3)
    return [
        (benchmark.table(LAYERS, scale=scales[i % 3]), float(rng.uniform(2.2, 8)))
        for i in range(TABLES)
    ]


def never_worse(peer: benchmark.Peer, *, equal: bool) -> None:
    """Check our answers against a peer's, which gets errors scaled to its tolerance.

    Args:
        peer: What the other tool chooses.
        equal: Whether it proves its answers too.
    """
    for costs, bits in tables():
        budget = Budget.parse(f"bits<={bits!r}")
        ours = Exact().run(costs, budget).cost
        assert Dynamic().run(costs, budget).cost == pytest.approx(ours, rel=1e-9)
        choice = peer(costs, bits, 1e4 / ours)
        assert choice is not None
        assert costs.total(costs.bits, choice) <= bits * costs.parameters * (1 + 1e-9)
        theirs = costs.total(costs.cost, choice)
        assert ours <= theirs * (1 + 1e-9)
        if equal:
            assert theirs == pytest.approx(ours, rel=1e-4)


@pytest.mark.peer("pulp")
def test_cbc(peer: ModuleType) -> None:
    never_worse(benchmark.with_pulp, equal=True)


@pytest.mark.peer("modelopt")
def test_model_optimizer(peer: ModuleType) -> None:
    never_worse(benchmark.with_model_optimizer, equal=True)


@pytest.mark.peer("auto_round")
def test_auto_scheme(peer: ModuleType) -> None:
    never_worse(benchmark.with_auto_scheme, equal=False)
