"""Relevance through whole networks: what is kept, what is refused, what is restored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Batch, call
from analysis.measures.evaluating import evaluating
from quant_core.errors import QuantError
from quant_core.relevance import (
    COMPOSITES,
    Composite,
    Passage,
    RelevancePass,
    Settings,
    propagate,
    relevance_session,
)
from quant_core.tap import Listener, Tap
from tests.cases import CASES, assert_same_state, build, loaded, state_of
from tests.quant_core.test_relevance_rules import relevance_of

_FLOAT32 = {"bf16", "exported", "mixtral"}
"""Networks that only run as they are stored."""
_REFUSED = {"lstm": ("lstm", "lstm:lstm.0")}


def _doubled(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def without_biases(module: nn.Module) -> None:
    """Remove everything that takes up relevance by itself."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()


def totals(name: str, composite: Composite) -> tuple[float, float]:
    """Return relevance at the start, and at all inputs, look-ups and constants."""
    model, data = loaded(name)
    module, task = model.module, model.task
    assert module is not None
    assert task is not None
    without_biases(module)
    batch = next(data.batches(2))
    if name not in _FLOAT32:
        module.double()
        batch = Batch(
            tuple(map(_doubled, batch.args)),
            {k: _doubled(v) for k, v in batch.kwargs.items()},
            2,
        )
    tap = Tap(module)
    parameters = dict(module.named_parameters())
    leaves: list[Tensor] = []

    def rooted(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        leaves.append(x.clone().requires_grad_())
        return leaves[-1].clone()

    relevance_pass = RelevancePass(composite, samples=2)
    with evaluating(module):
        for constant in tap.unlisted:
            leaves.append(parameters[constant.parameter].requires_grad_())
        args = tuple(map(rooted, batch.args))
        kwargs = {k: rooted(v) for k, v in batch.kwargs.items()}
        with relevance_session(tap, relevance_pass):
            output = task.output(module(*args, **kwargs), batch)
        start = torch.zeros_like(output)
        best = output.detach().reshape(2, -1).argmax(1)
        start.view(2, -1)[[0, 1], best] = 1
        places = [*leaves, *(rows for _, _, rows in relevance_pass.looked_up)]
        found = propagate(output, start, places)
    return float(start.sum()), sum(float(x.sum()) for x in found)


@pytest.mark.parametrize("name", sorted(set(CASES) - set(_REFUSED)))
@pytest.mark.parametrize("rules", ["epsilon", "gamma"])
def test_relevance_is_kept_through_every_architecture(name: str, rules: str) -> None:
    composite = COMPOSITES[rules](Settings(epsilon=1e-10))
    # AttnLRP's softmax keeps no sum, by design; held constant it takes no part.
    composite = Composite(composite.slots, softmax="constant", tiny=1e-12)
    start, found = totals(name, composite)
    tolerance = {"bf16": 0.05, "exported": 1e-3, "mixtral": 1e-3}.get(name, 1e-4)
    assert found == pytest.approx(start, rel=tolerance)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "qwen", "t5", "vit"])
def test_chefers_rules_keep_relevance_through_attention(name: str) -> None:
    start, found = totals(name, COMPOSITES["chefer"](Settings()))
    assert found == pytest.approx(start, rel=1e-4)


@pytest.mark.parametrize("rules", ["epsilon", "gamma"])
def test_attention_products_and_softmax_account_for_what_is_lost(rules: str) -> None:
    module, data = build("llama")
    module.double()
    without_biases(module)
    batch = next(data.batches(2))
    lost: list[float] = []

    def observe(passage: Passage) -> None:
        given = sum(float(x.sum()) for x in passage.received)
        lost.append(float(passage.relevance.sum()) - given)

    composite = COMPOSITES[rules](Settings(epsilon=1e-10))
    composite = Composite(composite.slots, tiny=1e-12)
    relevance_pass = RelevancePass(composite, observe, samples=2)
    with evaluating(module):
        with relevance_session(Tap(module), relevance_pass):
            output = call(module, batch).logits
        start = output.detach()
        rows = [rows for _, _, rows in relevance_pass.looked_up]
        found = propagate(output, start, rows)
    whole = float(start.sum())
    arrived = sum(float(x.sum()) for x in found)
    assert abs(whole - arrived) > 1e-3 * abs(whole)
    assert whole - arrived == pytest.approx(sum(lost), rel=1e-4)


@pytest.mark.parametrize("name", sorted(_REFUSED))
def test_an_op_without_a_rule_is_named_with_its_site(name: str) -> None:
    op, site = _REFUSED[name]
    with pytest.raises(QuantError, match=f"through {op}.*{site}") as caught:
        totals(name, COMPOSITES["attnlrp"](Settings()))
    assert caught.value.hint is not None
    assert "predicted_error" in caught.value.hint


class Foreign(torch.autograd.Function):
    """A function with a gradient of its own, which no mode sees."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sinh()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Through(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.a = kind, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.kind == "cumprod":
            return y.cumprod(1)
        if self.kind == "sort of":
            return y.sort(1).values.cumprod(1)
        if self.kind == "root":
            return y.abs().sqrt()
        if self.kind == "quotient":
            return y / (x + 10)
        if self.kind == "foreign":
            made: Tensor = Foreign.apply(y)  # type: ignore[no-untyped-call]
            return made
        if self.kind == "written":
            return y.lgamma_()
        unused = y.cumprod(1) * 0.0  # relevance never gets here
        return y.masked_fill(unused.isnan(), 0.0)


@pytest.mark.parametrize(
    ("kind", "op"),
    [
        ("cumprod", "cumprod.*Given: :cumprod.0"),
        ("sort of", "cumprod"),
        ("root", "sqrt"),
        ("quotient", "div"),
        ("foreign", "Foreign.*Given: :Foreign, a function with a gradient of its own"),
        ("written", "lgamma"),
    ],
)
def test_a_gradient_never_passes_for_relevance(kind: str, op: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(QuantError, match=op):
        relevance_of(Through(kind), COMPOSITES["attnlrp"](Settings()), torch.rand(2, 4))


def test_a_function_of_its_own_is_named_with_the_module_that_called_it() -> None:
    module = nn.Sequential(
        nn.Linear(4, 4), nn.Sequential(Through("foreign"), nn.ReLU())
    )
    with pytest.raises(QuantError, match="Foreign.*Given: 1.0:Foreign, a function"):
        relevance_of(module, COMPOSITES["attnlrp"](Settings()), torch.rand(2, 4))


def test_an_op_without_a_rule_beside_the_way_does_not_matter() -> None:
    found = relevance_of(
        Through("beside"), COMPOSITES["attnlrp"](Settings()), torch.rand(2, 4)
    )
    assert bool(found.any())


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_network_gives_the_same_output_and_is_left_as_it_was(name: str) -> None:
    model, data = loaded(name)
    module, task = model.module, model.task
    assert module is not None
    assert task is not None
    tap, batch = Tap(module), next(data.batches(2))
    before = state_of(module)
    written_out = Listener()
    written_out.inside_attention = True
    with torch.no_grad(), tap.session(written_out):
        plain = task.output(call(module, batch), batch)
    relevance_pass = RelevancePass(COMPOSITES["attnlrp"](Settings()))
    with evaluating(module), relevance_session(tap, relevance_pass):
        output = task.output(call(module, batch), batch)
    torch.testing.assert_close(output.detach(), plain, rtol=1e-5, atol=1e-5)
    with (
        pytest.raises(RuntimeError, match="stop"),
        relevance_session(tap, relevance_pass),
    ):
        raise RuntimeError("stop")
    assert_same_state(before, state_of(module))
