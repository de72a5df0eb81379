"""The accumulator behind curvature traces: sums per cluster of samples, per layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
        self._place: dict[int, int] = {}
        self._value = np.zeros((0, layers))
        self._square = np.zeros((0, layers))
        self._weight = np.zeros(0)
        self._probes = np.zeros(0, np.int64)
        self._samples = np.zeros(0, np.int64)

    def update(
        self,
        clusters: Sequence[int],
        value: NDArray[np.float64],
        weight: NDArray[np.float64],
        samples: Sequence[int],
    ) -> None:
        """Add one probe of some clusters, each of which is named once.

        Args:
            clusters: Index of the first sample of each in the whole data set.
            value: `[clusters, layers]` quadratic forms, summed over the samples.
            weight: `[clusters]` weights of the loss, summed over the samples.
            samples: Numbers of samples.
        """
        places = self._places(clusters)
        self._value[places] += value
        self._square[places] += value**2
        self._weight[places] += weight
        self._probes[places] += 1
        self._samples[places] = samples

    def _places(self, clusters: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of some clusters, new ones for those not seen before."""
        known = len(self._place)
        found = [self._place.setdefault(c, len(self._place)) for c in clusters]
        new = len(self._place) - known
        if new:
            table = np.zeros((new, self._layers))
            self._value = np.concatenate([self._value, table])
            self._square = np.concatenate([self._square, table])
            self._weight = np.concatenate([self._weight, np.zeros(new)])
            self._probes = np.concatenate([self._probes, np.zeros(new, np.int64)])
            self._samples = np.concatenate([self._samples, np.zeros(new, np.int64)])
        return np.array(found, dtype=np.int64)

    def _take_over(self, other: TraceSums, clusters: Sequence[int]) -> None:
        """Put the sums of another in place of one's own."""
        theirs = [other._place[c] for c in clusters]
        places = self._places(clusters)
        self._value[places] = other._value[theirs]
        self._square[places] = other._square[theirs]
        self._weight[places] = other._weight[theirs]
        self._probes[places] = other._probes[theirs]
        self._samples[places] = other._samples[theirs]

    def merge(self, other: TraceSums) -> None:
        """Take in a shard; of a cluster in both, the one with more probes stays."""
        clusters = list(other._place)
        more = other.probes_of(clusters) > self.probes_of(clusters)
        self._take_over(other, [c for c, m in zip(clusters, more, strict=True) if m])

    def only(self, wanted: Iterable[tuple[int, int]]) -> TraceSums:
        """Return the clusters that start and end as in `wanted`.

        Args:
            wanted: First sample and number of samples of each.
        """
        kept = TraceSums(self._layers)
        same = [
            cluster
            for cluster, samples in wanted
            if cluster in self._place and self._samples[self._place[cluster]] == samples
        ]
        kept._take_over(self, same)
        return kept

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return len(self._place)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self._samples.sum())

    def probes_of(self, clusters: Sequence[int]) -> NDArray[np.int64]:
        """Return how many probes some clusters have had."""
        places = np.array([self._place.get(c, -1) for c in clusters], dtype=np.int64)
        return np.append(self._probes, 0)[places]

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the trace of every layer and its standard error, `[layers]` each."""
        if not self._place:
            return np.full(self._layers, np.nan), np.full(self._layers, np.nan)
        clusters = np.arange(len(self._place))
        return clustered_ratio(self._value, self._weight, clusters)

    def noise(self) -> NDArray[np.float64]:
        """Return the part of the standard errors that more probes lower, `[layers]`.

        The spread of the probes of one cluster; NaN when a cluster has a single one.
        """
        if not self._place or self._probes.min() < 2:
            return np.full(self._layers, np.nan)
        each = self._probes[:, None].astype(np.float64)
        variance = (each * self._square - self._value**2).clip(min=0) / (each - 1)
        return np.asarray(np.sqrt(variance.sum(0)) / self._weight.sum())

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Return what `from_arrays` reads."""
        clusters = np.array(list(self._place), dtype=np.int64)
        return {
            f"{prefix}/sums": self._value.copy(),
            f"{prefix}/squares": self._square.copy(),
            f"{prefix}/weight": self._weight.copy(),
            f"{prefix}/clusters": np.stack([clusters, self._probes, self._samples], 1),
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
        self._places(table[:, 0].tolist())
        self._value = np.array(sums, dtype=np.float64)
        self._square = np.array(squares, dtype=np.float64)
        self._weight = np.array(arrays[f"{prefix}/weight"], dtype=np.float64)
        self._probes, self._samples = table[:, 1].copy(), table[:, 2].copy()
        return self
