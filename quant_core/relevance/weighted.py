"""Matrix products and convolutions with a weight, and batch-norms merged into them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quant_core.ops import Op
from quant_core.relevance.graph import step
from quant_core.relevance.op_rules import alike, argument, proportional
from quant_core.relevance.weight_rules import WeightOp
from quant_core.tap import Call

if TYPE_CHECKING:
    from quant_core.relevance.passage import RelevancePass

RunWeight = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_BIAS = (2, "bias")


@dataclass(frozen=True, slots=True)
class Weighted:
    """A use of a weight, ready to be run with other operands.

    Attributes:
        call: The call.
        x: The input that carries relevance.
        weight: The weight as it is used.
        bias: The bias or None.
        run: The op as a function of input, weight and bias.
    """

    call: Call
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    run: RunWeight


@dataclass(frozen=True, slots=True)
class Made:
    """One run of an op with a weight, for the gradient of its input.

    Attributes:
        leaf: The input.
        weight: The weight.
        graph: The result, as a function of `leaf`; of a convolution without it.
        back: Gradient of the input of a convolution for a gradient of its result and
            a weight; None for other ops.
    """

    leaf: Tensor
    weight: Tensor
    graph: Tensor
    back: Callable[[Tensor, Tensor], Tensor] | None


def weighted(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """The composite's rule; a product of two activations gives half to each."""
    use = _use(call, carriers)
    if use is None:
        return proportional(relevance_pass, call, carriers, len(carriers))
    rest = [x for x in carriers if x is not use.x]
    if rest:  # a residual sum inside addmm, a weight made from activations
        moving = use.weight.requires_grad
        if moving and len(rest) > 1:
            return NotImplemented
        return proportional(relevance_pass, call, carriers, 2 if moving else 1)
    leaf = use.x.detach().requires_grad_()
    back = convolution_back(use)
    with torch.set_grad_enabled(back is None):
        graph = use.run(leaf, use.weight, use.bias)
    made = Made(leaf, use.weight, graph, back)
    result = _stepped(relevance_pass, use, made, graph.detach())
    relevance_pass.last = (result, use, made)
    return result


def _use(call: Call, carriers: Sequence[Tensor]) -> Weighted | None:
    """Return the operands; None when the input is no tensor with relevance."""
    op = call.op
    assert op is not None
    x = op.operand(op.left, call.args, call.kwargs)
    weight = op.operand(op.right, call.args, call.kwargs)
    if not any(x is c for c in carriers) or x is weight:
        return None
    bias = None
    if op.name == "addmm":
        bias = op.operand((0, "input"), call.args, call.kwargs)
    elif _takes_bias(op.name):
        bias = op.operand(_BIAS, call.args, call.kwargs)
    return Weighted(call, x, weight, bias, _runner(call, op))


def _takes_bias(name: str) -> bool:
    return name == "linear" or name.startswith("conv")


def _runner(call: Call, op: Op) -> RunWeight:
    """Return the op as a function of input, weight and bias, settings kept."""
    if op.name == "addmm":
        alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)

        def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            made = torch.mm(x, weight).mul(alpha)
            return made if bias is None else made + beta * bias

        return product

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        args, kwargs = op.replace(op.left, x, call.args, call.kwargs)
        args, kwargs = op.replace(op.right, weight, args, kwargs)
        if _takes_bias(op.name):
            args, kwargs = op.replace(_BIAS, bias, args, kwargs)
        result: Tensor = call.func(*args, **kwargs)
        return result

    return run


def _stepped(
    relevance_pass: RelevancePass,
    use: Weighted,
    made: Made,
    result: Tensor,
    scale: Tensor | None = None,
) -> Tensor:
    """Return the result of a use with the way back that the composite gives it.

    Args:
        relevance_pass: The pass.
        use: The use, with the weight that the rule shall see.
        made: The op as it was run.
        result: What comes after it: its own result, or that of a merged norm.
        scale: What merging multiplies every output channel by.
    """
    kept = relevance_pass.keeper.keep(made.leaf, result)
    rule = relevance_pass.rule_for(use.call, use.x)

    def propagate(relevance: Tensor) -> tuple[Tensor]:
        x, value = kept.values
        leaf, graph = made.leaf, made.graph
        if not kept.fresh and made.back is None:
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                graph = use.run(leaf, made.weight, None)

        def pull(gradient: Tensor) -> Tensor:
            if made.back is not None:
                return made.back(gradient, use.weight)
            if scale is not None:
                gradient = gradient * _per_channel(scale, gradient)
            return torch.autograd.grad(graph, leaf, gradient)[0]

        op = WeightOp(use.run, x, use.weight, use.bias, value, pull)
        share = rule.share(op, relevance)
        relevance_pass.passed(use.call, value, relevance, [share])
        return (share,)

    return step(result, [use.x], propagate)


def convolution_back(use: Weighted) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the gradient of a convolution's input by its output and any weight.

    The kernel that autograd would call, which needs nothing of the forward pass.

    Returns:
        None for other ops and for paddings that torch works out itself.
    """
    call, x, weight = use.call, use.x, use.weight
    if not _is_plain_convolution(call.name) or x.dim() != weight.dim():
        return None
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = dict(zip(names, call.args, strict=False)) | call.kwargs
    axes, padding = x.dim() - 2, given.get("padding", 0)
    if isinstance(padding, str):
        return None
    stride, padding, dilation = (
        [v] * axes if isinstance(v, int) else list(v) * (axes // len(v))
        for v in (given.get("stride", 1), padding, given.get("dilation", 1))
    )
    groups = given.get("groups", 1)
    layout, last = torch.contiguous_format, torch.channels_last
    follows = axes == 2 and (_lies(x, last) or _lies(weight, last))
    if follows or (axes == 2 and 1 < groups < x.shape[1]):
        # In its own layout oneDNN fills the channels of every group up to the width
        # of a vector; with channels last it does not, which takes half the time.
        layout = last

    def back(gradient: Tensor, weight: Tensor) -> Tensor:
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            gradient.contiguous(memory_format=layout),
            torch.empty_like(x, memory_format=layout),
            weight.contiguous(memory_format=layout),
            None,
            stride,
            padding,
            dilation,
            False,
            [0] * axes,
            groups,
            [True, False, False],
        )
        return found[0] if follows else found[0].contiguous()

    return back


def _lies(x: Tensor, layout: torch.memory_format) -> bool:
    """Tell whether a tensor lies in memory in a layout, and not in the plain one."""
    return x.is_contiguous(memory_format=layout) and not x.is_contiguous()


def _per_channel(values: Tensor, result: Tensor) -> Tensor:
    """Return one value per channel, channels being on axis 1 as batch-norm has them."""
    return values.view(-1, *[1] * (result.dim() - 2))


def batch_norm(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Merged with the convolution or matrix it follows, else passed unchanged.

    Merged weight `w g / sqrt(v + e)` and bias `(b - m) g / sqrt(v + e) + h`, with
    running mean `m` and variance `v`, gain `g` and shift `h`.
    """
    mean, variance = (
        argument(call, i, name) for i, name in ((1, "running_mean"), (2, "running_var"))
    )
    if argument(call, 5, "training", False) or mean is None or len(carriers) > 1:
        return NotImplemented
    last = relevance_pass.last
    if last is None or carriers[0] is not last[0] or not relevance_pass.composite.fold:
        return alike(relevance_pass, call, carriers)
    use, made = last[1:]
    if use.call.name != "linear" and not _is_plain_convolution(use.call.name):
        return alike(relevance_pass, call, carriers)
    scale = torch.rsqrt(variance + argument(call, 7, "eps", 1e-5))
    gain, shift = argument(call, 3, "weight"), argument(call, 4, "bias")
    scale = scale if gain is None else scale * gain
    bias = -mean * scale if use.bias is None else (use.bias - mean) * scale
    merged = dataclasses.replace(
        use,
        weight=use.weight * scale.view(-1, *[1] * (use.weight.dim() - 1)),
        bias=bias if shift is None else bias + shift,
    )
    with torch.no_grad():
        result = call.run()
    return _stepped(relevance_pass, merged, made, result, scale)


def _is_plain_convolution(name: str) -> bool:
    return name.startswith("conv") and "transpose" not in name
