"""LRP-QViT's allocation against all assignments, and against its closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from analysis.measures.lrp_qvit import QUANTITIES, allocation_rows
from analysis.measures.relevance import Relevance
from analysis.search import solve
from analysis.search.problem import CostTable
from quant_core.scheme import Scheme
from quant_core.sites import Layer
from tests.cases import context

SCHEMES = tuple(Scheme(f"int{bits}", "tensor") for bits in (2, 3, 4, 5, 6))
SCORES = {"a": (0.6, 0.06), "b": (0.3, 0.03), "c": (0.1, 0.01)}


def layers(*sizes: int) -> tuple[Layer, ...]:
    return tuple(
        Layer(name, f"{name}.weight", "linear", (size, 1), "float32")
        for name, size in zip("abc", sizes, strict=True)
    )


def costs(quantity: str, sizes: tuple[int, ...]) -> dict[tuple[str, str], float]:
    rows = allocation_rows(SCORES, layers(*sizes), SCHEMES)
    return {(r.target, str(r.format)): r.value for r in rows if r.quantity == quantity}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_search_over_it_is_the_allocation(quantity: str) -> None:
    sizes = (300, 500, 900)
    cost = costs(quantity, sizes)
    table = np.array([[0.0, *(cost[n, s.key] for s in SCHEMES)] for n in "abc"])
    table[:, 0] = np.inf  # the float is no choice
    bits = np.array([[32 * n, *(b * n for b in (2, 3, 4, 5, 6))] for n in sizes])
    problem = CostTable(layers(*sizes), (None, *SCHEMES), table, bits.astype(float))
    found = solve(problem, "bits<=4", "exact", {}).choice
    chosen = [(2, 3, 4, 5, 6)[option - 1] for option in found.tolist()]
    shares = [0.6, 0.3, 0.1]

    def loss(widths: tuple[int, ...]) -> float:
        if quantity == "noise":
            return sum(w * 4.0**-b for w, b in zip(shares, widths, strict=True))
        return -sum(w * b for w, b in zip(shares, widths, strict=True))

    def fits(widths: tuple[int, ...]) -> bool:
        used = sum(n * b for n, b in zip(sizes, widths, strict=True))
        return used <= 4 * sum(sizes)

    every = itertools.product((2, 3, 4, 5, 6), repeat=3)
    best = min(loss(widths) for widths in every if fits(widths))
    assert fits(tuple(chosen))
    assert loss(tuple(chosen)) == pytest.approx(best, rel=1e-12)


def test_noise_gives_equal_widths_to_equal_relevance_per_weight() -> None:
    # Relaxed to real widths, b = const + log2(Omega / n) / 2.
    cost = costs("noise", (600, 300, 100))
    slopes = [
        cost[name, "int4/tensor"] * math.log(4) / size
        for name, size in (("a", 600), ("b", 300), ("c", 100))
    ]
    assert slopes == pytest.approx([slopes[0]] * 3, rel=1e-12)


def test_the_measure_gives_costs_for_its_formats() -> None:
    *_, last = Relevance().run(context("vit", "int4", "int8"))
    rows = [row for row in last.rows if row.format is not None]
    assert {row.quantity for row in rows} == set(QUANTITIES)
    positive = {
        row.target: row
        for row in last.rows
        if row.quantity == "positive" and row.part == "weight"
    }
    total = sum(row.value for row in positive.values())
    for row in rows:
        bits = 4 if str(row.format).startswith("int4") else 8
        factor = 4.0**-bits if row.quantity == "noise" else 32 - bits
        own = positive[row.target]
        assert row.value == pytest.approx(own.value / total * factor)
        assert row.stderr == pytest.approx(own.stderr / total * factor)
    assert allocation_rows({}, (), SCHEMES) == ()
