"""Which elements of a tensor share a scale.

`tensor` one scale in all; `channel` one per index of the channel axes; `group(n)`
one per `n` consecutive elements along the summed-over axes of a channel; `token` one
per vector along the last axis (activations).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quant_core.errors import QuantError

if TYPE_CHECKING:
    from torch import Tensor

GRANULARITIES = ("tensor", "channel", "group(n)", "token")

_GROUP = re.compile(r"group\((\d{1,9})\)")


def group_size(granularity: str) -> int | None:
    """Return `n` of "group(n)", None for the other granularities.

    Raises:
        QuantError: the text names no granularity.
    """
    if granularity in ("tensor", "channel", "token"):
        return None
    match = _GROUP.fullmatch(granularity)
    if match is None or int(match[1]) < 1:
        raise QuantError(
            "There is no such granularity.",
            value=granularity,
            allowed="tensor, channel, token or group(n) with n elements, "
            "such as group(64)",
        )
    return int(match[1])


def _checked_axes(
    shape: Sequence[int], granularity: str, channel_axes: Sequence[int]
) -> tuple[int, ...]:
    """Return the axes that index groups, without `group(n)`'s own split."""
    rank = len(shape)
    if granularity == "tensor":
        return ()
    if granularity == "token":
        return tuple(range(rank - 1))
    axes = tuple(axis + rank if axis < 0 else axis for axis in channel_axes)
    if len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        raise QuantError(
            f"Channel axes must be different axes of a tensor of {rank} dimensions.",
            value=tuple(channel_axes),
            allowed=f"axes 0 to {rank - 1}" if rank else "no axis",
        )
    return axes


def _divisors(size: int) -> str:
    """Return the divisors a user would choose, as text."""
    powers = [n for n in (16, 32, 64, 128, 256, 512) if size % n == 0]
    if powers:
        return ", ".join(map(str, powers))
    small = {n for n in range(2, math.isqrt(size) + 1) if size % n == 0}
    every = sorted(small | {size // n for n in small} | {size})
    return ", ".join(map(str, every[:8]))


def grouped_shape(
    shape: Sequence[int], granularity: str, channel_axes: Sequence[int] = (0,)
) -> tuple[int, int]:
    """Return `(groups, elements per group)` of a tensor, from its shape alone.

    Args:
        shape: Shape of the tensor.
        granularity: "tensor", "channel", "group(n)" or "token".
        channel_axes: Axes that index channels; ignored by "tensor" and "token".

    Raises:
        QuantError: the group size does not divide the summed-over axes, an axis does
            not exist, or the tensor is empty.
    """
    size = group_size(granularity)
    axes = _checked_axes(shape, granularity, channel_axes)
    total = math.prod(shape)
    if total == 0:
        raise QuantError("An empty tensor cannot be quantized.", value=tuple(shape))
    channels = math.prod(shape[axis] for axis in axes)
    length = total // channels
    if size is None:
        return channels, length
    if length % size:
        raise QuantError(
            f"Group size {size} does not divide the {length} values of a channel.",
            value=granularity,
            allowed=f"group sizes that divide {length}: {_divisors(length)}",
            hint="Use one of them, or the granularity channel.",
        )
    return channels * (length // size), size


def group_count(
    shape: Sequence[int], granularity: str, channel_axes: Sequence[int] = (0,)
) -> int:
    """Return the number of scales; arguments and errors as in `grouped_shape`."""
    return grouped_shape(shape, granularity, channel_axes)[0]


def _order(
    shape: Sequence[int], granularity: str, channel_axes: Sequence[int]
) -> tuple[int, ...]:
    """Return the axes with those that index groups first."""
    axes = _checked_axes(shape, granularity, channel_axes)
    return axes + tuple(axis for axis in range(len(shape)) if axis not in axes)


def group(x: Tensor, granularity: str, channel_axes: Sequence[int] = (0,)) -> Tensor:
    """Return `x` as `[groups, n]`, one row per scale; a view where possible.

    Args:
        x: Any shape.
        granularity: "tensor" gives `[1, numel]`, "channel" `[channels, rest]`,
            "group(n)" `[channels * rest / n, n]`, "token" `[tokens, features]`.
        channel_axes: Axes that index channels, `(0,)` for `[out, in]`.

    Raises:
        QuantError: as in `grouped_shape`.

    Example:
        >>> import torch
        >>> group(torch.arange(8).view(2, 4), "group(2)").tolist()
        [[0, 1], [2, 3], [4, 5], [6, 7]]
    """
    rows = grouped_shape(x.shape, granularity, channel_axes)
    return x.permute(_order(x.shape, granularity, channel_axes)).reshape(rows)


def ungroup(
    grouped: Tensor,
    granularity: str,
    channel_axes: Sequence[int],
    shape: Sequence[int],
) -> Tensor:
    """Return the tensor of `shape` whose `group` is `grouped`.

    Args:
        grouped: `[groups, n]`.
        granularity: As given to `group`.
        channel_axes: As given to `group`.
        shape: Shape of the tensor before grouping.
    """
    order = _order(shape, granularity, channel_axes)
    back = [order.index(axis) for axis in range(len(shape))]
    return grouped.reshape([shape[axis] for axis in order]).permute(back)
