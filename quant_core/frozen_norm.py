"""Batch normalisation with fixed statistics: an affine map of each channel.

In evaluation mode its gradient is the factor of the channel and nothing else, yet
torch's backward pass sums over the batch what only training needs, which takes as long
as a convolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def frozen_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return `F.batch_norm` of the same arguments, bit for bit, with a quick gradient.

    The gradient of `x` is `g * weight / sqrt(running_var + eps)`. Statistics of the
    batch itself, or a statistic or a weight that has a gradient of its own, leave it
    to torch.

    Args:
        x: `[N, C, ...]`.
        running_mean: `[C]`.
        running_var: `[C]`.
        weight: `[C]`, 1 by default.
        bias: `[C]`, 0 by default.
        training: Use the statistics of `x`.
        momentum: Weight of these in the running ones.
        eps: Added to the variance.
    """
    settings = running_mean, running_var, weight, bias, training, momentum, eps
    own = any(isinstance(s, Tensor) and s.requires_grad for s in settings)
    if training or running_var is None or own or not x.requires_grad:
        return F.batch_norm(x, *settings)
    scale = torch.rsqrt(running_var.float() + eps)
    if weight is not None:
        scale = scale * weight
    shape = (1, -1, *[1] * (x.dim() - 2))
    found: Tensor = _Frozen.apply(x, scale.view(shape), settings)  # type: ignore[no-untyped-call]
    return found


class _Frozen(torch.autograd.Function):
    """The map itself as torch computes it, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, settings: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(scale)
        return F.batch_norm(x, *settings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (scale,) = ctx.saved_tensors
        return (gradient * scale).to(gradient.dtype), None, None
