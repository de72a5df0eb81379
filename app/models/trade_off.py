"""The points of the trade-off plot as arrays, without Qt."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.search.front import Front, front
from analysis.search.problem import CostTable
from analysis.search.table import table_from_project

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

Choice = NDArray[np.int16]


@dataclass(frozen=True)
class Candidate:
    """One assignment as a point.

    Attributes:
        name: What it is called in the plot.
        bits_per_value: Bits of its format, None when formats are mixed.
        size: Weights with scales and zero points [bytes].
        error: Own predicted errors of the layers, summed.
        stderr: Standard error of `error`.
        choice: `[layers]` indices into the palette of the cost table.
        others: Layers that cannot take the format and keep another one.
    """

    name: str
    bits_per_value: float | None
    size: float
    error: float
    stderr: float
    choice: Choice
    others: int = 0


@dataclass(frozen=True)
class Offer:
    """Everything that can be chosen: the front, one format for all, kept ones.

    Attributes:
        table: The costs they were made from.
        front: Best assignments at every size.
        stderr: `[n]` standard error of the front's errors, layers independent.
        uniform: One candidate per format.
        kept: One candidate per named assignment whose errors are known.
        held: Layers that keep their scheme: locked, or not analysed.
        key: What `front` depends on besides the table; compare to know if it is old.
        parameters: Number of weights in all layers.
    """

    table: CostTable
    front: Front
    stderr: NDArray[np.float64]
    uniform: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    held: NDArray[np.bool_]
    key: tuple[object, ...]
    parameters: int

    def smallest_error(self) -> float:
        """Return the smallest positive error among the candidates, NaN without one."""
        errors = [c.error for c in (*self.uniform, *self.kept) if c.error > 0]
        positive = self.front.cost[self.front.cost > 0]
        if not errors and len(positive):
            errors = [float(positive.min())]
        return min(errors, default=float("nan"))


def offer_of(project: Project) -> Offer:
    """Return everything a project can choose from.

    Raises:
        AnalysisError: no predicted error is known, or nothing is left to choose.
    """
    steps = offer_steps(project)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            offer: Offer = end.value
            return offer


def offer_steps(project: Project) -> Generator[None, None, Offer]:
    """Make what `offer_of` returns, in steps; the first reads all of the project.

    Raises:
        AnalysisError: no predicted error is known, or nothing is left to choose.
    """
    table = table_from_project(project)
    held = np.isfinite(table.cost).sum(1) <= 1
    now, kept = table.choice_of(project.assignment), project.assignments
    key, parameters = state_key(project, held), project.totals.parameters
    yield
    line = front(table)
    yield
    stderrs = np.zeros(table.cost.shape) if table.stderr is None else table.stderr
    # Sums of steps that cancel may end a rounding error below zero.
    spread = np.sqrt(np.maximum(line.sums(np.nan_to_num(stderrs) ** 2), 0.0))
    yield
    assert now is not None
    uniform = _uniforms(table, stderrs, now)
    known = _known(table, stderrs, kept)
    return Offer(table, line, spread, uniform, known, held, key, parameters)


def _uniforms(
    table: CostTable, stderrs: NDArray[np.float64], now: Choice
) -> tuple[Candidate, ...]:
    """Return one candidate per format that any layer is offered."""
    uniform = []
    for option in range(1, len(table.palette)):
        candidate = _uniform(table, stderrs, option, now)
        if candidate is not None:
            uniform.append(candidate)
    return tuple(uniform)


def _known(
    table: CostTable, stderrs: NDArray[np.float64], kept: Mapping[str, Assignment]
) -> tuple[Candidate, ...]:
    """Return the kept assignments whose errors are known."""
    found = []
    for name, assignment in kept.items():
        choice = table.choice_of(assignment)
        if choice is not None and np.isfinite(_chosen(table.cost, choice)).all():
            found.append(_candidate(name, None, table, stderrs, choice))
    return tuple(found)


def state_key(project: Project, held: NDArray[np.bool_]) -> tuple[object, ...]:
    """Return what the front depends on: target, locks, and what held layers have."""
    now = project.assignment
    fixed = [now.palette[i] for i in np.unique(now.weight[held])]
    return (
        project.target,
        now.locked.tobytes(),
        now.weight[held].tobytes(),
        tuple(fixed),
    )


def current_choice(project: Project, table: CostTable) -> Choice | None:
    """Return the present assignment in the table's palette, None if outside it."""
    return table.choice_of(project.assignment)


def _uniform(
    table: CostTable, stderrs: NDArray[np.float64], option: int, now: Choice
) -> Candidate | None:
    """Return the candidate with one scheme wherever it is offered."""
    scheme = table.palette[option]
    assert scheme is not None
    offered = np.isfinite(table.cost[:, option])
    if not offered.any():
        return None
    rest = np.where(np.isfinite(_chosen(table.cost, now)), now, 0)
    floats = np.isfinite(table.cost[:, 0])
    choice = np.where(offered, option, np.where(floats, 0, rest)).astype(np.int16)
    others = int((~offered).sum())
    return _candidate(scheme.key, scheme.bits, table, stderrs, choice, others)


def _candidate(
    name: str,
    bits: float | None,
    table: CostTable,
    stderrs: NDArray[np.float64],
    choice: Choice,
    others: int = 0,
) -> Candidate:
    cost = _chosen(table.cost, choice)
    variance = np.nansum(_chosen(stderrs, choice) ** 2)
    return Candidate(
        name,
        bits,
        float(_chosen(table.bits, choice).sum()) / 8,
        float(np.where(np.isfinite(cost), cost, 0.0).sum()),
        float(np.sqrt(variance)),
        choice,
        others,
    )


def _chosen(values: NDArray[np.float64], choice: Choice) -> NDArray[np.float64]:
    return values[np.arange(len(choice)), choice]
