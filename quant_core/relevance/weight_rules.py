"""How an op with a weight hands relevance from its outputs to its inputs.

All rules share `R_j = sum_k (z_jk / z_k) R_k` with `z_jk` the share of input `j` in
output `k`; they differ in what counts as the share. Notation: `x+ = max(x, 0)`,
`x- = min(x, 0)`, likewise for weights and biases; `stab(z) = z + eps * sign(z)` with
`sign(0) = 1`. Sums are what the op itself computes, so one formula serves matrix
products and convolutions.

Bach et al., PLoS ONE 10(7) 2015; Montavon et al., "Layer-wise relevance propagation:
an overview", 2019; conventions for signs and biases as in the package zennit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Pull = Callable[[Tensor], Tensor]


def stabilized(z: Tensor, epsilon: float) -> Tensor:
    """Return `z` moved away from 0 by `epsilon`, on the side where it is."""
    return torch.copysign(torch.tensor(epsilon, dtype=z.dtype), z).add_(z)


def ratio(relevance: Tensor, z: Tensor, epsilon: float) -> Tensor:
    """Return `relevance / stab(z)` in one piece of new memory."""
    stable = stabilized(z, epsilon)
    return torch.div(relevance, stable, out=stable)


@dataclass(frozen=True, slots=True)
class WeightOp:
    """One use of a weight, as the rules see it.

    Attributes:
        run: The op as a function of input, weight and bias (None for none).
        x: Its input.
        weight: Its weight, in the shape it was used in.
        bias: Its bias, or None.
        result: What it returned, bias included.
        pull: Gradient of `x` for a gradient of the result.
    """

    run: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    result: Tensor
    pull: Pull

    def term(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Pull]:
        """Return the op on other operands, and its gradient with respect to `x`."""
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            product = self.run(leaf, weight, None)

        def pull(gradient: Tensor) -> Tensor:
            return torch.autograd.grad(product, leaf, gradient)[0]

        result = product.detach()
        if bias is not None:
            result = result + self.shaped(bias, result)
        return result, pull

    def shaped(self, bias: Tensor, result: Tensor) -> Tensor:
        """Return a bias per output channel so that it can be added to the result.

        The channels of a convolution come before its positions, those of a matrix
        product last; the weight of a convolution has as many axes as its result.
        """
        spatial = self.weight.dim() - 2
        if bias.dim() != 1 or spatial <= 0 or len(bias) == 1:
            return bias
        return bias.reshape(-1, *[1] * spatial)


class Rule(Protocol):
    """A way to share relevance among the inputs of an op with a weight."""

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """Return the relevance of `op.x` given that of `op.result`."""
        ...


@dataclass(frozen=True, slots=True)
class Epsilon:
    """`z_jk = x_j w_jk` over `stab(z_k)`, bias included in `z_k`.

    Bias and epsilon take up a part of the relevance.
    """

    epsilon: float = 1e-6

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        return op.x * op.pull(ratio(relevance, op.result, self.epsilon))


@dataclass(frozen=True, slots=True)
class ZPlus:
    """`z_jk = x_j+ w_jk+ + x_j- w_jk-` over its own sum: alpha-beta with (1, 0).

    Attributes:
        epsilon: Keeps the denominator from 0.
        bias: Positive biases take part in the denominator.
    """

    epsilon: float = 1e-6
    bias: bool = True

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        bias = op.bias.clamp(min=0) if self.bias and op.bias is not None else None
        return _same_sign(op, op.weight, bias, relevance, self.epsilon)


@dataclass(frozen=True, slots=True)
class AlphaBeta:
    """`alpha` times the share of positive products less `beta` times that of negative.

    An output whose products all have one sign keeps `alpha` (or `-beta`) times its
    relevance instead of the whole.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-6

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        positive = None if op.bias is None else op.bias.clamp(min=0)
        shares = self.alpha * _same_sign(
            op, op.weight, positive, relevance, self.epsilon
        )
        if self.beta:
            # x w < 0 where x (-w) > 0; numerator and denominator change sign together.
            negative = None if op.bias is None else (-op.bias).clamp(min=0)
            shares = shares - self.beta * _same_sign(
                op, -op.weight, negative, relevance, self.epsilon
            )
        return shares


@dataclass(frozen=True, slots=True)
class Gamma:
    """Epsilon with products of the output's own sign favoured by `1 + gamma`.

    For `z_k > 0` the share is `x+ (w + gamma w+) + x- (w + gamma w-)`, for `z_k < 0`
    it is `x+ (w + gamma w-) + x- (w + gamma w+)`, each over its own sum: the
    generalised rule of Andeol et al. 2021, which allows negative inputs.
    """

    gamma: float = 0.25
    epsilon: float = 1e-6

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        w, b, low, high = op.weight, op.bias, op.x.clamp(max=0), op.x.clamp(min=0)
        up = w + self.gamma * w.clamp(min=0)
        down = w + self.gamma * w.clamp(max=0)
        b_up = None if b is None else b + self.gamma * b.clamp(min=0)
        b_down = None if b is None else b + self.gamma * b.clamp(max=0)
        shares = torch.zeros_like(op.x)
        for at, first, second, bias in (
            (op.result > 0, up, down, b_up),
            (op.result < 0, down, up, b_down),
        ):
            one, pull_one = op.term(high, first, bias)
            two, pull_two = op.term(low, second)
            s = ratio(at * relevance, one + two, self.epsilon)
            shares += high * pull_one(s) + low * pull_two(s)
        return shares


@dataclass(frozen=True, slots=True)
class WSquare:
    """`z_jk = w_jk^2` over its sum: for inputs whose values have no bounds.

    Biases take no part.
    """

    epsilon: float = 1e-6

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        total, pull = op.term(torch.ones_like(op.x), op.weight.square())
        return pull(ratio(relevance, total, self.epsilon))


@dataclass(frozen=True, slots=True)
class Flat:
    """Equal shares: 1 over the number of inputs of each output."""

    epsilon: float = 1e-6

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        total, pull = op.term(torch.ones_like(op.x), torch.ones_like(op.weight))
        return pull(ratio(relevance, total, self.epsilon))


@dataclass(frozen=True, slots=True)
class ZBox:
    """`z_jk = x_j w_jk - l w_jk+ - h w_jk-` over its sum: for inputs in `[l, h]`.

    Attributes:
        low: `l`, or None for the smallest input of each sample.
        high: `h`, or None for the largest input of each sample.
        epsilon: Keeps the denominator from 0.
    """

    low: float | None = None
    high: float | None = None
    epsilon: float = 1e-6

    def share(self, op: WeightOp, relevance: Tensor) -> Tensor:
        """See `Rule.share`."""
        axes = tuple(range(1, op.x.dim()))
        low = torch.zeros_like(op.x) + (
            op.x.amin(axes, keepdim=True) if self.low is None else self.low
        )
        high = torch.zeros_like(op.x) + (
            op.x.amax(axes, keepdim=True) if self.high is None else self.high
        )
        z, pull = op.term(op.x, op.weight)
        z_low, pull_low = op.term(low, op.weight.clamp(min=0))
        z_high, pull_high = op.term(high, op.weight.clamp(max=0))
        s = ratio(relevance, z - z_low - z_high, self.epsilon)
        return op.x * pull(s) - low * pull_low(s) - high * pull_high(s)


def _same_sign(
    op: WeightOp,
    weight: Tensor,
    bias: Tensor | None,
    relevance: Tensor,
    epsilon: float,
) -> Tensor:
    """Share by `x+ w+ + x- w-`, in one product where no input is negative."""
    high, low = op.x.clamp(min=0), op.x.clamp(max=0)
    total, pull_high = op.term(high, weight.clamp(min=0), bias)
    if not low.any():
        return high * pull_high(ratio(relevance, total, epsilon))
    more, pull_low = op.term(low, weight.clamp(max=0))
    s = ratio(relevance, total + more, epsilon)
    return high * pull_high(s) + low * pull_low(s)
