"""Lanczos: eigenvalues and spectral density of a matrix known by its products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BASIS_BYTES = 1 << 30
"""Vectors are kept, and made orthogonal to each other again, up to this size."""
_GRID = 1024
_MARGIN = 0.05
_WIDTHS = 4.0
"""A grid ends this many widths of the Gaussian beyond the extreme nodes."""


@dataclass(frozen=True, slots=True)
class Ritz:
    """What a Krylov space knows of a matrix.

    Attributes:
        values: Approximate eigenvalues, ascending.
        weights: Squared share of the start vector along each; they add up to 1.
        residuals: `||A x - value x||` of each: an eigenvalue of a symmetric matrix
            lies within that distance (Parlett, The Symmetric Eigenvalue Problem,
            theorem 4.5.1).
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    residuals: NDArray[np.float64]

    def leading(self) -> int:
        """Return the index of the eigenvalue of largest magnitude."""
        return int(np.abs(self.values).argmax())


def lanczos(
    product: Callable[[Tensor], Tensor], start: Tensor, steps: int
) -> Iterator[Ritz]:
    """Yield what is known after each product, until the space is exhausted.

    With full reorthogonalisation while the basis fits `BASIS_BYTES`. Beyond, the
    plain recurrence is used: eigenvalues that have converged then come again, which
    moves neither the extreme ones nor the density (Chen, Trogdon and Ubaru, arXiv
    2105.06595).

    Args:
        product: Multiplies a vector with the symmetric matrix.
        start: Where to start; any length but 0.
        steps: Largest number of products.
    """
    steps = min(steps, start.numel())
    keeps = steps * start.numel() * start.element_size() <= BASIS_BYTES
    v, before = start / start.norm(), torch.zeros_like(start)
    basis: list[Tensor] = []
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(steps):
        w = product(v)
        diagonal.append(float(torch.dot(w, v)))
        w = w - diagonal[-1] * v
        if beside:
            w -= beside[-1] * before
        if keeps:
            basis.append(v)
            # Twice is enough (Parlett, section 6.9).
            for _ in range(2):
                for known in basis:
                    w -= torch.dot(w, known) * known
        step = float(w.norm())
        yield _ritz(diagonal, beside, step)
        largest = max(map(abs, (*diagonal, *beside)))
        if step <= 1e-6 * largest or largest == 0:
            return
        beside.append(step)
        before, v = v, w / step


def _ritz(diagonal: list[float], beside: list[float], step: float) -> Ritz:
    matrix = np.diag(diagonal)
    for i, value in enumerate(beside):
        matrix[i, i + 1] = matrix[i + 1, i] = value
    values, vectors = np.linalg.eigh(matrix)
    return Ritz(values, vectors[0] ** 2, np.abs(step * vectors[-1]))


def spectral_density(
    nodes: NDArray[np.float64], weights: NDArray[np.float64], width: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a grid and the density of eigenvalues on it, which integrates to 1.

    Every node becomes a Gaussian of its weight (stochastic Lanczos quadrature;
    Ghorbani, Krishnan and Xiao, arXiv 1901.10159).

    Args:
        nodes: Ritz values of all starts.
        weights: Their weights, which add up to 1 over all starts.
        width: Standard deviation of the Gaussian; 0 takes a hundredth of the range.
    """
    low, high = float(nodes.min()), float(nodes.max())
    scale = max(high - low, abs(high), abs(low)) or 1.0
    sigma = width or scale / 100
    reach = max(_MARGIN * (high - low), _WIDTHS * sigma)
    grid = np.linspace(low - reach, high + reach, _GRID)
    bells = np.exp(-0.5 * ((grid[:, None] - nodes) / sigma) ** 2)
    density = bells @ weights / (sigma * np.sqrt(2 * np.pi))
    return grid, density
