from __future__ import annotations

import numpy as np
import pytest

from quant_core.cost import LayerSizes, bops, stored_bits, weight_bits
from quant_core.errors import QuantError
from quant_core.formats import FORMATS
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from tests.helpers import truth_weight_bits

LAYERS = (
    Layer("a", "a.weight", "linear", (8, 32), "float32", (0,), macs=256),
    Layer("b", "b.weight", "linear", (32, 5), "bfloat16", (1,), macs=160),
    Layer("c", "c.weight", "conv", (4, 2, 3, 3), "float16", (0,), macs=7),
    Layer("d", "d", "experts", (3, 4, 8), "float32", (0, 1)),
)
SCALED = [name for name, fmt in FORMATS.items() if fmt.scaled]


@pytest.mark.parametrize("granularity", ["tensor", "channel", "token", "group(4)"])
@pytest.mark.parametrize("name", SCALED)
def test_bits_are_counted_byte_by_byte(name: str, granularity: str) -> None:
    scheme = Scheme(name, granularity)
    sizes = LayerSizes.of(LAYERS).weight_bits(scheme)
    for layer, together in zip(LAYERS, sizes, strict=True):
        if granularity == "group(4)" and layer.name == "c":
            assert together == np.inf
            with pytest.raises(QuantError, match="c: Group size 4 does not divide"):
                weight_bits(layer, scheme)
            continue
        truth = truth_weight_bits(layer.shape, scheme, layer.channel_axes)
        assert weight_bits(layer, scheme) == together == truth


def test_float_keeps_the_stored_size() -> None:
    together = LayerSizes.of(LAYERS).weight_bits(None)
    one_by_one = [weight_bits(layer, None) for layer in LAYERS]
    assert one_by_one == together.tolist() == [8192, 2560, 1152, 3072]
    assert weight_bits(LAYERS[0], Scheme("bfloat16")) == 4096
    assert LayerSizes.of(LAYERS).weight_bits(Scheme("float16"))[0] == 4096


def test_known_sizes() -> None:
    layer = Layer("x", "x.weight", "linear", (4096, 4096), "bfloat16")
    per_weight = weight_bits(layer, parse_scheme("int4/group(128)")) / layer.parameters
    assert per_weight == 4 + 16 / 128
    per_weight = weight_bits(layer, parse_scheme("uint4/group(64)")) / layer.parameters
    assert per_weight == 4 + (16 + 4) / 64


def test_bit_operations() -> None:
    int4, int8 = Scheme("int4"), Scheme("int8", "tensor")
    assert bops(LAYERS[0], int4, int8) == 256 * 4 * 8
    assert bops(LAYERS[0], None, int8) == 256 * 32 * 8
    assert bops(LAYERS[1], int4, None) == 160 * 4 * 16


def test_unknown_stored_type() -> None:
    with pytest.raises(QuantError, match="size of this stored type is not known"):
        stored_bits("complex64")
