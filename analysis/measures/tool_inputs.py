"""Statistics of layer inputs that other tools rank layers by, added up by sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLEWISE = (
    "mean_activation_variance",
    "max_activation_variance",
    "mean_activation_magnitude",
    "quantile",
    "kurtosis",
)
"""Statistics that are a mean over samples."""
_STEP = 100  # of the sorted values that enter the kurtosis
_FEW = 1000  # values below which all of them do
_TINY = 1e-10
_INT8_STEPS = 254


@dataclass
class InputScores:
    """Sums over the inputs of one layer; shards of the data are joined in order.

    Attributes:
        samples: Inputs seen, one `[T, C]` per sample and call.
        positions: Their positions in all.
        energy: Sum of squares per channel, `[C]`.
        sums: Sum over samples, and of squares, of `SAMPLEWISE`, `[2, 5]`.
        spread: Largest standard deviation about the channels' mid-ranges.
        absmax: Largest magnitude.
        recursive: NNCF's running mean of squares, which divides what is there again
            with every sample.
        shrink: What `recursive` is multiplied by when it is carried over the samples
            seen here.
    """

    samples: int = 0
    positions: int = 0
    energy: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sums: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros((2, len(SAMPLEWISE)))
    )
    spread: float = 0.0
    absmax: float = 0.0
    recursive: float = 0.0
    shrink: float = 1.0

    def update(self, x: Tensor) -> None:
        """Take in the inputs of some samples, `[N, T, C]`, channels last."""
        x = x.float()
        samples, positions, channels = x.shape
        energy = x.square().sum(1, dtype=torch.float64)
        high, low = x.amax(1), x.amin(1)
        centred = x - ((high + low) / 2).unsqueeze(1)
        magnitude = torch.maximum(high.abs(), low.abs())
        absmax = magnitude.amax(1)
        variance = x.var(1, correction=0)
        ordered = x.flatten(1).sort(1).values
        values = (
            variance.mean(1),
            variance.amax(1),
            magnitude.mean(1),
            _quantile_scores(ordered, absmax),
            _kurtosis_scores(ordered),
        )
        found = torch.stack([v.double() for v in values]).nan_to_num().cpu().numpy()
        size = positions * channels
        running = 0.0
        for squares in energy.sum(1).tolist():
            running = (running + squares) / size
        self.merge(
            InputScores(
                samples,
                samples * positions,
                energy.sum(0).cpu().numpy(),
                np.stack([found.sum(1), (found**2).sum(1)]),
                float(centred.flatten(1).std(1, correction=0).max()),
                float(absmax.max()),
                running,
                float(size) ** -samples,
            )
        )

    def merge(self, other: InputScores) -> None:
        """Take in the samples that follow those seen here."""
        self.samples += other.samples
        self.positions += other.positions
        self.energy = self.energy + other.energy if len(self.energy) else other.energy
        self.sums = self.sums + other.sums
        self.spread = max(self.spread, other.spread)
        self.absmax = max(self.absmax, other.absmax)
        self.recursive = self.recursive * other.shrink + other.recursive
        self.shrink *= other.shrink

    # -- what the sums say -----------------------------------------------------------

    @property
    def importance(self) -> NDArray[np.float64]:
        """E[x^2] per channel, `[C]`: llama.cpp's importance matrix."""
        return self.energy / max(self.positions, 1)

    def mean(self, name: str) -> tuple[float, float]:
        """Return mean and standard error over samples of one of `SAMPLEWISE`."""
        total, squares = self.sums[:, SAMPLEWISE.index(name)]
        n = self.samples
        mean = total / n
        variance = max(squares / n - mean**2, 0.0)
        return float(mean), float(np.sqrt(variance / (n - 1))) if n > 1 else np.nan

    @property
    def range_over_std(self) -> float:
        """Largest magnitude over `spread`: msModelSlim's std score."""
        return self.absmax / self.spread if self.spread > 0 else np.nan

    @property
    def hessian(self) -> float:
        """2 / (N size) sum x^2, what NNCF's Hessian of the input is meant to be."""
        size = self.positions * len(self.energy) / self.samples
        return float(2 / (self.samples * size) * self.energy.sum())

    @property
    def hessian_recursive(self) -> float:
        """The same as NNCF computes it: 2 c / N of the `recursive` mean c."""
        return 2 * self.recursive / self.samples

    @property
    def entropy(self) -> float:
        """Entropy [bit] of the energy over the channels, log2(C) when it is equal."""
        share = self.energy / self.energy.sum()
        share = share[share > 0]
        return float(-(share * np.log2(share)).sum())


def _quantile_scores(ordered: Tensor, absmax: Tensor) -> Tensor:
    """Return the int8 step in units of the inter-quartile range, `[N]`.

    Args:
        ordered: The values of each sample, sorted, `[N, values]`.
        absmax: Their largest magnitudes, `[N]`.
    """
    quarter, last = ordered.shape[1] // 4, ordered.shape[1] - 1
    middle = ordered[:, min(3 * quarter, last)] - ordered[:, quarter]
    return 2 * absmax / _INT8_STEPS / (middle + _TINY)


def _kurtosis_scores(ordered: Tensor) -> Tensor:
    """Return the excess kurtosis of every 100th value, the 50th first, `[N]`."""
    every = ordered.shape[1] >= _FEW
    chosen = ordered[:, _STEP // 2 :: _STEP] if every else ordered
    deviation = (chosen - chosen.mean(1, keepdim=True)).double()
    return deviation.pow(4).mean(1) / deviation.square().mean(1).square() - 3


def by_sample(x: Tensor, samples: int, convolution: bool) -> Tensor | None:
    """Return inputs as `[N, T, C]`, None when samples cannot be told apart.

    Args:
        x: Input of a layer: `[N, ..., C]`, `[N * T, C]`, or `[N, C, ...]` of a
            convolution.
        samples: Samples N in the batch.
        convolution: Whether the channels are on axis 1.
    """
    if x.dim() < 2 or not len(x) or len(x) % samples:
        return None
    x = x.movedim(1, -1) if convolution else x
    return x.reshape(samples, -1, x.shape[-1])
