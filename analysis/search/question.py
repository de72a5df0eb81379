"""A cost table and a budget, brought into the form that searches work on.

Tied layers become one group, locked ones have a single option, limits become rows of
numbers. Errors are scaled by a power of two so that the largest is about one: integer
programs with absolute tolerances, and temperatures, then mean the same for errors of
1e-12 and of 1e+12, and not one bit of the numbers is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.budget import Budget, Limit
from analysis.search.problem import (
    Choice,
    CostTable,
    Floats,
    Indices,
    SearchResult,
    Ties,
)

PROVEN = 1e-9
"""Relative gap that sums in double precision cannot tell from none."""

ROUNDING = 1e-12
"""Relative slack of a limit: sums in another order differ by this much."""


@dataclass(frozen=True)
class Groups:
    """A cost table with tied layers merged: G groups that choose independently.

    Attributes:
        of_row: `[R]` group of each layer and site.
        cost: `[G, P]` error divided by `scale`, inf where an option is not offered to
            the whole group.
        bits: `[G, P]` storage, likewise inf.
        scale: Power of two near the largest error.
    """

    of_row: Indices
    cost: Floats
    bits: Floats
    scale: float

    def sums(self, array: Floats) -> Floats:
        """Return `array [R, P]` summed by group, inf where nothing is offered."""
        return np.where(np.isfinite(self.cost), _sum(array, self.of_row), np.inf)

    def expand(self, option: NDArray[np.integer]) -> Choice:
        """Return the choice of every row from the choice of every group.

        Args:
            option: `[..., G]`.
        """
        return option[..., self.of_row].astype(np.int16)


def merge(
    table: CostTable,
    locked: NDArray[np.bool_] | None = None,
    choice: NDArray[np.integer] | None = None,
    ties: Ties = (),
) -> Groups:
    """Return `table` with tied layers merged and locked layers held.

    Args:
        table: The costs; its own ties always hold.
        locked: `[R]` rows that keep what `choice` says.
        choice: `[R]` options; read where `locked`.
        ties: Further groups of rows that must share an option.

    Raises:
        AnalysisError: a group has no option left, with the layers it is made of.
    """
    cost = table.cost
    if not (cost >= 0).all():
        raise AnalysisError("A cost of a search is not a number of zero or more.")
    if locked is not None and locked.any():
        if choice is None:
            raise AnalysisError("Locked layers need the choice they are locked to.")
        held = np.flatnonzero(locked)
        own = cost[held, choice[held]]
        cost = cost.copy()
        cost[held] = np.inf
        cost[held, choice[held]] = np.where(np.isfinite(own), own, 0.0)
    of_row = _group_of_row(len(cost), [*table.ties, *ties])
    total = _sum(cost, of_row)
    offered = np.isfinite(total)
    _check_offered(table, of_row, offered)
    largest = float(total.max(initial=0.0, where=offered))
    scale = float(2.0 ** np.floor(np.log2(largest))) if largest > 0 else 1.0
    bits = np.where(offered, _sum(table.bits, of_row), np.inf)
    return Groups(of_row, total / scale, bits, scale)


def _check_offered(
    table: CostTable, of_row: Indices, offered: NDArray[np.bool_]
) -> None:
    stuck = np.flatnonzero(~offered.any(1))
    if not len(stuck):
        return
    rows = [*(layer.name for layer in table.layers), *table.sites]
    names = [rows[i] for i in np.flatnonzero(of_row == stuck[0])]
    raise AnalysisError(
        "No scheme is left that all of these layers may take."
        if len(names) > 1
        else f"No scheme is left for {names[0]}.",
        value=", ".join(names[:6]) + (" ..." if len(names) > 6 else ""),
        allowed="at least one scheme offered to every layer of a tie",
        hint="Unlock one of them, analyse more formats, choose another target, or "
        "ease the rules.",
    )


def _group_of_row(rows: int, ties: Ties) -> Indices:
    """Return `[R]` group numbers; overlapping ties become one group."""
    ties = [tie for tie in ties if len(tie) > 1]
    sizes = np.fromiter(map(len, ties), np.int64, len(ties))
    second = np.fromiter(chain.from_iterable(ties), np.int64, int(sizes.sum()))
    first = np.repeat(second[np.cumsum(sizes) - sizes], sizes)
    label = np.arange(rows)
    while True:
        lower = label.copy()
        least = np.minimum(label[first], label[second])
        np.minimum.at(lower, first, least)
        np.minimum.at(lower, second, least)
        if np.array_equal(lower, label):
            # Each group is labelled with its first row: counted, not sorted.
            return np.asarray(np.cumsum(label == np.arange(rows)) - 1)[label]
        label = lower


def _sum(values: Floats, of_row: Indices) -> Floats:
    groups = int(of_row.max(initial=-1)) + 1
    if groups == len(values):
        return values.astype(np.float64)
    columns = [
        np.bincount(of_row, weights=column, minlength=groups) for column in values.T
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((groups, 0))


@dataclass(frozen=True, slots=True)
class Row:
    """One limit as a sum over groups: `sum(amount[g, option[g]]) <= most`.

    Attributes:
        limit: As the user gave it.
        amount: `[G, P]` bits, bit operations, error ...
        most: The limit in the unit of `amount`.
        per_unit: How much of `amount` is one unit of the limit (8 for bytes).
        stored: What the stored model needs, in the unit of the limit.
    """

    limit: Limit
    amount: Floats
    most: float
    per_unit: float
    stored: float

    @classmethod
    def of(cls, table: CostTable, groups: Groups, limit: Limit) -> Row:
        """Return a limit as a row.

        Raises:
            AnalysisError: the table does not know what is limited.
        """
        stored = table.stored(limit)
        if limit.quantity == "error":
            amount, per_unit = groups.cost, 1 / groups.scale
        elif table.amount(limit) is table.bits:
            amount, per_unit = groups.bits, table.per_unit(limit)
        else:
            amount, per_unit = groups.sums(table.amount(limit)), 1.0
        return cls(limit, amount, limit.absolute(stored) * per_unit, per_unit, stored)

    @property
    def is_error(self) -> bool:
        """Whether the objective itself is limited."""
        return self.limit.quantity == "error"

    def holds(self, option: NDArray[np.integer]) -> bool:
        """Return whether a choice of every group keeps the limit."""
        return self.total(option) <= self.most * (1 + ROUNDING)

    def total(self, option: NDArray[np.integer]) -> float:
        """Return the sum of `amount` over a choice of every group."""
        return float(self.amount[np.arange(len(self.amount)), option].sum())

    def totals(self, option: NDArray[np.integer]) -> Floats:
        """Return `[n]` sums of `amount` over choices `[n, G]`."""
        chosen = self.amount[np.arange(len(self.amount)), option]
        return np.asarray(chosen.sum(-1))

    def loosened(self, total: float) -> Row:
        """Return the row with its limit moved so far that a sum of `total` keeps it."""
        limit = self.limit.loosened(total / self.per_unit, self.stored)
        most = limit.absolute(self.stored) * self.per_unit
        return Row(limit, self.amount, most, self.per_unit, self.stored)


@dataclass(frozen=True)
class Question:
    """What to minimise under which limits, over groups.

    Attributes:
        table: As given.
        budget: As given.
        groups: The table with its ties merged.
        rows: The limits, in the order they were given.
    """

    table: CostTable
    budget: Budget
    groups: Groups
    rows: tuple[Row, ...]

    @property
    def sizes(self) -> tuple[Row, ...]:
        """Limits on something else than the error."""
        return tuple(row for row in self.rows if not row.is_error)

    @property
    def objective(self) -> Floats:
        """`[G, P]` the error or, when only the error is limited, the bits."""
        return self.groups.cost if self.sizes else self.groups.bits

    def holds(self, option: NDArray[np.integer]) -> bool:
        """Return whether a choice of every group keeps all limits."""
        return all(row.holds(option) for row in self.rows)

    def value(self, option: NDArray[np.integer]) -> float:
        """Return the objective of a choice of every group."""
        return float(self.objective[np.arange(len(option)), option].sum())

    def answer(
        self, option: NDArray[np.integer], bound: float, asked: float = 0.0
    ) -> SearchResult:
        """Return a choice of every group with its totals, summed layer by layer.

        Args:
            option: `[G]`.
            bound: An objective that no choice undercuts; NaN when none is known.
            asked: Gap that counts as proven.
        """
        choice = self.groups.expand(option)
        gap = relative_gap(self.value(option), bound)
        if self.table.blocks and self.sizes:
            gap = np.nan  # the bound knows nothing of what layers do together
        return SearchResult(
            choice,
            self.table.error(choice),
            self.table.total(self.table.bits, choice),
            gap,
            bool(gap <= max(asked, PROVEN)),
        )


def ask(table: CostTable, budget: Budget) -> Question:
    """Return the question of a table and a budget.

    Raises:
        AnalysisError: a layer has no option left, or a limit cannot be kept even on
            its own; the message names the nearest budget that can.
    """
    groups = merge(table)
    rows = tuple(Row.of(table, groups, limit) for limit in budget.limits)
    question = Question(table, budget, groups, rows)
    for row in rows:
        if float(row.amount.min(1).sum()) > row.most * (1 + ROUNDING):
            from analysis.search.nearest import infeasible

            raise infeasible(question)
    return question


def relative_gap(value: float, bound: float) -> float:
    """Return how far `value` lies above a lower bound, as a share of it."""
    if np.isnan(bound):
        return float("nan")
    return max(0.0, (value - bound) / value) if value > 0 else 0.0
