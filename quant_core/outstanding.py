"""What stands out in a stream of tensors: the positions and the channels that carry it.

Which tokens a weight meets at their largest, and how much of the energy each of its
input channels brings. `TensorStats` takes it in on wish: it costs a fifth of the rest,
and only where positions and channels mean something is it worth that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.blocks import Block, blocks, channels_in_the_middle, free_axes

State = dict[str, npt.NDArray[np.generic]]
_Numbers = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float32]

_SMALLEST = -120  # 2**120 is still a float32 factor
_SAFE = 32  # squares of values around 2**32 and 2**-32 are far from the limits


class TopPositions:
    """The positions of the largest magnitudes, each with its largest value.

    A position is one entry along all axes but that of the channels: a token, a pixel.
    Each is listed once, with the value of largest magnitude among its channels. What
    is among the first of all is among the first of its part, so lists merge exactly;
    a number met twice counts once, with its larger value.

    Args:
        count: Positions listed.
        floor: Magnitude that a position must exceed to be listed. Given what another
            accumulator requires (`floor` there), this one passes over what could not
            enter it anyway, and a long stream costs next to nothing.

    Attributes:
        values: `[listed]` float32 with their signs, largest magnitude first.
        channels: `[listed]` int64, the channel of each value.
        numbers: `[listed]` int64, which position it is.
    """

    __slots__ = ("_given", "channels", "count", "numbers", "values")

    def __init__(self, count: int = 8, floor: float = 0.0) -> None:
        self.count = count
        self._given = floor
        self.values = np.zeros(0, np.float32)
        self.channels = np.zeros(0, np.int64)
        self.numbers = np.zeros(0, np.int64)

    @property
    def floor(self) -> float:
        """Magnitude that a position must exceed to be listed, >= 0."""
        is_full = len(self.values) >= self.count
        return max(self._given, float(abs(self.values[-1])) if is_full else 0.0)

    def add(self, values: _Values, channels: _Numbers, numbers: _Numbers) -> None:
        """Take in positions: `[n]` values, their channels, and which they are."""
        values = np.concatenate([self.values, values])
        numbers = np.concatenate([self.numbers, numbers])
        sizes = np.abs(values)
        order = np.lexsort((numbers, -sizes))
        order = order[sizes[order] > self._given]
        # The first of equal numbers has the largest value of that position.
        _, first = np.unique(numbers[order], return_index=True)
        order = order[np.sort(first)][: self.count]
        self.channels = np.concatenate([self.channels, channels])[order]
        self.values, self.numbers = values[order], numbers[order]

    def merge(self, other: TopPositions) -> None:
        """Take in the list of another accumulator."""
        if len(other.values):
            self.add(other.values, other.channels, other.numbers)

    def state(self) -> State:
        """Return `position_values`, `position_channels` and `position_numbers`."""
        return {
            "position_values": self.values.copy(),
            "position_channels": self.channels.copy(),
            "position_numbers": self.numbers.copy(),
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, npt.NDArray[np.generic]], count: int = 8
    ) -> TopPositions:
        """Return the accumulator that `state` was taken from."""
        self = cls(count)
        self.values = np.array(state["position_values"], np.float32)
        self.channels = np.array(state["position_channels"], np.int64)
        self.numbers = np.array(state["position_numbers"], np.int64)
        return self


class Outstanding:
    """Energy of every channel, and the positions of the largest magnitudes.

    Both come from one pass over the squares of the values.

    Args:
        count: Positions listed.
        floor: See `TopPositions`.

    Attributes:
        squares: Sum of the squares of every channel, float64 `[channels]`. Divided by
            the number of positions they are what an importance matrix holds.
        positions: The leading positions; `numbers` count along all axes but the
            channels', in the order of the axes, from 0 in each tensor.
    """

    __slots__ = ("_sizes", "positions", "squares")

    def __init__(self, count: int = 8, floor: float = 0.0) -> None:
        self.squares = np.zeros(0, np.float64)
        self.positions = TopPositions(count, floor)
        self._sizes: dict[int, Tensor] = {}

    def update(self, x: Tensor, channel_axis: int = -1) -> None:
        """Take in every value of one tensor.

        Several tensors need an accumulator each, merged once the numbers of their
        positions say which tensor they are of.

        Raises:
            QuantError: `x` holds NaN or an infinity.
        """
        for block in blocks(x, (channel_axis,)):
            self.add(block)
        self.close(x, channel_axis)

    def add(self, block: Block) -> None:
        """Take in one block; positions are listed when its tensor is closed."""
        exponent = math.frexp(block.absmax)[1]
        unit = 1.0 if abs(exponent) <= _SAFE else 2.0 ** max(exponent, _SMALLEST)
        squares = block.scratch.first
        if unit == 1.0:
            torch.mul(block.flat, block.flat, out=squares)
        else:
            torch.mul(block.flat, 1 / unit, out=squares).square_()
        table = squares.view(block.rows.shape)
        stop = block.start + table.shape[1]
        if stop > len(self.squares):
            self._add_squares(np.zeros(stop))
        self.squares[block.start : stop] += _channel_sums(table) * unit**2
        if block.absmax <= self.positions.floor:
            return
        # One reduction of squares, where magnitudes would need three passes.
        sizes = table.amax(1).sqrt_().mul_(unit)
        other = self._sizes.get(block.row)
        # Blocks of some channels only come to the same rows again.
        sizes = sizes if other is None else torch.maximum(sizes, other)
        self._sizes[block.row] = sizes

    def close(self, x: Tensor, channel_axis: int = -1) -> None:
        """List the leading positions of a tensor after all of its blocks."""
        if not self._sizes:
            return
        inner = next(iter(self._sizes.values())).shape[1]
        starts = [row * inner for row in self._sizes]
        lengths = [sizes.numel() for sizes in self._sizes.values()]
        sizes = torch.cat(list(self._sizes.values())).view(-1)
        self._sizes.clear()
        at = torch.topk(sizes, min(self.positions.count, len(sizes))).indices
        found = at.cpu().numpy()
        ends = np.cumsum(lengths)
        piece = np.searchsorted(ends, found, side="right")
        found = found - (ends - lengths)[piece] + np.array(starts)[piece]
        table = channels_in_the_middle(x.detach(), (channel_axis,))
        at = torch.from_numpy(found).to(x.device)
        values = table[at // inner, :, at % inner].float()
        channels = values.abs().argmax(1, keepdim=True)
        self.positions.add(
            values.gather(1, channels).view(-1).cpu().numpy(),
            channels.view(-1).cpu().numpy(),
            _in_order(found, x, channel_axis),
        )

    def merge(self, other: Outstanding) -> None:
        """Take in another accumulator, channel by channel."""
        self._add_squares(other.squares)
        self.positions.merge(other.positions)

    def _add_squares(self, squares: npt.NDArray[np.float64]) -> None:
        if len(squares) > len(self.squares):
            self.squares, squares = squares.copy(), self.squares
        self.squares[: len(squares)] += squares

    def state(self) -> State:
        """Return `channel_squares` float64 `[channels]` and those of the positions."""
        return {"channel_squares": self.squares.copy(), **self.positions.state()}

    @classmethod
    def from_state(
        cls, state: Mapping[str, npt.NDArray[np.generic]], count: int = 8
    ) -> Outstanding:
        """Return the accumulator that `state` was taken from."""
        self = cls(count)
        self.squares = np.array(state["channel_squares"], np.float64)
        self.positions = TopPositions.from_state(state, count)
        return self


def _channel_sums(squares: Tensor) -> npt.NDArray[np.float64]:
    """Return the sum of every channel of `[rows, channels, inner]`."""
    rows, channels, inner = squares.shape
    # Products with a vector of ones: twice as fast as a sum along an axis.
    if inner > 1:
        squares = torch.mv(squares.view(-1, inner), squares.new_ones(inner))
    sums = torch.mv(squares.view(rows, channels).T, squares.new_ones(rows))
    return np.asarray(sums.cpu().numpy(), np.float64)


def _in_order(numbers: _Numbers, x: Tensor, channel_axis: int) -> _Numbers:
    """Return numbers counted as positions lie in memory, counted along the axes."""
    order = free_axes(x, (channel_axis,))
    axes = sorted(order)
    if order == axes:
        return numbers
    sizes = [x.shape[axis] for axis in order]
    at = dict(zip(order, np.unravel_index(numbers, sizes), strict=True))
    shape = tuple(x.shape[axis] for axis in axes)
    return np.asarray(np.ravel_multi_index(tuple(at[a] for a in axes), shape), np.int64)
