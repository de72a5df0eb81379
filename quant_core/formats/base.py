"""What every number format offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Format(ABC):
    """The values one stored number may take, and how they are coded.

    A format knows nothing of scales: it works on `x / scale` (plus the zero point
    when `affine`). Facts are plain attributes, readable without torch; only the
    methods on tensors import it.

    Attributes:
        name: Name as users write it ("int4", "fp8_e4m3").
        bits: Storage bits per value.
        signed: Whether negative values exist without a zero point.
        affine: Whether a zero point shifts the grid.
        grid_min: Smallest grid value.
        grid_max: Largest grid value.
        scaled: False for float types, which are stored without a scale.
    """

    name: str
    bits: float
    signed: bool
    affine: bool
    grid_min: float
    grid_max: float
    scaled: bool

    @abstractmethod
    def round_to_grid(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest grid value of each element; values outside saturate.

        Args:
            x: float32, any shape, already divided by the scale and, for affine
                formats, with the zero point added. NaN stays NaN.
            out: float32 of the same shape to write to; may be `x` itself.
        """

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """Return the storage codes of the grid values nearest to `x`.

        Args:
            x: As in `round_to_grid`, finite.
        """

    @abstractmethod
    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the grid values (float32) that belong to storage codes."""

    @abstractmethod
    def levels(self) -> NDArray[np.float64]:
        """Return all grid values in rising order; empty for float types."""
