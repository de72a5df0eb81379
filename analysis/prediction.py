"""Predicted error of a whole assignment from kept probe projections (numpy only).

`predicted_error` keeps the matrix V: one row per (sample, probe), one column per
(part, target, scheme), with `V[r, c] = u_r . J dW_c`. To second order the output
moves by the sum of the chosen columns, so the error of any assignment follows from
array sums, without running the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from quant_core.assignment import entries_in

if TYPE_CHECKING:
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme
    from quant_core.sites import Layer


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted error of an assignment, in the unit of the task.

    Attributes:
        value: `additive + shrinkage * interaction`.
        stderr: Standard error of `value`, samples as clusters.
        additive: Sum over layers and sites of their own errors.
        interaction: Estimated cross terms between them (may be negative).
        interaction_stderr: Standard error of `interaction` due to probes.
        shrinkage: Share of the estimated interaction that is used, 0 to 1.
        missing: Quantized layers or sites that were not analysed in the scheme
            chosen for them; they count as 0, so `value` is then a lower bound.
    """

    value: float
    stderr: float
    additive: float
    interaction: float
    interaction_stderr: float
    shrinkage: float
    missing: int


def clustered_ratio(
    numerator: NDArray[np.float64],
    weight: NDArray[np.float64],
    cluster: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `sum(numerator) / sum(weight)` and its standard error, per column.

    Rows of one cluster (probes of one sample) may depend on each other; clusters
    are independent. Delta method for a ratio of sums, Cochran (1977), eq. 6.13.

    Args:
        numerator: `[rows, ...]`.
        weight: `[rows]`.
        cluster: `[rows]`, indices counted from 0.

    Returns:
        Two arrays of shape `[...]`; the error is NaN with fewer than two clusters.
    """
    total = weight.sum()
    if not total > 0:
        nothing = np.full(numerator.shape[1:], np.nan)
        return nothing, nothing
    value = numerator.sum(0) / total
    clusters = int(cluster.max()) + 1
    if clusters < 2:
        return value, np.full_like(value, np.nan)
    sums = np.zeros((clusters, *numerator.shape[1:]))
    np.add.at(sums, cluster, numerator)
    weights = np.bincount(cluster, weight, clusters)
    used = weights > 0
    residual = sums[used] - np.multiply.outer(weights[used], value)
    n = int(used.sum())
    if n < 2:
        return value, np.full_like(value, np.nan)
    return value, np.sqrt(n / (n - 1) * (residual**2).sum(0)) / total


BASIS = 64
"""Elements of an output up to which orthogonal probes can form a basis."""


def probe_noise(
    numerator: NDArray[np.float64],
    weight: NDArray[np.float64],
    cluster: NDArray[np.int64],
    outputs: float = np.inf,
) -> float:
    """Return the standard error of `sum(numerator) / sum(weight)` due to probes alone.

    The spread between the probes of one sample, samples taken as given: what is left
    of it when the same samples are measured. Samples with a single probe tell
    nothing; without any other, the clustered error stands in, which is larger.
    Orthogonal probes of a small output are rows drawn from a basis without putting
    them back, which leaves less noise (Cochran (1977), eq. 2.20) and, when all rows
    were drawn, none.

    Args:
        numerator: `[rows]`.
        weight: `[rows]`.
        cluster: `[rows]`, indices counted from 0.
        outputs: Elements of the output of a sample, if its probes are orthogonal.
    """
    count = np.bincount(cluster)
    if not (count > 1).any():
        return float(clustered_ratio(numerator, weight, cluster)[1])
    mean = np.bincount(cluster, numerator) / np.maximum(count, 1)
    squares = np.bincount(cluster, (numerator - mean[cluster]) ** 2)
    several = count > 1
    left = _not_drawn(count[several], outputs)
    variance = left * count[several] / (count[several] - 1) * squares[several]
    return float(np.sqrt(variance.sum()) / weight.sum())


def _not_drawn(count: NDArray[np.int64], outputs: float) -> NDArray[np.float64]:
    """Return the share of independent probes' variance that orthogonal ones have."""
    if not outputs <= BASIS:
        return np.ones(len(count))
    rows = 1 << max(int(outputs) - 1, 0).bit_length()
    # After a whole basis it begins anew.
    return np.where(count < rows, 1 - count / rows, (count % rows) / count)


def outputs_of(arrays: Mapping[str, NDArray[np.generic]]) -> float:
    """Return the `outputs` of a stored run; infinite where probes are independent."""
    kept = arrays.get("predicted_error/outputs")
    return np.inf if kept is None else float(np.asarray(kept, dtype=np.float64)[0])


class Predictor:
    """Predicts assignments from V, changing only the columns that changed.

    Args:
        v: `[rows, columns]` projections, or None when only sums were kept.
        weight: `[rows]` weights of the task (positions, signal power ...).
        sample: `[rows]` index of the calibration sample.
        columns: `[columns, 3]` of (part, target, scheme key).
        own: `[2, columns]` own error and standard error of each column; needed
            only when `v` is None.
        outputs: Elements of the output of a sample, if its probes are orthogonal.

    Raises:
        AnalysisError: neither `v` nor `own` is given, or the shapes differ.
    """

    def __init__(
        self,
        v: NDArray[np.float32] | None,
        weight: NDArray[np.float64],
        sample: NDArray[np.int64],
        columns: NDArray[np.str_],
        own: NDArray[np.float64] | None = None,
        outputs: float = np.inf,
    ) -> None:
        if v is not None and v.shape != (len(weight), len(columns)):
            raise AnalysisError(
                "The kept projections do not fit their column table.",
                value=v.shape,
                allowed=f"{len(weight)} rows x {len(columns)} columns",
                hint="Run predicted_error again.",
            )
        if v is None and own is None:
            raise AnalysisError("A prediction needs projections or their sums.")
        # Columns are gathered one at a time, hence column-major.
        self._v = None if v is None else np.asfortranarray(v)
        self._weight = np.asarray(weight, dtype=np.float64)
        _, self._cluster = np.unique(np.asarray(sample), return_inverse=True)
        self._own, self._outputs = own, outputs
        self._count = len(columns)
        self._index: dict[tuple[str, str], dict[str, int]] = {}
        for number, (part, target, key) in enumerate(columns.tolist()):
            self._index.setdefault((part, key), {})[target] = number
        self._layers: tuple[Layer, ...] = ()
        self._known: dict[tuple[str, str], NDArray[np.int64]] = {}
        self._active = np.zeros(0, dtype=np.int64)
        rows = len(self._weight)
        self._sum = np.zeros(rows)
        self._square = np.zeros(rows)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Predictor | None:
        """Return the predictor of a stored run, or None before there is one.

        Args:
            arrays: Array names as in `Update.arrays`, "predicted_error/..." .
        """
        columns = arrays.get("predicted_error/columns")
        if columns is None:
            return None
        v = arrays.get("predicted_error/v")
        weights = arrays.get("predicted_error/weight")
        samples = arrays.get("predicted_error/sample")
        if weights is None or samples is None:
            return None
        weight = np.asarray(weights, dtype=np.float64)
        sample = np.asarray(samples, dtype=np.int64)
        own = arrays.get("predicted_error/own")
        return cls(
            None if v is None else np.asarray(v, dtype=np.float32),
            weight,
            sample,
            np.asarray(columns, dtype=np.str_),
            None if own is None else np.asarray(own, dtype=np.float64),
            outputs_of(arrays),
        )

    def _numbers(self, part: str, scheme: Scheme | None) -> NDArray[np.int64]:
        """Return the column number of every layer; -1 float, -2 not analysed.

        Looked up once per part and scheme, so that an edit costs array sums only.
        """
        if scheme is None:
            return np.full(len(self._layers), -1)
        known = self._known.get((part, scheme.key))
        if known is None:
            column = self._index.get((part, scheme.key), {})
            found = [column.get(layer.name, -2) for layer in self._layers]
            known = self._known[part, scheme.key] = np.array(found, dtype=np.int64)
        return known

    def _chosen(
        self, assignment: Assignment, part: str, choice: NDArray[np.int16]
    ) -> NDArray[np.int64]:
        if assignment.layers is not self._layers:
            self._layers, self._known = assignment.layers, {}
        numbers = np.empty(len(choice), dtype=np.int64)
        for index in entries_in(choice).tolist():
            here = choice == index
            numbers[here] = self._numbers(part, assignment.palette[index])[here]
        return numbers

    def columns_of(self, assignment: Assignment) -> tuple[NDArray[np.int64], int]:
        """Return the sorted column numbers an assignment uses, and how many miss."""
        at_sites = [
            max(
                self._index.get((part, scheme.key), {}).get(site, -2)
                for part in ("input", "output")
            )
            for site, scheme in assignment.sites.items()
        ]
        flat = np.concatenate(
            [
                self._chosen(assignment, "weight", assignment.weight),
                self._chosen(assignment, "input", assignment.input),
                np.array(at_sites, dtype=np.int64),
            ]
        )
        # Marked, not sorted: no column is used twice.
        used = np.zeros(self._count, dtype=np.bool_)
        used[flat[flat >= 0]] = True
        return np.flatnonzero(used), int((flat == -2).sum())

    def predict(self, assignment: Assignment) -> Prediction:
        """Return the predicted error of `assignment`.

        The interaction is shrunk by `max(0, 1 - (se / interaction)^2)`, the
        positive-part James-Stein factor, `se` being the noise of the probes: where
        cross terms cannot be told from it, the additive prediction, whose noise
        averages out over layers, is the better one. More probes let more of the
        interaction through.
        """
        columns, missing = self.columns_of(assignment)
        if self._v is None:
            assert self._own is not None
            value = float(self._own[0, columns].sum())
            stderr = float(np.sqrt((self._own[1, columns] ** 2).sum()))
            return Prediction(value, stderr, value, 0.0, float("nan"), 0.0, missing)
        self._move_to(columns)
        cross = self._sum**2 - self._square
        total_weight = self._weight.sum()
        own = self._square.sum() / total_weight
        interaction = cross.sum() / total_weight
        se = probe_noise(cross, self._weight, self._cluster, self._outputs)
        if interaction == 0 or not np.isfinite(se):
            share = 1.0
        else:
            share = float(max(0.0, 1.0 - (se / interaction) ** 2))
        used = self._square + share * cross
        total, total_se = clustered_ratio(used, self._weight, self._cluster)
        return Prediction(
            float(total),
            float(total_se),
            float(own),
            float(interaction),
            float(se),
            share,
            missing,
        )

    def _move_to(self, columns: NDArray[np.int64]) -> None:
        """Make `columns` the active ones, touching only those that differ."""
        assert self._v is not None
        change = np.zeros(self._count, dtype=np.int8)
        change[columns] += 1
        change[self._active] -= 1
        added, removed = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
        if len(added) + len(removed) > len(columns):
            self._sum[:] = 0
            self._square[:] = 0
            added, removed = columns, removed[:0]
        for group, sign in ((added, 1.0), (removed, -1.0)):
            for start in range(0, len(group), 4096):
                part = self._v[:, group[start : start + 4096]]
                self._sum += sign * part.sum(1, dtype=np.float64)
                self._square += sign * np.einsum(
                    "rc,rc->r", part, part, dtype=np.float64
                )
        self._active = columns
        # Rounding leaves dust after many edits; an empty plan is exactly 0.
        if not len(columns):
            self._sum[:] = 0
            self._square[:] = 0
