"""The clipping that makes the squared error of each group smallest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_core.ranges.base import Extrema, QParams, params_of_range
from quant_core.ranges.minmax import extrema
from quant_core.rounding.nearest import Grid
from quant_core.tiles import tiles

if TYPE_CHECKING:
    from torch import Tensor

    from quant_core.formats.base import Format

COARSE = tuple(percent / 100 for percent in range(100, 15, -5))
"""Shares of the full range tried for every group: 1.00, 0.95 ... 0.20."""
FINE = tuple(percent / 100 for percent in (4, 3, 2, 1, -1, -2, -3, -4))
"""Steps then tried around the best of them."""


@dataclass(frozen=True, slots=True)
class MinMse:
    """Shrink the min-max range by the factor with the smallest squared error.

    Both ends are scaled by the same factor: `COARSE` for every group, then `FINE`
    steps around each group's best, so the answer lies on a grid of 0.01 between 0.16
    and 1. The full range is the first candidate and the larger of two equal factors
    wins; the error is therefore never larger than that of min-max. Search over clip
    factors as in Banner et al. 2019 (ACIQ), section 3, done exactly on the data.
    """

    @property
    def key(self) -> str:
        """The name of the estimator."""
        return "mse"

    def fit(
        self, grouped: Tensor, number_format: Format, bounds: Extrema | None = None
    ) -> QParams:
        """Return scale and zero point of each row; see `Range.fit`."""
        import torch

        bounds = bounds or extrema(grouped)
        if not number_format.scaled:
            return params_of_range(bounds.low, bounds.high, number_format)
        best = torch.ones_like(bounds.low)
        least = torch.full_like(best, torch.inf, dtype=torch.float64)
        for candidates in (
            [torch.full_like(best, factor) for factor in COARSE],
            None,
        ):
            factors = candidates or [(best + step).clamp(max=1.0) for step in FINE]
            errors = _squared_errors(grouped, number_format, bounds, factors)
            for factor, error in zip(factors, errors, strict=True):
                better = error < least
                best = torch.where(better, factor, best)
                least = torch.where(better, error, least)
        return params_of_range(
            bounds.low.double() * best, bounds.high.double() * best, number_format
        )


def _squared_errors(
    grouped: Tensor, number_format: Format, bounds: Extrema, factors: list[Tensor]
) -> list[Tensor]:
    """Return the squared error of each row for each factor, `[groups, 1]` float64.

    One tile of values stays in the cache while all factors are tried on it.
    """
    import torch

    grids = [
        Grid.of(
            [
                params_of_range(
                    bounds.low.double() * factor,
                    bounds.high.double() * factor,
                    number_format,
                )
            ],
            [number_format],
        )
        for factor in factors
    ]
    sums = [torch.zeros_like(bounds.low, dtype=torch.float64) for _ in factors]
    for rows, columns in tiles(grouped):
        x = grouped[rows, columns].float()
        rounded = torch.empty((1, *x.shape), device=x.device)
        for grid, total in zip(grids, sums, strict=True):
            grid.part(rows).round(x, rounded)
            rounded.sub_(x).square_()
            total[rows] += rounded[0].sum(1, keepdim=True)
    return sums
