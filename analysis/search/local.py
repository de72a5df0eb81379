"""The error near an assignment that was run, as slopes and curvature tell it.

Costs of a search are expanded at the float network: exact for small changes only, with
cross terms that must be told from the noise of probes. Near an assignment that was run
its measured error is known, the slopes of every change away from it are exact, and
only what few changes do beyond their slopes is left to probes; see
`analysis.measures.expansion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.search.problem import Choice, CostTable, Floats, Probes

FAR = 2.0
"""Curvature of changes, by the error before, from which slopes tell nothing.

One less is near: there the changes alone would do as much as that error.
"""

LEAST = 0.1
"""Changes take away at most all but this share of the measured error."""


@dataclass(frozen=True)
class Local:
    """What changes away from an assignment add to its error.

    Attributes:
        anchor: `[R]` options of the assignment.
        measured: Its error, above zero.
        slope: `[R, P]` what each option adds to first order; 0 for the anchor's own.
        own: `[R, P]` what it adds beyond that, alone.
        probes: Projections of the changes, for what they do together.
    """

    anchor: Choice
    measured: float
    slope: Floats
    own: Floats
    probes: Probes

    @classmethod
    def of(
        cls,
        table: CostTable,
        anchor: Choice,
        measured: float,
        arrays: Mapping[str, NDArray[Any]],
    ) -> Local:
        """Return the error near `anchor`.

        Args:
            table: What may be chosen; weights only.
            anchor: `[R]` options.
            measured: Error of the anchor.
            arrays: Of `expanding`, made at the anchor.
        """
        told = arrays["expansion/columns"].tolist()
        number = {(name, key): i for i, (name, key) in enumerate(told)}
        keys = ["" if scheme is None else scheme.key for scheme in table.palette]
        column = np.array(
            [[number.get((x.name, key), -1) for key in keys] for x in table.layers],
            dtype=np.int64,
        ).reshape(table.cost.shape)
        column[np.arange(len(anchor)), anchor] = -1
        v = np.asarray(arrays["expansion/v"], dtype=np.float32)
        index = np.asarray(arrays["expansion/sample"], dtype=np.int64)
        weight = np.asarray(arrays["expansion/weight"], dtype=np.float64)
        probes = Probes(
            v,
            weight[index],
            index,
            np.stack([column, np.full_like(column, -1)], -1),
            np.zeros(len(v)),
        )
        slope = arrays["expansion/slope"].sum(0, dtype=np.float64) / weight.sum()
        square = np.einsum("nc,nc->c", v, v, dtype=np.float64)
        own = square / probes.weight.sum()
        there = column >= 0
        return cls(
            anchor,
            measured,
            np.where(there, slope[column], 0.0),
            np.where(there, own[column], 0.0),
            probes,
        )

    def table(self, table: CostTable) -> CostTable:
        """Return costs for a search: what options add, from 0 up in every row."""
        offered = np.isfinite(table.cost)
        cost = np.where(offered, self.slope + self.own, np.inf)
        cost = cost - cost.min(1, keepdims=True)
        return replace(table, cost=cost, stderr=None, probes=self.probes, blocks=())

    def between(self, choice: NDArray[np.integer], other: NDArray[np.integer]) -> float:
        """Return the curvature of the changes that lead from one choice to another."""
        rows = np.flatnonzero(choice != other)
        changes = [
            self.probes.column_of(row, int(choice[row]))
            - self.probes.column_of(row, int(other[row]))
            for row in rows.tolist()
        ]
        squares = sum(float(change @ change) for change in changes)
        return squares / float(self.probes.weight.sum())

    def expect(
        self, choice: NDArray[np.integer], runs: Iterable[tuple[Choice, float]]
    ) -> tuple[float, float]:
        """Return the error expected of a choice, and how much that is worth.

        It starts from the nearest run: slopes and curvature tell the ratio of the two
        errors. They are worth 1 near the anchor and 0 from `FAR` on.

        Args:
            choice: `[R]` options.
            runs: Choices that were run, the anchor among them, and their errors.
        """
        near, measured = min(runs, key=lambda run: self.between(choice, run[0]))
        value = measured * self.predict(choice) / self.predict(near)
        trust = FAR - self.between(choice, self.anchor) / self.measured
        return value, min(max(trust, 0.0), 1.0)

    def predict(self, choice: NDArray[np.integer]) -> float:
        """Return the error expected of a choice; at the anchor, what was measured."""
        slope = float(self.slope[np.arange(len(choice)), choice].sum())
        curved = self.probes.error(choice)
        return max(self.measured + slope + curved, LEAST * self.measured)
