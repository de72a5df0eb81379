"""Random small searches, and their answers by trying every assignment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.search.budget import Budget
from analysis.search.problem import CostTable
from quant_core.scheme import Scheme
from quant_core.sites import Layer

PALETTE = (None, Scheme("int2"), Scheme("int4"), Scheme("int8"))
WIDTHS = np.array([32.0, 2.0, 4.0, 8.0])


def random_table(
    seed: int,
    layers: int = 6,
    *,
    scale: float = 1.0,
    ties: tuple[tuple[int, ...], ...] = (),
) -> CostTable:
    """Return a table whose errors mostly, but not always, fall with more bits."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 40, layers) * 8
    macs = count * rng.integers(1, 50, layers)
    spread = np.exp(rng.normal(0, 1.5, (layers, 1)))
    cost = spread * 4.0**-WIDTHS * np.exp(rng.normal(0, 1.0, (layers, 4))) * scale
    cost[:, 0] = 0
    return CostTable(
        tuple(
            Layer(f"l{i}", f"l{i}.weight", "linear", (8, int(n) // 8), "float32")
            for i, n in enumerate(count)
        ),
        PALETTE,
        cost,
        count[:, None] * WIDTHS + np.where(WIDTHS < 32, 16 * 8, 0),
        macs[:, None] * WIDTHS * 8,
        ties,
    )


def assignments(table: CostTable) -> Iterator[NDArray[np.int16]]:
    """Yield every choice that is offered and keeps the ties."""
    options = [np.flatnonzero(np.isfinite(row)) for row in table.cost]
    for choice in itertools.product(*options):
        if all(len({choice[i] for i in tie}) == 1 for tie in table.ties):
            yield np.array(choice, dtype=np.int16)


def amounts(table: CostTable, choice: NDArray[np.int16]) -> dict[str, float]:
    """Return error, bits per weight, bytes and bit operations of a choice."""
    bits = table.total(table.bits, choice)
    assert table.bops is not None
    return {
        "error": table.total(table.cost, choice),
        "bits": bits / table.parameters,
        "size": bits / 8,
        "bops": table.total(table.bops, choice),
    }


def keeps(table: CostTable, choice: NDArray[np.int16], budget: Budget) -> bool:
    """Return whether a choice is within the budget, sums rounded or not."""
    found = amounts(table, choice)
    return all(
        found[limit.quantity] <= limit.absolute(table.stored(limit)) * (1 + 1e-11)
        for limit in budget.limits
    )


def truth(table: CostTable, budget: Budget) -> float | None:
    """Return the least error (bits, for a limit on the error alone) by brute force."""
    alone = [limit.quantity for limit in budget.limits] == ["error"]
    goal = "size" if alone else "error"
    values = [
        amounts(table, choice)[goal]
        for choice in assignments(table)
        if keeps(table, choice, budget)
    ]
    return min(values, default=None)
