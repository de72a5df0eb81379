"""What rounding to given levels does to a kept distribution, from its histogram.

The window has no tensors, so values count as spread evenly inside each bin. With the
1,024 to 2,048 bins that are kept, this is within a percent of the truth as long as a
step spans a few bins; `tests/app/test_clipping.py` holds it to that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.models.level_grid import Distribution, Floats, shares
from quant_core.formats import Format


@dataclass(frozen=True)
class Rounded:
    """The distribution after rounding, and what was lost.

    Attributes:
        mse: Mean squared error.
        sqnr: Signal-to-noise ratio [dB], higher is better; infinite without error,
            NaN without values or signal.
        clipped: Share of the values beyond the outermost levels by more than half a
            step.
        edges: `[levels + 1]` ends of the cells around the levels; the outermost are
            as wide on the outside as on the inside.
        density: `[levels]` values of each cell per bin of the histogram.
    """

    mse: float
    sqnr: float
    clipped: float
    edges: Floats
    density: Floats


def rounded(levels: Floats, data: Distribution) -> Rounded:
    """Return what happens to a distribution that is rounded to `levels`.

    Args:
        levels: At least two, in rising order.
        data: The distribution.
    """
    edges = _filled(data)
    below = np.concatenate([[0], np.cumsum(data.counts)])
    total = max(int(below[-1]), 1)
    widths = np.maximum(np.diff(edges), np.finfo(np.float64).tiny)
    lost = np.diff(_integral(levels, edges)) / widths
    # Bins without width hold one value many times: its own error counts.
    points = np.diff(edges) == 0
    nearest = levels[np.searchsorted(_middles(levels), edges[:-1])]
    lost = np.where(points, (edges[:-1] - nearest) ** 2, lost)
    mse = max(float(data.counts @ lost) / total, 0.0)
    squares = (edges[1:] ** 2 + edges[1:] * edges[:-1] + edges[:-1] ** 2) / 3
    signal = float(data.counts @ squares) / total
    cells = _cells(levels)
    per_level = np.diff(np.interp(_open(cells), data.edges, below))
    bin_width = float(np.diff(data.edges).mean())
    return Rounded(
        mse,
        _decibels(signal, mse),
        shares(levels, data)[0],
        cells,
        per_level * bin_width / np.diff(cells),
    )


def _filled(data: Distribution) -> Floats:
    """Return the edges, the outermost drawn in to the extreme values."""
    low, high = float(data.low.min()), float(data.high.max())
    return np.clip(data.edges, low, high)


def _middles(levels: Floats) -> Floats:
    return np.asarray((levels[1:] + levels[:-1]) / 2)


def _cells(levels: Floats) -> Floats:
    middles = _middles(levels)
    first, last = 2 * levels[0] - middles[0], 2 * levels[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def _open(cells: Floats) -> Floats:
    """Return the ends of cells whose outermost take in everything beyond."""
    return np.concatenate([[-np.inf], cells[1:-1], [np.inf]])


def _integral(levels: Floats, x: Floats) -> Floats:
    """Return the integral of `(t - nearest level)^2` up to `x`, from some constant."""
    middles = _middles(levels)
    cell = np.searchsorted(middles, x)
    # Whole cells between the first level's and the one of x.
    whole = ((middles - levels[:-1]) ** 3)[1:] - ((middles - levels[1:]) ** 3)[:-1]
    start = (middles[0] - levels[0]) ** 3
    before = np.concatenate([[0.0, start], start + np.cumsum(whole)])
    inside = (x - levels[cell]) ** 3
    entry = np.concatenate([[0.0], (middles - levels[1:]) ** 3])
    return np.asarray((before[cell] + inside - entry[cell]) / 3)


def _decibels(signal: float, noise: float) -> float:
    if signal <= 0:
        return math.nan
    return math.inf if noise <= 0 else 10 * math.log10(signal / noise)


def dragged(
    form: Format, low: float, high: float, which: int, to: float
) -> tuple[float, float]:
    """Return the range after one end was moved; formats decide what follows along.

    Symmetric formats keep both ends equally far from zero, unsigned ones start at
    zero, and every range holds zero, as in `quant_core.ranges.base`.

    Args:
        form: Number format, one with a scale.
        low: Lower end before.
        high: Upper end before.
        which: 0 for the lower end, 1 for the upper.
        to: Where the end was moved.
    """
    if form.affine:
        return (min(to, 0.0), high) if which == 0 else (low, max(to, 0.0))
    if not form.signed:
        return 0.0, max(to, 0.0)
    reach = max(-to if which == 0 else to, 0.0)
    return -reach, reach
