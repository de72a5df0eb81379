"""What a range estimator gives: scale and zero point of every group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from quant_core.formats.base import Format

_TINY = 2.0**-126
"""Smallest normal float32: a scale below it would lose precision or become zero."""


@dataclass(frozen=True, slots=True)
class QParams:
    """Scale and zero point of every group.

    Attributes:
        scale: `[groups, 1]` float32, positive.
        zero_point: `[groups, 1]` float32 whole numbers on the grid; None for
            formats that have none.
    """

    scale: Tensor
    zero_point: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Extrema:
    """Smallest and largest value of every group, `[groups, 1]` float32 each."""

    low: Tensor
    high: Tensor


class Range(Protocol):
    """Chooses which values the grid covers."""

    @property
    def key(self) -> str:
        """Canonical text, "percentile(99.9)"."""
        ...

    def fit(
        self, grouped: Tensor, number_format: Format, bounds: Extrema | None = None
    ) -> QParams:
        """Return scale and zero point of each row of `grouped`.

        Args:
            grouped: `[groups, n]`, floating point.
            number_format: The grid to fit.
            bounds: `minmax.extrema(grouped)` if it is known already.

        Raises:
            QuantError: NaN or infinite values.
        """
        ...


def params_of_range(low: Tensor, high: Tensor, number_format: Format) -> QParams:
    """Return the scale and zero point that spread the grid over `low` to `high`.

    Zero always stays a grid value: ranges are widened to include it, and zero points
    are whole numbers on the grid (Jacob et al. 2018, section 2.1). A group of zeros
    gets scale 1. Quotients are taken in float64, so that the range itself may be as
    wide as float32 allows.

    Args:
        low: `[groups, 1]`, finite.
        high: `[groups, 1]`, finite, not below `low`.
        number_format: The grid.
    """
    import torch

    low, high = low.double().clamp(max=0), high.double().clamp(min=0)
    if not number_format.scaled:
        return QParams(torch.ones_like(low, dtype=torch.float32))
    top, bottom = number_format.grid_max, number_format.grid_min
    if number_format.affine:
        extent, steps = high - low, top - bottom
    elif number_format.signed:
        extent, steps = torch.maximum(-low, high), top
    else:
        extent, steps = high, top
    scale = (extent / steps).clamp(min=_TINY).float()
    scale.masked_fill_(extent == 0, 1.0)
    if not number_format.affine:
        return QParams(scale)
    zero_point = (bottom - low / scale).round().clamp(bottom, top)
    return QParams(scale, zero_point.float())
