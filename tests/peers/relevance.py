"""Relevance by zennit and lxt on small networks, and by us under the same rules.

`python -m tests.peers.relevance` writes the peers' numbers to
`references/relevance.json`, which `make test` reads.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from quant_core.relevance.weight_rules import Gamma, Rule, WSquare, ZPlus
from quant_core.tap import Tap

REFERENCES = Path(__file__).with_name("references") / "relevance.json"
EPSILON = 1e-6
LOW, HIGH = -3.5, 3.5
TOKENS, WIDTH = 5, 6


class ConvNet(nn.Module):
    """Convolutions, batch-norms, a residual sum, both kinds of pooling, a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.branch, self.branch_norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.largest, self.mean = nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.hidden, self.head = nn.Linear(16, 5), nn.Linear(5, 3)
        self.sum: nn.Module = Stacked()
        for norm in (self.norm, self.branch_norm):
            # zennit leaves it in the norm that it has merged: no identity then.
            norm.eps = 0.0
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm(self.stem(x)))
        branch = self.branch_norm(self.branch(y))
        y = self.relu(self.sum(torch.stack([y, branch], -1)))
        y = self.mean(self.largest(y)).flatten(1)
        return self.head(self.relu(self.hidden(y)))


class Stacked(nn.Module):
    """The sum that zennit has a rule for, as it is written there."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1)


class Block(nn.Module):
    """A transformer block: attention of two heads, layer norm, RMS norm, SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(12)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm = nn.LayerNorm(WIDTH)
        self.gain = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.gate, self.up = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)
        self.down = nn.Linear(8, WIDTH)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (heads(f(y)) for f in (self.q, self.k, self.v))
        scores = torch.softmax(torch.matmul(q, k.transpose(2, 3)), -1)
        x = x + self.o(joined(torch.matmul(scores, v)))
        y = self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def heads(x: Tensor) -> Tensor:
    return x.unflatten(2, (2, WIDTH // 2)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def image() -> tuple[Tensor, Tensor]:
    """Return an input of the convolutional network and relevance of its output."""
    generator = torch.Generator().manual_seed(13)
    x = torch.randn(2, 2, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randn(2, 3, generator=generator, dtype=torch.float64)


def tokens() -> tuple[Tensor, Tensor]:
    """Return an input of the block and relevance of its output."""
    generator = torch.Generator().manual_seed(14)
    shape = (2, TOKENS, WIDTH)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, torch.randn(shape, generator=generator, dtype=torch.float64)


def _mixed(first: Rule | None, conv: Rule) -> Callable[[], Composite]:
    last = COMPOSITES["attnlrp"](Settings(EPSILON)).slots[0]
    slots = [Slot(first, first=True)] * (first is not None)
    made = Composite((*slots, Slot(conv, "conv"), last), tiny=EPSILON)  # type: ignore[arg-type]
    return lambda: made


def _named(name: str) -> Callable[[], Composite]:
    settings = Settings(EPSILON, low=LOW, high=HIGH)
    return lambda: dataclasses.replace(COMPOSITES[name](settings), tiny=EPSILON)


OURS: dict[str, Callable[[], Composite]] = {
    "epsilon": _named("attnlrp"),
    "epsilon_plus": _named("epsilon_plus"),
    "epsilon_plus_flat": _named("epsilon_plus_flat"),
    "epsilon_alpha_beta": _named("epsilon_alpha_beta"),
    "epsilon_gamma_box": _named("epsilon_gamma_box"),
    "w_square": _mixed(WSquare(EPSILON), ZPlus(EPSILON)),
    "gamma": _mixed(Gamma(1.5, EPSILON), Gamma(0.25, EPSILON)),
}
"""Rule sets that zennit has too."""


def ours(network: nn.Module, composite: Composite, x: Tensor, start: Tensor) -> Tensor:
    """Return relevance of the input by the tap."""
    network = network.double().eval().requires_grad_(False)
    leaf = x.clone().requires_grad_()
    relevance_pass = RelevancePass(composite, samples=len(x))
    with relevance_session(Tap(network), relevance_pass):
        output = network(leaf.clone())
    return propagate(output, start, [leaf])[0]


def by_zennit(name: str) -> Tensor:
    """Return relevance of the image by zennit."""
    from zennit import canonizers, composites, layer, rules, types

    network = ConvNet().double().eval()
    network.sum = layer.Sum()
    merge = [
        canonizers.NamedMergeBatchNorm(
            [(["stem"], "norm"), (["branch"], "branch_norm")]
        )
    ]
    box = {"low": torch.full((1, 2, 8, 8), LOW), "high": torch.full((1, 2, 8, 8), HIGH)}
    pass_on = composites.layer_map_base(EPSILON)
    conv, linear = types.Convolution, types.Linear

    def mapped(on_conv: Any, first: Any) -> Any:
        layers = [*pass_on, (conv, on_conv), (linear, rules.Epsilon(EPSILON))]
        return composites.SpecialFirstLayerMapComposite(
            layer_map=layers, first_map=[(conv, first)], canonizers=merge
        )

    made: dict[str, Callable[[], Any]] = {
        "epsilon": lambda: mapped(rules.Epsilon(EPSILON), rules.Epsilon(EPSILON)),
        "epsilon_plus": lambda: composites.EpsilonPlus(canonizers=merge),
        "epsilon_plus_flat": lambda: composites.EpsilonPlusFlat(canonizers=merge),
        "epsilon_alpha_beta": lambda: composites.EpsilonAlpha2Beta1(canonizers=merge),
        "epsilon_gamma_box": lambda: composites.EpsilonGammaBox(
            **box, canonizers=merge
        ),
        "w_square": lambda: mapped(rules.ZPlus(), rules.WSquare(zero_params="bias")),
        "gamma": lambda: mapped(rules.Gamma(0.25), rules.Gamma(1.5)),
    }
    x, start = image()
    x.requires_grad_()
    with made[name]().context(network) as modified:
        output = modified(x)
        (found,) = torch.autograd.grad(output, x, start)
    return found


def by_lxt() -> Tensor:
    """Return relevance of the tokens by the explicit functions of lxt."""
    import lxt.explicit.functional as lf

    b = Block().double().requires_grad_(False)
    tiny = 1e-12

    def linear(layer: nn.Linear, x: Tensor) -> Tensor:
        made: Tensor = lf.linear_epsilon(x, layer.weight, layer.bias, tiny)
        return made

    x, start = tokens()
    leaf = x.requires_grad_()
    y = lf.layer_norm_grad_fn.apply(leaf, b.norm.weight, b.norm.bias, b.norm.eps, tiny)
    q, k, v = (heads(linear(f, y)) for f in (b.q, b.k, b.v))
    scores = lf.softmax(lf.matmul(q, k.transpose(2, 3), epsilon=tiny), -1)
    mixed = joined(lf.matmul(scores, v, epsilon=tiny))
    h = lf.add2(leaf, linear(b.o, mixed), epsilon=tiny)
    y = lf.rms_norm_identity(h, b.gain, 1e-6)
    gate = linear(b.gate, y)
    # The identity rule of activations, which lxt applies to modules.
    active = gate + (F.silu(gate) - gate).detach()
    product = lf.mul2(active, linear(b.up, y))
    output = lf.add2(h, linear(b.down, product), epsilon=tiny)
    return torch.autograd.grad(output, leaf, start)[0]


def attnlrp() -> Composite:
    """Return AttnLRP's rules with stabilizers that vanish, as `by_lxt` has them."""
    made = COMPOSITES["attnlrp"](Settings(epsilon=1e-12))
    return dataclasses.replace(made, tiny=1e-12)


def main() -> None:
    """Write the peers' numbers."""
    found: dict[str, Any] = {
        f"zennit/{name}": by_zennit(name).tolist() for name in OURS
    }
    found["lxt/attnlrp"] = by_lxt().tolist()
    versions = {n: importlib.metadata.version(n) for n in ("torch", "zennit", "lxt")}
    REFERENCES.parent.mkdir(exist_ok=True)
    REFERENCES.write_text(json.dumps({"versions": versions, "relevance": found}))


if __name__ == "__main__":
    import pytest

    from tests.peers.conftest import stand_in_for_torchvision

    with pytest.MonkeyPatch.context() as patch:
        stand_in_for_torchvision(patch)
        main()
