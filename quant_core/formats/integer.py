"""Integers of 2 to 8 bits: symmetric or with a zero point, signed or unsigned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quant_core.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class IntegerFormat(Format):
    """Whole numbers from `grid_min` to `grid_max`.

    Halves round to even, as in ONNX `QuantizeLinear` and torch.
    """

    def round_to_grid(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest whole number within the grid."""
        import torch

        rounded = torch.round(x, out=out)
        return rounded.clamp_(self.grid_min, self.grid_max)

    def codes(self, x: Tensor) -> Tensor:
        """Return the grid values themselves as int8, or uint8 when none is negative."""
        import torch

        code_type = torch.int8 if self.grid_min < 0 else torch.uint8
        return self.round_to_grid(x).to(code_type)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the codes as float32."""
        return codes.float()

    def levels(self) -> NDArray[np.float64]:
        """Return the whole numbers of the grid."""
        return np.arange(self.grid_min, self.grid_max + 1, dtype=np.float64)


def _symmetric(bits: int) -> IntegerFormat:
    # The lowest code stays unused so that the grid is its own mirror image and
    # negating a weight negates its quantized value.
    top = 2 ** (bits - 1) - 1
    return IntegerFormat(f"int{bits}", bits, True, False, -top, top, True)


def _affine(bits: int) -> IntegerFormat:
    half = 2 ** (bits - 1)
    return IntegerFormat(f"int{bits}_asym", bits, True, True, -half, half - 1, True)


def _unsigned(bits: int, *, affine: bool) -> IntegerFormat:
    name = f"uint{bits}" if affine else f"uint{bits}_sym"
    return IntegerFormat(name, bits, False, affine, 0, 2**bits - 1, True)


INTEGERS = (
    *(_symmetric(bits) for bits in range(2, 9)),
    *(_affine(bits) for bits in range(2, 9)),
    *(_unsigned(bits, affine=True) for bits in range(2, 9)),
    *(_unsigned(bits, affine=False) for bits in range(2, 9)),
)
"""`intN` (no zero point, [-(2^(N-1)-1), 2^(N-1)-1]), `intN_asym` and `uintN` (zero
point), `uintN_sym` (no zero point, for data that is never negative)."""
