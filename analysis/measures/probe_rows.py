"""The accumulator behind predicted error: rows of projections that add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.prediction import clustered_ratio

DEFAULT_LIMIT_BYTES = 1 << 30


class ProbeRows:
    """Projections `V [rows, columns]` of one run, or their sums above a size limit.

    Mergeable: shards of calibration data give rows to put below each other, and
    sums to add (`start -> update -> merge -> finish`). Rows of
    one sample must be added between two calls of `close`, so that the sums can
    tell samples apart and give the same clustered standard error as the rows.

    Args:
        columns: Number of columns.
        limit_bytes: Rows are dropped, and only sums kept, once V is larger.
    """

    def __init__(self, columns: int, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._rows: list[NDArray[np.float32]] | None = []
        self._weight: list[NDArray[np.float64]] = []
        self._sample: list[NDArray[np.int64]] = []
        # Sums over closed samples of c, c^2, c w, w, w^2, where c is the summed
        # square of a sample's rows and w its summed weight.
        self._sums = np.zeros((3, columns))
        self._weight_sums = np.zeros(2)
        self._clusters = 0
        self._open: dict[int, tuple[NDArray[np.float64], float]] = {}

    @property
    def keeps_rows(self) -> bool:
        """Whether V itself is still kept."""
        return self._rows is not None

    @property
    def samples(self) -> int:
        """Number of distinct calibration samples seen."""
        return len(np.unique(np.concatenate([np.zeros(0), *self._sample])))

    def update(
        self,
        v: NDArray[np.float32],
        weight: NDArray[np.float64],
        sample: NDArray[np.int64],
    ) -> None:
        """Add rows.

        Args:
            v: `[rows, columns]`.
            weight: `[rows]`.
            sample: `[rows]` index of the calibration sample.
        """
        self._weight.append(np.asarray(weight, dtype=np.float64))
        self._sample.append(np.asarray(sample, dtype=np.int64))
        if self._rows is None:
            self._add_squares(v, self._weight[-1], self._sample[-1])
            return
        self._rows.append(np.asarray(v, dtype=np.float32))
        if sum(part.nbytes for part in self._rows) > self._limit:
            self._drop_rows()

    def close(self) -> None:
        """Declare that the samples added so far will get no further rows."""
        for square, weight in self._open.values():
            self._sums += (square, square**2, square * weight)
            self._weight_sums += (weight, weight**2)
        self._clusters += len(self._open)
        self._open = {}

    def merge(self, other: ProbeRows) -> None:
        """Add a shard with samples of its own; they are counted on from ours."""
        first = 1 + max((int(part.max()) for part in self._sample), default=-1)
        shifted = [sample + first for sample in other._sample]
        if other._rows is not None:
            for rows in zip(other._rows, other._weight, shifted, strict=True):
                self.update(*rows)
            self.close()
            return
        if self._rows is not None:
            self._drop_rows()
        self.close()
        self._weight += other._weight
        self._sample += shifted
        self._sums += other._sums
        self._weight_sums += other._weight_sums
        self._clusters += other._clusters
        self._open = {i + first: kept for i, kept in other._open.items()}

    def own(self) -> NDArray[np.float64]:
        """Return `[2, columns]`: error of each column alone and its standard error."""
        if self._rows is not None:
            if not self._rows:
                return np.full((2, self._sums.shape[1]), np.nan)
            _, cluster = np.unique(np.concatenate(self._sample), return_inverse=True)
            square = np.concatenate(self._rows).astype(np.float64) ** 2
            weight = np.concatenate(self._weight)
            return np.stack(clustered_ratio(square, weight, cluster))
        self.close()
        square_sum, square_square, square_weight = self._sums
        total, weight_square = self._weight_sums
        value = square_sum / total
        # sum (c - value w)^2, expanded; see `clustered_ratio`.
        spread = square_square - 2 * value * square_weight + value**2 * weight_square
        n = self._clusters
        factor = n / (n - 1) if n > 1 else np.nan
        return np.stack([value, np.sqrt(factor * np.maximum(spread, 0)) / total])

    def arrays(self, own: NDArray[np.float64]) -> dict[str, np.ndarray]:
        """Return what `analysis.prediction.Predictor` reads, under its names.

        Args:
            own: What `own` returned.
        """
        kept: dict[str, np.ndarray] = {
            "predicted_error/weight": np.concatenate(self._weight),
            "predicted_error/sample": np.concatenate(self._sample),
            "predicted_error/own": own,
        }
        if self._rows is not None:
            kept["predicted_error/v"] = np.concatenate(self._rows)
        return kept

    def _drop_rows(self) -> None:
        """Turn the kept rows into sums."""
        rows, self._rows = self._rows or [], None
        for part in zip(rows, self._weight, self._sample, strict=True):
            self._add_squares(*part)

    def _add_squares(
        self,
        v: NDArray[np.float32],
        weight: NDArray[np.float64],
        sample: NDArray[np.int64],
    ) -> None:
        squares = v.astype(np.float64) ** 2
        for square, w, index in zip(squares, weight, sample, strict=True):
            known, w_known = self._open.get(int(index), (0.0, 0.0))
            self._open[int(index)] = (known + square, w_known + float(w))
