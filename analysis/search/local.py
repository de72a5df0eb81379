"""The error near an assignment that was run, as slopes and curvature tell it.

Costs of a search are expanded at the float network: exact for small changes only, with
cross terms that must be told from the noise of probes. Near an assignment that was run
its measured error is known, the slopes of every change away from it are exact, and
only what few changes do beyond their slopes is left to probes; see
`analysis.measures.expansion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.search.problem import Choice, CostTable, Floats, Probes

FAR = 2.0
"""Distance from which nothing is expected of slopes; one less is near.

At distance 1 the changes alone would do as much as the anchor's whole error.
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

    def distance(self, choice: NDArray[np.integer]) -> float:
        """Return how far a choice is: its changes' curvature over the error."""
        far = float(self.own[np.arange(len(choice)), choice].sum())
        return far / self.measured

    def trust(self, choice: NDArray[np.integer]) -> float:
        """Return how much a prediction is worth, 1 near the anchor and 0 far away."""
        return min(max(FAR - self.distance(choice), 0.0), 1.0)

    def predict(self, choice: NDArray[np.integer]) -> float:
        """Return the error expected of a choice; at the anchor, what was measured."""
        slope = float(self.slope[np.arange(len(choice)), choice].sum())
        curved = self.probes.error(choice)
        return max(self.measured + slope + curved, LEAST * self.measured)
