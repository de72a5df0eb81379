"""What a session of the tap tells of a running network, and to whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from quant_core.ops import Op
from quant_core.sites import Layer, Site


@dataclass(frozen=True, slots=True)
class WeightUse:
    """One call that used a parameter.

    Attributes:
        layer: The layer the parameter belongs to.
        op: The operation.
        func: The function that was called.
        weight: The parameter as it was passed: itself or a view of it.
        parameter: The parameter.
        x: The activation operand (indices for an embedding).
        args: Positional arguments as passed on.
        kwargs: Keyword arguments as passed on.
    """

    layer: Layer
    op: Op
    func: Callable[..., Any]
    weight: Tensor
    parameter: Tensor
    x: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def view_of(self, like_parameter: Tensor) -> Tensor:
        """Return the part of a tensor laid out like the parameter that was used.

        Args:
            like_parameter: Tensor with shape and strides of the parameter.

        Returns:
            A view with the shape of `weight`.
        """
        return like_parameter.as_strided(
            self.weight.size(),
            self.weight.stride(),
            self.weight.storage_offset() - self.parameter.storage_offset(),
        )

    def macs(self, result: Tensor) -> int:
        """Return the multiply-adds of this call, 0 for a look-up."""
        name = self.op.name
        if name == "linear":
            return result.numel() * self.weight.shape[-1]
        if name in {"addmm", "matmul", "grouped_mm"}:
            return result.numel() * self.weight.shape[-2]
        if name.startswith("conv_transpose"):
            return self.x.numel() * math.prod(self.weight.shape[1:])
        if name.startswith("conv"):
            return result.numel() * math.prod(self.weight.shape[1:])
        return 0


@dataclass(frozen=True, slots=True)
class Call:
    """One function call of the model, before it is made.

    Attributes:
        func: The function.
        name: Its name, the same through every door (`add` for `x + y`, `x.add_(y)`).
        site: Where it is made: `<module path>:<name>.<count>`.
        index: Its number among the session's calls of ops that the tap knows; 0 for
            other functions.
        op: The operation, when it is one of `quant_core.ops`.
        layer: The layer whose parameter it uses as its weight, or None.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    func: Callable[..., Any]
    name: str
    site: str
    index: int
    op: Op | None
    layer: Layer | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def target(self) -> str:
        """What results about it are filed under: the layer, else the site."""
        return self.site if self.layer is None else self.layer.name

    def run(self) -> Any:
        """Make the call."""
        return self.func(*self.args, **self.kwargs)


class Listener:
    """What a session does at the places the tap sees; override what is needed.

    Attributes:
        inside_attention: Write attention out, so that its products and softmax
            are sites.
        sees_weights: Call `weight_used` and `weight_needed`.
        makes_calls: Hand every call to `call` and nothing else to anything else.
    """

    inside_attention = False
    sees_weights = False
    makes_calls = False

    def call(self, call: Call) -> Any:
        """Return the result of a call that the model makes."""
        return call.run()

    def compute(
        self,
        op: Op,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Return the result of an op whose output is a site."""
        return func(*args, **kwargs)

    def activation(self, site: Site, x: Tensor) -> Tensor:
        """Return the activation to go on with, `x` itself to leave it alone."""
        return x

    def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
        """Return the result to go on with after a known op used a parameter."""
        return result

    def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
        """Return a stand-in with the parameter's layout for an unknown op."""
        return parameter

    def before_write(self, x: Tensor) -> None:
        """Learn that `x` is about to be overwritten."""
