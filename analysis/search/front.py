"""The whole trade-off between size and error at once.

One sort of all steps along the groups' own hulls gives the optimum for every price of
a bit, and for every budget an assignment that misses the optimum by less than one step
of one layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.budget import Budget
from analysis.search.hull import Path, lower_hull
from analysis.search.problem import Choice, CostTable, Floats, SearchResult, Ties
from analysis.search.question import ROUNDING, Groups, ask, merge
from analysis.search.relaxed import lower_bound


@dataclass(frozen=True)
class Front:
    """Every assignment that is best for some price of a bit.

    Attributes:
        bits: `[n]` storage (bits), rising.
        cost: `[n]` objective, summed over layers, falling.
    """

    bits: Floats
    cost: Floats
    _path: Path
    _groups: Groups

    def __len__(self) -> int:
        return len(self.bits)

    def choice(self, point: int) -> Choice:
        """Return the `[R]` options at one point of the front.

        Raises:
            IndexError: there is no such point.
        """
        if not 0 <= point < len(self):
            raise IndexError(f"the front has {len(self)} points, not one at {point}")
        return self._groups.expand(self._path.options(point))

    def price(self, point: int) -> float:
        """Return how far the error falls per further bit of storage at a point.

        Every layer of the front minimises its error plus this price times its bits;
        0 at the end of the front.
        """
        if point + 1 >= len(self):
            return 0.0
        drop = self.cost[point] - self.cost[point + 1]
        return float(drop / (self.bits[point + 1] - self.bits[point]))

    def tied_to(self, row: int) -> NDArray[np.int64]:
        """Return the rows that choose together with one, itself among them."""
        return np.flatnonzero(self._groups.of_row == self._groups.of_row[row])

    def options_of(self, row: int) -> tuple[Floats, Floats]:
        """Return `[P]` bits and error of a row with all that is tied to it."""
        group = self._groups.of_row[row]
        return self._groups.bits[group], self._groups.cost[group] * self._groups.scale

    def next_steps(self, choice: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Return what the next step up of every row buys.

        The step is the steepest fall of the error per bit; tied rows step together.

        Args:
            choice: `[R]` options that keep the ties.

        Returns:
            `[R]` further bits and fall of the error; NaN where no step up helps.
        """
        groups = self._groups
        _, first = np.unique(groups.of_row, return_index=True)
        here, rows = choice[first], np.arange(len(first))
        more = groups.bits - groups.bits[rows, here][:, None]
        fall = groups.cost[rows, here][:, None] - groups.cost
        better = np.isfinite(more) & np.isfinite(fall) & (more > 0) & (fall > 0)
        rate = np.where(better, fall, -np.inf) / np.where(better, more, 1.0)
        to = rate.argmax(1)
        known = np.isfinite(rate[rows, to])
        spent = np.where(known, more[rows, to], np.nan)
        bought = np.where(known, fall[rows, to] * groups.scale, np.nan)
        return spent[groups.of_row], bought[groups.of_row]

    def totals(self, amount: Floats) -> Floats:
        """Return `[n]` sums of `amount [G, P]`, tied layers added up, at all points."""
        return self._path.totals(amount)

    def sums(self, array: Floats) -> Floats:
        """Return `[n]` sums of `array [R, P]` over the chosen options at all points."""
        return self._path.totals(self._groups.sums(array))


def front(
    table: CostTable,
    locked: NDArray[np.bool_] | None = None,
    choice: NDArray[np.integer] | None = None,
    ties: Ties = (),
) -> Front:
    """Return the lower convex hull of (bits, cost) over all assignments.

    Args:
        table: The costs; its own ties always hold.
        locked: `[R]` rows that keep what `choice` says.
        choice: `[R]` options; read where `locked`.
        ties: Further groups of rows that must share an option.

    Raises:
        AnalysisError: a layer or tie has no scheme left.
    """
    groups = merge(table, locked, choice, ties)
    path = lower_hull(groups.bits, groups.cost)
    return Front(path.size, path.cost * groups.scale, path, groups)


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
    reconstruction: ClassVar[str] = ""

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best point of the front within `budget`.

        Raises:
            AnalysisError: no point keeps the limits; the message names the nearest
                budget where one limit alone cannot be met.
        """
        question = ask(problem, budget)
        rows, sizes = question.rows, question.sizes
        storage = [row for row in sizes if row.amount is question.groups.bits]
        axis = (*storage, *sizes)[0].amount if sizes else question.groups.bits
        path = lower_hull(axis, question.groups.cost)
        within = np.ones(len(path.size), dtype=bool)
        for row in rows:
            total = path.cost if row.is_error else path.totals(row.amount)
            within &= total <= row.most * (1 + ROUNDING)
        points = np.flatnonzero(within)
        if not len(points):
            raise AnalysisError(
                "No point of the convex front keeps all limits at once.",
                value=str(budget),
                hint="The search `exact` looks beyond the front.",
            )
        point = int(points[-1] if sizes else points[0])
        return question.answer(path.options(point), lower_bound(question))
