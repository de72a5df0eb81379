"""Searches, in the order the window and the command line list them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.errors import AnalysisError
from analysis.search.annealing import Annealing
from analysis.search.budget import Budget
from analysis.search.dynamic import Dynamic
from analysis.search.exact import Exact
from analysis.search.front import ConvexFront
from analysis.search.genetic import Genetic
from analysis.search.greedy import Greedy
from analysis.search.interacting import Interacting
from analysis.search.pareto import Pareto
from analysis.search.problem import CostTable, SearchMethod, SearchResult
from analysis.search.uniform import Uniform, baseline

SEARCHES: tuple[type[SearchMethod], ...] = (
    Exact,
    Interacting,
    ConvexFront,
    Dynamic,
    Greedy,
    Pareto,
    Genetic,
    Annealing,
    Uniform,
)


def method_of(key: str) -> type[SearchMethod]:
    """Return the search with a key.

    Raises:
        AnalysisError: there is none.
    """
    for kind in SEARCHES:
        if kind.key == key:
            return kind
    raise AnalysisError(
        "There is no such search.",
        value=key,
        allowed=", ".join(kind.key for kind in SEARCHES),
    )


def needs_probes(key: str) -> bool:
    """Return whether a search reads the projections of the predicted error."""
    return method_of(key) is Interacting


def counts_blocks(key: str) -> bool:
    """Return whether a search counts what layers of a block cost together."""
    return method_of(key) is Genetic


def solve(
    table: CostTable, budget: str, key: str, params: Mapping[str, Any]
) -> SearchResult:
    """Return what a search finds, with the best uniform assignment beside it.

    Args:
        table: What every choice costs.
        budget: Limits such as "bits<=4".
        key: Key of a search in `SEARCHES`.
        params: Its parameters.

    Raises:
        AnalysisError: no such search, a parameter out of range, or a budget that
            cannot be read or met.
    """
    limits = Budget.parse(budget, table.costs)
    found = method_of(key)(**params).run(table, limits)
    return replace(found, uniform=baseline(table, limits))
