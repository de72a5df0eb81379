"""The best assignment under one limit, by dynamic programming over sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.method import Method, param
from analysis.search.branch import Found, undominated
from analysis.search.budget import Budget
from analysis.search.hull import lower_hull
from analysis.search.problem import CostTable, Floats, Indices, SearchResult
from analysis.search.question import ROUNDING, Row, ask
from analysis.search.relaxed import spend

EFFORT = 1_000_000
"""States beyond which branch and bound is the faster way, about a second."""


@dataclass(frozen=True)
class Dynamic(Method):
    """Finds the best assignment under one limit by dynamic programming.

    Goes through the layers and keeps every pair of size and error that no other pair
    beats in both, so nothing is rounded and the result is exact. Pairs that the price
    of a bit proves worse than a known assignment are dropped, which leaves few. When
    more than `states` pairs remain, only evenly spaced ones are kept and the gap says
    what may have been lost. Kellerer, Pferschy and Pisinger (2004), Knapsack Problems,
    chapter 11; AutoRound's AutoScheme thins its states the same way.
    """

    states: int = param(
        200_000,
        "Pairs of size and error kept at most; fewer are faster and may miss the best.",
        minimum=2,
    )

    key: ClassVar[str] = "dynamic"
    title: ClassVar[str] = "Dynamic programming"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = ""

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best assignment within `budget`.

        Raises:
            AnalysisError: more than one limit, or one that no assignment keeps.
        """
        question = ask(problem, budget)
        if len(question.rows) != 1:
            raise AnalysisError(
                "Dynamic programming takes one limit.",
                value=str(budget),
                allowed="one of its limits alone",
                hint="The search `exact` takes several.",
            )
        found = knapsack(question.objective, question.rows[0], self.states)
        return question.answer(found.option, found.bound)


def knapsack(objective: Floats, row: Row, states: int) -> Found:
    """Return the options of least objective under one limit, and a lower bound.

    Args:
        objective: `[G, P]`, not negative, inf where an option is not offered.
        row: A limit that some choice keeps.
        states: Pairs of size and objective kept at most.
    """
    found = _walk(objective, row, states, math.inf)
    assert found is not None
    return found


def small_knapsack(objective: Floats, row: Row) -> Found | None:
    """Return what `knapsack` proves, or None where that takes too many states."""
    return _walk(objective, row, EFFORT, EFFORT)


def _walk(objective: Floats, row: Row, states: int, effort: float) -> Found | None:
    """Return what `knapsack` does, or None after `effort` states of all groups."""
    groups = np.arange(len(objective))
    offered = undominated(objective, [row.amount])
    size = np.where(offered, row.amount, np.inf)
    cost = np.where(offered, objective, np.inf)
    path = lower_hull(size, cost)
    point = int(np.searchsorted(path.size, row.most, side="right")) - 1
    while point > 0 and not row.holds(path.options(point)):
        point -= 1
    known = spend(cost, [row], path.options(max(point, 0)))
    upper = float(cost[groups, known].sum())
    price = path.price(row.most)
    reduced = np.where(offered, cost, np.inf) + price * np.where(offered, size, 0.0)
    low = reduced.min(1, initial=np.inf)
    bound = float(low.sum() - price * row.most)
    extra = reduced - low[:, None]
    # Sums in double precision may hide this much.
    slack = upper - bound + 1e-12 * abs(float(low.sum()))
    kept = extra <= slack
    open_groups = np.flatnonzero(kept.sum(1) > 1)
    option = extra.argmin(1)
    closed = np.ones(len(groups), dtype=np.bool_)
    closed[open_groups] = False
    walk = _Walk.start(
        float(size[groups, option][closed].sum()),
        float(cost[groups, option][closed].sum()),
    )
    smallest = np.where(kept, size, np.inf)[open_groups].min(1, initial=np.inf)
    rest = np.concatenate([np.cumsum(smallest[::-1])[::-1][1:], [0.0]])
    for number, group in enumerate(open_groups):
        room = row.most * (1 + 2 * ROUNDING) - rest[number]
        options = np.flatnonzero(kept[group])
        walk.extend(options, size[group], cost[group], extra[group], room, slack)
        effort -= len(walk.size)
        if effort < 0:
            return None
        walk.thin(states)
    best = known
    for state in np.argsort(walk.cost, kind="stable"):
        if float(walk.cost[state]) >= upper:
            break
        option[open_groups] = walk.trace(int(state))
        if row.holds(option):
            best = option
            break
    value = float(cost[groups, best].sum())
    return Found(best, max(bound, min(value, bound + walk.lost)))


@dataclass
class _Walk:
    """States after some groups, sorted by size, cost falling; and how they came about.

    Attributes:
        size: `[n]` sizes so far.
        cost: `[n]` objectives so far.
        extra: `[n]` how far above the bound any completion lies at least.
        lost: Least `extra` among the states thinned out.
        history: Per group `[n]` previous state and option.
    """

    size: Floats
    cost: Floats
    extra: Floats
    lost: float
    history: list[tuple[NDArray[np.int32], NDArray[np.int16]]]

    @classmethod
    def start(cls, size: float, cost: float) -> _Walk:
        """Return the one state of groups without a choice."""
        return cls(np.array([size]), np.array([cost]), np.zeros(1), np.inf, [])

    def extend(
        self,
        options: Indices,
        size: Floats,
        cost: Floats,
        extra: Floats,
        room: float,
        slack: float,
    ) -> None:
        """Append a group: every state with every option, less what cannot win.

        Args:
            options: Those worth trying.
            size: `[P]` of the group.
            cost: `[P]` likewise.
            extra: `[P]` likewise.
            room: Sizes beyond it leave no room for the groups still to come.
            slack: States that lie further above the bound cannot be best.
        """
        sizes = (self.size[:, None] + size[options]).ravel()
        costs = (self.cost[:, None] + cost[options]).ravel()
        beyond = (self.extra[:, None] + extra[options]).ravel()
        alive = np.flatnonzero((sizes <= room) & (beyond <= slack))
        order = alive[np.lexsort((costs[alive], sizes[alive]))]
        least = np.minimum.accumulate(costs[order])
        better = np.ones(len(order), dtype=np.bool_)
        better[1:] = costs[order][1:] < least[:-1]
        order = order[better]
        self.size, self.cost, self.extra = sizes[order], costs[order], beyond[order]
        parent, column = np.divmod(order, len(options))
        chosen = options[column].astype(np.int16)
        self.history.append((parent.astype(np.int32), chosen))

    def thin(self, states: int) -> None:
        """Keep evenly spaced states, the smallest and the cheapest among them."""
        count = len(self.size)
        if count <= states:
            return
        kept = np.unique(np.linspace(0, count - 1, states).astype(np.int64))
        dropped = np.ones(count, dtype=np.bool_)
        dropped[kept] = False
        self.lost = min(self.lost, float(self.extra[dropped].min()))
        self.size, self.cost, self.extra = (
            self.size[kept],
            self.cost[kept],
            self.extra[kept],
        )
        parent, option = self.history[-1]
        self.history[-1] = parent[kept], option[kept]

    def trace(self, state: int) -> Indices:
        """Return the options of the groups along the way to a state."""
        options = np.zeros(len(self.history), dtype=np.int64)
        for number in range(len(self.history) - 1, -1, -1):
            parent, option = self.history[number]
            options[number], state = option[state], int(parent[state])
        return options
