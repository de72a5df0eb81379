"""What to say of a budget that cannot be met: what binds, and what could be met."""

from __future__ import annotations

import time

from analysis.errors import AnalysisError
from analysis.search.branch import Solver
from analysis.search.budget import Budget, Limit
from analysis.search.question import ROUNDING, Question, Row

SECONDS = 20.0
"""Time for finding the nearest budget."""


class Infeasible(AnalysisError):
    """No assignment keeps the budget.

    Attributes:
        binding: The limit that cannot be kept beside those before it.
        nearest: The budget with as few limits loosened, by as little, as lets some
            assignment keep it; limits given first are kept first.
    """

    binding: Limit
    nearest: Budget


def infeasible(question: Question) -> AnalysisError:
    """Return the error for a budget that no assignment keeps.

    Goes through the limits in the order given. Each is kept if it can be beside those
    before it; if not, it is loosened to the least that is possible beside them.

    Args:
        question: With limits that cannot be kept together.
    """
    solver = Solver(0.0, time.monotonic() + SECONDS)
    kept: list[Row] = []
    binding: tuple[Row, Row, tuple[Row, ...]] | None = None
    for row in question.rows:
        least = solver.minimise(row.amount, kept)
        assert least is not None  # the rows kept so far hold together
        loose = (
            row if row.holds(least.option) else row.loosened(row.total(least.option))
        )
        if loose is not row and binding is None:
            binding = row, loose, tuple(kept)
        kept.append(loose)
    assert binding is not None
    return _error(*binding, question.budget, Budget(tuple(row.limit for row in kept)))


def _error(
    row: Row, loose: Row, before: tuple[Row, ...], budget: Budget, nearest: Budget
) -> Infeasible:
    alone = float(row.amount.min(1).sum()) <= row.most * (1 + ROUNDING)
    others = ", ".join(str(other.limit) for other in before if alone)
    direction = "more" if row.is_error else "fewer"
    more, smallest = "more", "smallest"
    if row.limit.quantity == "compression":
        more, smallest = "less", "largest"
    hint = f"Loosen the limit, analyse formats of {direction} bits, or unlock layers."
    if len(budget.limits) > 1:
        hint = f"The nearest budget that can be met is {nearest}. {hint}"
    error = Infeasible(
        f"No assignment keeps {row.limit}{f' together with {others}' * bool(others)}.",
        value=str(budget),
        allowed=f"{loose.limit} or {more}, the {smallest} possible with the schemes "
        "offered",
        hint=hint,
    )
    error.binding, error.nearest = row.limit, nearest
    return error
