"""Least sums under limits, by branch and bound over the few options that matter.

Choosing one option per group under limits on sums is the multiple-choice knapsack
problem. HiGHS (`scipy.optimize.milp`) solves it, but only well prepared:

* Its tolerances are absolute. Costs of 1e-9 all look like nothing, and the answer is
  "optimal" and wrong. So what goes in is scaled to the size of the optimum.
* Ten thousand layers by eight formats take it a quarter of a minute. With a price on
  every limit each choice has a reduced cost: how much worse the best assignment that
  contains it is, at least. Nearly all choices are ruled out by that, and the few left,
  the core, are solved in milliseconds (Balas and Zemel 1980; Pisinger 1995).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.hull import lower_hull
from analysis.search.problem import Floats, Indices
from analysis.search.question import PROVEN, ROUNDING, Row, relative_gap
from analysis.search.quiet import stdout_to_stderr

CORE = 256
"""Choices beyond one per group that are looked at first."""

SCALE = 1e6
"""What the optimum is scaled to: HiGHS tells values apart down to 1e-6."""

RAISES = np.geomspace(1.0, 1e3, 400)
"""Factors on the prices tried when the time is up before anything was found."""

CUTS = 16
"""Choices that break a limit by less than HiGHS's tolerance, ruled out one by one."""

Mask = NDArray[np.bool_]


class OutOfTime(AnalysisError):
    """The time is up and there is no assignment to return."""

    def __init__(self) -> None:
        super().__init__(
            "The exact search found no assignment in time.",
            hint="Give it more `seconds`, or use the search `front`.",
        )


@dataclass(frozen=True, slots=True)
class Found:
    """`[G]` options, and a value that no other choice of options undercuts."""

    option: Indices
    bound: float


@dataclass(frozen=True, slots=True)
class Solver:
    """Minimises a sum of one number per group under limits on such sums."""

    gap: float
    deadline: float

    def minimise(self, objective: Floats, rows: Sequence[Row]) -> Found | None:
        """Return the best choice, or None when no choice keeps all limits.

        Args:
            objective: `[G, P]`, not negative, inf where an option is not offered.
            rows: Limits, each of which can be kept on its own.
        """
        groups = np.arange(len(objective))
        offered = undominated(objective, [row.amount for row in rows])
        easy = np.where(offered, objective, np.inf).argmin(1)
        if all(row.holds(easy) for row in rows):
            return Found(easy, float(objective[groups, easy].sum()))
        prices = prices_of(objective, rows, offered)
        if prices is None:
            return None
        reduced = np.where(offered, objective, np.inf)
        for price, row in zip(prices, rows, strict=True):
            reduced += price * np.where(offered, row.amount, 0.0)
        low = reduced.min(1)
        # Lagrangian bound: holds for any prices that are not negative.
        bound = float(
            low.sum() - sum(p * r.most for p, r in zip(prices, rows, strict=True))
        )
        extra = reduced - low[:, None]
        try:
            return self._grow_core(objective, rows, extra, bound)
        except OutOfTime:
            option = rounded(np.where(offered, objective, np.inf), rows, prices)
            if option is None:
                raise
            return Found(option, bound)

    def _grow_core(
        self, objective: Floats, rows: Sequence[Row], extra: Floats, bound: float
    ) -> Found | None:
        """Solve over ever more options, until those left out cannot matter.

        Args:
            objective: `[G, P]`.
            rows: The limits.
            extra: `[G, P]` how far above `bound` any choice with this option lies.
            bound: A value that no choice undercuts.
        """
        groups = np.arange(len(objective))
        levels = np.sort(extra[np.isfinite(extra)])
        count = len(objective) + CORE
        best, least = None, np.inf
        while True:
            level = levels[min(count, len(levels)) - 1]
            outside = levels[np.searchsorted(levels, level, side="right") :]
            try:
                found = self._solve(objective, rows, extra <= level, bound)
            except OutOfTime:
                if best is None:
                    raise
                return best
            if found is None:
                if not len(outside):
                    return best
                count *= 8
                continue
            value = float(objective[groups, found.option].sum())
            beyond = bound + outside[0] if len(outside) else np.inf
            proof = max(bound, min(found.bound, beyond))
            if value < least or best is None:
                best, least = found, value
            best = Found(best.option, proof)
            # Whatever lies further out than the best found cannot be better.
            needed = int(np.searchsorted(levels, least - bound, side="right"))
            enough = relative_gap(least, proof) <= max(self.gap, PROVEN)
            if enough or needed <= count or time.monotonic() > self.deadline:
                return best
            count = needed

    def _solve(
        self, objective: Floats, rows: Sequence[Row], core: Mask, bound: float
    ) -> Found | None:
        """Return the best choice among the options in `core`, None if there is none."""
        option = core.argmax(1)
        open_groups = np.flatnonzero(core.sum(1) > 1)
        program = _Program.build(objective, rows, core, open_groups, bound)
        if program is None:
            return None
        if not len(open_groups):
            value = float(objective[np.arange(len(option)), option].sum())
            return Found(option, value)
        cuts: list[Floats] = []
        while True:
            left = max(0.05, self.deadline - time.monotonic())
            chosen, low = program.solve(self.gap, left, cuts)
            if chosen is None:
                return None
            option[open_groups[program.group[chosen]]] = program.option[chosen]
            if all(row.holds(option) for row in rows):
                return Found(option, low)
            if len(cuts) == CUTS:
                raise AnalysisError(
                    "The limits are too fine for the exact search.",
                    hint="Raise a limit by a millionth, or use the search `front`.",
                )
            cut = np.zeros(len(program.group))
            cut[chosen] = 1.0
            cuts.append(cut)


@dataclass(frozen=True, slots=True)
class _Program:
    """The mixed-integer program over the groups that still have a choice.

    Attributes:
        group: `[V]` which open group a variable belongs to.
        option: `[V]` the option it stands for.
        cost: `[V]` scaled objective, 0 for the best option of each group.
        limits: `[rows, V]` scaled amounts beyond the least of each group.
        most: `[rows]` scaled limits.
        scale: Factor from objective to `cost`.
        fixed: Objective of the best options of all groups.
    """

    group: Indices
    option: Indices
    cost: Floats
    limits: Floats
    most: Floats
    scale: float
    fixed: float

    @classmethod
    def build(
        cls,
        objective: Floats,
        rows: Sequence[Row],
        core: Mask,
        open_groups: Indices,
        reference: float,
    ) -> _Program | None:
        """Return the program, or None when the least amounts break a limit."""
        rest = []
        allowed = core.copy()
        for row in rows:
            least = np.where(core, row.amount, np.inf).min(1)
            room = row.most * (1 + ROUNDING) - float(least.sum())
            if room < 0:
                return None
            beyond = np.where(core, row.amount, np.inf) - least[:, None]
            allowed &= beyond <= room
            rest.append((beyond, room))
        if not allowed.any(1).all():
            return None
        kept = np.where(core, objective, np.inf)
        best = kept.min(1)
        group, option = np.nonzero(allowed[open_groups])
        at = (open_groups[group], option)
        cost = kept[at] - best[at[0]]
        scale = (
            SCALE / reference if reference > 0 else 1.0 / max(cost.max(initial=0), 1)
        )
        limits, most = np.zeros((len(rows), len(group))), np.zeros(len(rows))
        for i, (beyond, room) in enumerate(rest):
            unit = float(beyond[at].max(initial=0.0)) / 1e3 or 1.0
            limits[i], most[i] = beyond[at] / unit, room / unit
        return cls(group, option, cost * scale, limits, most, scale, float(best.sum()))

    def solve(
        self, gap: float, seconds: float, cuts: Sequence[Floats]
    ) -> tuple[Indices | None, float]:
        """Return the variables chosen (None when infeasible) and a lower bound."""
        # A second to import, which listing the searches must not cost.
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        size = len(self.group)
        groups = int(self.group.max(initial=-1)) + 1
        one = csr_array((np.ones(size), (self.group, np.arange(size))), (groups, size))
        constraints = [
            LinearConstraint(one, 1, 1),
            LinearConstraint(csr_array(self.limits), -np.inf, self.most),
        ]
        if cuts:
            most = np.array([cut.sum() - 1 for cut in cuts])
            constraints.append(LinearConstraint(np.array(cuts), -np.inf, most))
        with stdout_to_stderr():
            answer = milp(
                self.cost,
                integrality=np.ones(size, dtype=np.int64),
                bounds=Bounds(0, 1),
                constraints=constraints,
                options={"mip_rel_gap": gap, "time_limit": seconds},
            )
        if answer.status == 2:
            return None, np.inf
        if answer.x is None:
            raise OutOfTime
        low = float(answer.mip_dual_bound) / self.scale + self.fixed
        return np.flatnonzero(np.asarray(answer.x) > 0.5), low


def undominated(objective: Floats, amounts: Sequence[Floats]) -> Mask:
    """Return `[G, P]` options that no other option of their group makes useless.

    Args:
        objective: `[G, P]`, inf where an option is not offered.
        amounts: `[G, P]` each, what is limited.
    """
    values = [objective, *amounts]
    offered = np.asarray(np.isfinite(objective))
    for amount in amounts:
        offered &= np.isfinite(amount)
    keep = offered.copy()
    options = objective.shape[1]
    for this in range(options):
        for other in range(options):
            if this == other:
                continue
            worse = offered[:, other].copy()
            equal = worse.copy()
            for value in values:
                worse &= value[:, other] <= value[:, this]
                equal &= value[:, other] == value[:, this]
            # Of equal options the first stays.
            keep[:, this] &= ~(worse & ~(equal & (other > this)))
    return keep


def rounded(objective: Floats, rows: Sequence[Row], prices: Floats) -> Indices | None:
    """Return the options that are best at the prices, raised until the limits hold.

    Args:
        objective: `[G, P]`, inf where an option is not offered.
        rows: The limits.
        prices: One for each.
    """
    paid = np.zeros(objective.shape)
    for price, row in zip(prices, rows, strict=True):
        paid += price * np.where(np.isfinite(objective), row.amount, 0.0)
    for factor in RAISES:
        option: Indices = (objective + factor * paid).argmin(1)
        if all(row.holds(option) for row in rows):
            return option
    return None


def prices_of(objective: Floats, rows: Sequence[Row], offered: Mask) -> Floats | None:
    """Return a price for each limit, near those of the relaxed problem.

    Any prices give a valid bound; good ones give a tight one. None when even fractions
    of options cannot keep the limits.
    """
    kept = np.where(offered, objective, np.inf)
    paths = [lower_hull(np.where(offered, r.amount, np.inf), kept) for r in rows]
    if len(rows) == 1:
        return np.array([paths[0].price(rows[0].most)])
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    group, option = np.nonzero(offered)
    least = kept.min(1)
    bounds = [
        np.interp(r.most, p.size, p.cost) for r, p in zip(rows, paths, strict=True)
    ]
    # The optimum with all limits costs at least as much as with one of them.
    reference = float(max(bounds)) - float(least.sum())
    cost = kept[group, option] - least[group]
    scale = 1e3 / reference if reference > 0 else 1.0 / max(float(cost.max()), 1e-300)
    size = len(group)
    amounts = np.array([row.amount[group, option] / row.most for row in rows])
    answer = linprog(  # type: ignore[call-overload] # stubs know no sparse matrices
        cost * scale,
        A_ub=csr_array(amounts),
        b_ub=np.ones(len(rows)),
        A_eq=csr_array((np.ones(size), (group, np.arange(size)))),
        b_eq=np.ones(len(objective)),
        bounds=(0, 1),
        method="highs",
    )
    if answer.status == 2:
        return None
    if answer.status != 0:
        return np.array([p.price(r.most) for p, r in zip(paths, rows, strict=True)])
    limits = np.array([row.most for row in rows])
    marginals: Floats = np.asarray(answer.ineqlin.marginals, dtype=np.float64)
    prices: Floats = np.maximum(0.0, -marginals) / limits / scale
    return prices
