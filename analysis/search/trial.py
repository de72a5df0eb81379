"""What running candidates came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.method import Update
from analysis.search.problem import Choice

if TYPE_CHECKING:
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme

Run = Callable[["Assignment"], Iterator[Update]]
"""Runs the network with an assignment; see `MeasuredError.whole`."""

Expand = Callable[["Assignment", "Sequence[Scheme]"], Iterator[Update]]
"""Tells what changes away from an assignment do; see `measures.expansion`."""


@dataclass(frozen=True)
class Score:
    """What running an assignment gave.

    Attributes:
        value: Measured error.
        stderr: Its standard error over samples.
        metrics: Metrics of the task, NAME and NAME_float.
        samples: Samples it was measured on.
    """

    value: float
    stderr: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0


@dataclass(frozen=True)
class Trial:
    """A whole assignment that was run.

    Attributes:
        assignment: It.
        choice: `[R]` options of the cost table.
        expected: Error that was expected of it before the run.
        score: What the run gave.
        origin: How it was come by.
    """

    assignment: Assignment
    choice: Choice
    expected: float
    score: Score
    origin: str


@dataclass(frozen=True)
class Refined:
    """What running candidates has come to so far.

    Attributes:
        trials: All whole assignments that were run, in order.
        at: Which of them is proposed.
        evaluations: Runs of the network over the data, single layers included.
        met: Whether the proposed one keeps every limit on what was measured.
        goal: What was measured against a limit, for people; "" without one.
        data: Digest of the data it was run on, "" when not told.
        passes: Runs that would have taken as long as anchoring predictions anew did;
            they come on top of `evaluations`.
        least: Measured error of a trial that was passed over because what it gained
            was not beyond the noise of the samples; NaN when there is none.
    """

    trials: tuple[Trial, ...]
    at: int
    evaluations: int
    met: bool = True
    goal: str = ""
    data: str = ""
    passes: int = 0
    least: float = math.nan

    @property
    def best(self) -> Trial:
        """The trial that is proposed."""
        return self.trials[self.at]

    def describe(self) -> str:
        """Return one sentence for people."""
        best, first = self.best, self.trials[0]
        said = f"{self.evaluations} evaluations"
        if self.passes:
            said += f" and slopes in the time of {self.passes}"
        said += f": measured {best.score.value:.4g}"
        if math.isfinite(best.score.stderr):
            said += f" ± {best.score.stderr:.2g}"
        said += f", expected {best.expected:.4g}"
        if self.at:
            said += f" ({best.origin}; {first.origin} came to {first.score.value:.4g})"
        if math.isfinite(self.least):
            said += (
                f"; {self.least:.4g} was measured too, no gain that samples agree on"
            )
        if self.goal:
            said += f"; {self.goal}"
        return said if self.met else f"{said}; no run kept the limit"

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        best = self.best
        return {
            "evaluations": self.evaluations,
            "passes": self.passes,
            "met": self.met,
            "goal": self.goal,
            "measured": {
                "value": best.score.value,
                "stderr": number(best.score.stderr),
                "samples": best.score.samples,
                "metrics": dict(best.score.metrics),
            },
            "expected": best.expected,
            "origin": best.origin,
            "trials": [
                {
                    "origin": trial.origin,
                    "bits": trial.assignment.totals().average_bits,
                    "expected": trial.expected,
                    "measured": number(trial.score.value),
                }
                for trial in self.trials
            ],
        }


def score_of(update: Update) -> Score | None:
    """Return the score that the last update of an evaluation holds."""
    rows = [row for row in update.rows if row.part == "model"]
    errors = [row for row in rows if row.quantity == "error"]
    if not errors:
        return None
    metrics = {r.quantity: r.value for r in rows if r.quantity != "error"}
    return Score(errors[-1].value, errors[-1].stderr, metrics, update.samples)


def errors_of(update: Update) -> NDArray[np.float64] | None:
    """Return `[2, n]` errors and weights by sample, where an evaluation tells them."""
    return update.arrays.get("measured_error/whole")


def number(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return value if math.isfinite(value) else None
