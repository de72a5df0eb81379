"""Verify and refine: run the best candidates, learn from them, search again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.search import solve
from analysis.search.anchors import Anchors, Belief
from analysis.search.asked import Asked
from analysis.search.budget import Budget
from analysis.search.exact import Exact
from analysis.search.exchange import Landscape, descend, neighbours
from analysis.search.front import ConvexFront
from analysis.search.greedy import Greedy
from analysis.search.interacting import Interacting
from analysis.search.local import Local
from analysis.search.problem import Choice, CostTable, Indices, Probes
from analysis.search.question import ROUNDING, Question, ask
from analysis.search.running import Runner, Steps
from analysis.search.trial import Expand, Refined, Run, Trial
from analysis.search.uniform import Uniform
from quant_core.assignment import Assignment

MANY = 2000
"""Rows from which corrected costs are answered by the front, not to the optimum."""

ENTRIES = 20_000
"""Groups times options up to which neighbours are looked at."""

NEAR = 64
"""Neighbours among which one that was not run yet is looked for."""

MOVES = 1000

STARTS = 4
"""Trials from which the way down is looked for near an anchor."""

PARTED = 0.02
"""Logarithm of expected by measured from which predictions are anchored anew."""

PATIENCE = 2
"""Rounds without a gain after which there is no further one."""


def refine(asked: Asked, run: Run, expand: Expand | None = None) -> Steps:
    """Yield updates and, after each whole assignment that was run, what it came to.

    The last `Refined` is the result; closed early, the last one stands.

    Args:
        asked: What to search for.
        run: Runs the network with an assignment.
        expand: Tells what changes away from an assignment do; without it predictions
            are anchored at the float network and at what was measured only.

    Raises:
        AnalysisError: as the search, or the network cannot run.
    """
    yield from _Refining(asked, run, expand).steps()


class _Refining:
    """Rounds of candidates, runs, and corrected costs."""

    def __init__(self, asked: Asked, run: Run, expand: Expand | None) -> None:
        plan = asked.plan
        self.asked = asked
        self.budget = Budget.parse(asked.budget, asked.table.costs)
        # Slopes are known of weights: the formats of inputs are chosen by belief.
        known = asked.table.inputs is None and self._walks
        self.expand, self.locals = expand if known else None, list[Local]()
        planned = plan.rounds * (plan.candidates + plan.singles)
        if self.expand is not None:
            planned += min(plan.anchors, plan.rounds - 1) * plan.passes
        self.runner = Runner(asked, run, planned)
        self.anchors = Anchors(asked.table)
        self.belief = self.anchors.fit()
        self.proposed: set[bytes] = set()
        self.rng = np.random.default_rng(plan.seed)

    def steps(self) -> Steps:
        plan = self.asked.plan
        yield from self._measure_rest()
        best, idle, opening = math.inf, 0, self._first()
        yield from self._attempt(*next(opening))
        for number in range(plan.rounds):
            if plan.rounds > 1:
                yield from self._expand()
            # What the first round had no room for opens the next. Others' proposals
            # wait until slopes were followed once: they are then expected better.
            proposals = opening if number or not self.locals else ()
            later = self._next() if number else ()
            found = itertools.chain(self._here(), proposals, later)
            count = plan.candidates if number else plan.candidates - 1
            for choice, origin in itertools.islice(found, count):
                yield from self._attempt(choice, origin)
            reached = self._rank(self._best())
            idle = 0 if reached < best else idle + 1
            if idle == PATIENCE or number + 1 == plan.rounds:
                break
            best = reached
            yield from self._measure_singles()

    # -- candidates ------------------------------------------------------------------

    def _first(self) -> Iterator[tuple[Choice, str]]:
        """Yield what searches find before anything was run."""
        asked, table = self.asked, self.asked.table
        found = [self._solved(table, asked.method, asked.params)]
        yield from self._fresh(found, asked.method, proposed=True)
        if self._walks:
            if asked.method != Interacting.key and table.probes is not None:
                yield from self._tried(table, Interacting.key, proposed=True)
            if not self.locals:
                yield from self._descended(replace(self.belief, share=1.0))
        yield from self._tried(table, Greedy.key, proposed=True)
        for rival in asked.rivals:
            yield from self._fresh([rival.choice], rival.objective, proposed=True)
        yield from self._tried(table, Uniform.key, proposed=True)

    def _here(self) -> Iterator[tuple[Choice, str]]:
        """Yield where slopes and curvature lead from the best trials, best first."""
        if not self.locals:
            return
        local = self.locals[-1]
        land, groups = self._land(local.table(self.asked.table))
        starts = sorted(self.runner.trials.values(), key=self._rank)[:STARTS]
        found = {}
        for start in starts:
            option = descend(land, 1.0, groups(start.choice), MOVES)
            choice = land.question.groups.expand(option)
            if choice.tobytes() not in self.runner.trials:
                found[choice.tobytes()] = choice
        # The other half of the round is left to other ways of finding any.
        most = max(1, self.asked.plan.candidates // 2)
        best = sorted(found.values(), key=local.predict)[:most]
        yield from self._fresh(best, "slopes")

    def _next(self) -> Iterator[tuple[Choice, str]]:
        """Yield what looks best by what is believed, and by draws of it."""
        quick = Exact.key if len(self.asked.table.cost) <= MANY else ConvexFront.key
        yield from self._tried(self.belief.table(self.asked.table), quick)
        for _ in range(2 * self.asked.plan.candidates):
            if self._walks:
                yield from self._near()
            drawn = self.anchors.fit(self.rng)
            yield from self._tried(drawn.table(self.asked.table), quick)
            if self._walks:
                yield from self._descended(drawn)

    @property
    def _walks(self) -> bool:
        """Whether neighbours are looked at: size is limited, and they are not many."""
        limited = any(limit.quantity != "error" for limit in self.budget.limits)
        return limited and self.asked.table.cost.size <= ENTRIES

    def _near(self) -> Iterator[tuple[Choice, str]]:
        """Yield the best neighbour of the best trial that was not run yet."""
        land, groups, share = self._around()
        here = groups(self._best().choice)
        for option in neighbours(land, share, here, NEAR):
            choice = land.question.groups.expand(option)
            if choice.tobytes() not in self.runner.trials:
                yield choice, "exchange"
                return

    def _descended(self, belief: Belief) -> Iterator[tuple[Choice, str]]:
        """Yield where exchanges lead from the best trial under a belief."""
        land, groups = self._land(belief.table(self.asked.table))
        here = groups(self._best().choice)
        option = descend(land, belief.part, here, MOVES)
        yield from self._fresh([land.question.groups.expand(option)], "exchanges")

    def _around(self) -> tuple[Landscape, Callable[[Choice], Indices], float]:
        """Return what tells most of the best trial's neighbours."""
        table, best = self.asked.table, self._best().choice
        last = self.locals[-1] if self.locals else None
        if last and last.between(best, last.anchor) <= last.measured:
            return *self._land(last.table(table)), 1.0
        return *self._land(self.belief.table(table)), self.belief.part

    def _land(self, table: CostTable) -> tuple[Landscape, Callable[[Choice], Indices]]:
        """Return the errors of a table, and what brings a choice into their form."""
        question: Question = ask(table, self.budget)
        probes = table.probes or Probes.none(table.cost.shape)

        def groups(choice: Choice) -> Indices:
            option = np.zeros(len(question.groups.cost), dtype=np.int64)
            option[question.groups.of_row] = choice
            return option

        return Landscape.of(question, probes), groups

    def _solved(self, table: CostTable, key: str, params: Mapping[str, Any]) -> Choice:
        return solve(table, self.asked.budget, key, params).choice

    def _tried(
        self, table: CostTable, key: str, *, proposed: bool = False
    ) -> Iterator[tuple[Choice, str]]:
        """Yield what a search finds, if it finds something new."""
        try:
            found = self._solved(table, key, {})
        except AnalysisError:
            return  # the search that was asked for did find something
        yield from self._fresh([found], key, proposed=proposed)

    def _fresh(
        self, choices: list[Choice], origin: str, *, proposed: bool = False
    ) -> Iterator[tuple[Choice, str]]:
        """Yield what was not run yet; note whether runs have led to it."""
        if proposed:
            self.proposed |= {choice.tobytes() for choice in choices}
        for choice in choices:
            if choice.tobytes() not in self.runner.trials:
                yield choice, origin

    # -- running ---------------------------------------------------------------------

    def _attempt(self, choice: Choice, origin: str) -> Steps:
        trial = yield from self.runner.attempt(choice, self._expected(choice), origin)
        self._learn(choice, trial.score.value, alone=False)
        yield self._cautious(self.runner.came_to(self._rank, self._meets, ""))

    def _cautious(self, found: Refined) -> Refined:
        """Return a result that proposes no gain which samples do not agree on."""
        limited = any(limit.quantity != "error" for limit in self.budget.limits)
        keys = [trial.choice.tobytes() for trial in found.trials]
        proposed = [i for i, key in enumerate(keys) if key in self.proposed]
        if found.at in proposed or not limited:
            return found
        before = min(proposed, key=lambda i: self._rank(found.trials[i]))
        if not self._meets(found.trials[before]):
            return found
        gain = self.runner.gain(found.best, found.trials[before])
        if gain > self.asked.plan.caution:
            return found
        return replace(found, at=before, least=found.best.score.value)

    def _expected(self, choice: Choice) -> float:
        """Return the error expected of a choice, by the nearest anchor if it can tell.

        The float network, corrected as runs have shown, tells the rest.
        """
        believed = self.anchors.predict(choice, self.belief)
        if not (self.locals and believed > 0):
            return believed
        runs = [(x.choice, x.score.value) for x in self.runner.trials.values()]
        good = [(run, value) for run, value in runs if 0 < value < math.inf]
        near = min(self.locals, key=lambda local: local.between(choice, local.anchor))
        told, trust = near.expect(choice, good)
        return math.exp(trust * math.log(told) + (1 - trust) * math.log(believed))

    def _expand(self) -> Steps:
        """Anchor predictions at the best trial, unless they are as good as there."""
        plan, best, table = self.asked.plan, self._best(), self.asked.table
        if self.expand is None or len(self.locals) == plan.anchors:
            return
        value = best.score.value
        if not (math.isfinite(value) and value > 0):
            return
        parted = abs(math.log(best.expected / value)) if best.expected > 0 else math.inf
        if self.locals and parted <= PARTED:
            return
        schemes = [scheme for scheme in table.palette if scheme is not None]
        arrays = yield from self.runner.expanded(
            self.expand(best.assignment, schemes), plan.passes
        )
        self.locals.append(Local.of(table, best.choice, value, arrays))

    def _learn(self, choice: Choice, value: float, *, alone: bool) -> None:
        self.anchors = self.anchors.with_run(choice, value, alone=alone)
        self.belief = self.anchors.fit()

    def _measure_rest(self) -> Steps:
        """Measure what the search leaves as it is: quantized inputs and sites."""
        table, cost = self.asked.table, self.asked.table.cost
        # Locked layers without numbers count as nothing in the sum of own errors.
        unknown = (np.isfinite(cost).sum(1) == 1) & (cost.min(1) == 0)
        blank = np.where(unknown, cost.argmin(1), 0).astype(np.int16)
        rest = table.assign(self.asked.base, blank)
        inputs = (rest.input_of(i) for i in range(len(rest.layers)))
        kept = (*rest.used(), *rest.sites.values(), *inputs)
        if all(scheme is None for scheme in kept):
            return
        score = yield from self.runner.score(rest, "what stays as it is")
        value = score.value if math.isfinite(score.value) else 0.0
        self.anchors = replace(self.anchors, rest=value)

    def _measure_singles(self) -> Steps:
        """Run alone the layers that most of the best trial's error is expected from."""
        best = self._best().choice
        cost = self.belief.table(self.asked.table).cost
        rows = np.arange(len(best))
        share = np.where(best > 0, cost[rows, best], 0.0)
        for run in self.anchors.runs:
            if run.alone:
                share[(run.choice == best) & (best > 0)] = 0.0
        for row in np.argsort(-share, kind="stable")[: self.asked.plan.singles]:
            if not share[row] > 0:
                break
            alone = np.zeros(len(best), dtype=np.int16)
            alone[row] = best[row]
            base = self.asked.base
            plain = Assignment.float(base.layers, base.model_name, base.model_digest)
            made = self.asked.table.assign(plain, alone)
            score = yield from self.runner.score(made, f"{self._name(int(row))} alone")
            self._learn(alone, score.value, alone=True)

    def _name(self, row: int) -> str:
        table = self.asked.table
        count = len(table.layers)
        return table.layers[row].name if row < count else table.sites[row - count]

    # -- the best --------------------------------------------------------------------

    def _best(self) -> Trial:
        return min(self.runner.trials.values(), key=self._rank)

    def _meets(self, trial: Trial) -> bool:
        limit = self.budget.limit("error")
        return limit is None or trial.score.value <= limit.value * (1 + ROUNDING)

    def _rank(self, trial: Trial) -> float:
        """Return what is to be small: the error, or the size when that is asked for.

        A trial that breaks a limit on the measured error comes after all others.
        """
        table, value = self.asked.table, trial.score.value
        if not self._meets(trial):
            return 1e300 * (1 + min(value, 1e6))
        if any(limit.quantity != "error" for limit in self.budget.limits):
            return value
        return table.total(table.bits, trial.choice)
