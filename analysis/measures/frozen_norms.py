"""Batch-norms in evaluation as what they are: a fixed gain of every channel.

Autograd keeps their input and goes through the formula for training, which costs as
much as a convolution of a small network; the gradient is one product with the gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = "input running_mean running_var weight bias training momentum eps".split()


class _Frozen(torch.autograd.Function):
    """A batch-norm whose statistics, gain and shift are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, given: dict[str, Any]) -> Tensor:
        """Return the result of torch itself, bit for bit."""
        ctx.gain = gain
        return F.batch_norm(**{**given, "input": x})

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient times the gain."""
        (gradient,) = gradients
        gain = ctx.gain.view(-1, *[1] * (gradient.dim() - 2))
        return gradient * gain, None, None


class FrozenNorms(TorchFunctionMode):
    """Gives batch-norms in evaluation their cheap gradient inside the block.

    For networks whose parameters are constants. Enter it before a session of the tap,
    which then sees every call as it was made.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is not F.batch_norm:
            return func(*args, **named)
        given = {**dict(zip(_NAMES, args, strict=False)), **named}
        x, variance, gain = (given.get(k) for k in ("input", "running_var", "weight"))
        fixed = not any(
            isinstance(value, Tensor) and value.requires_grad
            for name, value in given.items()
            if name != "input"
        )
        frozen = fixed and not given.get("training", False) and variance is not None
        if not frozen or not isinstance(x, Tensor) or not x.requires_grad:
            return func(*args, **named)
        scale = torch.rsqrt(variance + given.get("eps", 1e-5))
        scale = scale if gain is None else scale * gain
        result: Tensor = _Frozen.apply(x, scale.to(x.dtype), given)  # type: ignore[no-untyped-call]
        return result
