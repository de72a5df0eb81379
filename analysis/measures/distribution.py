"""Rows that describe how the values of a layer or site are distributed."""

from __future__ import annotations

import math
from typing import Literal

from analysis.method import Row
from quant_core.histogram import Histogram
from quant_core.moments import Moments
from quant_core.stats import ChannelRange

QUANTITIES = (
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "absmax",
    "outlier_ratio",
    "channel_spread",
)
"""Quantities of `distribution_rows`, in order."""

_BULK = 0.999


def distribution_rows(
    target: str,
    part: Literal["weight", "input", "output"],
    moments: Moments,
    histogram: Histogram,
    channels: ChannelRange,
) -> tuple[Row, ...]:
    """Return one row per quantity; quantities without a value are left out.

    `kurtosis` is 3 for a normal distribution. `outlier_ratio` is the largest
    magnitude over the one that 99.9 % of the values do not exceed (read from the
    histogram): the share of the range that a thousandth of the values takes is
    `1 - 1/ratio`. `channel_spread` is the largest over the median channel magnitude:
    what one scale for all channels wastes. Skewness and kurtosis of equal values, and
    the ratio of zeros, do not exist.

    Args:
        target: Name of the layer or site.
        part: What was looked at.
        moments: Of all values.
        histogram: Of all values.
        channels: Ranges of the channels.
    """
    absmax = float(channels.absmax.max())
    # Inside a bin the quantile is interpolated and may pass the largest value.
    bulk = min(histogram.magnitude_quantile(_BULK), absmax)
    values = (
        moments.mean,
        moments.std,
        moments.skewness,
        moments.kurtosis,
        absmax,
        absmax / bulk if absmax > 0 else math.nan,
        channels.spread,
    )
    return tuple(
        Row(target, None, value, quantity=quantity, part=part)
        for quantity, value in zip(QUANTITIES, values, strict=True)
        if not math.isnan(value)
    )
