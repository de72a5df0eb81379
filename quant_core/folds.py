"""How a block of values is folded, so that few reductions serve all statistics.

A block has rows, channels and inner places; one row and one inner place make a
position. A fold splits the positions into `G1 x G2` groups of `K` each. What belongs to
one group and one channel is a patch: `K` values, and patches are laid out as
`[G1, channels, G2]`. A reduction over `K` leaves a number for each patch; ranges and
energies of the channels are what reducing the patches leaves. And as no position lies
in two groups, the extremes of the patches say where the largest positions can be,
without another pass.

The groups are also chosen so that reductions are fast: many numbers side by side, a
multiple of what vector registers take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Floats = npt.NDArray[np.float32]
_Numbers = npt.NDArray[np.int64]

_ABREAST = 64  # values side by side that fill the vector registers of a reduction
_GROUPS = 32  # at least so many where there are rows enough
_LONG = 256  # values in a row that are worth a reduction of their own


class Patches(NamedTuple):
    """What the values of a fold add up to.

    Attributes:
        low: Smallest value of each patch, float32 `[G1, channels, G2]`.
        high: Largest value of each patch.
        squares: Sum of the squares of each patch; where values are beyond the square
            root of float32's limits it has overflowed or vanished.
        total: Sum of all values.
        cubes: Sum of their cubes, with limits of its own.
        fourths: Sum of their fourth powers, likewise.
    """

    low: _Floats
    high: _Floats
    squares: _Floats
    total: float
    cubes: float
    fourths: float


@dataclass(frozen=True, slots=True)
class Fold:
    """Some rows of a block, folded.

    Attributes:
        first: Number of the first row.
        inner: Inner places of each row.
        depth: Values of a patch, `K`.
        shape: Patches, `(G1, channels, G2)`.
        is_run: Whether the values of a patch lie side by side in memory; otherwise
            patches do.
    """

    first: int
    inner: int
    depth: int
    shape: tuple[int, int, int]
    is_run: bool

    def table(self, flat: Tensor) -> Tensor:
        """Return these rows of a block as `[K, patches]`, or its transpose for runs.

        Args:
            flat: All values of the block.
        """
        patches = math.prod(self.shape)
        start = self.first * self.inner * self.shape[1]
        flat = flat[start : start + self.depth * patches]
        return flat.view((patches, self.depth) if self.is_run else (-1, patches))

    def reduced(self, flat: Tensor, memory: Tensor) -> Patches:
        """Return what the values add up to.

        Args:
            flat: All values of the block.
            memory: Memory for as many values, to work in.
        """
        table = self.table(flat)
        values, axis = table.view(-1), int(self.is_run)
        # The first pass fetches the values from memory, and a plain sum does so in
        # order; the others find them in the cache.
        total = values.sum().item()
        low, high = table.amin(axis), table.amax(axis)
        squares = torch.mul(values, values, out=memory[: len(values)])
        sums = squares.view(table.shape).sum(axis)
        cubes, fourths = torch.dot(values, squares), torch.dot(squares, squares)
        return Patches(
            low.cpu().numpy().reshape(self.shape),
            high.cpu().numpy().reshape(self.shape),
            sums.cpu().numpy().reshape(self.shape),
            total,
            cubes.item(),
            fourths.item(),
        )

    def select(self, flat: Tensor, patches: _Numbers) -> _Floats:
        """Return the values of some patches, `[K, patches]`.

        Args:
            flat: All values of the block.
            patches: Their numbers, in the order of `[G1, channels, G2]`.
        """
        index = torch.from_numpy(patches).to(flat.device)
        found = self.table(flat).index_select(1 - int(self.is_run), index)
        return (found.T if self.is_run else found).cpu().numpy()

    def positions(self, k: _Numbers, g1: _Numbers, g2: _Numbers) -> _Numbers:
        """Return which positions of the block are entries `k` of groups `(g1, g2)`.

        Row `r` and inner place `i` are position `r * inner + i`.
        """
        if self.is_run:
            row, place = g1, g2 * self.depth + k
        else:
            row, place = k * self.shape[0] + g1, g2
        return (self.first + row) * self.inner + place


@lru_cache(maxsize=1024)
def folds_of(rows: int, channels: int, inner: int) -> tuple[Fold, ...]:
    """Return folds that cover a block of `[rows, channels, inner]` values.

    Long runs of a channel are reduced along themselves. Otherwise rows are laid side
    by side until they fill vector registers and make enough groups; rows that are left
    over make a second fold with a group for each position.
    """
    if inner >= _LONG or (rows == 1 and inner > 1):
        pieces = _pieces(rows, inner)
        return (Fold(0, inner, inner // pieces, (rows, channels, pieces), True),)
    beside = _beside(rows, channels * inner, math.ceil(_GROUPS / inner))
    depth, left = divmod(rows, beside)
    folds = [Fold(0, inner, depth, (beside, channels, inner), False)]
    if left:
        folds.append(Fold(rows - left, inner, 1, (left, channels, inner), False))
    return tuple(folds)


def _beside(rows: int, width: int, wanted: int) -> int:
    """Return how many rows of some width are laid side by side.

    At least as many as wanted, filling vector registers, with no row left over if
    there is such a number below twice that.
    """
    step = _ABREAST // math.gcd(width, _ABREAST) if width < _ABREAST**2 else 1
    least = math.ceil(wanted / step) * step
    # Short columns would leave nearly as many patches as values.
    most = rows // _GROUPS
    if least > most:
        return max(1, most)
    some = range(least, min(most, 2 * least) + 1, step)
    return next((count for count in some if rows % count == 0), least)


def _pieces(rows: int, inner: int) -> int:
    """Return into how many pieces long runs are cut to make enough groups."""
    wanted = range(math.ceil(_GROUPS / rows), inner // _LONG + 1)
    return next((count for count in wanted if inner % count == 0), 1)
