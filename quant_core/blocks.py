"""A tensor in pieces that stay in the cache, each with the range of its channels.

Every statistic is added up block by block, so that a tensor is read from memory once
for all of them, and what several need (ranges, squares) is computed once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.errors import QuantError
from quant_core.folds import Fold, Patches, folds_of

_CORE_BLOCK = 1 << 20  # 4 MB per core: in the last cache, worth some thirty calls
_CPU_BLOCK = 1 << 22
_DEVICE_BLOCK = 1 << 24
_EVEN = 64  # rows of a block: a multiple of it, so that none is left over in its fold
_SMALLEST = -120  # 2**120 is still a float32 factor
_SAFE = 16  # fourth powers of values around 2**16 and 2**-16 are far from the limits

_kept = threading.local()

_Floats = npt.NDArray[np.float32]
_Numbers = npt.NDArray[np.int64]


class Scratch(NamedTuple):
    """Memory for as many values as a block has, free to be overwritten.

    Attributes:
        first: float32.
        second: float32.
        numbers: int32, the memory of `second`.
    """

    first: Tensor
    second: Tensor
    numbers: Tensor


@dataclass(frozen=True)
class Layout:
    """Where in memory the channels of a tensor lie, and where its positions.

    A position is one entry along all axes but those of the channels: a token, a pixel.

    Attributes:
        shape: Shape of the tensor.
        order: Its axes as they lie in memory, slowest first; channels that do not lie
            side by side come first.
        start: Place in `order` of the first channel axis.
        count: Number of channel axes.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    start: int
    count: int

    @classmethod
    def of(cls, x: Tensor, channel_axes: Sequence[int]) -> Layout:
        """Return the layout of `x` whose channels lie along some axes."""
        channels = sorted(axis % x.ndim for axis in channel_axes)
        order = sorted(range(x.ndim), key=x.stride, reverse=True)
        start, count = 0, len(channels)
        if channels:
            start = order.index(channels[0])
            if order[start : start + count] != channels:
                order = [*channels, *(a for a in order if a not in channels)]
                start = 0
        return cls(tuple(x.shape), tuple(order), start, count)

    def table(self, x: Tensor) -> Tensor:
        """Return `x` as `[rows, channels, inner]`, a view where memory allows it."""
        x = x.permute(self.order)
        if not self.count:
            return x.reshape(-1, 1, 1)
        stop = self.start + self.count
        parts = x.shape[: self.start], x.shape[self.start : stop], x.shape[stop:]
        return x.reshape([math.prod(part) for part in parts])

    def in_order(self, positions: _Numbers) -> _Numbers:
        """Return positions counted along the axes.

        Args:
            positions: Counted as they lie in memory: row `r` and inner place `i` of
                the table are position `r * inner + i`.
        """
        order = self.order[: self.start] + self.order[self.start + self.count :]
        axes = sorted(order)
        if list(order) == axes:
            return positions
        sizes = [self.shape[axis] for axis in order]
        at = dict(zip(order, np.unravel_index(positions, sizes), strict=True))
        places = tuple(at[axis] for axis in axes)
        shape = tuple(self.shape[axis] for axis in axes)
        return np.asarray(np.ravel_multi_index(places, shape), np.int64)


@dataclass(eq=False)
class Block:
    """Some rows of some channels of a tensor, and what they add up to.

    Attributes:
        rows: `[rows, channels, inner]` float32, contiguous. Not to be changed: it may
            be the tensor itself.
        flat: The same values in one row.
        start: Number of the first channel.
        row: Number of the first row.
        folds: How the values are folded into patches, with what each fold adds up to.
        layout: That of the whole tensor.
        scratch: Memory to work in.
        low: Smallest value of each channel here, float32 `[channels]`.
        high: Largest value of each channel here, float32 `[channels]`.
        smallest: Smallest value of all.
        largest: Largest value of all.
        mean: Mean of the values; it may have overflowed for values near the largest
            float32.
    """

    rows: Tensor
    flat: Tensor
    start: int
    row: int
    folds: tuple[tuple[Fold, Patches], ...]
    layout: Layout
    scratch: Scratch
    low: _Floats = field(init=False)
    high: _Floats = field(init=False)
    smallest: float = field(init=False)
    largest: float = field(init=False)
    mean: float = field(init=False)

    def __post_init__(self) -> None:
        patches = [patches for _, patches in self.folds]
        self.low, self.high = patches[0].low.min((0, 2)), patches[0].high.max((0, 2))
        for more in patches[1:]:
            np.minimum(self.low, more.low.min((0, 2)), out=self.low)
            np.maximum(self.high, more.high.max((0, 2)), out=self.high)
        self.smallest, self.largest = float(self.low.min()), float(self.high.max())
        self.mean = sum(more.total for more in patches) / len(self.flat)

    @property
    def absmax(self) -> float:
        """Largest magnitude."""
        return max(-self.smallest, self.largest)

    @property
    def unit(self) -> float:
        """A power of two: fourth powers of values divided by it stay in float32.

        Dividing by it is exact. When it is 1 the sums of the folds are good.
        """
        exponent = math.frexp(self.absmax)[1]
        return 1.0 if abs(exponent) <= _SAFE else 2.0 ** max(exponent, _SMALLEST)

    def energies(self) -> npt.NDArray[np.float64]:
        """Return the sum of squares of each channel, float64 `[channels]`."""
        if self.unit == 1.0:
            parts = [p.squares.sum((0, 2), dtype=np.float64) for _, p in self.folds]
            return np.asarray(np.sum(parts, 0))
        scaled = torch.mul(self.flat, 1 / self.unit, out=self.scratch.first)
        sums = scaled.square_().view(self.rows.shape).sum((0, 2)).cpu().numpy()
        return np.asarray(sums, np.float64) * self.unit**2


def blocks(x: Tensor, channel_axes: Sequence[int] = ()) -> Iterator[Block]:
    """Yield a tensor in blocks, in the order of memory where possible.

    Args:
        x: Any floating-point tensor; one without values yields nothing.
        channel_axes: Axes that index channels, the first one slowest; none for a
            single channel that holds everything.

    Yields:
        Blocks that cover every value once. A block is to be used before the next one
        is asked for: they share their memory to work in.

    Raises:
        QuantError: a block holds NaN or an infinity; earlier ones did not.
    """
    if not x.numel():
        return
    x = x.detach()
    layout = Layout.of(x, channel_axes)
    table = layout.table(x)
    is_plain = table.dtype == torch.float32 and table.is_contiguous()
    row_count, channel_count, inner = table.shape
    size = _block_size(x)
    channel_step = max(1, min(channel_count, size // inner))
    row_step = max(1, min(row_count, size // (channel_count * inner)))
    if _EVEN < row_step < row_count:
        row_step -= row_step % _EVEN
    whole = _scratch(row_step * channel_step * inner, x.device)
    for number, some in enumerate(torch.split(table, row_step)):
        start = 0
        for part in torch.split(some, channel_step, 1):
            rows = part if is_plain else part.float().contiguous()
            flat = rows.view(-1)
            scratch = whole
            if len(flat) < len(whole.first):
                scratch = Scratch(*(memory[: len(flat)] for memory in whole))
            folds = tuple(
                (fold, fold.reduced(flat, scratch.second))
                for fold in folds_of(*rows.shape)
            )
            block = Block(rows, flat, start, number * row_step, folds, layout, scratch)
            _check_finite(block)
            yield block
            start += part.shape[1]


def _block_size(x: Tensor) -> int:
    if x.device.type != "cpu":
        return _DEVICE_BLOCK
    return min(_CORE_BLOCK * torch.get_num_threads(), _CPU_BLOCK)


def _scratch(size: int, device: torch.device) -> Scratch:
    """Return memory for `size` values; on the CPU a part of what the thread keeps.

    Fresh memory of a few MB has to be mapped page by page, which for small tensors
    takes as long as the statistics.
    """
    if device.type != "cpu":
        return _fresh_scratch(size, device)
    kept: Scratch | None = getattr(_kept, "scratch", None)
    if kept is None or len(kept.first) < size:
        kept = _kept.scratch = _fresh_scratch(size, device)
    if len(kept.first) == size:
        return kept
    return Scratch(*(memory[:size] for memory in kept))


def _fresh_scratch(size: int, device: torch.device) -> Scratch:
    first, second = torch.empty(size, device=device), torch.empty(size, device=device)
    return Scratch(first, second, second.view(torch.int32))


def _check_finite(block: Block) -> None:
    """Raise `QuantError` when a block holds NaN or an infinity."""
    if math.isfinite(block.smallest) and math.isfinite(block.largest):
        return
    # Minimum and maximum hand NaN through.
    raise QuantError(
        f"The values are not finite: {'NaN' if math.isnan(block.smallest) else 'inf'}.",
        allowed="finite numbers",
    )
