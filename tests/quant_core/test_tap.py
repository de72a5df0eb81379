"""The tap: site names, multiply-adds, exchanged weights and activations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from quant_core.errors import QuantError
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from quant_core.sites import Site
from quant_core.tap import Tap, explicit_attention
from tests.cases import build


def _sites(name: str) -> dict[str, Site]:
    module, data = build(name)
    batch = next(data.batches(2))
    sites, _ = Tap(module).trace(lambda: module(*batch.args, **batch.kwargs), 2)
    return {site.name: site for site in sites}


def test_sites_of_an_encoder_have_stable_names() -> None:
    sites = _sites("bert")
    attention = "encoder.layer.0.attention.self"
    assert sites[f"{attention}.query"].role == "input"
    assert sites[f"{attention}.query"].layer == f"{attention}.query"
    assert sites[f"{attention}:softmax"].role == "output"
    assert sites[f"{attention}:matmul.0.a"].role == "operand"
    assert sites[f"{attention}:matmul.1.b"].op == "matmul"
    assert "encoder.layer.1.intermediate.intermediate_act_fn:gelu" in sites
    assert "embeddings.LayerNorm:layer_norm" in sites
    # Two traces name the same places alike.
    assert list(_sites("bert")) == list(sites)


def test_a_tied_head_has_a_site_of_its_own() -> None:
    sites = _sites("gpt2")
    assert sites["lm_head"].layer == "transformer.wte"
    layers = {layer.name for layer in Tap(build("gpt2")[0]).layers}
    assert "transformer.wte" in layers
    assert "lm_head" not in layers


def test_experts_in_one_call_are_layers_with_inputs() -> None:
    module, data = build("mixtral")
    batch = next(data.batches(2))
    sites, layers = Tap(module).trace(lambda: module(**batch.kwargs), 2)
    experts = [layer for layer in layers if layer.kind == "experts"]
    inputs = {site.layer for site in sites if site.role == "input"}
    assert len(experts) == 4
    assert {layer.name for layer in experts} <= inputs
    # Two of four experts per token, ten tokens, gate and up projections in one.
    assert experts[0].macs == 2 * 10 * 32 * 2 * 48


def test_inside_of_multi_head_attention_is_seen() -> None:
    sites = _sites("encoder")
    assert sites["layers.0.self_attn.in_proj_weight"].op == "linear"
    assert sites["layers.0.self_attn.out_proj"].role == "input"
    assert "layers.0.self_attn:softmax" in sites


def test_sites_of_a_module_called_twice_are_the_same_both_times() -> None:
    module, data = build("called_twice")
    seen: list[str] = []
    with torch.no_grad(), Tap(module).watch(lambda site, x: seen.append(site.name)):
        module(*data.args)
    assert seen == ["shared", "shared", "out"]


def test_multiply_adds_per_sample() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Flatten(1)
    )
    network.append(nn.Linear(4 * 12 * 12, 5)).eval()
    x = torch.randn(2, 3, 8, 8)
    _, layers = Tap(network).trace(lambda: network(x), 2)
    macs = {layer.name: layer.macs for layer in layers}
    assert macs == {
        "0": 8 * 6 * 6 * 3 * 9,
        "1": 8 * 6 * 6 * 4 * 4,
        "3": 4 * 12 * 12 * 5,
    }


def test_quantized_weights_and_inputs_equal_a_hand_made_copy() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 5), nn.Linear(5, 4)
    network = nn.Sequential(first, nn.Tanh(), second).eval()
    x = torch.randn(3, 6)
    weight = Quantizer(Scheme("int4")).fake_quantize(first.weight.detach(), (0,))
    stored = Quantizer(Scheme("uint8", "tensor"))
    with torch.no_grad():
        hidden = torch.tanh(nn.functional.linear(x, weight, first.bias))
        truth = second(stored.fake_quantize(hidden, (1,)))
        with Tap(network).quantized(
            {"0.weight": weight}, {"2": lambda h: stored.fake_quantize(h, (1,))}
        ):
            changed = network(x)
        plain = network(x)
    assert torch.equal(changed, truth)
    assert not torch.equal(changed, plain)


def test_unknown_parameters_and_wrong_shapes_are_refused() -> None:
    tap = Tap(nn.Sequential(nn.Linear(3, 2)))
    with (
        pytest.raises(QuantError, match="no such parameter.*1.weight"),
        tap.quantized({"1.weight": torch.zeros(2, 3)}),
    ):
        pass
    with (
        pytest.raises(QuantError, match=r"another shape.*\(3, 2\).*\(2, 3\)"),
        tap.quantized({"0.weight": torch.zeros(3, 2)}),
    ):
        pass


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_written_out(is_causal: bool, mask: str | None) -> None:
    if is_causal and mask:
        pytest.skip("torch refuses a mask together with is_causal")
    q, k, v = (torch.randn(2, 4, 5, 8) for _ in range(3))
    given: Tensor | None = None
    if mask == "bool":
        given = torch.rand(5, 5) > 0.3
        given[2] = False  # a query that may attend to nothing
    elif mask == "float":
        given = torch.randn(5, 5)
    ours = explicit_attention(q, k, v, given, is_causal=is_causal, scale=0.3)
    theirs = nn.functional.scaled_dot_product_attention(
        q, k, v, given, is_causal=is_causal, scale=0.3
    )
    torch.testing.assert_close(ours, theirs)


def test_attention_written_out_repeats_grouped_heads() -> None:
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    ours = explicit_attention(q, k, v, enable_gqa=True)
    theirs = nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    torch.testing.assert_close(ours, theirs)


def test_tensors_without_values_pass_through() -> None:
    # Exported programs check the shapes of their inputs with such tensors.
    module = nn.Linear(3, 2)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with FakeTensorMode() as fake, Tap(module).watch(lambda site, x: None):
            x = fake.from_tensor(torch.ones(1, 3))
            assert tuple(nn.functional.linear(x, x).shape) == (1, 1)
    finally:
        torch.set_warn_always(always)


def test_parameters_without_values_are_no_layers() -> None:
    module = nn.ParameterDict({"none": torch.ones(0, 4), "some": torch.ones(2, 4)})
    tap = Tap(module)
    assert [layer.parameter for layer in tap.layers] == ["some"]
    assert [(x.parameter, x.reason) for x in tap.unlisted] == [
        ("none", "holds no values")
    ]
