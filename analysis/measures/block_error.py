"""What the layers of a block cost together, measured for every subset of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import evaluating
from analysis.measures.measured_steps import Group, Step, union, weight_steps
from analysis.measures.measured_sweep import Sweep
from analysis.measures.measuring import Measuring
from analysis.method import Method, Row, Update, param
from analysis.network_blocks import block_arrays, split

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BlockError(Method):
    """The error at the output with each subset of a block's layers quantized.

    Runs the network with every subset of the layers of each block in the format of
    fewest bits, all else float: there layers add up least. The value of a layer is its
    Shapley value, its share of the block's error: what it adds on average, over all
    orders in which the layers of the block could be quantized. The shares of a block
    add up to the error of the block. The search `genetic` counts the subsets instead
    of the sum over layers. Li et al. (2021), BRECQ, arXiv 2102.05426, section 3.4, for
    the subsets; Shapley (1953), A value for n-person games, for the shares.
    """

    key: ClassVar[str] = "block_error"
    title: ClassVar[str] = "Measured error of blocks"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    most: int = param(
        6,
        "Layers of a block at most; longer ones are cut. Each takes twice the runs.",
        minimum=1,
        maximum=10,
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield one row per layer.

        Args:
            context: Needs a module, data, a task and a scheme; the one of fewest bits
                is used.

        Yields:
            Rows with quantity "error" in the unit of the task, and for the b-th block
            the arrays "block_error/b/layers" (`[n]` indices) and "block_error/b/cost"
            (`[2^n]`, entry m with the layers whose bit is set in m quantized).
        """
        module, _, _ = context.need_run(self.title)
        if not context.schemes:
            raise AnalysisError(
                f"{self.title} needs a number format.",
                value="none",
                hint="Name one, such as int2.",
            )
        scheme = min(context.schemes, key=lambda one: one.bits)
        with evaluating(module):
            measuring = Measuring(context, module, self.title)
            broken = measuring.broken()
            with measuring.tap.exchanged(broken):
                steps = weight_steps(measuring, broken, [scheme])
                yield from self._measured(measuring, steps)

    def _measured(
        self, measuring: Measuring, steps: Sequence[Step]
    ) -> Iterator[Update]:
        blocks = split([step.target for step in steps], self.most)
        group = Group(
            [
                _together([steps[i] for i in members], mask, number)
                for number, members in enumerate(blocks)
                for mask in range(1, 2 ** len(members))
            ]
        )
        costs = [np.full(2 ** len(members), np.nan) for members in blocks]
        place = {x.name: i for i, x in enumerate(measuring.context.model.info.layers)}
        for update in Sweep(measuring, self.key, [group]).run():
            whole = []
            for row in update.rows:
                number, mask = map(int, row.quantity.split("/"))
                costs[number][mask] = row.value
                # Subsets come in order: the whole block is the last one.
                if mask == len(costs[number]) - 1:
                    whole.append(number)
            rows: list[Row] = []
            arrays = dict(update.arrays)
            for number in whole:
                cost, members = costs[number], [steps[i] for i in blocks[number]]
                cost[0] = 0.0
                rows += _shared(members, cost)
                layers = [place[step.target] for step in members]
                arrays |= block_arrays(number, layers, cost)
            yield dataclasses.replace(update, rows=tuple(rows), arrays=arrays)


def _together(members: Sequence[Step], mask: int, number: int) -> Step:
    """Return the step that quantizes the members whose bit is set in a mask."""
    chosen = [step for k, step in enumerate(members) if mask >> k & 1]
    return dataclasses.replace(
        members[0], change=union(chosen), quantity=f"{number}/{mask}"
    )


def _shared(members: Sequence[Step], cost: Floats) -> list[Row]:
    return [
        Row(step.target, step.format, float(share), math.nan, "error", "weight")
        for step, share in zip(members, shapley(cost), strict=True)
    ]


def shapley(cost: Floats) -> Floats:
    """Return `[n]` the Shapley values of a game given by the cost of every subset.

    Args:
        cost: `[2^n]`, entry m for the members whose bit is set in m.
    """
    count = int(math.log2(len(cost)))
    masks = np.arange(len(cost))
    size = np.array([int(mask).bit_count() for mask in masks])
    # 1 / (n * C(n - 1, s)): orders in which exactly these s members come before.
    chance = np.array([1.0 / (count * math.comb(count - 1, s)) for s in range(count)])
    shares = np.empty(count)
    for member in range(count):
        without = masks[masks >> member & 1 == 0]
        gain = cost[without | 1 << member] - cost[without]
        shares[member] = float((gain * chance[size[without]]).sum())
    return shares
