"""The accumulator behind curvature traces: sums per cluster of samples, per layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.prediction import clustered_ratio


class TraceSums:
    """Quadratic forms of probes, summed per cluster of samples.

    A cluster is a set of samples whose probes were drawn together: one sample, or one
    batch. Clusters are independent of each other, so their spread is the standard
    error, noise of probes and choice of samples in one. Mergeable: shards have
    clusters of their own (`start -> update -> merge -> finish`).

    Args:
        layers: Number of layers.
    """

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._value: dict[int, NDArray[np.float64]] = {}
        self._square: dict[int, NDArray[np.float64]] = {}
        self._weight: dict[int, float] = {}
        self._probes: dict[int, int] = {}
        self._samples: dict[int, int] = {}

    def update(
        self,
        cluster: int,
        value: NDArray[np.float64],
        weight: float,
        samples: int,
    ) -> None:
        """Add one probe of a cluster.

        Args:
            cluster: Index of its first sample in the whole data set.
            value: `[layers]` quadratic forms, summed over its samples.
            weight: Weight of the loss, summed over its samples.
            samples: Number of its samples.
        """
        self._value[cluster] = self._value.get(cluster, 0.0) + value
        self._square[cluster] = self._square.get(cluster, 0.0) + value**2
        self._weight[cluster] = self._weight.get(cluster, 0.0) + weight
        self._probes[cluster] = self._probes.get(cluster, 0) + 1
        self._samples[cluster] = samples

    def merge(self, other: TraceSums) -> None:
        """Take in a shard; of a cluster in both, the one with more probes stays."""
        for cluster, probes in other._probes.items():
            if probes > self._probes.get(cluster, 0):
                self._value[cluster] = other._value[cluster]
                self._square[cluster] = other._square[cluster]
                self._weight[cluster] = other._weight[cluster]
                self._probes[cluster] = probes
                self._samples[cluster] = other._samples[cluster]

    def only(self, wanted: Iterable[tuple[int, int]]) -> TraceSums:
        """Return the clusters that start and end as in `wanted`.

        Args:
            wanted: First sample and number of samples of each.
        """
        kept = TraceSums(self._layers)
        for cluster, samples in wanted:
            if self._samples.get(cluster) == samples:
                kept._value[cluster] = self._value[cluster]
                kept._square[cluster] = self._square[cluster]
                kept._weight[cluster] = self._weight[cluster]
                kept._probes[cluster] = self._probes[cluster]
                kept._samples[cluster] = samples
        return kept

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return len(self._probes)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(self._samples.values())

    def probes_of(self, cluster: int) -> int:
        """Return how many probes a cluster has had."""
        return self._probes.get(cluster, 0)

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the trace of every layer and its standard error, `[layers]` each."""
        if not self._value:
            return np.full(self._layers, np.nan), np.full(self._layers, np.nan)
        value = np.stack(list(self._value.values()))
        weight = np.array(list(self._weight.values()))
        return clustered_ratio(value, weight, np.arange(len(weight)))

    def noise(self) -> NDArray[np.float64]:
        """Return the part of the standard errors that more probes lower, `[layers]`.

        The spread of the probes of one cluster; NaN when a cluster has a single one.
        """
        probes = np.array(list(self._probes.values()), dtype=np.float64)
        if not self._value or probes.min() < 2:
            return np.full(self._layers, np.nan)
        value, square = (
            np.stack(list(sums.values())) for sums in (self._value, self._square)
        )
        each = probes[:, None]
        variance = (each * square - value**2).clip(min=0) / (each - 1)
        whole = sum(self._weight.values())
        return np.asarray(np.sqrt(variance.sum(0)) / whole)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Return what `from_arrays` reads."""
        clusters = list(self._probes)
        rows = [[c, self._probes[c], self._samples[c]] for c in clusters]
        sums, squares = (
            np.array([table[c] for c in clusters]).reshape(-1, self._layers)
            for table in (self._value, self._square)
        )
        return {
            f"{prefix}/sums": sums,
            f"{prefix}/squares": squares,
            f"{prefix}/weight": np.array([self._weight[c] for c in clusters]),
            f"{prefix}/clusters": np.array(rows, dtype=np.int64).reshape(-1, 3),
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], prefix: str, layers: int
    ) -> TraceSums:
        """Return the sums of an interrupted run; empty when there are none."""
        self = cls(layers)
        sums, squares = (arrays.get(f"{prefix}/{x}") for x in ("sums", "squares"))
        if sums is None or squares is None or sums.shape != (len(sums), layers):
            return self
        table = np.asarray(arrays[f"{prefix}/clusters"], dtype=np.int64)
        weight = np.asarray(arrays[f"{prefix}/weight"], dtype=np.float64)
        for i, (cluster, probes, samples) in enumerate(table.tolist()):
            self._value[cluster] = np.array(sums[i], dtype=np.float64)
            self._square[cluster] = np.array(squares[i], dtype=np.float64)
            self._weight[cluster] = float(weight[i])
            self._probes[cluster], self._samples[cluster] = probes, samples
        return self
