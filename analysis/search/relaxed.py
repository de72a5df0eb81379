"""What every search can use: bounds, starts and spending what is left of a budget."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from analysis.search.branch import Solver
from analysis.search.hull import lower_hull
from analysis.search.nearest import infeasible
from analysis.search.problem import Floats, Indices
from analysis.search.question import ROUNDING, Question, Row

SECONDS = 20.0
"""Time for finding any assignment that keeps several limits."""


def lower_bound(question: Question) -> float:
    """Return an objective that no assignment undercuts.

    The best with fractions of options under each limit alone, of which the largest
    counts: the hull of all sums lies below every sum.
    """
    cost, bits = question.groups.cost, question.groups.bits
    if not question.sizes:
        path = lower_hull(bits, cost)
        most = min(row.most for row in question.rows)
        return float(np.interp(most, path.cost[::-1], path.size[::-1]))
    bounds = []
    for row in question.sizes:
        path = lower_hull(row.amount, cost)
        bounds.append(float(np.interp(row.most, path.size, path.cost)))
    return max(bounds)


def any_start(question: Question) -> Indices:
    """Return `[G]` options that keep all limits, small rather than good.

    Raises:
        AnalysisError: no assignment keeps the limits, or none was found in time.
    """
    share = sum((row.amount / row.most for row in question.rows), np.array(0.0))
    start = np.asarray(share.argmin(1))
    if question.holds(start):
        return start
    for row in question.rows:
        start = np.asarray(row.amount.argmin(1))
        if question.holds(start):
            return start
    solver = Solver(1.0, time.monotonic() + SECONDS)
    found = solver.minimise(np.where(np.isfinite(share), share, np.inf), question.rows)
    if found is None:
        raise infeasible(question)
    return found.option


def spend(objective: Floats, rows: Sequence[Row], option: Indices) -> Indices:
    """Return `option [G]` improved one group at a time while the limits allow it.

    Takes the step that gains most, again and again, until none fits.

    Args:
        objective: `[G, P]`, inf where an option is not offered.
        rows: Limits that `option` keeps.
        option: `[G]`.
    """
    groups, option = np.arange(len(objective)), option.copy()
    room = [row.most * (1 + ROUNDING) - row.total(option) for row in rows]
    gain = objective[groups, option][:, None] - objective
    while True:
        fits = gain > 0
        for row, left in zip(rows, room, strict=True):
            fits &= row.amount - row.amount[groups, option][:, None] <= left
        best = np.where(fits, gain, 0.0)
        if not best.any():
            return option
        group, to = np.unravel_index(int(best.argmax()), best.shape)
        old, option[group] = option[group], to
        gain[group] = objective[group, to] - objective[group]
        if not all(row.holds(option) for row in rows):  # sums round
            option[group] = old
            return option
        room = [row.most * (1 + ROUNDING) - row.total(option) for row in rows]
