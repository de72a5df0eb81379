"""A tensor in pieces that stay in the cache, each with the range of its channels.

Every statistic is added up block by block, so that a tensor is read from memory once
for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.errors import QuantError

_CORE_BLOCK = 1 << 17  # 512 kB per core: block and scratch fit a level-2 cache
_CPU_BLOCK = 1 << 21
_DEVICE_BLOCK = 1 << 24
_WIDE = 64  # values side by side that fill the vector registers of a reduction


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of some channels of a tensor.

    Attributes:
        rows: `[rows, channels, inner]` float32, contiguous. Not to be changed: it may
            be the tensor itself.
        first: Number of the first channel.
        low: Smallest value of each channel here, float32 `[channels]`.
        high: Largest value of each channel here, float32 `[channels]`.
        smallest: Smallest value of all.
        largest: Largest value of all.
        mean: Mean of the values, a float32 scalar on the device. It may have overflowed
            for values near the largest float32.
        scratch: Two rows of as many float32 as the block has values, to write to.
    """

    rows: Tensor
    first: int
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    smallest: float
    largest: float
    mean: Tensor
    scratch: Tensor

    @property
    def flat(self) -> Tensor:
        """All values in one row."""
        return self.rows.view(-1)

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
    table = _channels_in_the_middle(x.detach(), channel_axes)
    size = _block_size(x)
    row_count, channel_count, inner = table.shape
    channel_step = max(1, min(channel_count, size // inner))
    row_step = max(1, min(row_count, size // (channel_count * inner)))
    longest = row_step * channel_step * inner
    scratch = torch.empty((2, longest), device=x.device)
    for some in torch.split(table, row_step):
        first = 0
        for part in torch.split(some, channel_step, 1):
            rows = part.float().contiguous()
            count = rows.numel()
            # The first pass fetches the block from memory, and a plain sum does so
            # in order; the reduction to channels jumps from row to row.
            mean = rows.mean()
            low, high = _ends(rows)
            smallest, largest = _finite(low, high)
            space = scratch[:, :count]
            yield Block(rows, first, low, high, smallest, largest, mean, space)
            first += part.shape[1]


def _block_size(x: Tensor) -> int:
    if x.device.type != "cpu":
        return _DEVICE_BLOCK
    return min(_CORE_BLOCK * torch.get_num_threads(), _CPU_BLOCK)


def _channels_in_the_middle(x: Tensor, channel_axes: Sequence[int]) -> Tensor:
    """Return `x` as `[rows, channels, inner]`, a view where memory allows it."""
    channels = sorted(axis % x.ndim for axis in channel_axes)
    order = sorted(range(x.ndim), key=x.stride, reverse=True)
    if not channels:
        return x.permute(order).reshape(-1, 1, 1)
    start, count = order.index(channels[0]), len(channels)
    if order[start : start + count] != channels:
        order, start = [*channels, *(a for a in order if a not in channels)], 0
    shape = [x.shape[axis] for axis in order]
    parts = shape[:start], shape[start : start + count], shape[start + count :]
    return x.permute(order).reshape([math.prod(part) for part in parts])


def _ends(rows: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the smallest and the largest value of every channel."""
    count, channels, inner = rows.shape
    if channels == 1:
        pair = torch.stack(torch.aminmax(rows)).view(2, 1)
    elif inner == 1:
        # Short rows side by side reduce faster than one below the other.
        beside = math.gcd(count, 1 << max(0, (_WIDE // channels).bit_length() - 1))
        wide = rows.view(count // beside, beside * channels)
        both = torch.stack((wide.amin(0), wide.amax(0))).view(2, beside, channels)
        pair = torch.stack((both[0].amin(0), both[1].amax(0)))
    else:
        pair = torch.stack((rows.amin(2).amin(0), rows.amax(2).amax(0)))
    low, high = pair.cpu().numpy()
    return low, high


def _finite(
    low: npt.NDArray[np.float32], high: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """Return the range of all channels, refusing values that are not finite."""
    smallest, largest = float(low.min()), float(high.max())
    if math.isfinite(smallest) and math.isfinite(largest):
        return smallest, largest
    # Minimum and maximum hand NaN through.
    raise QuantError(
        f"The values are not finite: {'NaN' if math.isnan(smallest) else 'inf'}.",
        allowed="finite numbers",
    )
