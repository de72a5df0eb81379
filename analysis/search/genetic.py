"""BRECQ's genetic search, which can use what layers of a block cost together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.method import Method, param
from analysis.search.budget import Budget
from analysis.search.problem import CostTable, Floats, Indices, SearchResult
from analysis.search.question import ROUNDING, Question, ask
from analysis.search.relaxed import any_start, lower_bound

Breed = Callable[[Indices, int], Indices]

TRIES = 20
"""How often a child outside the budget is drawn again before a parent stands in."""

STEPS = 24
"""Halvings in the search for the mean width at which a random start fits."""


@dataclass(frozen=True)
class Genetic(Method):
    """Breeds assignments: the best are crossed and mutated for many generations.

    Starts from random assignments around the mean width of the budget. Half of the
    children take each layer from one of two of the best so far, half are one of them
    with some layers drawn anew; a child outside the budget is drawn again. The error
    of a child is a sum of table entries; where subsets of blocks were measured at the
    lowest width (measure block_error) those errors replace the sum over their layers,
    because there layers hurt more, or less, together. Li et al. (2021), BRECQ, arXiv
    2102.05426, section 3.4 and appendix B.
    """

    population: int = param(50, "Assignments in a generation.", minimum=2)
    generations: int = param(100, "Generations.", minimum=1)
    parents: int = param(10, "Best assignments that are bred from.", minimum=1)
    mutation: float = param(
        0.1, "Chance that a layer is drawn anew.", minimum=0.0, maximum=1.0
    )
    seed: int = param(0, "Seed of the random draws.", minimum=0)

    key: ClassVar[str] = "genetic"
    title: ClassVar[str] = "Genetic (BRECQ)"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = (
        "The authors' search was never released: population, generations and mutation "
        "follow the paper from memory; the number of parents, how a start is made to "
        "fit the budget and how block costs are added are ours."
    )

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best assignment bred within `budget`.

        Raises:
            AnalysisError: no assignment keeps the limits.
        """
        question = ask(problem, budget)
        pool = _Pool(question, np.random.default_rng(self.seed))
        people = pool.first(self.population)
        elite = people[np.argsort(pool.fitness(people), kind="stable")[: self.parents]]
        for _ in range(self.generations):
            crossed = self.population // 2
            children = [
                pool.fitting(elite, crossed, pool.cross),
                pool.fitting(
                    elite, self.population - crossed, pool.mutate(self.mutation)
                ),
            ]
            # Twins would soon be all there is.
            everyone = np.unique(np.concatenate([elite, *children]), axis=0)
            order = np.argsort(pool.fitness(everyone), kind="stable")
            elite = everyone[order[: self.parents]]
        return question.answer(elite[0], lower_bound(question))


class _Pool:
    """Draws, breeds and judges assignments of the groups.

    Args:
        question: What is minimised under which limits.
        rng: Where all randomness comes from.
    """

    def __init__(self, question: Question, rng: np.random.Generator) -> None:
        self._question = question
        self._rng = rng
        offered = np.isfinite(question.objective)
        self._count = offered.sum(1)
        # Offered options first, so that a number below the count picks one of them.
        self._offered = np.argsort(~offered, axis=1, kind="stable")

    def fitness(self, people: Indices) -> Floats:
        """Return `[n]` objectives of `[n, G]` options."""
        question = self._question
        chosen = question.objective[np.arange(people.shape[1]), people]
        total = np.asarray(chosen.sum(1))
        if question.table.blocks and question.sizes:
            table, choice = question.table, question.groups.expand(people)
            own = np.where(np.isfinite(table.cost), table.cost, 0.0)
            for block in table.blocks:
                total = total + block.beyond(own, choice) / question.groups.scale
        return total

    def fits(self, people: Indices) -> NDArray[np.bool_]:
        """Return which of `[n, G]` options keep all limits."""
        within = np.ones(len(people), dtype=np.bool_)
        for row in self._question.rows:
            within &= row.totals(people) <= row.most * (1 + ROUNDING)
        return within

    def first(self, count: int) -> Indices:
        """Return random assignments around the largest mean width that fits each."""
        question = self._question
        bits = np.where(np.isfinite(question.objective), question.groups.bits, np.inf)
        weights = np.bincount(
            question.groups.of_row,
            [*(x.parameters for x in question.table.layers), *[0] * _sites(question)],
            len(bits),
        )
        width = bits / np.maximum(weights, 1)[:, None]
        noise = self._rng.normal(size=(count, len(bits)))
        start = any_start(question)
        people = np.repeat(start[None], count, axis=0)
        finite = width[np.isfinite(width)]
        low = np.full(count, finite.min(initial=0.0) - 4)
        high = np.full(count, finite.max(initial=0.0) + 4)
        for _ in range(STEPS):
            middle = (low + high) / 2
            tried = _nearest(width, middle[:, None] + noise)
            within = self.fits(tried)
            people[within] = tried[within]
            low, high = np.where(within, middle, low), np.where(within, high, middle)
        return people

    def fitting(self, elite: Indices, count: int, breed: Breed) -> Indices:
        """Return `count` children within the budget; parents where none was found."""
        children = elite[self._rng.integers(len(elite), size=count)]
        open_ = np.arange(count)
        for _ in range(TRIES):
            if not len(open_):
                break
            tried = breed(elite, len(open_))
            within = self.fits(tried)
            children[open_[within]] = tried[within]
            open_ = open_[~within]
        return children

    def cross(self, elite: Indices, count: int) -> Indices:
        """Return children that take every gene from one of two parents."""
        one, two = elite[self._rng.integers(len(elite), size=(2, count))]
        return np.asarray(np.where(self._rng.random(one.shape) < 0.5, one, two))

    def mutate(self, chance: float) -> Breed:
        """Return what draws some genes of a parent anew."""

        def breed(elite: Indices, count: int) -> Indices:
            parent = elite[self._rng.integers(len(elite), size=count)]
            place = (self._rng.random(parent.shape) * self._count).astype(np.int64)
            drawn = self._offered[np.arange(parent.shape[1]), place]
            anew = self._rng.random(parent.shape) < chance
            return np.asarray(np.where(anew, drawn, parent))

        return breed


def _sites(question: Question) -> int:
    return len(question.table.sites)


def _nearest(width: Floats, wanted: Floats) -> Indices:
    """Return `[n, G]` options whose width `[G, P]` is nearest to `wanted [n, G]`."""
    best = np.zeros(wanted.shape, dtype=np.int64)
    least = np.full(wanted.shape, np.inf)
    for option in range(width.shape[1]):
        away = np.abs(width[:, option] - wanted)
        closer = away < least
        best[closer], least[closer] = option, away[closer]
    return best
