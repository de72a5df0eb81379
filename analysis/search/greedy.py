"""Greedy orders: lower one layer after the other until the budget holds."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.errors import AnalysisError
from analysis.method import Method, param
from analysis.search.branch import undominated
from analysis.search.budget import Budget
from analysis.search.problem import CostTable, Floats, Indices, SearchResult
from analysis.search.question import ROUNDING, Question, ask
from analysis.search.relaxed import lower_bound

FLOOR = 1e-8
"""Least rise of the error that a step is credited with, in scaled errors."""

Moves = Iterator[tuple[int, int]]


@dataclass(frozen=True)
class Greedy(Method):
    """Starts at the least error and lowers layers in a fixed manner to the budget.

    `mptq` lowers, one step at a time, the layer that saves most size per rise of the
    error (MPTQ-ViT, arXiv 2401.14895). `nncf` sorts the layers by their error in the
    smallest format and gives them that format from the least sensitive on (NNCF weight
    compression). `aimet` sorts all pairs of layer and format by their error and applies
    them one by one, as long as they make a layer smaller (AIMET mixed precision, phases
    one and two). With a limit on the error alone they go on until it would be broken.
    """

    order: str = param(
        "mptq",
        "Whose order to follow.",
        choices=("mptq", "nncf", "aimet"),
    )

    key: ClassVar[str] = "greedy"
    title: ClassVar[str] = "Greedy"
    version: ClassVar[int] = 1
    reconstruction: ClassVar[str] = (
        "MPTQ-ViT states only that its score joins performance and compressibility: "
        "size saved per rise of the error is rebuilt from that. NNCF's ratio and "
        "AIMET's accuracy target are replaced by the budget."
    )

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return what the order ends at within `budget`.

        Raises:
            AnalysisError: no assignment keeps the limits, or the order meets none.
        """
        question = ask(problem, budget)
        size = _sizes(question)
        cost = question.groups.cost
        # A step down saves size: only options that no other makes useless.
        offered = undominated(cost, [size])
        size = np.where(offered, size, np.inf)
        moves = {"mptq": _ratio, "nncf": _layers, "aimet": _pairs}[self.order]
        start = np.where(offered, cost, np.inf).argmin(1)
        option = _walk(question, start, moves(size, np.where(offered, cost, np.inf)))
        if not question.holds(option):
            raise AnalysisError(
                "The greedy order meets no assignment that keeps all limits.",
                value=f"{budget} in the order {self.order}",
                hint="Try another order, or the search `exact`.",
            )
        return question.answer(option, lower_bound(question))


def _sizes(question: Question) -> Floats:
    """Return `[G, P]` what is to be saved, each limit counted in its own measure."""
    if not question.sizes:
        return question.groups.bits
    total = np.zeros_like(question.groups.bits)
    for row in question.sizes:
        total += row.amount / row.most
    return total


def _walk(question: Question, start: Indices, moves: Moves) -> Indices:
    """Return the first assignment of the walk that keeps the limits on size.

    With a limit on the error alone it is the last one that keeps it.
    """
    option, sizes = start.copy(), question.sizes
    totals = [row.total(option) for row in question.rows]
    for group, to in moves:
        met = all(
            total <= row.most * (1 + ROUNDING)
            for row, total in zip(question.rows, totals, strict=True)
            if not row.is_error
        )
        if sizes and met and question.holds(option):
            break
        old = int(option[group])
        after = [
            total + float(row.amount[group, to] - row.amount[group, old])
            for row, total in zip(question.rows, totals, strict=True)
        ]
        if not sizes and after[0] > question.rows[0].most * (1 + ROUNDING):
            break
        option[group], totals = to, after
    return option


def _ratio(size: Floats, cost: Floats) -> Moves:
    """Yield single steps down, always the one that saves most per rise of the error."""
    chains = [_chain(size[g], cost[g]) for g in range(len(size))]

    def entry(group: int, step: int) -> tuple[float, int, int]:
        here, to = chains[group][step], chains[group][step + 1]
        rise = max(float(cost[group, to] - cost[group, here]), FLOOR)
        return -float(size[group, here] - size[group, to]) / rise, group, step

    heap = [entry(g, 0) for g, chain in enumerate(chains) if len(chain) > 1]
    heapq.heapify(heap)
    while heap:
        _, group, step = heapq.heappop(heap)
        yield group, int(chains[group][step + 1])
        if step + 2 < len(chains[group]):
            heapq.heappush(heap, entry(group, step + 1))


def _chain(size: Floats, cost: Floats) -> Indices:
    """Return the offered options of a group from the largest down."""
    offered = np.flatnonzero(np.isfinite(size) & np.isfinite(cost))
    return offered[np.argsort(-size[offered], kind="stable")]


def _layers(size: Floats, cost: Floats) -> Moves:
    """Yield the smallest format of every group, the least sensitive group first."""
    smallest = size.argmin(1)
    score = cost[np.arange(len(size)), smallest]
    for group in np.argsort(score, kind="stable"):
        yield int(group), int(smallest[group])


def _pairs(size: Floats, cost: Floats) -> Moves:
    """Yield pairs of group and format from the least error on, if they save size."""
    groups, options = np.nonzero(np.isfinite(cost) & np.isfinite(size))
    order = np.argsort(cost[groups, options], kind="stable")
    here = np.full(len(size), np.inf)
    for group, option in zip(groups[order], options[order], strict=True):
        if size[group, option] < here[group]:
            here[group] = size[group, option]
            yield int(group), int(option)
