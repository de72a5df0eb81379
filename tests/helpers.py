"""Slow and obvious versions of what the program computes fast."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from quant_core.formats import get_format
from quant_core.formats.base import Format
from quant_core.formats.floating import FloatFormat
from quant_core.formats.integer import IntegerFormat
from quant_core.granularity import group_size
from quant_core.scheme import Scheme

Place = tuple[int, ...]


def truth_groups(
    shape: Sequence[int], granularity: str, channel_axes: Sequence[int]
) -> list[list[Place]]:
    """Return the places that share a scale, found by walking over all of them."""
    rank = len(shape)
    axes = list(channel_axes)
    if granularity == "tensor":
        axes = []
    if granularity == "token":
        axes = list(range(rank - 1))
    rest = [axis for axis in range(rank) if axis not in axes]
    channels: dict[Place, list[Place]] = {}
    for outer in itertools.product(*(range(shape[axis]) for axis in axes)):
        for inner in itertools.product(*(range(shape[axis]) for axis in rest)):
            place = [0] * rank
            for axis, position in zip([*axes, *rest], [*outer, *inner], strict=True):
                place[axis] = position
            channels.setdefault(outer, []).append(tuple(place))
    size = group_size(granularity)
    return [
        places[start : start + (size or len(places))]
        for places in channels.values()
        for start in range(0, len(places), size or len(places))
    ]


def truth_params(values: Sequence[float], number_format: Format) -> tuple[float, float]:
    """Return scale and zero point of one group for the min-max range."""
    low, high = min(0.0, *values), max(0.0, *values)
    top, bottom = number_format.grid_max, number_format.grid_min
    if number_format.affine:
        extent, steps = high - low, top - bottom
    elif number_format.signed:
        extent, steps = max(-low, high), top
    else:
        extent, steps = high, top
    if extent == 0:
        return 1.0, 0.0 if not number_format.affine else max(bottom, min(top, bottom))
    scale = float(np.float32(max(extent / steps, 2.0**-126)))
    zero = round(bottom - low / scale) if number_format.affine else 0
    return scale, float(max(bottom, min(top, zero)))


def truth_round(value: float, number_format: Format) -> float:
    """Return the nearest grid value by comparing with every one of them."""
    if not number_format.scaled:
        kinds = {"float16": np.float16, "float32": np.float32}
        return float(kinds[number_format.name](value))
    levels = number_format.levels().tolist()
    best = min(abs(level - value) for level in levels)
    nearest = [level for level in levels if abs(level - value) == best]
    if len(nearest) == 1:
        return nearest[0]
    if isinstance(number_format, IntegerFormat):
        return next(level for level in nearest if level % 2 == 0)
    if isinstance(number_format, FloatFormat):
        positive = [level for level in levels if level >= 0]
        return next(x for x in nearest if positive.index(abs(x)) % 2 == 0)
    return nearest[0]


def truth_fake_quantize(
    x: np.ndarray, scheme: Scheme, channel_axes: Sequence[int]
) -> np.ndarray:
    """Return `x` stored in a min-max scheme, one element at a time."""
    number_format = get_format(scheme.format)
    result = np.empty(x.shape, dtype=np.float32)
    for places in truth_groups(x.shape, scheme.granularity, channel_axes):
        scale, zero = truth_params([float(x[p]) for p in places], number_format)
        for place in places:
            if not number_format.scaled:
                result[place] = truth_round(float(x[place]), number_format)
                continue
            ratio = float(np.float32(x[place]) / np.float32(scale))
            if number_format.affine:
                code = round(ratio) + zero
                code = max(number_format.grid_min, min(number_format.grid_max, code))
            else:
                code = truth_round(ratio, number_format)
            result[place] = np.float32(code - zero) * np.float32(scale)
    return result


def truth_weight_bits(
    shape: Sequence[int], scheme: Scheme, channel_axes: Sequence[int]
) -> int:
    """Return the size of a packed weight by counting, byte by byte."""
    number_format = get_format(scheme.format)
    numbers = math.prod(shape)
    code_bytes = math.ceil(numbers * number_format.bits / 8)
    groups = len(truth_groups(shape, scheme.granularity, channel_axes))
    zero_bytes = math.ceil(groups * number_format.bits / 8)
    return 8 * (code_bytes + 2 * groups + zero_bytes * number_format.affine)
