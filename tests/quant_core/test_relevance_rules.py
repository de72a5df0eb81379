"""Relevance rules against loops over single inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quant_core.relevance import (
    COMPOSITES,
    Composite,
    RelevancePass,
    Settings,
    Slot,
    propagate,
    relevance_session,
)
from quant_core.relevance.weight_rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
)
from quant_core.tap import Tap

EPS = 1e-6
Shares = Callable[[float, float], float]
GAMMA = 0.25


def relevance_of(
    network: nn.Module, composite: Composite, x: Tensor, start: Tensor | None = None
) -> Tensor:
    """Return the relevance of the input; the output is its own start by default."""
    network.eval().requires_grad_(False)
    leaf = x.clone().requires_grad_()
    relevance_pass = RelevancePass(composite, samples=len(x))
    with relevance_session(Tap(network), relevance_pass):
        output = network(leaf.clone())
    start = output.detach() if start is None else start
    (found,) = propagate(output, start, [leaf])
    return found


def stab(z: float) -> float:
    return z + (EPS if z >= 0 else -EPS)


def pos(x: float) -> float:
    return max(x, 0.0)


def neg(x: float) -> float:
    return min(x, 0.0)


LOW, HIGH = -3.0, 3.0


def truth_dense(
    rule: str, x: np.ndarray, w: np.ndarray, b: np.ndarray, r: np.ndarray
) -> np.ndarray:
    """Return relevance of inputs, one product at a time; absent weights are NaN."""
    found = np.zeros_like(x)
    linked = ~np.isnan(w)
    for k in range(len(w)):
        inputs = [j for j in range(len(x)) if linked[k, j]]
        z = sum(x[j] * w[k, j] for j in inputs) + b[k]

        def spread(
            part: Shares,
            bias: float,
            amount: float,
            k: int = k,
            inputs: list[int] = inputs,
        ) -> None:
            shares = {j: part(x[j], w[k, j]) for j in inputs}
            whole = stab(sum(shares.values()) + bias)
            for j in inputs:
                found[j] += shares[j] / whole * amount

        if rule == "epsilon":
            spread(lambda x, w: x * w, b[k], r[k])
        elif rule == "z_plus":
            spread(lambda x, w: pos(x * w), pos(b[k]), r[k])
        elif rule == "alpha_beta":
            spread(lambda x, w: pos(x * w), pos(b[k]), 2 * r[k])
            # A negative denominator moves away from 0 on its own side.
            spread(lambda x, w: -neg(x * w), -neg(b[k]), -r[k])
        elif rule == "gamma" and z > 0:
            spread(
                lambda x, w: (
                    pos(x) * (w + GAMMA * pos(w)) + neg(x) * (w + GAMMA * neg(w))
                ),
                b[k] + GAMMA * pos(b[k]),
                r[k],
            )
        elif rule == "gamma":
            spread(
                lambda x, w: (
                    pos(x) * (w + GAMMA * neg(w)) + neg(x) * (w + GAMMA * pos(w))
                ),
                b[k] + GAMMA * neg(b[k]),
                r[k],
            )
        elif rule == "w_square":
            spread(lambda x, w: w * w, 0.0, r[k])
        elif rule == "flat":
            spread(lambda x, w: 1.0, 0.0, r[k])
        elif rule == "z_box":
            spread(lambda x, w: x * w - LOW * pos(w) - HIGH * neg(w), 0.0, r[k])
    return found


RULES: dict[str, Rule] = {
    "epsilon": Epsilon(EPS),
    "z_plus": ZPlus(EPS),
    "alpha_beta": AlphaBeta(2.0, 1.0, EPS),
    "gamma": Gamma(0.25, EPS),
    "w_square": WSquare(EPS),
    "flat": Flat(EPS),
    "z_box": ZBox(LOW, HIGH, EPS),
}


def only(rule: Rule) -> Composite:
    return Composite((Slot(rule),))


@pytest.mark.parametrize("rule", RULES)
def test_a_dense_layer_agrees_with_loops(rule: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 5).double()
    x, start = torch.randn(3, 7).double(), torch.randn(3, 5).double()
    found = relevance_of(layer, only(RULES[rule]), x, start)
    w, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    for n in range(3):
        truth = truth_dense(rule, x[n].numpy(), w, b, start[n].numpy())
        np.testing.assert_allclose(found[n].numpy(), truth, rtol=1e-9, atol=1e-12)


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(2, 3, 3, padding=1),
    "strided": lambda: nn.Conv2d(2, 4, 2, stride=2, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(2, 3, 2, stride=2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("rule", RULES)
def test_a_convolution_agrees_with_loops(rule: str, kind: str) -> None:
    torch.manual_seed(1)
    layer = CONVOLUTIONS[kind]().double()
    x = torch.randn(1, 2, 4, 4).double()
    with torch.no_grad():
        output = layer(x)
        # The layer as a matrix, one column per input; NaN where nothing is linked.
        units = torch.eye(32).double().reshape(32, 2, 4, 4)
        plain = torch.zeros_like(layer.bias)
        bias = layer(torch.zeros_like(x)).reshape(-1).numpy()
        kept, layer.bias.data = layer.bias.data, plain
        dense = layer(units).reshape(32, -1).T.numpy()
        weight, layer.weight.data = layer.weight.data, torch.ones_like(layer.weight)
        links = layer(units).reshape(32, -1).T.numpy()
        layer.weight.data, layer.bias.data = weight, kept
    dense = np.where(links > 0, dense, np.nan)
    start = torch.randn_like(output)
    found = relevance_of(layer, only(RULES[rule]), x, start)
    truth = truth_dense(rule, x.reshape(-1).numpy(), dense, bias, start.reshape(-1))
    np.testing.assert_allclose(found.reshape(-1), truth, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=(2, 1), dilation=2, groups=8),
        nn.Conv2d(8, 4, 1, bias=False),
        nn.Conv1d(8, 4, 3, padding="same"),
        nn.Conv3d(8, 4, 2, stride=(1, 2, 1)),
    ],
    ids=["grouped", "depthwise", "pointwise", "same", "cubic"],
)
def test_relevance_of_convolutions_in_float32_is_value_times_gradient(
    conv: nn.Module,
) -> None:
    """Without bias and epsilon, and started by the output itself."""
    assert isinstance(conv.weight, Tensor)
    conv.bias = None
    x = torch.randn(3, 8, *[6] * (conv.weight.dim() - 2), requires_grad=True)
    output = conv(x)
    (slope,) = torch.autograd.grad(output.sum(), x)
    with torch.no_grad():
        expected = x * slope
    found = relevance_of(conv, only(Epsilon(0.0)), x.detach(), output.detach())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Epsilon(1e-12), (3.0, -2.0)),
        (ZPlus(1e-12), (1.0, 0.0)),
        (AlphaBeta(2.0, 1.0, 1e-12), (2.0, -1.0)),
        (Gamma(1.0, 1e-12), (1.5, -0.5)),
        (WSquare(1e-12), (0.9, 0.1)),
        (Flat(1e-12), (0.5, 0.5)),
        (ZBox(0.0, 2.0, 1e-12), (1.0, 0.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_two_inputs_by_hand(rule: Rule, expected: tuple[float, float]) -> None:
    layer = nn.Linear(2, 1, bias=False).double()
    layer.weight.data = torch.tensor([[3.0, -1.0]]).double()
    x = torch.tensor([[1.0, 2.0]]).double()
    found = relevance_of(layer, only(rule), x, torch.ones(1, 1).double())
    assert found[0].tolist() == pytest.approx(expected, abs=1e-9)


class Attention(nn.Module):
    """One head; queries, keys and values come stacked."""

    def forward(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.unbind(1)
        return torch.softmax(q @ k.transpose(1, 2), -1) @ v


def truth_attention(qkv: np.ndarray, start: np.ndarray, mode: str) -> np.ndarray:
    """Return relevance `[3, T, D]` of queries, keys, values, one product at a time."""
    q, k, v = qkv
    tokens, width = q.shape
    scores = [[sum(q[i] * k[j]) for j in range(tokens)] for i in range(tokens)]
    s = [[math.exp(a) / sum(map(math.exp, row)) for a in row] for row in scores]
    found = np.zeros_like(qkv)
    for i in range(tokens):
        of_weights = np.zeros(tokens)
        for d in range(width):
            out = sum(s[i][j] * v[j, d] for j in range(tokens))
            for j in range(tokens):
                share = s[i][j] * v[j, d] * start[i, d] / out
                whole = mode == "constant"
                found[2, j, d] += share if whole else share / 2
                of_weights[j] += 0 if whole else share / 2
        for j in range(tokens):
            passed = of_weights[j]
            if mode == "taylor":
                passed = scores[i][j] * (of_weights[j] - s[i][j] * sum(of_weights))
            for d in range(width):
                share = passed * q[i, d] * k[j, d] / scores[i][j] / 2
                found[0, i, d] += share
                found[1, j, d] += share
    return found


@pytest.mark.parametrize("mode", ["taylor", "constant", "identity"])
def test_attention_agrees_with_loops(mode: str) -> None:
    torch.manual_seed(2)
    qkv = torch.randn(2, 3, 4, 3).double()
    start = torch.randn(2, 4, 3).double()
    composite = Composite((), softmax=mode, tiny=1e-14)  # type: ignore[arg-type]
    found = relevance_of(Attention(), composite, qkv, start)
    for n in range(2):
        truth = truth_attention(qkv[n].numpy(), start[n].numpy(), mode)
        np.testing.assert_allclose(found[n].numpy(), truth, rtol=1e-7, atol=1e-9)


class Softmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, -1)


def test_softmax_keeps_no_sum_by_design() -> None:
    x = torch.tensor([[1.0, 0.0]]).double()
    found = relevance_of(Softmax(), COMPOSITES["attnlrp"](Settings()), x, x)
    assert found[0].tolist() == pytest.approx([0.268941, 0.0], abs=1e-6)


@pytest.mark.parametrize("gain", [False, True])
def test_layer_norm_shares_by_the_centred_terms(gain: bool) -> None:
    torch.manual_seed(3)
    layer = nn.LayerNorm(5, elementwise_affine=gain).double()
    if gain:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    x, start = torch.randn(2, 5).double(), torch.randn(2, 5).double()
    found = relevance_of(layer, Composite((), tiny=1e-14), x, start)
    w = layer.weight.detach() if gain else torch.ones(5)
    b = layer.bias.detach() if gain else torch.zeros(5)
    for n in range(2):
        deviation = math.sqrt(float(x[n].var(correction=0)) + 1e-5)
        truth = [0.0] * 5
        for k in range(5):
            term = [
                float(w[k] / deviation * x[n, j] * ((j == k) - 0.2)) for j in range(5)
            ]
            for j in range(5):
                truth[j] += term[j] / (sum(term) + float(b[k])) * float(start[n, k])
        assert found[n].tolist() == pytest.approx(truth, rel=1e-8)


class NormByHand(nn.Module):
    """The norms people write themselves."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.gain = nn.Parameter(torch.linspace(0.5, 2, 5))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "rms":
            return self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))
        if self.kind == "power":
            return self.gain * x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).pow(-0.5)
        if self.kind == "length":
            return F.normalize(x, dim=-1)
        if self.kind == "own length":
            return self.gain * x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        centred = x - x.mean(-1, keepdim=True)
        return centred / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("kind", ["rms", "power", "length", "own length"])
def test_norms_by_hand_pass_relevance_unchanged(kind: str) -> None:
    x, start = torch.randn(2, 5).double(), torch.randn(2, 5).double()
    network = NormByHand(kind).double()
    found = relevance_of(network, COMPOSITES["attnlrp"](Settings()), x, start)
    torch.testing.assert_close(found, start)


def test_a_layer_norm_by_hand_is_a_layer_norm() -> None:
    x, start = torch.randn(2, 5).double(), torch.randn(2, 5).double()
    composite = Composite((), tiny=1e-14)
    by_hand = relevance_of(NormByHand("layer").double(), composite, x, start)
    library = nn.LayerNorm(5, elementwise_affine=False).double()
    torch.testing.assert_close(by_hand, relevance_of(library, composite, x, start))


def test_a_batch_norm_is_merged_with_the_convolution_before_it() -> None:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).double()
    network.eval()
    conv, norm = network[0], network[1]
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    merged = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).double()
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    merged[0].weight.data = conv.weight.detach() * scale.view(-1, 1, 1, 1)
    shifted = (conv.bias.detach() - norm.running_mean) * scale
    merged[0].bias.data = shifted + norm.bias.detach()
    x = torch.randn(2, 2, 5, 5).double()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for name in ("attnlrp", "gamma", "z_plus", "epsilon_gamma_box"):
        composite = COMPOSITES[name](Settings())
        start = network(x).detach()
        torch.testing.assert_close(
            relevance_of(network, composite, x, start),
            relevance_of(merged, composite, x, start),
        )
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def test_rescaled_sums_keep_the_total_of_every_sample() -> None:
    torch.manual_seed(5)
    x, start = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    network = Residual().double()
    composite = COMPOSITES["chefer"](Settings())
    found = relevance_of(network, composite, x, start)
    # The two operands have totals of opposite sign in at least one sample.
    branch = F.linear(x, network.branch.weight)
    a, b = x * start / (x + branch), branch * start / (x + branch)
    totals = a.sum(1), b.sum(1)
    assert bool((totals[0] * totals[1] < 0).any())
    torch.testing.assert_close(found.sum(1), start.sum(1))
    magnitude = totals[0].abs() + totals[1].abs()
    own = a * (totals[0].abs() / magnitude * start.sum(1) / totals[0]).view(-1, 1)
    scaled = b * (totals[1].abs() / magnitude * start.sum(1) / totals[1]).view(-1, 1)
    through = torch.zeros_like(x)
    for n in range(3):
        for k in range(4):
            z = [max(float(x[n, j] * network.branch.weight[k, j]), 0) for j in range(4)]
            for j in range(4):
                through[n, j] += z[j] / (sum(z) or 1) * scaled[n, k]
    torch.testing.assert_close(found, own + through, rtol=1e-6, atol=1e-9)
    alone = torch.cat(
        [
            relevance_of(network, composite, x[n : n + 1], start[n : n + 1])
            for n in range(3)
        ]
    )
    torch.testing.assert_close(found, alone)


class InPlace(nn.Module):
    """The same numbers, in place or not."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if not self.inplace:
            y = F.hardtanh(F.relu(y), 0.0, 0.9)
            y = y + self.b(y)
            y = y.masked_fill(y > 2, 0.0) * 3
            return torch.cat([y[:, :1] + y[:, 1:2], y[:, 1:]], 1)
        y = F.hardtanh(F.relu(y, True), 0.0, 0.9, True)
        y += self.b(y)
        y.masked_fill_(y > 2, 0.0)
        y *= 3
        y[:, 0] = y[:, 0] + y[:, 1]
        return y


@pytest.mark.parametrize("name", COMPOSITES)
def test_writing_in_place_changes_nothing(name: str) -> None:
    x, start = torch.randn(3, 6).double(), torch.randn(3, 6).double()
    composite = COMPOSITES[name](Settings(low=-4.0, high=4.0))
    found = [relevance_of(InPlace(p).double(), composite, x, start) for p in (0, 1)]
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_slots_go_by_kind_position_and_depth() -> None:
    flat, gamma, epsilon = Flat(), Gamma(), Epsilon()
    composite = Composite(
        (Slot(flat, first=True), Slot(gamma, "conv", below=0.5), Slot(epsilon))
    )
    assert composite.rule_for("conv", True, 0.0) is flat
    assert composite.rule_for("linear", True, 0.0) is flat
    assert composite.rule_for("conv", False, 0.49) is gamma
    assert composite.rule_for("conv", False, 0.5) is epsilon
    assert composite.rule_for("linear", False, 0.0) is epsilon
    with pytest.raises(ValueError, match="no rule for this conv op"):
        Composite((Slot(gamma, "linear"),)).rule_for("conv", False, 0.0)


def test_the_first_layer_is_found_behind_moves_only() -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x.transpose(1, 2).flatten(1)))

    torch.manual_seed(7)
    x, start = torch.randn(2, 2, 2).double(), torch.randn(2, 2).double()
    network = Moved().double()
    composite = Composite((Slot(Flat(1e-12), first=True), Slot(Epsilon(1e-12))))
    found = relevance_of(network, composite, x, start)
    with torch.no_grad():
        hidden = network.a(x.transpose(1, 2).flatten(1))
    of_hidden = relevance_of(network.b, only(Epsilon(1e-12)), hidden, start)
    torch.testing.assert_close(
        found, (of_hidden.sum(1) / 4).view(2, 1, 1).expand(2, 2, 2)
    )
