"""What a range estimator gives: scale and zero point of every group."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Return the scale and zero point that spread one grid over `low` to `high`.

    See `params_of_ranges`.
    """
    return params_of_ranges(low, high, [number_format])[0]


def params_of_ranges(
    low: Tensor, high: Tensor, formats: Sequence[Format]
) -> list[QParams]:
    """Return the scale and zero point that spread each grid over `low` to `high`.

    Zero always stays a grid value: ranges are widened to include it, and zero points
    are whole numbers on the grid (Jacob et al. 2018, section 2.1). A group of zeros
    gets scale 1, and so do formats that are stored without one. Quotients are taken in
    float64, so that the range itself may be as wide as float32 allows.

    Args:
        low: `[groups, 1]`, finite.
        high: `[groups, 1]`, finite, not below `low`.
        formats: The grids.
    """
    import torch

    low, high = low.double().clamp(max=0), high.double().clamp(min=0)
    reaches: dict[tuple[bool, bool, bool], Tensor] = {}
    extents, steps = [], []
    for one in formats:
        kind = (one.scaled, one.affine, one.signed)
        if kind not in reaches:
            reaches[kind] = _reach(low, high, one)
        extents.append(reaches[kind])
        steps.append(one.grid_max - (one.grid_min if one.affine else 0))
    extent = torch.stack(extents)
    divisor = torch.tensor(steps, dtype=torch.float64, device=low.device)
    scales = (extent / divisor.view(-1, 1, 1)).clamp(min=_TINY).float()
    scales.masked_fill_(extent == 0, 1.0)
    return [
        QParams(scale, _zero_point(low, scale, one) if one.affine else None)
        for scale, one in zip(scales, formats, strict=True)
    ]


def _reach(low: Tensor, high: Tensor, number_format: Format) -> Tensor:
    """Return how far the grid has to reach, 0 where it has no scale."""
    import torch

    if not number_format.scaled:
        return torch.zeros_like(high)
    if number_format.affine:
        return high - low
    return torch.maximum(-low, high) if number_format.signed else high


def _zero_point(low: Tensor, scale: Tensor, number_format: Format) -> Tensor:
    top, bottom = number_format.grid_max, number_format.grid_min
    return (bottom - low / scale).round().clamp(bottom, top).float()
