"""What stands out in a stream of tensors: the positions and the channels that carry it.

Which tokens a weight meets at their largest, and how much of the energy each of its
input channels brings. `TensorStats` takes it in on wish.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.blocks import Block, blocks
from quant_core.folds import Fold

State = dict[str, npt.NDArray[np.generic]]
_Numbers = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float32]

_FEW = 4  # patches looked into hold at most such a part of the values


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

    Args:
        count: Positions listed.
        floor: See `TopPositions`.

    Attributes:
        squares: Sum of the squares of every channel, float64 `[channels]`. Divided by
            the number of positions they are what an importance matrix holds.
        positions: The leading positions; `numbers` count along all axes but the
            channels', in the order of the axes, from 0 in each tensor.
    """

    __slots__ = ("positions", "squares")

    def __init__(self, count: int = 8, floor: float = 0.0) -> None:
        self.squares = np.zeros(0, np.float64)
        self.positions = TopPositions(count, floor)

    def update(self, x: Tensor, channel_axis: int = -1) -> None:
        """Take in every value of one tensor.

        Several tensors need an accumulator each, merged once the numbers of their
        positions say which tensor they are of.

        Raises:
            QuantError: `x` holds NaN or an infinity.
        """
        for block in blocks(x, (channel_axis,)):
            self.add(block)

    def add(self, block: Block) -> None:
        """Take in one block."""
        energies = block.energies()
        stop = block.start + len(energies)
        if stop > len(self.squares):
            self._add_squares(np.zeros(stop))
        self.squares[block.start : stop] += energies
        if block.absmax <= self.positions.floor:
            return
        for fold, patches in block.folds:
            sizes = np.maximum(-patches.low, patches.high)
            found = _leading(fold, block.flat, sizes, self.positions)
            if found is not None:
                values, channels, numbers = found
                numbers = block.layout.in_order(numbers + block.row * fold.inner)
                self.positions.add(values, channels + block.start, numbers)

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


def _leading(
    fold: Fold, flat: Tensor, sizes: _Values, listed: TopPositions
) -> tuple[_Values, _Numbers, _Numbers] | None:
    """Return the values that can change a list of positions, with where they are.

    Each group has a position as large as the largest of its patches, and no two groups
    share one: positions below the `count`-th of these are not among the first `count`.
    Only patches that reach it are looked into.

    Args:
        fold: Rows of a block.
        flat: All values of the block.
        sizes: Largest magnitude of each patch, `[G1, channels, G2]`.
        listed: The list.

    Returns:
        Values with their signs, channels and positions in the block, of at least every
        position that belongs on the list; None when none does.
    """
    least = np.nextafter(np.float32(listed.floor), np.float32(np.inf))
    groups = sizes.max(1).ravel()
    if groups.max() < least:
        return None
    if groups.size >= listed.count:
        place = groups.size - listed.count
        least = max(least, np.partition(groups, place)[place])
    patches = np.flatnonzero(sizes >= least)
    if len(patches) * _FEW > sizes.size:
        return _largest(fold, flat, listed.count)
    values = fold.select(flat, patches)
    k, column = np.nonzero(np.abs(values) >= least)
    g1, channels, g2 = np.unravel_index(patches[column], sizes.shape)
    return values[k, column], channels, fold.positions(k, g1, g2)


def _largest(
    fold: Fold, flat: Tensor, count: int
) -> tuple[_Values, _Numbers, _Numbers]:
    """Return the values of the leading positions, found among all."""
    table = fold.table(flat)
    by_group = (table.T if fold.is_run else table).view(fold.depth, *fold.shape)
    sizes = by_group.abs().amax(2)
    at = torch.topk(sizes.reshape(-1), min(count, sizes.numel())).indices
    k, g1, g2 = np.unravel_index(at.cpu().numpy(), sizes.shape)
    place = (torch.from_numpy(index).to(flat.device) for index in (k, g1, g2))
    some, first, second = place
    values = by_group[some, first, :, second]
    channels = values.abs().argmax(1, keepdim=True)
    found = values.gather(1, channels).view(-1).cpu().numpy()
    return found, channels.view(-1).cpu().numpy(), fold.positions(k, g1, g2)
