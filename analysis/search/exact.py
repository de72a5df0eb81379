"""The best assignment within a budget, with a proof."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from analysis.method import Method, param
from analysis.search.branch import OutOfTime, Solver
from analysis.search.budget import Budget
from analysis.search.dynamic import small_knapsack
from analysis.search.nearest import infeasible
from analysis.search.problem import CostTable, SearchResult
from analysis.search.question import ask


@dataclass(frozen=True)
class Exact(Method):
    """Finds the assignment of least error within the budget, and proves it.

    Solves the multiple-choice knapsack problem (one scheme per layer, tied layers
    together, locked layers held, all limits at once), after ruling out every choice
    whose reduced cost shows that no optimal assignment contains it: under one limit by
    dynamic programming while that is short, else with the branch-and-bound solver
    HiGHS. With a limit on the error alone it finds the smallest
    model instead. The error minimised is the sum over layers, without interactions.
    Dong et al. (2020), HAWQ-V2, arXiv 1911.03852 and Yao et al. (2021), HAWQ-V3,
    arXiv 2011.10680 for the formulation; Pisinger (1995), European Journal of
    Operational Research 83, 394-410 for the core.
    """

    gap: float = param(
        0.0,
        "Stop when no assignment can be better by more than this share.",
        minimum=0.0,
        maximum=1.0,
    )
    seconds: float = param(
        60.0,
        "Stop after this time with the best assignment found so far.",
        unit="s",
        minimum=0.01,
    )

    key: ClassVar[str] = "exact"
    title: ClassVar[str] = "Exact optimum"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = ""

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best assignment within `budget`.

        Raises:
            AnalysisError: no assignment keeps the limits (the message names the
                nearest budget that can be kept), or none was found in time.
        """
        question = ask(problem, budget)
        rows, sizes = question.rows, question.sizes
        # Whether an error limit can be kept beside others only the optimum tells.
        gap = self.gap if not sizes or len(sizes) == len(rows) else 0.0
        limits = sizes or rows
        found = (
            small_knapsack(question.objective, limits[0]) if len(limits) == 1 else None
        )
        if found is None:
            solver = Solver(gap, time.monotonic() + self.seconds)
            found = solver.minimise(question.objective, limits)
        if found is None:
            raise infeasible(question)
        for row in rows:
            if not row.holds(found.option):
                raise OutOfTime if found.bound <= row.most else infeasible(question)
        return question.answer(found.option, found.bound, self.gap)
