"""Budgets of time that other programs on the machine cannot break.

A stopwatch on the wall also measures who else wants the processor. Here counts the
processor time of the thread that acts, in the best of the tries; and a machine that is
slower than the one the budgets were set on, by itself or because its caches and cores
are shared, is given more of it, in proportion to a computation that is the same always.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

FACTOR = 10
"""How many times a budget may be overdrawn: a budget is no tool to measure speed."""

REFERENCE_SECONDS = 0.02
"""What `_reference` takes where the budgets were set, with nothing else running."""

clock = time.thread_time
"""Processor time of this thread [s]."""


def spent(act: Callable[[], object]) -> float:
    """Return the processor time of this thread in an act [s]."""
    begin = clock()
    act()
    return clock() - begin


def assert_within(budget: float, seconds: Iterable[float], what: str = "") -> None:
    """Fail if not even the shortest time is within `FACTOR` budgets [s]."""
    best, limit = min(seconds), FACTOR * budget
    # Most machines never get to measure how slow they are.
    if best >= limit:
        limit *= max(1.0, spent(_reference) / REFERENCE_SECONDS)
    assert best < limit, f"{what}: {best:.3f} s of a budget of {budget} s"


def _reference() -> None:
    """Compute like a window does: Python objects, and arrays larger than a cache."""
    values = np.random.default_rng(0).random(60_000)
    for _ in range(3):
        order = np.argsort(values, kind="stable")
    names = [f"layers.{i}" for i in order[:10_000].tolist()]
    assert len({name: len(name) for name in names}) == 10_000
