"""The whole trade-off between size and predicted error at once.

Minimising `error + price * size` falls apart into one small choice per layer. As the
price falls from infinity to zero, layers move one by one along the lower convex hull
of their own (size, error) points, steepest step first; the points passed on the way
are the lower convex hull of all assignments (Everett 1963, "Generalized Lagrange
multiplier method"; Shoham and Gersho 1988 for bit allocation). So one sort gives the
optimum for every price, and for every budget an assignment that misses the optimum by
less than one step of one layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.budget import Budget
from analysis.search.problem import (
    PROVEN,
    ROUNDING,
    CostTable,
    Floats,
    Groups,
    Indices,
    SearchResult,
    Ties,
    check_reachable,
    merge,
    relative_gap,
    result,
    rows_of,
)


@dataclass(frozen=True)
class Path:
    """Steps of all groups along their hulls, steepest first.

    Attributes:
        start: `[G]` option of each group where its size is smallest.
        group: `[S]` which group makes the step.
        before: `[S]` the option it leaves.
        after: `[S]` the option it moves to.
        size: `[S + 1]` total size before, between and after the steps, rising.
        cost: `[S + 1]` total cost, falling.
    """

    start: Indices
    group: Indices
    before: Indices
    after: Indices
    size: Floats
    cost: Floats

    def options(self, point: int) -> Indices:
        """Return the option of every group at one point of the path."""
        option = self.start.copy()
        # The last value given to an index stays: the latest step of its group.
        option[self.group[:point]] = self.after[:point]
        return option

    def totals(self, amount: Floats) -> Floats:
        """Return the sum of `amount [G, P]` at every point, `[S + 1]`."""
        first = amount[np.arange(len(self.start)), self.start].sum()
        steps = amount[self.group, self.after] - amount[self.group, self.before]
        return np.asarray(np.concatenate([[first], first + np.cumsum(steps)]))

    def price(self, size: float) -> float:
        """Return how fast the cost falls with size where `size` is used up."""
        step = int(np.searchsorted(self.size, size, side="right")) - 1
        if not 0 <= step < len(self.group):
            return 0.0
        drop = self.cost[step] - self.cost[step + 1]
        return float(drop / (self.size[step + 1] - self.size[step]))


def lower_hull(size: Floats, cost: Floats) -> Path:
    """Return the lower convex hull of all sums of one (size, cost) point per group.

    All groups walk along their own hulls at once, each to the option that lies
    steepest below the one it stands on.

    Args:
        size: `[G, P]`, inf where an option is not offered; one at least must be.
        cost: `[G, P]`, likewise.
    """
    groups = np.arange(len(size))
    offered = np.isfinite(cost) & np.isfinite(size)
    size, cost = np.where(offered, size, np.inf), np.where(offered, cost, np.inf)
    smallest = size.min(1, keepdims=True, initial=np.inf)
    start = np.where(size == smallest, cost, np.inf).argmin(1)
    here, slope = start.copy(), np.full(len(size), np.inf)
    steps: list[tuple[Indices, Indices, Indices, Floats]] = []
    while True:
        more = np.where(offered, size, 0.0) - size[groups, here][:, None]
        less = cost[groups, here][:, None] - cost
        better = (more > 0) & (less > 0)
        steep = np.where(better, less / np.where(better, more, 1.0), -np.inf)
        best = steep.max(1, initial=-np.inf)
        moving = np.flatnonzero(best > 0)
        if not len(moving):
            break
        # Of equally steep steps the longest, so that no point lies inside an edge.
        to = np.where(steep == best[:, None], more, -np.inf).argmax(1)[moving]
        # Slopes fall along a hull; rounding must not turn round two steps of a group.
        slope[moving] = np.minimum(slope[moving], best[moving])
        steps.append((moving, here[moving], to, slope[moving]))
        here[moving] = to
    none = np.zeros(0, dtype=np.int64)
    steps.append((none, none, none, np.zeros(0)))
    order = np.argsort(-np.concatenate([step[3] for step in steps]), kind="stable")
    group, before, after = (
        np.concatenate([step[part] for step in steps])[order] for part in range(3)
    )
    more = size[group, after] - size[group, before]
    less = cost[group, before] - cost[group, after]
    # Summed from the end: there the costs are a millionth of those at the start.
    rest = np.concatenate([np.cumsum(less[::-1])[::-1], [0.0]])
    return Path(
        start,
        group,
        before,
        after,
        size[groups, start].sum() + np.concatenate([[0.0], np.cumsum(more)]),
        cost[groups, here].sum() + rest,
    )


@dataclass(frozen=True)
class Front:
    """Every assignment that is best for some price of a bit.

    Attributes:
        bits: `[n]` storage (bits), rising.
        cost: `[n]` predicted error, summed over layers, falling.
    """

    bits: Floats
    cost: Floats
    _path: Path
    _groups: Groups

    def __len__(self) -> int:
        return len(self.bits)

    def choice(self, point: int) -> NDArray[np.int16]:
        """Return `[L]` indices into the palette at one point of the front.

        Raises:
            IndexError: there is no such point.
        """
        if not 0 <= point < len(self):
            raise IndexError(f"the front has {len(self)} points, not one at {point}")
        return self._groups.expand(self._path.options(point))


def front(
    table: CostTable,
    locked: NDArray[np.bool_] | None = None,
    choice: NDArray[np.integer] | None = None,
    ties: Ties = (),
) -> Front:
    """Return the lower convex hull of (bits, cost) over all assignments.

    Args:
        table: The costs; its own ties always hold.
        locked: `[L]` layers that keep what `choice` says.
        choice: `[L]` indices into the palette; read where `locked`.
        ties: Further groups of layers that must share a scheme.

    Raises:
        AnalysisError: a layer or tie has no scheme left.
    """
    groups = merge(table, locked, choice, ties)
    path = lower_hull(groups.bits, groups.cost)
    return Front(path.size, path.cost, path, groups)


@dataclass(frozen=True)
class ConvexFront:
    """Takes the best point of the convex front of size against error.

    Moves layers one by one to more bits, always the one whose predicted error falls
    most per bit added, until the budget is used up. Every point passed is optimal for
    its own size; at a budget between two points the result misses the optimum by less
    than one step of one layer, and the gap says by how much at most. With several
    limits the front follows the size and the best point that keeps all of them is
    taken. Everett (1963), Operations Research 11, 399-417; Shoham and Gersho (1988),
    IEEE Transactions on Acoustics, Speech, and Signal Processing 36, 1445-1453.
    """

    key: ClassVar[str] = "front"
    title: ClassVar[str] = "Convex front"
    version: ClassVar[int] = 1

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best point of the front within `budget`.

        Raises:
            AnalysisError: no point keeps the limits; the message names the smallest
                possible value where one limit alone cannot be met.
        """
        groups = merge(problem)
        rows = rows_of(problem, groups, budget)
        check_reachable(problem, rows, budget)
        sizes = [row for row in rows if row.limit.quantity != "error"]
        storage = [row for row in sizes if row.limit.quantity != "bops"]
        axis = groups.bits if storage or not sizes else sizes[0].amount
        path = lower_hull(axis, groups.cost)
        within = np.ones(len(path.size), dtype=bool)
        for row in rows:
            is_error = row.limit.quantity == "error"
            total = path.cost if is_error else path.totals(row.amount)
            within &= total <= row.most * (1 + ROUNDING)
        points = np.flatnonzero(within)
        if not len(points):
            raise AnalysisError(
                "No point of the convex front keeps all limits at once.",
                value=str(budget),
                hint="The search `exact` looks beyond the front.",
            )
        if sizes:
            point = int(points[-1])
            most = min(row.most for row in storage or sizes)
            bound = float(np.interp(most, path.size, path.cost))
            gap = relative_gap(float(path.cost[point]), bound)
        else:
            point = int(points[0])
            bound = float(np.interp(rows[0].most, path.cost[::-1], path.size[::-1]))
            gap = relative_gap(float(path.size[point]), bound)
        return result(problem, groups.expand(path.options(point)), gap, gap <= PROVEN)
