"""A tensor in pieces that stay in the cache, each with the range of its channels.

Every statistic is added up block by block, so that a tensor is read from memory once
for all of them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.errors import QuantError

_CORE_BLOCK = 1 << 19  # 2 MB per core: in the last cache, worth some forty calls
_CPU_BLOCK = 1 << 21
_DEVICE_BLOCK = 1 << 24
_WIDE = 64  # values side by side that fill the vector registers of a reduction
_LONG = 256  # values in a row that are worth a reduction of their own

_kept = threading.local()

_Ends = npt.NDArray[np.float32]


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


class Block(NamedTuple):
    """Some rows of some channels of a tensor.

    Attributes:
        rows: `[rows, channels, inner]` float32, contiguous. Not to be changed: it may
            be the tensor itself.
        flat: The same values in one row.
        start: Number of the first channel.
        row: Number of the first row.
        low: Smallest value of each channel here, float32 `[channels]`.
        high: Largest value of each channel here, float32 `[channels]`.
        smallest: Smallest value of all.
        largest: Largest value of all.
        mean: Mean of the values in float32; it may have overflowed for values near
            the largest float32.
        scratch: Memory to work in.
    """

    rows: Tensor
    flat: Tensor
    start: int
    row: int
    low: _Ends
    high: _Ends
    smallest: float
    largest: float
    mean: float
    scratch: Scratch

    @property
    def absmax(self) -> float:
        """Largest magnitude."""
        return max(-self.smallest, self.largest)


def blocks(x: Tensor, channel_axes: Sequence[int] = ()) -> Iterator[Block]:
    """Yield a tensor in blocks, in the order of memory where possible.

    Args:
        x: Any floating-point tensor; one without values yields nothing.
        channel_axes: Axes that index channels, the first one slowest; none for a
            single channel that holds everything.

    Yields:
        Blocks that cover every value once.

    Raises:
        QuantError: a block holds NaN or an infinity; earlier ones did not.
    """
    if not x.numel():
        return
    table = channels_in_the_middle(x.detach(), channel_axes)
    is_plain = table.dtype == torch.float32 and table.is_contiguous()
    row_count, channel_count, inner = table.shape
    size = _block_size(x)
    channel_step = max(1, min(channel_count, size // inner))
    row_step = max(1, min(row_count, size // (channel_count * inner)))
    whole = _scratch(row_step * channel_step * inner, x.device)
    for number, some in enumerate(torch.split(table, row_step)):
        start, row = 0, number * row_step
        for part in torch.split(some, channel_step, 1):
            rows = part if is_plain else part.float().contiguous()
            flat = rows.view(-1)
            # The first pass fetches the block from memory, and a plain sum does so
            # in order; the reduction to channels jumps from row to row.
            mean = flat.mean().item()
            low, high = _ends(rows)
            smallest, largest = _finite(low, high)
            count = len(flat)
            scratch = whole
            if count < len(whole.first):
                scratch = Scratch(*(memory[:count] for memory in whole))
            ends = low, high, smallest, largest
            yield Block(rows, flat, start, row, *ends, mean, scratch)
            start += part.shape[1]


def free_axes(x: Tensor, channel_axes: Sequence[int] = ()) -> list[int]:
    """Return the axes that are no channels, the slowest of them in memory first.

    Row `r` and inner place `i` of `channels_in_the_middle` are entry `r * inner + i`
    of an array with these axes.
    """
    order, start, count = _arranged(x, channel_axes)
    return order[:start] + order[start + count :]


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


def channels_in_the_middle(x: Tensor, channel_axes: Sequence[int]) -> Tensor:
    """Return `x` as `[rows, channels, inner]`, a view where memory allows it."""
    order, start, count = _arranged(x, channel_axes)
    if not count:
        return x.permute(order).reshape(-1, 1, 1)
    shape = [x.shape[axis] for axis in order]
    parts = shape[:start], shape[start : start + count], shape[start + count :]
    return x.permute(order).reshape([math.prod(part) for part in parts])


def _arranged(x: Tensor, channel_axes: Sequence[int]) -> tuple[list[int], int, int]:
    """Return the axes as they lie in memory, and where in them the channels are.

    Channels that do not lie side by side come first.
    """
    channels = sorted(axis % x.ndim for axis in channel_axes)
    order = sorted(range(x.ndim), key=x.stride, reverse=True)
    if not channels:
        return order, 0, 0
    start, count = order.index(channels[0]), len(channels)
    if order[start : start + count] != channels:
        order, start = [*channels, *(a for a in order if a not in channels)], 0
    return order, start, count


def _ends(rows: Tensor) -> tuple[_Ends, _Ends]:
    """Return the smallest and the largest value of every channel."""
    count, channels, inner = rows.shape
    if channels == 1:
        smallest, largest = torch.aminmax(rows)
        return smallest.view(1).cpu().numpy(), largest.view(1).cpu().numpy()
    if inner > 1:
        # Short runs of a channel reduce slowly: they go last, on what little is left.
        first, second = (0, 1) if inner < _LONG and count > 1 else (2, 0)
        low = rows.amin(first).amin(second)
        high = rows.amax(first).amax(second)
        return low.cpu().numpy(), high.cpu().numpy()
    # Rows of few channels reduce faster side by side than one below the other.
    beside = math.gcd(count, 1 << max(0, (_WIDE // channels).bit_length() - 1))
    wide = rows.view(count // beside, beside * channels)
    low_wide, high_wide = wide.amin(0).cpu().numpy(), wide.amax(0).cpu().numpy()
    if beside == 1:
        return low_wide, high_wide
    shape = (beside, channels)
    return low_wide.reshape(shape).min(0), high_wide.reshape(shape).max(0)


def _finite(low: _Ends, high: _Ends) -> tuple[float, float]:
    """Return the range of all channels, refusing values that are not finite."""
    smallest, largest = float(low.min()), float(high.max())
    if math.isfinite(smallest) and math.isfinite(largest):
        return smallest, largest
    # Minimum and maximum hand NaN through.
    raise QuantError(
        f"The values are not finite: {'NaN' if math.isnan(smallest) else 'inf'}.",
        allowed="finite numbers",
    )
