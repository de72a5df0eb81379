"""What a search that runs the network is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.method import Method, param
from analysis.search.problem import Choice, CostTable

if TYPE_CHECKING:
    from analysis.search.trial import Score
    from quant_core.assignment import Assignment

ALLOWED = "NAME=LOSS or NAME=LOSS%, such as top1=0.5%, perplexity=1% or error=0.001"

_KEEP = re.compile(r"\s*(\w+)\s*=\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(%?)\s*")

SHARES = ("top1",)
"""Metrics that are shares between 0 and 1, of which more is better."""

ROUNDING = 1e-12
"""A metric is the mean of many numbers; the last digits do not decide."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of a metric of the task may be lost, as measured.

    Attributes:
        metric: Name of the metric ("top1", "perplexity"), or "error".
        loss: The most that may be lost, in the unit of the metric. Of a share between
            0 and 1 one per cent is a hundredth.
        relative: Whether `loss` is a share of the metric of the float network.
    """

    metric: str
    loss: float
    relative: bool = False

    @classmethod
    def parse(cls, text: str) -> Keep:
        """Return the limit written in `text`.

        Per cent of `top1` are points: 0.5% of top-1 may fall from 98 % to 97.5 %. Of
        metrics that are no shares they are of the float network's.

        >>> Keep.parse("top1=0.5%")
        Keep(metric='top1', loss=0.005, relative=False)

        Raises:
            AnalysisError: it cannot be read.
        """
        match = _KEEP.fullmatch(text)
        value = -1.0
        if match is not None:
            try:
                value = float(match[2])
            except ValueError:
                match = None
        if match is None:
            raise AnalysisError(
                "What is to be kept cannot be read.",
                value=text or "nothing",
                allowed=ALLOWED,
            )
        name, percent = match[1], bool(match[3])
        if name == "error" and percent:
            raise AnalysisError(
                "The error of the float network is zero: there are no per cent of it.",
                value=text,
                allowed=ALLOWED,
            )
        factor = 0.01 if percent else 1.0
        return cls(name, value * factor, percent and name not in SHARES)

    def lost(self, score: Score) -> float:
        """Return how much a run lost, in the unit of `loss`; gains are negative.

        Raises:
            AnalysisError: the task has no such metric.
        """
        if self.metric == "error":
            return score.value
        before = score.metrics.get(f"{self.metric}_float")
        if before is None:
            names = [name for name in score.metrics if not name.endswith("_float")]
            raise AnalysisError(
                "The task does not measure this.",
                value=self.metric,
                allowed=", ".join(["error", *names]),
                hint="" if names else "Metrics need data with labels.",
            )
        rise = score.metrics[self.metric] - before
        lost = -rise if self.metric in SHARES else rise
        return lost / abs(before) if self.relative and before else lost

    def met(self, score: Score) -> bool:
        """Return whether a run lost no more than is allowed."""
        return self.lost(score) <= self.loss + ROUNDING

    def describe(self, score: Score) -> str:
        """Return what a run lost, for people."""
        lost, percent = self.lost(score), self.relative or self.metric in SHARES
        told = f"{100 * lost:.3g} %" if percent else f"{lost:.3g}"
        most = f"{100 * self.loss:.3g} %" if percent else f"{self.loss:.3g}"
        if self.metric == "error":
            return f"error {told} of at most {most}"
        return f"{self.metric} lost {told} of at most {most}"

    def __str__(self) -> str:
        percent = self.relative or (self.metric in SHARES)
        loss = f"{100 * self.loss:.12g}%" if percent else f"{self.loss:.12g}"
        return f"{self.metric}={loss}"


@dataclass(frozen=True)
class Refinement(Method):
    """How much of the network to run.

    A round runs the assignments that look best: in the first, what the search finds,
    what interactions make of it, what the greedy order, one format for all and other
    measures come to (those that do not fit into the first round open the next).
    Each run corrects the costs. Where prediction and measurement part, predictions are
    anchored anew at the best assignment so far: slopes and curvature of the error there
    tell what further changes do, and where they lead is run. Later rounds run the best
    neighbours of the best assignment so far, and what is best under the costs as they
    are believed by then or as they might be (beliefs drawn from what is still unknown:
    Thompson (1933), Biometrika 25, 285-294). Between rounds the layers that most of the
    error is expected from are run alone. Two rounds without a gain end it.

    The more that is tried the more of what is found is luck with the samples. Where
    they are few, `caution` asks that it beat what searches had proposed before any run
    by so many standard errors of the difference (1 is the rule of Breiman et al.
    (1984), section 3.4), or that is proposed.
    """

    candidates: int = param(4, "Whole assignments run in a round.", minimum=1)
    rounds: int = param(6, "Rounds at most.", minimum=1)
    singles: int = param(1, "Layers run alone in a round.", minimum=0)
    anchors: int = param(
        2,
        "Times that predictions are anchored anew at the best assignment so far, at "
        "most.",
        minimum=0,
    )
    probes: int = param(
        16,
        "Random output directions per sample for that. Each takes about as long as "
        "3 runs.",
        minimum=1,
        maximum=1024,
    )
    caution: float = param(
        0.0,
        "Standard errors, over samples, by which what running has led to must beat "
        "what was proposed before any run; 0 takes the least measured error, 1 suits "
        "few samples.",
        minimum=0.0,
    )
    seed: int = param(0, "Seed of the beliefs that are drawn.", minimum=0)

    @property
    def passes(self) -> int:
        """Runs that take about as long as anchoring predictions once.

        Two passes forward; backward passes with projections take about three each.
        """
        return 2 + 3 * (1 + self.probes)

    key = "refine"
    title = "Verify and refine"


@dataclass(frozen=True)
class Rival:
    """What the search would find if it made another measure small.

    Attributes:
        objective: The measure.
        run: Number of its run.
        choice: `[R]` options of the cost table.
    """

    objective: str
    run: int
    choice: Choice


@dataclass(frozen=True)
class Asked:
    """What is searched for, and how.

    Attributes:
        table: What every choice costs, as predicted.
        budget: Limits; a limit on the error is one on the measured error.
        base: Assignment that tells what is not chosen.
        method: Key of the search.
        params: Its parameters.
        plan: How much to run.
        keep: What of the task may be lost at most; the smallest model that keeps it
            is then searched for, and the budget may be empty.
        rivals: What other measures propose; they are run as well.
    """

    table: CostTable
    budget: str
    base: Assignment
    method: str = "exact"
    params: Mapping[str, Any] = field(default_factory=dict)
    plan: Refinement = field(default_factory=Refinement)
    keep: Keep | None = None
    rivals: tuple[Rival, ...] = ()
