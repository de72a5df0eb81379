"""What a layer costs once stored: bits including scales, and bit operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_core.errors import QuantError
from quant_core.granularity import group_count, group_size
from quant_core.scheme import Scheme
from quant_core.sites import Layer

SCALE_BITS = 16
"""Bits of one stored scale; deployment formats keep scales in half precision."""

STORED_BITS = {
    "float64": 64,
    "int64": 64,
    "float32": 32,
    "int32": 32,
    "float16": 16,
    "bfloat16": 16,
    "int16": 16,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "int8": 8,
    "uint8": 8,
    "bool": 8,
}
"""Bits per value of the types a checkpoint may hold."""


def stored_bits(dtype: str) -> int:
    """Return the bits per value of a checkpoint's type.

    Raises:
        QuantError: the type is not known.
    """
    if dtype not in STORED_BITS:
        raise QuantError(
            "The size of this stored type is not known.",
            value=dtype,
            allowed=", ".join(STORED_BITS),
        )
    return STORED_BITS[dtype]


def _packed(bits: float) -> int:
    """Return `bits` rounded up to whole bytes."""
    return -8 * (-math.ceil(bits) // 8)


def weight_bits(layer: Layer, scheme: Scheme | None) -> float:
    """Return all bits that the layer's weights take, scales and zero points included.

    Codes are packed without gaps and rounded up to whole bytes; so are zero points,
    at the width of the format; scales take `SCALE_BITS` each.

    Args:
        layer: The layer.
        scheme: How it is stored; None keeps the stored float type.

    Raises:
        QuantError: the group size does not divide, with the layer's name.
    """
    if scheme is None:
        return float(layer.parameters * stored_bits(layer.dtype))
    number_format = scheme.number_format
    bits = _packed(layer.parameters * number_format.bits)
    if not number_format.scaled:
        return float(bits)
    try:
        groups = group_count(layer.shape, scheme.granularity, layer.channel_axes)
    except QuantError as error:
        raise error.within(layer.name) from None
    bits += groups * SCALE_BITS
    if number_format.affine:
        bits += _packed(groups * number_format.bits)
    return float(bits)


def bops(layer: Layer, weight: Scheme | None, inputs: Scheme | None) -> float:
    """Return bit operations per sample: `macs * weight bits * input bits`.

    Source: Uhlich et al. 2020; a float operand counts with its stored width.

    Args:
        layer: The layer; its `macs` come from a trace.
        weight: Scheme of the weights, None for float.
        inputs: Scheme of the input activations, None for float.
    """
    stored = stored_bits(layer.dtype)
    by = [
        float(stored) if scheme is None else scheme.bits for scheme in (weight, inputs)
    ]
    return layer.macs * by[0] * by[1]


@dataclass(frozen=True, slots=True)
class LayerSizes:
    """Sizes of many layers as arrays, so that 60,000 of them cost milliseconds.

    Attributes:
        parameters: Weights, int64 `[L]`.
        channels: Channels, int64 `[L]`.
        tokens: Vectors along the last axis, int64 `[L]`.
        stored: Bits per stored value, int64 `[L]`.
        macs: Multiply-adds per sample, float64 `[L]`.
    """

    parameters: NDArray[np.int64]
    channels: NDArray[np.int64]
    tokens: NDArray[np.int64]
    stored: NDArray[np.int64]
    macs: NDArray[np.float64]

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> LayerSizes:
        """Return the sizes of `layers`."""
        parameters = np.array([math.prod(x.shape) for x in layers], dtype=np.int64)
        channels = [math.prod(x.shape[a] for a in x.channel_axes) for x in layers]
        tokens = [math.prod(x.shape[:-1]) for x in layers]
        return cls(
            parameters,
            np.array(channels, dtype=np.int64),
            np.array(tokens, dtype=np.int64),
            np.array([stored_bits(x.dtype) for x in layers], dtype=np.int64),
            np.array([x.macs for x in layers], dtype=np.float64),
        )

    def groups(self, granularity: str) -> NDArray[np.float64]:
        """Return the number of scales per layer; inf where a group does not fit."""
        size = group_size(granularity)
        if size is not None:
            fits = self.parameters // np.maximum(self.channels, 1) % size == 0
            return np.where(fits, self.parameters / size, np.inf)
        if granularity == "channel":
            return self.channels.astype(np.float64)
        if granularity == "token":
            return self.tokens.astype(np.float64)
        return np.ones(len(self.parameters))

    def weight_bits(self, scheme: Scheme | None) -> NDArray[np.float64]:
        """Return `weight_bits` of every layer, float64 `[L]`.

        Args:
            scheme: As in `weight_bits`. Where its group size does not divide, the
                answer is inf instead of an error.
        """
        if scheme is None:
            return (self.parameters * self.stored).astype(np.float64)
        number_format = scheme.number_format
        bits = 8 * np.ceil(self.parameters * number_format.bits / 8)
        if not number_format.scaled:
            return np.asarray(bits)
        groups = self.groups(scheme.granularity)
        bits = bits + groups * SCALE_BITS
        if number_format.affine:
            bits = bits + 8 * np.ceil(groups * number_format.bits / 8)
        return np.asarray(bits)
