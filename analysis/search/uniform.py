"""One format for all layers: what every other search is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.errors import AnalysisError
from analysis.search.budget import Budget
from analysis.search.problem import Baseline, CostTable, Indices, SearchResult
from analysis.search.question import Question, ask
from analysis.search.relaxed import lower_bound


@dataclass(frozen=True)
class Uniform:
    """Gives every layer the same format, the best one that keeps the budget.

    Tries each format in turn. A layer that cannot take it (a group size that does not
    divide it, a rule, the target) gets the next larger format it can take, and locked
    layers keep theirs. Every other search shows this result beside its own: what a
    mix of formats is worth is the difference.
    """

    key: ClassVar[str] = "uniform"
    title: ClassVar[str] = "One format for all"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = ""

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best uniform assignment within `budget`.

        Raises:
            AnalysisError: no assignment keeps the limits, or no uniform one does.
        """
        question = ask(problem, budget)
        found = _best(question)
        if found is None:
            raise AnalysisError(
                "No single format for all layers keeps the budget.",
                value=str(budget),
                hint="The search `exact` mixes formats.",
            )
        return question.answer(found[1], lower_bound(question))


def baseline(problem: CostTable, budget: Budget) -> Baseline | None:
    """Return the best uniform assignment within a budget, None when there is none.

    Raises:
        AnalysisError: no assignment at all keeps the limits.
    """
    question = ask(problem, budget)
    found = _best(question)
    if found is None:
        return None
    answer = question.answer(found[1], float("nan"))
    name = problem.name_of(found[0])
    return Baseline(name, answer.choice, answer.cost, answer.bits)


def uniform_options(question: Question, option: int) -> Indices:
    """Return `[G]` options: `option`, or the next larger one that is offered."""
    bits, cost = question.groups.bits, question.groups.cost
    groups = np.arange(len(bits))
    offered = np.isfinite(cost)
    every = question.table.bits[:, option]
    wanted = np.bincount(question.groups.of_row, every, len(bits))[:, None]
    larger = offered & (bits >= wanted)
    next_larger = np.where(larger, bits, np.inf).min(1, keepdims=True)
    largest = np.where(offered, bits, -np.inf).max(1, keepdims=True)
    size = np.where(np.isfinite(next_larger), next_larger, largest)
    fallback = np.where(offered & (bits == size), cost, np.inf).argmin(1)
    return np.where(offered[groups, option], option, fallback)


def _best(question: Question) -> tuple[int, Indices] | None:
    """Return the best option and the choice it makes of every group."""
    best: tuple[int, Indices] | None = None
    least = np.inf
    for option in range(len(question.table.palette)):
        chosen = uniform_options(question, option)
        value = question.value(chosen)
        if question.holds(chosen) and value < least:
            best, least = (option, chosen), value
    return best
