"""Each value goes to the nearest grid value on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_core.formats.integer import IntegerFormat

if TYPE_CHECKING:
    from torch import Tensor

    from quant_core.formats.base import Format
    from quant_core.ranges.base import QParams


@dataclass(frozen=True, slots=True)
class Grid:
    """Scales and zero points of some groups in some formats, ready for many blocks.

    Attributes:
        formats: Number formats, one per entry along the first axis below.
        scale: `[F, G, 1]` (or `[F, 1, G]` for values laid out the other way round), 1
            for formats that have none.
        low: Smallest grid value minus zero point, like `scale` or `[F, 1, 1]`; None
            where no zero point and no two integer formats in a row need it.
        high: Largest grid value minus zero point.
    """

    formats: tuple[Format, ...]
    scale: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    @classmethod
    def of(cls, params: Sequence[QParams], formats: Sequence[Format]) -> Grid:
        """Return the grids that `params` describe, one per format.

        Args:
            params: Their scales have one shape.
            formats: Number formats.
        """
        import torch

        scale = torch.stack([one.scale for one in params])
        points = [one.zero_point for one in params]
        if all(_alone(formats[start:stop]) for start, stop in _runs(formats)):
            return cls(tuple(formats), scale)
        ends = []
        for numbers in (
            [one.grid_min for one in formats],
            [one.grid_max for one in formats],
        ):
            end = scale.new_tensor(numbers).view(-1, 1, 1)
            if any(point is not None for point in points):
                end = end.repeat(1, *scale.shape[1:])
                for row, point in zip(end, points, strict=True):
                    if point is not None:
                        row.sub_(point)
            ends.append(end)
        return cls(tuple(formats), scale, *ends)

    def part(
        self, groups: slice, some: slice = slice(None), *, transposed: bool = False
    ) -> Grid:
        """Return the grids of some groups, as rows when `transposed`.

        Args:
            groups: Which groups.
            some: Which formats.
            transposed: Lay them out as `[F, 1, G]`.
        """

        def cut(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            if values.shape[1] == 1:
                return values[some]
            values = values[some, groups]
            return values.transpose(1, 2) if transposed else values

        scale = cut(self.scale)
        assert scale is not None
        return Grid(self.formats[some], scale, cut(self.low), cut(self.high))

    def round(self, x: Tensor, out: Tensor) -> Tensor:
        """Write the values that `x` becomes in every format into `out` and return it.

        The zero point never enters the sum: `round(x / s) + z` saturated to the grid,
        minus `z`, is `round(x / s)` saturated to the grid minus `z`, which is two
        passes fewer and exactly what ONNX `QuantizeLinear` followed by
        `DequantizeLinear` computes.

        Args:
            x: Floating point, broadcasts with `scale`.
            out: float32, contiguous, `[F, *x.shape]`.
        """
        import torch

        torch.div(x, self.scale, out=out)
        for start, stop in _runs(self.formats):
            part, first = out[start:stop], self.formats[start]
            if (
                self.low is None
                or self.high is None
                or _alone(self.formats[start:stop])
            ):
                first.round_to_grid(part, out=part)
                continue
            # Several times faster than clamp with tensor bounds.
            part.round_()
            torch.maximum(part, self.low[start:stop], out=part)
            torch.minimum(part, self.high[start:stop], out=part)
        return out.mul_(self.scale)


def _whole(number_format: Format) -> bool:
    """Tell whether a format holds whole numbers."""
    return isinstance(number_format, IntegerFormat)


def _alone(run: Sequence[Format]) -> bool:
    """Tell whether a run is left to its only format, which clips to fixed numbers."""
    return len(run) == 1 and not run[0].affine


def _runs(formats: Sequence[Format]) -> Iterator[tuple[int, int]]:
    """Yield what is rounded in one go: integers in a row, any other format alone."""
    start = 0
    for stop in range(1, len(formats) + 1):
        last = stop == len(formats)
        if last or not (_whole(formats[stop - 1]) and _whole(formats[stop])):
            yield start, stop
            start = stop
