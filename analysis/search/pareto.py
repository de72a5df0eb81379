"""ZeroQ's search: the whole frontier of size and error, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.errors import AnalysisError
from analysis.method import Method, param
from analysis.search.branch import undominated
from analysis.search.budget import Budget
from analysis.search.hull import lower_hull
from analysis.search.problem import Choice, CostTable, Floats, Indices, SearchResult
from analysis.search.question import ROUNDING, ask
from analysis.search.relaxed import lower_bound


@dataclass(frozen=True)
class Pareto(Method):
    """Builds the frontier of size against error and takes the point at the budget.

    Goes through the layers, extends every partial assignment by every format, sorts
    by size and keeps one only if its error is lower than that of all smaller ones.
    That is exact; to bound the time the size axis is cut into bins, of which each
    keeps its best. With several limits the frontier follows the first limit on size
    and the best point that keeps all of them is taken. Cai et al. (2020), ZeroQ, arXiv
    2001.00281, section 3.3; the bins are the authors' remark in their issue 3.
    """

    bins: int = param(
        2000,
        "Parts the size axis is cut into; 0 keeps every point (exact, may be slow).",
        minimum=0,
    )

    key: ClassVar[str] = "pareto"
    title: ClassVar[str] = "Pareto frontier (ZeroQ)"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = (
        "The authors' search code was never released; the dominance rule follows the "
        "paper, how bins keep their best point is ours."
    )

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best point of the frontier within `budget`.

        Raises:
            AnalysisError: no point keeps the limits.
        """
        question = ask(problem, budget)
        cost, sizes = question.groups.cost, question.sizes
        axis = sizes[0].amount if sizes else question.groups.bits
        alone = all(row.amount is axis for row in sizes)
        offered = undominated(cost, [axis]) if alone else np.isfinite(cost)
        axis, cost = np.where(offered, axis, np.inf), np.where(offered, cost, np.inf)
        path, most = lower_hull(axis, cost), np.inf
        if sizes:
            most = sizes[0].most
            price = path.price(most)
        else:
            allowed = question.rows[0].most
            price = path.price(float(np.interp(-allowed, -path.cost, path.size)))
        frontier = _Frontier.build(axis, cost, most, price, self.bins)
        options = frontier.options()
        within = np.ones(len(options), dtype=np.bool_)
        for row in question.rows:
            within &= row.totals(options) <= row.most * (1 + ROUNDING)
        if not within.any():
            raise AnalysisError(
                "No point of the frontier keeps all limits at once.",
                value=str(budget),
                hint="The search `exact` looks beyond the frontier.",
            )
        values = np.array(
            [
                question.value(o) if w else np.inf
                for o, w in zip(options, within, strict=True)
            ]
        )
        best = options[int(values.argmin())]
        whole = frontier.is_exact and len(question.rows) == 1
        bound = question.value(best) if whole else lower_bound(question)
        return question.answer(best, bound)


@dataclass(frozen=True)
class _Frontier:
    """The points that no other beats, as a chain of choices.

    Attributes:
        parents: Per group `[n]` point before it.
        chosen: Per group `[n]` option.
        is_exact: Whether no bin dropped a point.
    """

    parents: list[Indices]
    chosen: list[Indices]
    is_exact: bool

    @classmethod
    def build(
        cls, size: Floats, cost: Floats, most: float, price: float, bins: int
    ) -> _Frontier:
        """Return the frontier of all sums of one point per group.

        Args:
            size: `[G, P]`, inf where an option is not offered.
            cost: `[G, P]`, likewise.
            most: Larger sums are left out.
            price: What one unit of size is worth near the budget.
            bins: How many points are kept at most, but for the ends; 0 for all.
        """
        smallest = size.min(1, initial=np.inf)
        rest = float(smallest.sum())
        sizes, costs = np.zeros(1), np.zeros(1)
        frontier = cls([], [], True)
        for group, (own_size, own_cost) in enumerate(zip(size, cost, strict=True)):
            rest -= float(smallest[group])
            options = np.flatnonzero(np.isfinite(own_cost))
            all_sizes = (sizes[:, None] + own_size[options]).ravel()
            all_costs = (costs[:, None] + own_cost[options]).ravel()
            order = np.lexsort((all_costs, all_sizes))
            order = order[all_sizes[order] <= most * (1 + ROUNDING) - rest]
            least = np.minimum.accumulate(all_costs[order])
            better = np.ones(len(order), dtype=np.bool_)
            better[1:] = all_costs[order][1:] < least[:-1]
            order = order[better]
            if bins and len(order) > bins:
                worth = all_costs[order] + price * all_sizes[order]
                order = order[_best_of_bins(all_sizes[order], worth, bins)]
                frontier = cls(frontier.parents, frontier.chosen, False)
            sizes, costs = all_sizes[order], all_costs[order]
            parent, column = np.divmod(order, len(options))
            frontier.parents.append(parent.astype(np.int32))
            frontier.chosen.append(options[column].astype(np.int16))
        return frontier

    def options(self) -> Choice:
        """Return `[n, G]` options of all points."""
        count = len(self.parents[-1]) if self.parents else 1
        options = np.zeros((count, len(self.parents)), dtype=np.int16)
        point = np.arange(count, dtype=np.int64)
        for group in range(len(self.parents) - 1, -1, -1):
            options[:, group] = self.chosen[group][point]
            point = self.parents[group][point]
        return options


def _best_of_bins(sizes: Floats, worth: Floats, bins: int) -> Indices:
    """Return which of `[n]` points to keep: the best of every bin, and both ends.

    Args:
        sizes: Rising.
        worth: Cost plus the price of the size. The cheapest of a bin is its largest,
            and over many layers those that are always a little too large add up.
        bins: How many there are.
    """
    edges = np.linspace(sizes[0], sizes[-1], bins)
    bin_of = np.searchsorted(edges, sizes, side="right")
    order = np.lexsort((worth, bin_of))
    first = order[np.flatnonzero(np.diff(bin_of[order], prepend=-1))]
    return np.asarray(np.union1d(first, [0, len(sizes) - 1]))
