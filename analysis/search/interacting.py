"""Searching with what layers do to each other, not only with what each does alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.method import Method, param
from analysis.prediction import clustered_ratio
from analysis.search.budget import Budget
from analysis.search.dynamic import Dynamic
from analysis.search.exact import Exact
from analysis.search.exchange import Landscape, descend
from analysis.search.front import ConvexFront
from analysis.search.greedy import Greedy
from analysis.search.problem import (
    CostTable,
    Indices,
    Interaction,
    Probes,
    SearchResult,
)
from analysis.search.question import ask

STARTS = MappingProxyType(
    {kind.key: kind for kind in (Exact, ConvexFront, Dynamic, Greedy)}
)

SHARES = (0.5, 1.0)
"""Shares of the cross terms that cross-validation chooses from, besides none."""

FOLDS = 4

BEYOND = 1.0
"""Standard errors that a gain on unseen rows must exceed to be believed."""


@dataclass(frozen=True)
class Interacting(Method):
    """Improves an additive solution by what layers do to each other.

    The errors of two layers can cancel or add up. The probes of the predicted error
    tell which: to second order the error is the mean of the squared sum of the chosen
    layers' projections. From the solution of `start`, single changes and exchanges of
    two layers (ties together, locks and all limits kept) are taken as long as that
    error falls. The projections are noisy, and a search finds what noise promises: how
    much of the cross terms to believe is chosen by four-fold cross-validation over
    samples, and nothing is changed unless what is gained on samples that were not
    searched over exceeds its standard error (Breiman et al. (1984), section 3.4).
    """

    start: str = param(
        "exact", "Search whose solution is improved.", choices=tuple(STARTS)
    )
    moves: int = param(1000, "Changes and exchanges taken at most.", minimum=0)

    key: ClassVar[str] = "interacting"
    title: ClassVar[str] = "With interactions"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = ""

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return an assignment within `budget`, and how much additivity was off.

        Without projections there is nothing to improve by, and with a limit on the
        error alone, which is kept by the sum of the layers' own errors, the additive
        solution stays as well.

        Raises:
            AnalysisError: no assignment keeps the limits.
        """
        probes, question = problem.probes, ask(problem, budget)
        begun = STARTS[self.start]().run(replace(problem, blocks=()), budget)
        if probes is None:
            return begun
        option = np.zeros(len(question.groups.cost), dtype=np.int64)
        option[question.groups.of_row] = begun.choice
        land = Landscape.of(question, probes)
        believed = NOTHING
        if question.sizes:
            believed = _believed(land, probes, option, self.moves)
        if believed.share:
            option = descend(land, believed.share, option, self.moves)
        answer = question.answer(option, float("nan"))
        rest = float((probes.kept**2).sum() / probes.weight.sum())
        interaction = Interaction(
            believed.share,
            probes.error(begun.choice),
            problem.error(begun.choice) + rest,
            probes.error(answer.choice),
            problem.error(answer.choice) + rest,
            believed.gain,
            believed.stderr,
        )
        if np.array_equal(answer.choice, begun.choice):
            answer = begun
        return replace(answer, interaction=interaction)


@dataclass(frozen=True, slots=True)
class _Belief:
    """What cross-validation says of the cross terms; see `Interaction`."""

    share: float
    gain: float
    stderr: float


NOTHING = _Belief(0.0, 0.0, float("nan"))


def _believed(land: Landscape, probes: Probes, start: Indices, most: int) -> _Belief:
    """Return the share of the cross terms that helps most on unseen rows.

    The start was found on all rows, the unseen ones among them, so that the
    comparison is, if anything, unfair to the refinement.
    """
    fold = _folds(probes)
    best = NOTHING
    if fold is None:
        return best
    seen = [Landscape.of(land.question, probes, fold != k) for k in range(FOLDS)]
    before = land.sums(start) ** 2
    total = float(before.sum() / probes.weight.sum())
    for share in SHARES:
        after = np.empty(len(before))
        for number in range(FOLDS):
            unseen = fold == number
            found = descend(seen[number], share, start, most)
            after[unseen] = land.sums(found)[unseen] ** 2
        saved, stderr = clustered_ratio(before - after, probes.weight, probes.cluster)
        gain = float(saved) / total if total > 0 else 0.0
        error = float(stderr) / total if total > 0 else float("nan")
        # Written so that an error that cannot be told (NaN) is not believed.
        if gain > best.gain and gain > BEYOND * error:
            best = _Belief(share, gain, error)
    return best


def _folds(probes: Probes) -> NDArray[np.int64] | None:
    """Return `[n]` the fold of each row: whole samples, where there are enough."""
    samples = int(probes.cluster.max(initial=-1)) + 1
    if samples >= FOLDS:
        return probes.cluster % FOLDS
    return None
