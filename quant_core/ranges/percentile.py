"""A share of the values decides the range; the rest is clipped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_core.errors import QuantError
from quant_core.ranges.base import Extrema, QParams, params_of_range
from quant_core.ranges.minmax import extrema

if TYPE_CHECKING:
    from torch import Tensor

    from quant_core.formats.base import Format


@dataclass(frozen=True, slots=True)
class Percentile:
    """Keep `percent` of the values of each group inside the range.

    Symmetric formats take this percentile of the magnitudes; formats with a zero
    point leave half of the rest outside at either end; unsigned formats without one
    take the percentile of the values themselves. Between two values the percentile
    is interpolated (Hyndman and Fan 1996, type 7, as numpy does).

    Attributes:
        percent: Share kept, above 50 and at most 100 [%].

    Raises:
        QuantError: `percent` is out of range.
    """

    percent: float = 99.9

    def __post_init__(self) -> None:
        if not 50 < self.percent <= 100:
            raise QuantError(
                "The percentile of a range is out of bounds.",
                value=self.percent,
                allowed="above 50 and at most 100, such as percentile(99.9)",
            )

    @property
    def key(self) -> str:
        """The name with its number, "percentile(99.9)"."""
        return f"percentile({self.percent:.12g})"

    def fit(
        self, grouped: Tensor, number_format: Format, bounds: Extrema | None = None
    ) -> QParams:
        """Return scale and zero point of each row; see `Range.fit`."""
        bounds = bounds or extrema(grouped)
        if not number_format.scaled:
            return params_of_range(bounds.low, bounds.high, number_format)
        values = grouped.float()
        if number_format.affine:
            outside = (100 - self.percent) / 2
            low = _percentile(values, outside)
            high = _percentile(values, 100 - outside)
        else:
            high = _percentile(
                values.abs() if number_format.signed else values, self.percent
            )
            low = -high if number_format.signed else high
        return params_of_range(low, high, number_format)


def _percentile(values: Tensor, percent: float) -> Tensor:
    """Return the percentile of each row, `[groups, 1]` float64."""
    position = (values.shape[1] - 1) * percent / 100
    below = math.floor(position)
    # Selection of one element is linear in n and, unlike torch.quantile, knows no
    # limit on the number of elements.
    low = values.kthvalue(below + 1, 1, keepdim=True).values.double()
    if position == below:
        return low
    high = values.kthvalue(below + 2, 1, keepdim=True).values.double()
    return low + (high - low) * (position - below)
