"""NF4: sixteen values placed at quantiles of the normal distribution."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_core.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor

NF4_VALUES = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Published table (Dettmers et al. 2023, QLoRA, appendix E), exact in float32."""


@dataclass(frozen=True)
class CodebookFormat(Format):
    """A short sorted list of values; the code is the position in it.

    Rounding looks up a uniform partition that is fine enough to hold at most one
    midpoint per cell, then compares with that midpoint: two gathers instead of a
    binary search, a tenth of the time of `torch.bucketize`. Values at a midpoint go
    to the lower code, as in bitsandbytes.

    Attributes:
        values: Grid values in rising order, exact in float32.
    """

    values: tuple[float, ...]

    def round_to_grid(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest value of the list; NaN stays NaN."""
        import torch

        table = _tables(self.values, str(x.device)).value
        inside = x.clamp(self.grid_min, self.grid_max)
        value = torch.index_select(table, 0, self._half_cells(inside)).view(x.shape)
        # No table entry can stand for NaN; adding 0 * x carries it through.
        return torch.add(value, inside, alpha=0, out=out)

    def codes(self, x: Tensor) -> Tensor:
        """Return positions in the list as uint8."""
        import torch

        code = _tables(self.values, str(x.device)).code
        inside = x.clamp(self.grid_min, self.grid_max)
        return torch.index_select(code, 0, self._half_cells(inside)).view(x.shape)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the listed values at the positions."""
        import torch

        table = torch.tensor(self.values, dtype=torch.float32, device=codes.device)
        return table[codes.to(torch.int64)]

    def levels(self) -> NDArray[np.float64]:
        """Return the listed values."""
        return np.array(self.values)

    def _half_cells(self, x: Tensor) -> Tensor:
        """Return `2 * cell + (x above the midpoint in that cell)`, flat int32.

        Args:
            x: Values within the grid, or NaN.
        """
        import torch

        tables = _tables(self.values, str(x.device))
        x = x.reshape(-1)
        cell = torch.add(tables.shift, x, alpha=tables.cells_per_unit).to(torch.int32)
        cell.clamp_(min=0)  # NaN became the lowest int32
        below = torch.index_select(tables.midpoint, 0, cell).sub_(x)
        # The sign bit of midpoint - x, moved down, is -1 where x is above.
        above = below.view(torch.int32).bitwise_right_shift_(31)
        return cell.mul_(2).sub_(above)


class _Tables(NamedTuple):
    """Lookup tables of one codebook on one device."""

    cells_per_unit: float
    shift: Tensor
    midpoint: Tensor
    value: Tensor
    code: Tensor


@functools.cache
def _tables(values: tuple[float, ...], device: str) -> _Tables:
    """Return tables over the coarsest partition with one midpoint per cell."""
    import torch

    grid = np.array(values, dtype=np.float32)
    exact = (grid[1:].astype(np.float64) + grid[:-1]) / 2
    midpoints = exact.astype(np.float32)
    # Rounded down, so that a float32 is above the one exactly if above the other.
    midpoints[midpoints > exact] = np.nextafter(midpoints, -np.float32(np.inf))[
        midpoints > exact
    ]
    span = float(grid[-1]) - float(grid[0])
    for cells in range(len(grid), 1 << 16):
        rate = np.float32(cells / span)
        shift = np.float32(-float(grid[0]) * cells / span)
        # A margin of a few float32 steps on both sides of every midpoint must fall
        # into the same cell, whatever way the multiply-add above is rounded.
        margin = np.float32(1e-5 * span)
        low = np.floor((midpoints - margin) * rate + shift)
        high = np.floor((midpoints + margin) * rate + shift)
        if (low == high).all() and len(set(low)) == len(low):
            break
    else:
        raise AssertionError("two values of the codebook are too close")
    midpoint = np.full(cells + 2, np.inf, dtype=np.float32)
    midpoint[low.astype(int)] = midpoints
    lower = np.searchsorted(low, np.arange(cells + 2))
    code = np.stack([lower, np.minimum(lower + 1, len(grid) - 1)], 1).ravel()
    return _Tables(
        float(rate),
        torch.tensor(shift, device=device),
        torch.from_numpy(midpoint).to(device),
        torch.from_numpy(grid[code]).to(device),
        torch.from_numpy(code.astype(np.uint8)).to(device),
    )


NORMAL_FLOATS = (
    CodebookFormat("nf4", 4, True, False, -1.0, 1.0, True, values=NF4_VALUES),
)
