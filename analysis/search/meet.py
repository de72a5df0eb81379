"""The smallest model that keeps a metric of the task, with few runs of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.errors import AnalysisError
from analysis.search.anchors import Anchors
from analysis.search.asked import Asked
from analysis.search.budget import Budget
from analysis.search.front import Front, front
from analysis.search.problem import Indices
from analysis.search.question import ROUNDING, ask
from analysis.search.running import Runner, Steps
from analysis.search.trial import Run, Trial

CLOSE = 0.005
"""Relative difference in size that is not worth another run."""


def meet(asked: Asked, run: Run) -> Steps:
    """Yield updates and, after each run, the smallest model so far that meets `keep`.

    The convex front of size against error tells the candidates and their order; the
    metric is taken to fall along it, so that bisection finds where it breaks the
    limit. That is AIMET's search along its Pareto curve, with prediction in place of
    the evaluations that its curve is made of. Halfway is where the logarithm of the
    predicted error is, which a metric follows more evenly than it follows the size.
    With a budget only points within it are candidates.

    Args:
        asked: What to search for, with `keep`.
        run: Runs the network with an assignment.

    Raises:
        AnalysisError: no point keeps the budget, the metric is unknown, or the
            network cannot run.
    """
    keep, plan = asked.keep, asked.plan
    assert keep is not None
    line = front(asked.table)
    points = _within(asked, line)
    most = plan.candidates * plan.rounds
    runner = Runner(asked, run, min(most, 2 + int(np.ceil(np.log2(len(points))))))
    anchors = Anchors(asked.table)

    def rank(trial: Trial) -> float:
        if keep.met(trial.score):
            return asked.table.total(asked.table.bits, trial.choice)
        return 1e300 * (1 + min(max(keep.lost(trial.score), 0.0), 1e6))

    tested: set[int] = set()
    # The largest within the budget; without one that is the stored model, which
    # keeps everything and need not be run.
    high, low = len(points) - 1, -1
    at = high if asked.budget else _between(line, points, low, high)
    while runner.evaluations < most:
        choice = line.choice(int(points[at]))
        belief = anchors.fit()
        expected = anchors.predict(choice, belief)
        trial = yield from runner.attempt(choice, expected, "bisection")
        anchors = anchors.with_run(choice, trial.score.value, alone=False)
        if keep.met(trial.score):
            high = at
        else:
            low = at
        tested.add(at)
        state = runner.came_to(rank, lambda trial: keep.met(trial.score), "")
        yield replace(state, goal=keep.describe(state.best.score))
        if low >= high:
            break  # not even the largest meets it
        size = line.bits[points]
        is_close = low >= 0 and size[high] <= size[low] * (1 + CLOSE)
        at = high if is_close else _between(line, points, low, high)
        if at in tested:
            break


def _within(asked: Asked, line: Front) -> Indices:
    """Return the points of the front within the budget, smallest first."""
    if not asked.budget:
        return np.arange(len(line))
    question = ask(asked.table, Budget.parse(asked.budget, asked.table.costs))
    within = np.ones(len(line), dtype=np.bool_)
    for row in question.rows:
        within &= line.totals(row.amount) <= row.most * (1 + ROUNDING)
    if not within.any():
        raise AnalysisError(
            "No point of the convex front keeps the budget.", value=asked.budget
        )
    return np.flatnonzero(within)


def _between(line: Front, points: Indices, low: int, high: int) -> int:
    """Return a point strictly between two, halfway in the logarithm of the error."""
    inner = np.arange(low + 1, high)
    if not len(inner):
        return high
    error = np.maximum(line.cost[points], np.finfo(float).tiny)
    ends = np.log(error[max(low, 0)]), np.log(error[inner[-1]])
    middle = (ends[0] + ends[1]) / 2
    return int(inner[np.abs(np.log(error[inner]) - middle).argmin()])
