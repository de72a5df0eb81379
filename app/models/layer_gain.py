"""What more bits would buy: the best gain per byte of every layer, without Qt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gains:
    """The next step up of every layer.

    Attributes:
        value: `[layers]` fall of the predicted error per byte spent, in the unit of
            the task; NaN where nothing larger is known or the layer is kept in float.
        choice: `[layers]` column of the format to go to, -1 where `value` is NaN.
    """

    value: Floats
    choice: Indices


def gains(
    errors: Floats, bits: Floats, error_now: Floats, bits_now: Floats, group: Indices
) -> Gains:
    """Return the steepest fall of the error per byte among the larger formats.

    Layers of one group change together, so errors and sizes are those of the group:
    what a greedy search would compare.

    Args:
        errors: `[layers, formats]` own predicted errors, NaN where unknown.
        bits: `[layers, formats]` sizes, infinite where a format is not offered.
        error_now: `[layers]` own predicted errors of the present formats.
        bits_now: `[layers]` their sizes.
        group: `[layers]` group number, below the number of layers.
    """
    layers, formats = errors.shape
    if not formats or not layers:
        return Gains(np.full(layers, np.nan), np.full(layers, -1))

    def of_group(values: Floats) -> Floats:
        return np.asarray(np.bincount(group, values, layers), np.float64)[group]

    def of_groups(table: Floats) -> Floats:
        return np.stack([of_group(column) for column in table.T], axis=1)

    spent = (of_groups(bits) - of_group(bits_now)[:, None]) / 8
    fall = of_group(error_now)[:, None] - of_groups(errors)
    is_step = np.isfinite(spent) & (spent > 0) & np.isfinite(fall)
    rate = np.full(fall.shape, -np.inf)
    np.divide(fall, spent, out=rate, where=is_step)
    choice = rate.argmax(1)
    value = rate[np.arange(layers), choice]
    known = np.isfinite(value)
    return Gains(np.where(known, value, np.nan), np.where(known, choice, -1))
