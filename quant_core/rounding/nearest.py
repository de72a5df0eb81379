"""Each value goes to the nearest grid value on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from quant_core.formats.base import Format
    from quant_core.ranges.base import QParams


@dataclass(frozen=True, slots=True)
class Grid:
    """Scale and zero point of some groups, made ready for many blocks.

    Attributes:
        format: Number format.
        scale: `[G, 1]` (or `[1, G]` for values laid out the other way round).
        low: Smallest grid value minus zero point, like `scale`; None without one.
        high: Largest grid value minus zero point.
    """

    format: Format
    scale: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    @classmethod
    def of(cls, params: QParams, number_format: Format) -> Grid:
        """Return the grid that `params` describe."""
        if params.zero_point is None:
            return cls(number_format, params.scale)
        low = number_format.grid_min - params.zero_point
        return cls(
            number_format,
            params.scale,
            low,
            number_format.grid_max - params.zero_point,
        )

    def part(self, rows: slice, *, transposed: bool = False) -> Grid:
        """Return the grid of some groups, as a row when `transposed`."""

        def cut(values: Tensor | None) -> Tensor | None:
            if values is None or len(values) == 1:
                return values
            return values[rows].t() if transposed else values[rows]

        scale = cut(self.scale)
        assert scale is not None
        return Grid(self.format, scale, cut(self.low), cut(self.high))

    def round(self, x: Tensor, out: Tensor) -> Tensor:
        """Write the values that `x` becomes into `out` and return it.

        The zero point never enters the sum: `round(x / s) + z` saturated to the grid,
        minus `z`, is `round(x / s)` saturated to the grid minus `z`, which is two
        passes fewer and exactly what ONNX `QuantizeLinear` followed by
        `DequantizeLinear` computes.

        Args:
            x: Floating point, broadcasts with `scale`.
            out: float32, contiguous, of the shape of `x`; may be `x` itself.
        """
        import torch

        if not self.format.scaled:
            if x is not out:
                out.copy_(x)
            return self.format.round_to_grid(out, out=out)
        torch.div(x, self.scale, out=out)
        if self.low is None or self.high is None:
            self.format.round_to_grid(out, out=out)
        else:
            # Several times faster than clamp with tensor bounds.
            out.round_()
            torch.maximum(out, self.low, out=out)
            torch.minimum(out, self.high, out=out)
        return out.mul_(self.scale)
