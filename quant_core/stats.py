"""Streaming statistics of tensors that add up exactly.

Every accumulator has the same four verbs: `update(x)` takes in a tensor, `merge(other)`
takes in another accumulator, `state()` gives plain arrays and `from_state` takes them
back. Merging partial results gives what one pass over all values would have given:
counts, ranges and histograms to the last digit, moments up to float64 rounding.
Resuming, sharding and early stopping need nothing else.

`TensorStats` feeds all of them block by block from one pass over the tensor, some 1 ns
per value on one core. That leaves no time to sort every value into a bin: of large
tensors its histogram looks at evenly spaced values, everything else at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant_core.blocks import Block, blocks
from quant_core.errors import QuantError
from quant_core.histogram import Histogram
from quant_core.moments import Moments
from quant_core.outstanding import Outstanding

_T = TypeVar("_T", bound=np.generic)

State = dict[str, npt.NDArray[np.generic]]

LLM_INT8_THRESHOLD = 6.0
"""Magnitude that makes an activation an outlier, LLM.int8() (arXiv 2208.07339)."""


@dataclass(frozen=True, slots=True)
class TopChannels:
    """The channels that reach the largest magnitudes, largest first.

    Attributes:
        channels: Their numbers, int64.
        absmax: Their largest magnitudes, float32.
    """

    channels: npt.NDArray[np.int64]
    absmax: npt.NDArray[np.float32]


class ChannelRange:
    """Smallest and largest value of every channel.

    All channels are kept, so that the leading ones (`top`) are exact after merging;
    lists that were cut off before could not be merged.

    Attributes:
        low: `[channels]` float32, +inf where nothing was seen.
        high: `[channels]` float32, -inf where nothing was seen.
    """

    __slots__ = ("high", "low")

    def __init__(self) -> None:
        self.low = np.zeros(0, np.float32)
        self.high = np.zeros(0, np.float32)

    def update(self, x: Tensor, channel_axes: tuple[int, ...] = (-1,)) -> None:
        """Take in every value of `x`.

        Raises:
            QuantError: `x` holds NaN or an infinity; values before it are counted.
        """
        for block in blocks(x, channel_axes):
            self.add(block)

    def add(self, block: Block, first: int = 0) -> None:
        """Take in one block whose channel 0 is channel `first` here."""
        self._join(block.low, block.high, block.start + first)

    def merge(self, other: ChannelRange) -> None:
        """Take in the ranges of another accumulator, channel by channel."""
        self._join(other.low, other.high, 0)

    def _join(
        self,
        low: npt.NDArray[np.float32],
        high: npt.NDArray[np.float32],
        first: int,
    ) -> None:
        stop = first + len(low)
        self.low = _grown(self.low, stop, np.inf)
        self.high = _grown(self.high, stop, -np.inf)
        np.minimum(self.low[first:stop], low, out=self.low[first:stop])
        np.maximum(self.high[first:stop], high, out=self.high[first:stop])

    @property
    def absmax(self) -> npt.NDArray[np.float32]:
        """Largest magnitude of every channel, `[channels]`."""
        return np.maximum(-self.low, self.high)

    @property
    def spread(self) -> float:
        """Largest over median channel magnitude, channels of zeros left out; >= 1.

        NaN without values, 1 when everything is zero.
        """
        if not len(self.low):
            return math.nan
        used = self.absmax[self.absmax > 0].astype(np.float64)
        return float(used.max() / np.median(used)) if len(used) else 1.0

    def top(self, count: int) -> TopChannels:
        """Return the `count` channels of the largest magnitude, ties by number."""
        order = np.argsort(-self.absmax, kind="stable")[:count]
        return TopChannels(order.astype(np.int64), self.absmax[order])

    def state(self) -> State:
        """Return `channel_min` and `channel_max`, float32 `[channels]`."""
        return {"channel_min": self.low.copy(), "channel_max": self.high.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[np.generic]]) -> ChannelRange:
        """Return the accumulator that `state` was taken from."""
        self = cls()
        self.low = np.array(state["channel_min"], np.float32)
        self.high = np.array(state["channel_max"], np.float32)
        return self


def _grown(values: npt.NDArray[_T], size: int, fill: float) -> npt.NDArray[_T]:
    """Return `values` lengthened to at least `size`."""
    if len(values) >= size:
        return values
    grown = np.full(size, fill, values.dtype)
    grown[: len(values)] = values
    return grown


class OutlierCount:
    """How often each channel reaches the outlier threshold of LLM.int8().

    Dettmers et al., "LLM.int8(): 8-bit matrix multiplication for transformers at
    scale", arXiv 2208.07339: a channel is an outlier in a batch when any position in
    it has `|x| >= threshold` (section 3.2); it is a systematic one when that holds
    for at least 6 % of the positions (section 4).

    Args:
        threshold: The magnitude, 6.0 in the paper.

    Attributes:
        hits: Positions at or above the threshold per channel, int64 `[channels]`.
        positions: Positions seen (tokens, pixels).
    """

    __slots__ = ("hits", "positions", "threshold")

    def __init__(self, threshold: float = LLM_INT8_THRESHOLD) -> None:
        if not threshold > 0:
            raise QuantError(
                "The outlier threshold is not positive.",
                value=threshold,
                allowed="a magnitude above 0",
            )
        self.threshold = threshold
        self.hits = np.zeros(0, np.int64)
        self.positions = 0

    def update(self, x: Tensor, channel_axis: int = -1) -> None:
        """Take in every value of `x`.

        Raises:
            QuantError: `x` holds NaN or an infinity; values before it are counted.
        """
        for block in blocks(x, (channel_axis,)):
            self.add(block)

    def add(self, block: Block) -> None:
        """Take in one block."""
        count, channels, inner = block.rows.shape
        if block.start + channels > len(self.hits):
            self.hits = _grown(self.hits, block.start + channels, 0)
        # Blocks of some channels only count their positions once.
        if not block.start:
            self.positions += count * inner
        if block.absmax < self.threshold:
            return
        absmax = np.maximum(-block.low, block.high)
        columns = np.flatnonzero(absmax >= self.threshold)
        index = torch.from_numpy(columns).to(block.rows.device)
        # Ones summed as floats: exact below 2**24, far faster than integers.
        ones = block.rows.index_select(1, index).abs_().ge_(self.threshold)
        self.hits[block.start + columns] += ones.sum((0, 2)).cpu().numpy().astype(int)

    def merge(self, other: OutlierCount) -> None:
        """Take in the counts of another accumulator, channel by channel."""
        self.hits = _grown(self.hits, len(other.hits), 0)
        self.hits[: len(other.hits)] += other.hits
        self.positions += other.positions

    @property
    def values(self) -> int:
        """Number of outlier values."""
        return int(self.hits.sum())

    def columns(self, share: float = 0.0) -> int:
        """Return how many channels are outliers.

        Args:
            share: Smallest share of positions that must reach the threshold; 0 asks
                for a single one.

        Returns:
            Number of channels.
        """
        return int((self.hits >= max(share * self.positions, 1)).sum())

    def state(self) -> State:
        """Return `outlier_hits` int64 `[channels]` and `positions` int64 `[1]`."""
        return {
            "outlier_hits": self.hits.copy(),
            "positions": np.array([self.positions], np.int64),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, npt.NDArray[np.generic]],
        threshold: float = LLM_INT8_THRESHOLD,
    ) -> OutlierCount:
        """Return the accumulator that `state` was taken from."""
        self = cls(threshold)
        self.hits = np.array(state["outlier_hits"], np.int64)
        self.positions = int(state["positions"].item())
        return self


_ALL_BINNED = 1 << 16
_LARGEST_STEP = 16


def histogram_step(count: int) -> int:
    """Return which share `1/step` of a tensor's values its histogram looks at.

    Tensors of up to 65,536 values are binned whole. Of larger ones at least as many
    values are (a sixteenth of very large ones), which puts the magnitude that 99.9 %
    do not exceed within some 1 % for a normal distribution, and far closer after a
    few batches. The step shares no factor with the size of the tensor and so with
    none of its axes: it meets all channels and all positions equally often.

    Args:
        count: Number of values of the tensor.
    """
    step = min(max(count // _ALL_BINNED, 1), _LARGEST_STEP)
    while math.gcd(step, count) > 1:
        step += 1
    return step


class TensorStats:
    """Everything above of one stream of tensors, the range computed once.

    Moments, ranges and outliers take in every value; the histogram takes in every
    `histogram_step`-th one of a tensor, weighted so that its counts add up to the
    number of values; its bins reach from the smallest to the largest value.

    Args:
        bins: Largest number of histogram bins.
        threshold: Outlier magnitude.

    Attributes:
        binned: Number of values that the histogram has looked at.
    """

    __slots__ = ("binned", "channels", "histogram", "moments", "outliers")

    def __init__(self, bins: int = 2048, threshold: float = LLM_INT8_THRESHOLD) -> None:
        self.binned = 0
        self.moments = Moments()
        self.histogram = Histogram(bins)
        self.channels = ChannelRange()
        self.outliers = OutlierCount(threshold)

    def update(
        self, x: Tensor, channel_axis: int = -1, outstanding: Outstanding | None = None
    ) -> None:
        """Take in every value of `x`, channels along `channel_axis`.

        Args:
            x: Any floating-point tensor.
            channel_axis: Its channels.
            outstanding: What takes in the same values on the way.

        Raises:
            QuantError: `x` holds NaN or an infinity; values before it are counted.
        """
        step = histogram_step(x.numel())
        for block in blocks(x, (channel_axis,)):
            self.moments.add(block)
            self.histogram.add(block, step)
            self.binned += -(-len(block.flat) // step)
            self.channels.add(block)
            self.outliers.add(block)
            if outstanding is not None:
                outstanding.add(block)

    def merge(self, other: TensorStats) -> None:
        """Take in the values behind another accumulator."""
        self.binned += other.binned
        self.moments.merge(other.moments)
        self.histogram.merge(other.histogram)
        self.channels.merge(other.channels)
        self.outliers.merge(other.outliers)

    def state(self) -> State:
        """Return the arrays of all parts under their own names.

        And `hist_binned`, int64 `[1]`: how many values the histogram looked at.
        """
        return {
            **self.moments.state(),
            **self.histogram.state(),
            "hist_binned": np.array([self.binned], np.int64),
            **self.channels.state(),
            **self.outliers.state(),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, npt.NDArray[np.generic]],
        bins: int = 2048,
        threshold: float = LLM_INT8_THRESHOLD,
    ) -> TensorStats:
        """Return the accumulator that `state` was taken from."""
        self = cls(bins, threshold)
        self.binned = int(state["hist_binned"].item())
        self.moments = Moments.from_state(state)
        self.histogram = Histogram.from_state(state, bins)
        self.channels = ChannelRange.from_state(state)
        self.outliers = OutlierCount.from_state(state, threshold)
        return self
