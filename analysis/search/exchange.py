"""Local search on the second-order error: single changes, then exchanges of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.search.hull import lower_hull
from analysis.search.problem import Floats, Indices, Probes
from analysis.search.question import ROUNDING, Question

PAIRED = 400
"""Single changes of which all pairs are tried; the cheapest at the price of a bit."""

SMALLEST = 1e-12
"""Relative gain that rounding cannot fake."""


@dataclass(frozen=True)
class Landscape:
    """The error of any choice of G groups, cross terms included, on some rows.

    Attributes:
        question: Limits and own errors, scaled.
        w: `[n, G, P]` projections of a group's options, members added up.
        kept: `[n]` projections of what is not chosen.
        own: `[G, P]` summed own errors of a group's members, on these rows, scaled.
        unit: What squares are divided by to be in the scaled unit of the errors.
    """

    question: Question
    w: NDArray[np.float32]
    kept: Floats
    own: Floats
    unit: float

    @classmethod
    def of(
        cls,
        question: Question,
        probes: Probes,
        rows: NDArray[np.bool_] | None = None,
    ) -> Landscape:
        """Return the landscape of some rows of the probes, of all if None."""
        groups = question.groups
        used = np.ones(len(probes.v), dtype=np.bool_) if rows is None else rows
        w = np.zeros((int(used.sum()), *groups.cost.shape), dtype=np.float32)
        own = np.zeros(groups.cost.shape)
        unit = float(probes.weight[used].sum()) * groups.scale
        for row, group in enumerate(groups.of_row):
            for option in np.flatnonzero(np.isfinite(groups.cost[group])):
                column = probes.column_of(row, int(option))[used]
                w[:, group, option] += column
                own[group, option] += float(column @ column) / unit
        return cls(question, w, probes.kept[used], own, unit)

    def sums(self, option: NDArray[np.integer]) -> Floats:
        """Return `[n]` summed projections of a choice `[G]`."""
        chosen = self.w[:, np.arange(self.w.shape[1]), option]
        return np.asarray(self.kept + chosen.sum(1, dtype=np.float64))


def descend(
    land: Landscape, share: float, start: NDArray[np.integer], most: int
) -> Indices:
    """Return a choice that no single change and no tried exchange improves.

    What falls is the sum of own errors plus `share` times the cross terms. Each step
    is the best there is; all limits hold after each.

    Args:
        land: The errors.
        share: Share of the cross terms that counts.
        start: `[G]` options that keep the limits.
        most: Steps at most.
    """
    walk = _Walk(land, share, start)
    for _ in range(most):
        if not (walk.step_one() or walk.step_two()):
            break
    return walk.option


def neighbours(
    land: Landscape, share: float, start: NDArray[np.integer], count: int
) -> list[Indices]:
    """Return the single changes and exchanges that look best, best first.

    All limits hold; not all need gain.

    Args:
        land: The errors.
        share: Share of the cross terms that counts.
        start: `[G]` options that keep the limits.
        count: How many at most.
    """
    walk = _Walk(land, share, start)
    ones, (group, to, twos) = walk.ones(), walk.twos()
    twos[np.tril_indices(len(twos))] = np.inf  # each pair once
    value = np.concatenate([ones.ravel(), twos.ravel()])
    found = []
    for place in np.argsort(value, kind="stable")[:count].tolist():
        if not np.isfinite(value[place]):
            break
        option = walk.option.copy()
        if place < ones.size:
            at, new = np.unravel_index(place, ones.shape)
            option[at] = new
        else:
            for i in np.unravel_index(place - ones.size, twos.shape):
                option[group[i]] = to[i]
        if land.question.holds(option):
            found.append(option)
    return found


class _Walk:
    """A choice on its way down, with everything that one change would do to it."""

    def __init__(
        self, land: Landscape, share: float, start: NDArray[np.integer]
    ) -> None:
        self.land, self.share = land, share
        self.option = start.astype(np.int64)
        question = land.question
        self.rows = question.rows
        self.groups = np.arange(len(self.option))
        self.flat = land.w.reshape(len(land.w), -1)
        self.square = np.einsum("rc,rc->c", self.flat, self.flat, dtype=np.float64)
        self.square = self.square.reshape(question.groups.cost.shape)
        # Own errors may have been measured since; cross terms come from the rows.
        self.alone = question.groups.cost - share * land.own
        self.sum = land.sums(start)
        self.projected = (self.sum.astype(np.float32) @ self.flat).astype(np.float64)
        self.within = np.zeros(self.square.shape)
        for group in self.groups:
            self._look_within(int(group))
        self.price, self.size = self._price()
        self.smallest = SMALLEST * max(
            1.0, float(question.groups.cost[self.groups, start].sum())
        )

    def _price(self) -> tuple[float, Floats]:
        """Return what one unit of size is worth here, and the sizes `[G, P]`."""
        limited = [(row.amount, row.most) for row in self.rows if not row.is_error]
        size = sum((amount / most for amount, most in limited), np.array(0.0))
        path = lower_hull(np.asarray(size), self.land.question.groups.cost)
        total = float(np.asarray(size)[self.groups, self.option].sum())
        return float(path.price(total)), np.asarray(size)

    def _look_within(self, group: int) -> None:
        """Project the options of a group on the one it has."""
        w = self.land.w[:, group]
        self.within[group] = w[:, self.option[group]] @ w

    def rises(self) -> Floats:
        """Return `[G, P]` how much the error rises with one change; inf if barred."""
        land, here = self.land, self.option
        projected = self.projected.reshape(self.square.shape)
        moved = 2 * (projected - projected[self.groups, here][:, None])
        moved += self.square + self.square[self.groups, here][:, None]
        moved -= 2.0 * self.within
        alone = self.alone - self.alone[self.groups, here][:, None]
        rise = alone + self.share * moved / land.unit
        rise[self.groups, here] = np.inf
        return np.where(np.isfinite(land.question.groups.cost), rise, np.inf)

    def _extra(self) -> list[tuple[Floats, float]]:
        """Return for each limit what a change adds `[G, P]`, and what is left."""
        found = []
        for row in self.rows:
            added = row.amount - row.amount[self.groups, self.option][:, None]
            left = row.most * (1 + ROUNDING) - row.total(self.option)
            found.append((added, left))
        return found

    def ones(self) -> Floats:
        """Return `[G, P]` what single changes add; inf where a limit would break."""
        rise = self.rises()
        for added, left in self._extra():
            rise = np.where(added <= left, rise, np.inf)
        return rise

    def twos(self) -> tuple[Indices, Indices, Floats]:
        """Return n changes (groups and options) and what two add, `[n, n]`."""
        rise = self.rises()
        size = self.size - self.size[self.groups, self.option][:, None]
        worth = np.where(np.isfinite(rise), rise + self.price * size, np.inf).ravel()
        some = np.argsort(worth, kind="stable")[:PAIRED]
        some = some[np.isfinite(worth[some])]
        group, to = np.unravel_index(some, rise.shape)
        change = self.land.w[:, group, to] - self.land.w[:, group, self.option[group]]
        cross = 2 * self.share * (change.T @ change).astype(np.float64)
        both = rise[group, to][:, None] + rise[group, to] + cross / self.land.unit
        both[group[:, None] == group] = np.inf
        for added, left in self._extra():
            each = added[group, to]
            both[each[:, None] + each > left] = np.inf
        return group, to, both

    def step_one(self) -> bool:
        """Change the one group that gains most; return whether one gains."""
        rise = self.ones()
        group, to = np.unravel_index(int(rise.argmin()), rise.shape)
        if not rise[group, to] < -self.smallest:
            return False
        return self._take([(int(group), int(to))])

    def step_two(self) -> bool:
        """Change the two groups that gain most together."""
        group, to, both = self.twos()
        if not len(group):
            return False
        first, second = np.unravel_index(int(both.argmin()), both.shape)
        if not both[first, second] < -self.smallest:
            return False
        pair = [(int(group[i]), int(to[i])) for i in (first, second)]
        return self._take(pair)

    def _take(self, changes: Sequence[tuple[int, int]]) -> bool:
        """Make changes, unless sums that round would break a limit."""
        option = self.option.copy()
        for group, to in changes:
            option[group] = to
        if not self.land.question.holds(option):
            return False
        moved = np.zeros(len(self.sum))
        for group, to in changes:
            old = self.option[group]
            moved += self.land.w[:, group, to] - self.land.w[:, group, old]
        self.sum += moved
        self.projected += moved.astype(np.float32) @ self.flat
        self.option = option
        for group, _ in changes:
            self._look_within(group)
        return True
