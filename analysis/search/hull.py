"""The lower convex hull of all sums of one point per group.

Minimising `cost + price * size` falls apart into one small choice per group. As the
price falls from infinity to zero, groups move one by one along the lower convex hull
of their own (size, cost) points, steepest step first; the points passed on the way
are the lower convex hull of all assignments (Everett 1963, "Generalized Lagrange
multiplier method"; Shoham and Gersho 1988 for bit allocation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.search.problem import Floats, Indices


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
    # Only the groups that still walk, `[P, G]`: there are few options and many groups,
    # and comparing long rows with each other is ten times faster than short ones.
    moving, wide, high = groups, size.T.copy(), cost.T.copy()
    while True:
        at = here[moving], np.arange(len(moving))
        more, less = wide - wide[at], high[at] - high
        better = (more > 0) & (less > 0)
        steep = np.divide(less, more, out=np.full(more.shape, -np.inf), where=better)
        best = steep.max(0, initial=-np.inf)
        going = best > 0
        if not going.any():
            break
        # Of equally steep steps the longest, so that no point lies inside an edge.
        to = np.where(steep == best, more, -np.inf).argmax(0)
        if not going.all():
            moving, wide, high = moving[going], wide[:, going], high[:, going]
            to, best = to[going], best[going]
        # Slopes fall along a hull; rounding must not turn round two steps of a group.
        slope[moving] = np.minimum(slope[moving], best)
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
