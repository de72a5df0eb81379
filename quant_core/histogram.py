"""A histogram whose range grows by doubling, so that merging is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.blocks import Block, blocks
from quant_core.errors import QuantError

_MANTISSA = 23  # bin numbers up to 2**23 are exact in float32
_FINEST = -120  # 2**120 is still a float32 factor


class Histogram:
    """Counts in bins whose width is a power of two; the width doubles to fit.

    Bin `j` holds `[j w, (j+1) w)`. The width `w = 2**exponent` is the smallest for
    which all values seen lie in at most `bins` consecutive bins (and for which bin
    numbers stay exact in float32). It depends on the extremes alone, and doubling it
    joins whole bins, so any order of updates and merges ends in the same counts (as
    long as no value is 2**-149 bins small or smaller).

    Args:
        bins: Largest number of bins; from half as many up to all are in use.

    Attributes:
        exponent: Binary logarithm of the bin width.
        first: Number `j` of the first bin.
        counts: Values per bin, int64.
    """

    __slots__ = ("bins", "counts", "exponent", "first")

    def __init__(self, bins: int = 2048) -> None:
        if bins < 2:
            raise QuantError(
                "A histogram needs two bins: zero is always an edge.",
                value=bins,
                allowed="at least 2",
            )
        self.bins = bins
        self.exponent = _FINEST
        self.first = 0
        self.counts = np.zeros(0, np.int64)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Edges of the bins, one more than `counts`; exact."""
        numbers = np.arange(self.first, self.first + len(self.counts) + 1)
        return np.ldexp(numbers.astype(np.float64), self.exponent)

    def update(self, x: Tensor) -> None:
        """Take in every value of `x`.

        Raises:
            QuantError: `x` holds NaN or an infinity; values before it are counted.
        """
        for block in blocks(x):
            self.add(block)

    def add(self, block: Block, step: int = 1) -> None:
        """Take in one block.

        Args:
            block: The values.
            step: Look at every `step`-th value only. Each stands for the values from
                itself to the next one, so that the counts add up to the number of
                values all the same; the bins span the true extremes in any case.
        """
        absmax = block.absmax
        # Zeros fit any width, so they must not widen the bins of tiny values.
        exponent = math.frexp(absmax)[1] - _MANTISSA if absmax else _FINEST
        exponent = max(exponent, _FINEST)
        first = math.floor(math.ldexp(block.smallest, -exponent))
        last = math.floor(math.ldexp(block.largest, -exponent))
        self._make_room(exponent, first, last)
        values = block.flat[::step]
        looked_at = len(values)
        position = block.scratch.first[:looked_at]
        number = block.scratch.numbers[:looked_at]
        torch.mul(values, 2.0**-self.exponent, out=position)
        number.copy_(position.floor_().sub_(self.first))
        counts = torch.bincount(number, minlength=len(self.counts)).cpu().numpy()
        self.counts += step * counts
        excess = step * looked_at - len(block.flat)
        if excess:
            self.counts[int(number[-1])] -= excess

    def merge(self, other: Histogram) -> None:
        """Take in the counts of another histogram."""
        if not len(other.counts):
            return
        self._make_room(
            other.exponent, other.first, other.first + len(other.counts) - 1
        )
        shift = self.exponent - other.exponent
        self.counts += _rebinned(
            other.counts, other.first, shift, self.first, len(self.counts)
        )

    def _make_room(self, exponent: int, first: int, last: int) -> None:
        """Widen and extend the bins to cover `first..last` of width `2**exponent`."""
        new = exponent if not len(self.counts) else max(exponent, self.exponent)
        first, last = first >> (new - exponent), last >> (new - exponent)
        if len(self.counts):
            shift = new - self.exponent
            first = min(first, self.first >> shift)
            last = max(last, (self.first + len(self.counts) - 1) >> shift)
        while last - first >= self.bins:
            new, first, last = new + 1, first >> 1, last >> 1
        size = last - first + 1
        if (new, first, size) == (self.exponent, self.first, len(self.counts)):
            return
        self.counts = _rebinned(
            self.counts, self.first, new - self.exponent, first, size
        )
        self.exponent, self.first = new, first

    def magnitude_quantile(self, share: float) -> float:
        """Return the value that `share` of all magnitudes do not exceed.

        Linear inside a bin, so it is off by at most one bin width (the range over
        `bins / 2` or better).

        Args:
            share: Between 0 and 1.

        Returns:
            The quantile of `|x|`; NaN without values.
        """
        if not len(self.counts):
            return math.nan
        numbers = np.arange(self.first, self.first + len(self.counts))
        folded = np.where(numbers < 0, -1 - numbers, numbers)
        below = np.bincount(folded, self.counts).cumsum()
        wanted = share * below[-1]
        bin_number = int(np.searchsorted(below, wanted))
        before = below[bin_number - 1] if bin_number else 0.0
        inside = (wanted - before) / max(below[bin_number] - before, 1.0)
        return math.ldexp(bin_number + inside, self.exponent)

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return `hist_counts` int64 `[n]` and `hist_edges` float64 `[n + 1]`."""
        return {"hist_counts": self.counts.copy(), "hist_edges": self.edges}

    @classmethod
    def from_state(
        cls, state: Mapping[str, npt.NDArray[np.generic]], bins: int = 2048
    ) -> Histogram:
        """Return the accumulator that `state` was taken from."""
        self = cls(bins)
        edges = np.asarray(state["hist_edges"], np.float64)
        self.counts = np.array(state["hist_counts"], np.int64)
        if len(self.counts):
            width = float(edges[1] - edges[0])
            self.exponent = math.frexp(width)[1] - 1
            self.first = int(edges[0] / width)
        return self


def _rebinned(
    counts: npt.NDArray[np.int64], first: int, shift: int, new_first: int, size: int
) -> npt.NDArray[np.int64]:
    """Return counts in bins `2**shift` times as wide, starting at `new_first`."""
    result = np.zeros(size, np.int64)
    if shift == 0:
        result[first - new_first : first - new_first + len(counts)] = counts
        return result
    # A shift beyond 62 is undefined for int64 and has the effect of 62.
    numbers = np.arange(first, first + len(counts)) >> min(shift, 62)
    np.add.at(result, numbers - new_first, counts)
    return result
