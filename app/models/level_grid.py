"""Where the levels of a scheme lie on a kept distribution, without torch or tensors.

The window keeps histograms and channel ranges, not weights. From these the levels of
a scheme follow exactly for min-max ranges, and to the width of a bin for percentile
and least-squares ranges over a whole tensor. Ranges fitted inside each channel need
the values themselves; there the levels before clipping are given and said to be so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_core.formats import Format
from quant_core.ranges import Manual, MinMse, Percentile, get_range
from quant_core.ranges.min_mse import COARSE, FINE
from quant_core.scheme import Scheme

Floats = NDArray[np.float64]
TYPICAL = -1
SHARED = -1


@dataclass(frozen=True)
class Distribution:
    """What was kept of one tensor.

    Attributes:
        counts: `[bins]` values per bin.
        edges: `[bins + 1]` edges of the bins, rising.
        low: `[channels]` smallest value of each channel.
        high: `[channels]` largest value of each channel.
        top_channels: Channels with the largest magnitudes, worst first; empty when
            they were not counted.
        binned: Number of values behind `counts`, None for all. When fewer, `counts`
            estimates what all would give, and adds up to all.
    """

    counts: NDArray[np.int64]
    edges: Floats
    low: Floats
    high: Floats
    top_channels: NDArray[np.int64]
    binned: int | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether `counts` were estimated from fewer values."""
        return self.binned is not None and self.binned < int(self.counts.sum())

    @property
    def centres(self) -> Floats:
        """Middles of the bins."""
        return np.asarray((self.edges[1:] + self.edges[:-1]) / 2)

    @property
    def extent(self) -> Floats:
        """`[channels]` largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class LevelGrid:
    """The values a tensor may take under a scheme.

    Attributes:
        levels: `[n]` values in rising order; empty for float types.
        step: Distance of neighbouring levels around zero.
        channel: The channel whose levels these are; `SHARED` when all share them.
        steps: Smallest and largest step over all channels.
        clipped: Share of the values outside the levels by more than half a step; NaN
            where it cannot be told from what was kept.
        zeroed: Share of the values that become zero; NaN likewise.
        note: What the person should know of the accuracy of these numbers.
    """

    levels: Floats
    step: float
    channel: int
    steps: tuple[float, float]
    clipped: float
    zeroed: float
    note: str = ""


def bins_and_channels(
    data: Distribution,
) -> tuple[tuple[str, ...], tuple[list[object], ...]]:
    """Return titles and columns of the bins and, beside them, the channel ranges."""
    rows = max(len(data.counts), len(data.low))
    columns = {
        "bin from": data.edges[:-1],
        "bin to": data.edges[1:],
        "count": data.counts,
        "channel": np.arange(len(data.low)),
        "smallest": data.low,
        "largest": data.high,
    }
    # The shorter of the two tables is filled up with empty cells.
    filled = ([*x.tolist(), *[""] * (rows - len(x))] for x in columns.values())
    return tuple(columns), tuple(filled)


def grid_of(
    scheme: Scheme, data: Distribution, channel: int = TYPICAL
) -> LevelGrid | None:
    """Return the levels of a scheme, None for types that are not scaled.

    Args:
        scheme: How the tensor is stored.
        data: The distribution of the tensor.
        channel: The channel whose levels are wanted when every channel has its own;
            `TYPICAL` takes the one of median magnitude.
    """
    form = scheme.number_format
    if not form.scaled or not len(data.low):
        return None
    shared = scheme.granularity in ("tensor", "token")
    low, high, note = _ranges(scheme, data)
    scale, zero_point = _params(low, high, form)
    at = 0
    if not shared:
        median = int(np.argsort(data.extent, kind="stable")[len(scale) // 2])
        at = channel if 0 <= channel < len(scale) else median
    levels = (form.levels() - zero_point[at]) * scale[at]
    step = _step(levels)
    ratio = step / float(scale[at])
    tensor = scheme.granularity == "tensor"
    clipped, zeroed = shares(levels, data) if tensor else (np.nan, np.nan)
    return LevelGrid(
        levels,
        step,
        SHARED if shared else at,
        (float(scale.min()) * ratio, float(scale.max()) * ratio),
        clipped,
        zeroed,
        note,
    )


def grid_between(
    form: Format, data: Distribution, low: float, high: float
) -> LevelGrid:
    """Return the levels of one range for the whole tensor, as chosen by hand.

    Args:
        form: Number format, one with a scale.
        data: The distribution of the tensor.
        low: Lower end; not above zero.
        high: Upper end; not below zero, and not both zero.
    """
    scale, zero_point = _params(np.array([low]), np.array([high]), form)
    levels = (form.levels() - zero_point[0]) * scale[0]
    step = _step(levels)
    return LevelGrid(levels, step, SHARED, (step, step), *shares(levels, data))


def _step(levels: Floats) -> float:
    """Return the distance of neighbouring levels around zero."""
    middle = int(np.argmin(np.abs(levels)))
    gaps = np.diff(levels)
    return float(gaps[max(0, middle - 1) : middle + 1].max()) if len(gaps) else 0.0


def _ranges(scheme: Scheme, data: Distribution) -> tuple[Floats, Floats, str]:
    """Return the range each grid covers, `[1]` or `[channels]`, and a remark."""
    estimator, form = get_range(scheme.range), scheme.number_format
    clips = isinstance(estimator, (Percentile, MinMse))
    if isinstance(estimator, Manual):
        return np.array([estimator.low]), np.array([estimator.high]), ""
    if scheme.granularity == "tensor":
        low, high = np.array([data.low.min()]), np.array([data.high.max()])
        if isinstance(estimator, Percentile):
            low, high = _percentiles(estimator.percent, form, data)
        elif isinstance(estimator, MinMse):
            factor = _least_squares(low, high, form, data)
            low, high = low * factor, high * factor
        note = "Clip range from the histogram, to the width of a bin." if clips else ""
        return low, high, note
    notes = []
    if clips:
        notes.append(f"{scheme.range} then clips inside this range.")
    if scheme.granularity == "token":
        notes.insert(0, "Every token has its own levels; these are the widest of all.")
        low, high = np.array([data.low.min()]), np.array([data.high.max()])
        return low, high, " ".join(notes)
    if scheme.granularity != "channel":
        notes.insert(0, "These are the levels of the widest group in the channel.")
    return data.low, data.high, " ".join(notes)


def _params(low: Floats, high: Floats, form: Format) -> tuple[Floats, Floats]:
    """Return scale and zero point; as `quant_core.ranges.base`, on arrays."""
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    if form.affine:
        extent, steps = high - low, form.grid_max - form.grid_min
    elif form.signed:
        extent, steps = np.maximum(-low, high), form.grid_max
    else:
        extent, steps = high, form.grid_max
    scale = np.where(extent > 0, extent / steps, 1.0)
    if not form.affine:
        return scale, np.zeros_like(scale)
    zero_point = np.rint(form.grid_min - low / scale)
    return scale, np.clip(zero_point, form.grid_min, form.grid_max)


def _percentiles(
    percent: float, form: Format, data: Distribution
) -> tuple[Floats, Floats]:
    if form.affine:
        outside = (100 - percent) / 2
        low, high = _quantile(data.edges, data.counts, [outside, 100 - outside])
        return np.array([low]), np.array([high])
    if form.signed:
        order = np.argsort(np.abs(data.centres), kind="stable")
        ends = np.maximum(np.abs(data.edges[1:]), np.abs(data.edges[:-1]))[order]
        edges = np.concatenate([[0.0], ends])
        high = _quantile(edges, data.counts[order], [percent])[0]
        high = min(float(high), float(data.extent.max()))
        return np.array([-high]), np.array([high])
    high = _quantile(data.edges, data.counts, [percent])[0]
    return np.array([high]), np.array([high])


def _quantile(
    edges: Floats, counts: NDArray[np.int64], percents: list[float]
) -> Floats:
    total = np.concatenate([[0], np.cumsum(counts)])
    return np.interp(np.array(percents) / 100 * total[-1], total, edges)


def _least_squares(
    low: Floats, high: Floats, form: Format, data: Distribution
) -> float:
    """Return the factor on the range with the smallest squared error, as `MinMse`."""
    best, least = 1.0, np.inf
    for factors in (COARSE, FINE):
        start = best
        for factor in factors:
            tried = factor if factors is COARSE else min(start + factor, 1.0)
            scale, zero_point = _params(low * tried, high * tried, form)
            levels = (form.levels() - zero_point) * scale
            nearest = levels[_nearest(levels, data.centres)]
            error = float((data.counts * (nearest - data.centres) ** 2).sum())
            if error < least:
                best, least = tried, error
    return best


def _nearest(levels: Floats, values: Floats) -> NDArray[np.int64]:
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values)


def shares(levels: Floats, data: Distribution) -> tuple[float, float]:
    """Return which share of the values is clipped and which becomes zero."""
    total = max(int(data.counts.sum()), 1)
    below = np.concatenate([[0], np.cumsum(data.counts)])
    middles = (levels[1:] + levels[:-1]) / 2
    first = 2 * levels[0] - middles[0]
    last = 2 * levels[-1] - middles[-1]
    # Bins are wider than the data at both ends; the true extremes decide.
    first = min(first, data.edges[0]) if data.low.min() >= first else first
    last = max(last, data.edges[-1]) if data.high.max() <= last else last
    inside = np.interp([first, last], data.edges, below)
    clipped = 1.0 - float(inside[1] - inside[0]) / total
    zero = int(np.argmin(np.abs(levels)))
    ends = np.concatenate([[-np.inf], middles, [np.inf]])[zero : zero + 2]
    around = np.interp(ends, data.edges, below)
    return max(clipped, 0.0), float(around[1] - around[0]) / total


def envelope(
    low: Floats, high: Floats, first: int, last: int, most: int
) -> tuple[Floats, Floats, Floats, float]:
    """Return channel ranges joined so that at most `most` remain.

    Joining takes the smallest minimum and the largest maximum: an outlier channel
    stays visible at every zoom.

    Args:
        low: `[channels]`.
        high: `[channels]`.
        first: First channel wanted.
        last: One past the last channel wanted.
        most: How many can be told apart.

    Returns:
        Middle, smallest and largest value of each range, and how many channels one
        range stands for.
    """
    size = max(1, -(-(last - first) // max(most, 1)))
    first = first // size * size
    starts = np.arange(first, last, size)
    if not len(starts):
        return np.zeros(0), np.zeros(0), np.zeros(0), 1.0
    end = min(len(low), int(starts[-1]) + size)
    bottom = np.minimum.reduceat(low[:end], starts)
    top = np.maximum.reduceat(high[:end], starts)
    middles = np.asarray(starts + (size - 1) / 2, dtype=np.float64)
    return middles, bottom, top, float(size)
