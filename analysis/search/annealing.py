"""Simulated annealing as exllamav2 allocates its bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.method import Method, param
from analysis.search.budget import Budget
from analysis.search.problem import CostTable, Floats, Indices, SearchResult
from analysis.search.question import ROUNDING, Question, ask
from analysis.search.relaxed import any_start, lower_bound, spend

HOT, COLD = 2.0, 1e-4
"""First and last temperature, in mean ranges of the error of a layer."""

NORMS = (1.5, 3.5)
"""Exponents that are tried first when they are swept."""

NEAR = 0.075
"""How far around the best exponent the second sweep looks."""


@dataclass(frozen=True)
class Annealing(Method):
    """Lets random changes of single layers cool down, as exllamav2 does.

    Starts from the smallest assignment and changes one layer at a time. What lowers
    the sum of `error^norm` is taken, what raises it with a chance that falls with the
    temperature, what breaks the budget never; what is left of the budget is spent at
    the end. A larger norm protects the worst layers. With `sweep` the norm is chosen
    in three rounds: from 1.5 to 3.5 and then close to the best, by the least maximum
    error; the last round keeps the least sum. exllamav2 `conversion/optimize.py`.
    """

    runs: int = param(80, "Independent runs in a round.", minimum=1)
    moves: int = param(
        20, "Changes tried at each temperature; exllamav2 tries 1000.", minimum=1
    )
    cooling: float = param(
        0.995,
        "Factor from one temperature to the next.",
        minimum=0.5,
        maximum=0.9999,
    )
    norm: float = param(
        1.0, "Exponent of each error; 1 is the plain sum.", minimum=1.0, maximum=4.0
    )
    sweep: bool = param(False, "Choose the norm in three rounds instead.")
    seed: int = param(0, "Seed of the random draws.", minimum=0)

    key: ClassVar[str] = "annealing"
    title: ClassVar[str] = "Annealing (exl2)"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = (
        "exllamav2 anneals errors between 0 and 1; here temperatures are in mean "
        "ranges of a layer's error. It spends the remainder layer by layer in order, "
        "here the largest gain comes first."
    )

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return the best assignment found within `budget`.

        Raises:
            AnalysisError: no assignment keeps the limits.
        """
        question = ask(problem, budget)
        rng = np.random.default_rng(self.seed)
        if self.sweep:
            norm = self._least_maximum(question, rng, np.linspace(*NORMS, self.runs))
            near = np.linspace(norm - NEAR, norm + NEAR, self.runs)
            norm = self._least_maximum(question, rng, near)
        else:
            norm = self.norm
        norms = np.full(self.runs, norm)
        found = self._anneal(question, rng, norms)
        # The sweep only chooses the norm; the last round goes by the plain sum.
        judged = question.objective if self.sweep else question.objective**norm
        values = judged[np.arange(found.shape[1]), found].sum(1)
        best = found[int(values.argmin())]
        best = spend(judged, question.rows, best)
        return question.answer(best, lower_bound(question))

    def _least_maximum(
        self, question: Question, rng: np.random.Generator, norms: Floats
    ) -> float:
        """Return the norm whose run ends with the smallest largest error."""
        found = self._anneal(question, rng, norms)
        errors = question.objective[np.arange(found.shape[1]), found]
        return float(norms[int(errors.max(1, initial=0.0).argmin())])

    def _anneal(
        self, question: Question, rng: np.random.Generator, norms: Floats
    ) -> Indices:
        """Return `[C, G]` options that C runs end at, one run for each norm."""
        objective, chains = question.objective, np.arange(len(norms))
        groups = len(objective)
        start = any_start(question)
        option = np.repeat(start[None], len(norms), axis=0)
        if not groups:
            return option
        offered = np.isfinite(objective)
        count = offered.sum(1)
        listed = np.argsort(~offered, axis=1, kind="stable")
        unit = _units(objective, norms)
        rows = [(r.amount, r.most * (1 + ROUNDING)) for r in question.rows]
        totals = [row.totals(option) for row in question.rows]
        temperature = HOT
        while temperature > COLD:
            shape = self.moves, len(norms)
            group = rng.integers(groups, size=shape)
            place = (rng.random(shape) * count[group]).astype(np.int64)
            drawn = listed[group, place]
            limit = -temperature * np.log1p(-rng.random(shape))
            for g, to, most in zip(group, drawn, limit, strict=True):
                old = option[chains, g]
                rise = (objective[g, to] ** norms - objective[g, old] ** norms) / unit
                taken = rise < most
                after = []
                for (amount, room), total in zip(rows, totals, strict=True):
                    moved = total + (amount[g, to] - amount[g, old])
                    taken &= moved <= room
                    after.append(moved)
                option[chains, g] = np.where(taken, to, old)
                totals = [
                    np.where(taken, new, total)
                    for new, total in zip(after, totals, strict=True)
                ]
            temperature *= self.cooling
        return _checked(question, option, start)


def _units(objective: Floats, norms: Floats) -> Floats:
    """Return `[C]` mean ranges of a group's `error^norm`, what temperatures are in."""
    highest = np.where(np.isfinite(objective), objective, -np.inf).max(1)
    lowest = objective.min(1)
    ranges = highest[:, None] ** norms - lowest[:, None] ** norms
    mean = ranges.mean(0)
    return np.asarray(np.where(mean > 0, mean, 1.0))


def _checked(question: Question, option: Indices, start: Indices) -> Indices:
    """Return `[C, G]` options; the start where running sums hid a broken limit."""
    for chain, chosen in enumerate(option):
        if not question.holds(chosen):
            option[chain] = start
    return option
