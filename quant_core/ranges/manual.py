"""A range that a person gives: the limits, and nothing is looked at."""

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

_DIGITS = 9  # tell any two float32 apart


@dataclass(frozen=True, slots=True)
class Manual:
    """Cover `low` to `high`, whatever the data are; values beyond are clipped.

    Symmetric formats reach equally far to both sides, to the larger of the two
    magnitudes; unsigned ones without a zero point begin at zero.

    Attributes:
        low: Lower end, not above zero.
        high: Upper end, not below zero.

    Raises:
        QuantError: an end is not finite, on the wrong side of zero, or both are zero.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            # As written: equal texts are equal ranges, also after a round trip.
            object.__setattr__(self, end, float(f"{getattr(self, end):.{_DIGITS}g}"))
        ends = (self.low, self.high)
        if not (
            all(map(math.isfinite, ends)) and self.low <= 0 <= self.high and any(ends)
        ):
            raise QuantError(
                "The limits of a range do not hold zero between them.",
                value=f"{self.low:g} to {self.high:g}",
                allowed="finite numbers, low <= 0 <= high, not both 0, "
                "such as manual(-0.5:0.5)",
            )

    @property
    def key(self) -> str:
        """The name with its limits, "manual(-0.5:0.5)"."""
        return f"manual({_text(self.low)}:{_text(self.high)})"

    def fit(
        self, grouped: Tensor, number_format: Format, bounds: Extrema | None = None
    ) -> QParams:
        """Return scale and zero point of each row, equal for all; see `Range.fit`."""
        # Looked at for NaN and infinite values only, which no range can hold.
        any_end = (bounds or extrema(grouped)).low
        low, high = (any_end.new_full(any_end.shape, x) for x in (self.low, self.high))
        return params_of_range(low, high, number_format)


def _text(number: float) -> str:
    """Return a number as short as it can be told from others, never "-0"."""
    return f"{number + 0.0:.{_DIGITS}g}"
