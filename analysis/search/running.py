"""Running assignments one after the other, and keeping what they came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.method import Update
from analysis.prediction import clustered_ratio
from analysis.search.asked import Asked
from analysis.search.problem import Choice
from analysis.search.trial import Refined, Run, Score, Trial, errors_of, score_of

if TYPE_CHECKING:
    from quant_core.assignment import Assignment

SAMPLES = 8
"""A standard error from fewer is too uncertain to choose by."""

Steps = Generator[Update | Refined, None, None]


class Runner:
    """Runs assignments, counts them, and keeps what they came to.

    Args:
        asked: What is searched for.
        run: Runs the network with an assignment.
        planned: How many runs are likely.

    Attributes:
        trials: What was run, by choice.
        evaluations: How often the network was run over the data.
        passes: What expansions took, in such runs.
    """

    def __init__(self, asked: Asked, run: Run, planned: int) -> None:
        self.asked, self.planned = asked, planned
        self.trials: dict[bytes, Trial] = {}
        self.evaluations, self.passes = 0, 0
        self._run = run
        self._errors: dict[bytes, NDArray[np.float64]] = {}
        self._last: NDArray[np.float64] | None = None

    @property
    def _done(self) -> int:
        return self.evaluations + self.passes

    def score(
        self, assignment: Assignment, note: str
    ) -> Generator[Update | Refined, None, Score]:
        """Yield progress and return what running an assignment gave."""
        score: Score | None = None
        for update in self._run(assignment):
            part = update.done / update.total if update.total else 0.0
            yield Update(
                self._done + min(part, 1.0),
                max(self.planned, self._done + 1),
                f"{note}: {update.note}" if update.note else note,
                warnings=update.warnings if not self.evaluations else (),
                samples=update.samples,
            )
            score = score_of(update) or score
            self._last = errors_of(update)
        assert score is not None
        self.evaluations += 1
        return score

    def attempt(
        self, choice: Choice, expected: float, origin: str
    ) -> Generator[Update | Refined, None, Trial]:
        """Yield progress and return the trial of a whole choice."""
        assignment = self.asked.table.assign(self.asked.base, choice)
        score = yield from self.score(assignment, origin)
        trial = Trial(assignment, choice, expected, score, origin)
        self.trials[choice.tobytes()] = trial
        if self._last is not None:
            self._errors[choice.tobytes()] = self._last
        return trial

    def gain(self, trial: Trial, other: Trial) -> float:
        """Return by how many standard errors one trial's error is below another's.

        The errors of both are compared sample by sample. Infinite or its negative
        where there are too few samples to tell.
        """
        pairs = [self._errors.get(x.choice.tobytes()) for x in (trial, other)]
        ours, theirs = pairs
        if ours is None or theirs is None or ours.shape[1] < SAMPLES:
            return math.copysign(math.inf, other.score.value - trial.score.value)
        difference, weight = theirs[0] - ours[0], ours[1]
        value, stderr = clustered_ratio(difference, weight, np.arange(len(weight)))
        return float(value / stderr) if stderr > 0 else math.copysign(math.inf, value)

    def expanded(
        self, updates: Iterator[Update], passes: int
    ) -> Generator[Update | Refined, None, Mapping[str, NDArray[Any]]]:
        """Yield progress and return the arrays of an expansion.

        Args:
            updates: Of the expansion.
            passes: Runs that take as long.
        """
        arrays: Mapping[str, NDArray[Any]] = {}
        for update in updates:
            part = update.done / update.total if update.total else 0.0
            yield Update(
                self._done + passes * min(part, 1.0),
                max(self.planned, self._done + passes),
                update.note or "what changes would do",
                warnings=update.warnings if not self.evaluations else (),
            )
            arrays = update.arrays or arrays
        self.passes += passes
        return arrays

    def came_to(
        self, rank: Callable[[Trial], float], meets: Callable[[Trial], bool], goal: str
    ) -> Refined:
        """Return what it has come to, the trial of least rank proposed."""
        trials = tuple(self.trials.values())
        at = min(range(len(trials)), key=lambda i: rank(trials[i]))
        return Refined(
            trials,
            at,
            self.evaluations,
            meets(trials[at]),
            goal,
            passes=self.passes,
        )
