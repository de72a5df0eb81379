"""Small floating-point formats, and the float types stored without a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quant_core.formats.base import Format

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_EXPONENT_BITS = 0x7F800000
_FLOAT32_MANTISSA = 23


@dataclass(frozen=True)
class FloatFormat(Format):
    """Sign, exponent and mantissa in 4 to 8 bits, with subnormals and no infinity.

    Attributes:
        mantissa: Explicit mantissa bits.
        exponent_min: Exponent of the smallest normal number, also that of the
            subnormals.

    Sources: Micikevicius et al. 2022, "FP8 formats for deep learning", table 1;
    OCP Microscaling Formats 1.0, tables 2 to 5.
    """

    mantissa: int
    exponent_min: int

    def round_to_grid(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest value, ties to the even mantissa.

        Adding and taking away `1.5 * 2^(e + 23 - mantissa)`, with `2^e` the power of
        two at or below `|x|`, leaves the spacing `2^(e - mantissa)` to the float32
        adder, which rounds to nearest even. The factor 1.5 keeps negative sums in
        the same binade.
        """
        import torch

        out = torch.clamp(x, self.grid_min, self.grid_max, out=out)
        magic = torch.bitwise_and(out.view(torch.int32), _EXPONENT_BITS)
        shift = magic.view(torch.float32)
        shift.clamp_(min=2.0**self.exponent_min)
        shift.mul_(1.5 * 2.0 ** (_FLOAT32_MANTISSA - self.mantissa))
        return out.add_(shift).sub_(shift)

    def codes(self, x: Tensor) -> Tensor:
        """Return sign, exponent and mantissa packed into the low bits of a uint8."""
        import torch

        positive = torch.from_numpy(self._positive()).to(x.device)
        # Codes of positive floats rise with their values, so a code is a position.
        magnitude = torch.bucketize(self.round_to_grid(x).abs_(), positive)
        sign = torch.signbit(x).to(torch.int64) << (int(self.bits) - 1)
        return (magnitude + sign).to(torch.uint8)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the values of packed codes; codes above `grid_max` are not made."""
        import torch

        sign_bit = 1 << (int(self.bits) - 1)
        positive = torch.from_numpy(self._positive()).to(codes.device)
        index = codes.to(torch.int64)
        value = positive[index & (sign_bit - 1)]
        return torch.where(index >= sign_bit, -value, value)

    def levels(self) -> NDArray[np.float64]:
        """Return the finite values, zero once."""
        positive = self._positive().astype(np.float64)
        return np.concatenate([-positive[:0:-1], positive])

    def _positive(self) -> NDArray[np.float32]:
        """Return the values of the codes with sign bit 0, in code order."""
        code = np.arange(2 ** (int(self.bits) - 1))
        exponent = code >> self.mantissa
        fraction = (code & (2**self.mantissa - 1)) / 2**self.mantissa
        normal = (1 + fraction) * 2.0 ** (exponent - 1 + self.exponent_min)
        value = np.where(exponent == 0, fraction * 2.0**self.exponent_min, normal)
        return np.asarray(value[value <= self.grid_max], dtype=np.float32)


@dataclass(frozen=True)
class StoredFloat(Format):
    """A float type kept as it is: no scale, no zero point, 16 or 32 bits."""

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of the same name."""
        import torch

        return {
            "float16": torch.float16,
            "bfloat16": torch.bfloat16,
            "float32": torch.float32,
        }[self.name]

    def round_to_grid(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return `x` cast to the type and back, saturating instead of infinite."""
        import torch

        out = torch.clamp(x, self.grid_min, self.grid_max, out=out)
        return out if self.name == "float32" else out.copy_(out.to(self.dtype))

    def codes(self, x: Tensor) -> Tensor:
        """Return the bit patterns as int16 or int32."""
        import torch

        stored = x.clamp(self.grid_min, self.grid_max).to(self.dtype)
        return stored.view(torch.int32 if self.bits == 32 else torch.int16)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the values of bit patterns."""
        return codes.view(self.dtype).float()

    def levels(self) -> NDArray[np.float64]:
        """Return nothing: the values are too dense to be drawn or listed."""
        return np.empty(0)


def _small(
    name: str, bits: int, mantissa: int, exponent_min: int, top: float
) -> FloatFormat:
    return FloatFormat(name, bits, True, False, -top, top, True, mantissa, exponent_min)


def _stored(name: str, bits: int, top: float) -> StoredFloat:
    return StoredFloat(name, bits, True, False, -top, top, False)


FLOATS = (
    _small("fp8_e4m3", 8, 3, -6, 448.0),
    _small("fp8_e5m2", 8, 2, -14, 57344.0),
    _small("fp6_e3m2", 6, 2, -2, 28.0),
    _small("fp4_e2m1", 4, 1, 0, 6.0),
)
STORED_FLOATS = (
    _stored("float16", 16, 65504.0),
    _stored("bfloat16", 16, (2 - 2.0**-7) * 2.0**127),
    _stored("float32", 32, (2 - 2.0**-23) * 2.0**127),
)
