"""Networks made of a few numbers, for searches that run them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.method import Row, Update
from analysis.search.problem import CostTable
from quant_core.assignment import Assignment
from tests.analysis.search.cases import random_table

Choice = NDArray[np.integer]


@dataclass
class Network:
    """Its error is the sum of own errors times hidden factors.

    Attributes:
        table: Costs as predicted.
        factor: `[R, P]` what the prediction does not know.
        ran: Choices that were run, in order.
    """

    table: CostTable
    factor: NDArray[np.float64]
    ran: list[Choice] = field(default_factory=list)

    @classmethod
    def random(cls, seed: int, layers: int = 6, *, spread: float = 0.6) -> Network:
        """Return a network whose lowest formats do worse than predicted."""
        table = random_table(seed, layers, ties=((0, 3),) if layers > 3 else ())
        rng = np.random.default_rng([seed, 1])
        factor = np.exp(rng.normal(0, spread, table.cost.shape) * [0, 1, 0.5, 0.1])
        factor *= [1.0, 3.0, 1.2, 1.0]
        return cls(table, factor)

    @property
    def base(self) -> Assignment:
        """The network in float."""
        return Assignment.float(self.table.layers, "tiny")

    def error(self, choice: Choice) -> float:
        """Return what running a choice gives."""
        at = np.arange(len(choice)), choice
        cost = self.table.cost[at]
        own = np.where(np.isfinite(cost), cost, 0.0) * self.factor[at]
        return float(own.sum())

    def run(self, assignment: Assignment) -> Iterator[Update]:
        """Run an assignment as the measured error does."""
        choice = self.table.choice_of(assignment)
        assert choice is not None
        self.ran.append(choice)
        yield Update(1, 2, "half")
        value = self.error(choice)
        rows = (
            Row("", None, value, 0.01 * value, "error", "model"),
            Row("", None, 0.98 - min(value, 0.9), 0.0, "top1", "model"),
            Row("", None, 0.98, 0.0, "top1_float", "model"),
            Row("", None, 20 * np.exp(min(value, 9.0)), 0.0, "perplexity", "model"),
            Row("", None, 20.0, 0.0, "perplexity_float", "model"),
        )
        yield Update(2, 2, "", rows, samples=16)
