from __future__ import annotations

import pytest

from quant_core.errors import QuantError
from quant_core.formats import FORMATS
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from quant_core.targets import TARGETS, get_target

LINEAR = Layer("fc", "fc.weight", "linear", (64, 512), "float32")
CONV = Layer("conv", "conv.weight", "conv", (8, 3, 3, 3), "float32")


@pytest.mark.parametrize("name", TARGETS)
def test_float_is_never_refused(name: str) -> None:
    for part in ("weight", "input", "output"):
        assert get_target(name).refuses(None, CONV, part) is None


@pytest.mark.parametrize("name", FORMATS)
def test_any_takes_every_format(name: str) -> None:
    target = get_target("any")
    for granularity in ("tensor", "channel", "group(64)"):
        assert target.refuses(Scheme(name, granularity), LINEAR, "weight") is None
    for granularity in ("tensor", "token"):
        assert target.refuses(Scheme(name, granularity), LINEAR, "input") is None


@pytest.mark.parametrize(
    ("target", "layer", "part", "text", "reason"),
    [
        ("any", CONV, "weight", "int4/group(64)", "size 64 does not divide the 27"),
        (
            "any",
            LINEAR,
            "input",
            "int8/channel",
            "per tensor or token, not per channel",
        ),
        ("int8-symmetric", LINEAR, "weight", "int8", None),
        ("int8-symmetric", LINEAR, "weight", "int8/channel/mse", None),
        ("int8-symmetric", LINEAR, "weight", "uint8", "does not run weights in uint8"),
        ("int8-symmetric", LINEAR, "weight", "int8/group(64)", "not per group"),
        ("int8-symmetric", LINEAR, "input", "int8/tensor", None),
        ("int8-symmetric", LINEAR, "input", "int8/token", "per tensor, not per token"),
        ("onnxruntime-cpu", CONV, "weight", "int8", None),
        ("onnxruntime-cpu", CONV, "weight", "int4", "not conv"),
        ("onnxruntime-cpu", LINEAR, "weight", "uint4/group(32)", None),
        ("onnxruntime-cpu", LINEAR, "weight", "uint4/group(8)", "not 8"),
        ("onnxruntime-cpu", LINEAR, "weight", "fp8_e4m3", "does not run weights in"),
        ("onnxruntime-cpu", LINEAR, "input", "uint8/tensor", None),
        ("onnxruntime-cpu", LINEAR, "output", "uint4/tensor", "run activations in"),
        ("vllm-like", LINEAR, "weight", "int4/group(64)", None),
        ("vllm-like", LINEAR, "weight", "int4/group(256)", "32, 64 or 128, not 256"),
        ("vllm-like", LINEAR, "weight", "int4/tensor", "not per tensor"),
        ("vllm-like", LINEAR, "weight", "fp8_e4m3/tensor", None),
        ("vllm-like", LINEAR, "weight", "int3", "does not run weights in int3"),
        ("vllm-like", CONV, "weight", "int8", "experts or linear layers, not conv"),
        ("vllm-like", CONV, "weight", "bfloat16", None),
        ("vllm-like", LINEAR, "input", "fp8_e4m3/token", None),
    ],
)
def test_reasons(target: str, layer, part: str, text: str, reason: str | None) -> None:
    answer = get_target(target).refuses(parse_scheme(text), layer, part)
    if reason is None:
        assert answer is None
    else:
        assert answer is not None
        assert reason in answer
        assert answer.endswith(".")


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_tables_name_real_formats(target) -> None:
    for rule in (*target.weights, *target.inputs):
        assert set(rule.formats) <= set(FORMATS)
        assert set(rule.granularities) <= {"tensor", "channel", "group", "token"}


def test_ties_come_with_the_target() -> None:
    names = ["a.q_proj", "a.k_proj", "a.v_proj", "m.gate_proj", "m.up_proj"]
    assert get_target("vllm-like").ties(names) == ((0, 1, 2), (3, 4))
    assert get_target("any").ties(names) == ()


def test_unknown_target() -> None:
    with pytest.raises(QuantError, match="There is no such target") as caught:
        get_target("tensorrt")
    assert "onnxruntime-cpu" in str(caught.value)
