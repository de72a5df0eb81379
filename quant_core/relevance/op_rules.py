"""The rule of every op that relevance can pass, by the op's name.

Each takes the pass, the call and the tensors of the call that carry relevance (at
least one), and returns the result with its way back in the graph, or `NotImplemented`
for a use of the op that it has no rule for. AttnLRP: Achtibat et al., arXiv 2402.05602.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quant_core.relevance.graph import StepKind, is_scale, is_total_of, no_rule, step
from quant_core.relevance.weight_rules import ratio
from quant_core.tap import Call

if TYPE_CHECKING:
    from quant_core.relevance.passage import RelevancePass

OpRule = Callable[["RelevancePass", Call, Sequence[Tensor]], Any]
Run = Callable[[Sequence[Tensor]], Tensor]


def proportional(
    relevance_pass: RelevancePass,
    call: Call,
    carriers: Sequence[Tensor],
    parts: int = 1,
    kind: StepKind = "rule",
) -> Tensor:
    """Share by `x * gradient of x / (parts * result)`: the epsilon rule of any op.

    Exact for an op that is linear in all its operands together (`parts` = 1), and for
    a product of `parts` operands, each of which gets an equal part (AttnLRP, eq. 15).
    """
    run = _run_with(call, carriers)
    leaves = [x.detach().requires_grad_() for x in carriers]
    with torch.enable_grad():
        made = run(leaves)
    kept = relevance_pass.keeper.keep(*leaves, made)
    tiny = relevance_pass.composite.tiny
    observed = parts > 1

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        *values, result = kept.values
        graph, sources = made, leaves
        if not kept.fresh:
            sources = [x.detach().requires_grad_() for x in values]
            with torch.enable_grad():
                graph = run(sources)
        gradient = ratio(relevance, parts * result, tiny)
        pulled = torch.autograd.grad(graph, sources, gradient)
        shares = [x * g for x, g in zip(values, pulled, strict=True)]
        if observed:
            relevance_pass.passed(call, result, relevance, shares)
        return list(shares)

    return step(made.detach(), carriers, propagate, kind)


def _run_with(call: Call, carriers: Sequence[Tensor]) -> Run:
    """Return the call as a function of the tensors that carry relevance."""

    def run(values: Sequence[Tensor]) -> Tensor:
        table = {id(c): value for c, value in zip(carriers, values, strict=True)}
        args, kwargs = _exchanged(call.args, table), _exchanged(call.kwargs, table)
        result: Tensor = call.func(*args, **kwargs)
        return result

    return run


def _exchanged(values: Any, table: Mapping[int, Tensor]) -> Any:
    if isinstance(values, Tensor):
        return table.get(id(values), values)
    if isinstance(values, dict):
        return {k: _exchanged(v, table) for k, v in values.items()}
    if isinstance(values, (list, tuple)) and not isinstance(values, torch.Size):
        return type(values)([_exchanged(v, table) for v in values])
    return values


def alike(relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]) -> Any:
    """Pass relevance unchanged through a function of single values (GELU, tanh)."""
    if len(carriers) > 1:
        return NotImplemented
    with torch.no_grad():
        result = call.run()
    if result.shape != carriers[0].shape:
        return NotImplemented
    return step(_own(result, carriers), carriers, lambda r: (r,), "alike")


def powered(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """A power as any function of single values, unless it is a root or an inverse."""
    exponent = argument(call, 1, "exponent")
    if isinstance(exponent, (int, float)) and exponent < 1:
        return _scale(call, carriers)
    return alike(relevance_pass, call, carriers)


def scaled(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Pass relevance to the one operand that is no constant and no normaliser."""
    with torch.no_grad():
        result = call.run()
    (x,) = carriers
    return step(
        _own(result, carriers), [x], lambda r: (r.sum_to_size(x.shape),), "alike"
    )


def _own(result: Tensor, carriers: Sequence[Tensor]) -> Tensor:
    """Return a result that is no alias of what it was made from."""
    return result.clone() if any(result is x for x in carriers) else result


def multiplied(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Elementwise product: half to each operand, all to one beside a constant."""
    live = [x for x in carriers if not is_scale(x)] or list(carriers)
    if len(live) == 1:
        return scaled(relevance_pass, call, live)
    return proportional(relevance_pass, call, carriers, len(carriers))


def divided(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Quotient by a constant, a normaliser or its own sum: all to the dividend."""
    dividend = call.args[0] if call.args else call.kwargs.get("input")
    if call.name in {"rdiv", "reciprocal"}:
        return _inverted(call, carriers)
    others = [x for x in carriers if x is not dividend]
    own_sum = (
        len(others) == 1
        and isinstance(dividend, Tensor)
        and is_total_of(others[0], dividend)
    )
    if others and not own_sum and not all(is_scale(x) for x in others):
        return NotImplemented
    if len(others) == len(carriers):  # constant / standard deviation
        return _inverted(call, carriers)
    return scaled(relevance_pass, call, [x for x in carriers if x is dividend])


def _inverted(call: Call, carriers: Sequence[Tensor]) -> Any:
    if not all(is_scale(x) for x in carriers):
        return NotImplemented
    return _scale(call, carriers)


def scale_only(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Roots and deviations: held constant where they normalise, refused elsewhere."""
    return _scale(call, carriers)


def _scale(call: Call, carriers: Sequence[Tensor]) -> Any:
    def propagate(relevance: Tensor) -> tuple[Tensor | None, ...]:
        if bool(relevance.any()):
            raise no_rule(call.name, call.site)
        return tuple(None for _ in carriers)

    with torch.no_grad():
        result = call.run()
    return step(_own(result, carriers), carriers, propagate, "scale")


def added(relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]) -> Any:
    """Sum of operands: in proportion, or rescaled by totals (Chefer, eq. 11-12)."""
    if len(carriers) == 1 and is_scale(carriers[0]):
        return scaled(relevance_pass, call, carriers)  # deviation + epsilon
    if not relevance_pass.composite.rescaled_sums:
        return proportional(relevance_pass, call, carriers)
    return _rescaled(relevance_pass, call, carriers)


def _rescaled(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Tensor:
    """Share `x R / y`, then give each operand its part of the sum of magnitudes.

    The totals are those of single samples where the first axis holds them: the same
    as running samples one by one.
    """
    run = _run_with(call, carriers)
    with torch.no_grad():
        made = run(carriers)
    kept = relevance_pass.keeper.keep(*carriers, made)
    samples = relevance_pass.samples
    single = any(len(x.shape) == 0 or len(x) != samples for x in (*carriers, made))

    def total(x: Tensor) -> Tensor:
        return (
            x.sum()
            if single
            else x.reshape(samples, -1).sum(1).view(-1, *[1] * (x.dim() - 1))
        )

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        *values, result = kept.values
        ratio = torch.where(result == 0, 0.0, relevance / result)
        whole = total(relevance)
        sources = [x.detach().requires_grad_() for x in values]
        with torch.enable_grad():
            pulled = torch.autograd.grad(run(sources), sources, ratio)
        # A masked score is infinite; nothing flows there.
        shares = [
            torch.where(g == 0, 0.0, x * g) for x, g in zip(values, pulled, strict=True)
        ]
        totals = [total(x) for x in shares]
        rest = total(ratio * torch.where(ratio == 0, 0.0, result))
        for x in totals:
            rest = rest - x.view_as(rest)
        magnitude = rest.abs()
        for x in totals:
            magnitude = magnitude + x.abs().view_as(magnitude)
        return [
            share * _over(t.abs() * whole.view_as(t), t * magnitude.view_as(t))
            for share, t in zip(shares, totals, strict=True)
        ]

    return step(made, carriers, propagate)


def _over(a: Tensor, b: Tensor) -> Tensor:
    """Return `a / b`, 0 where `b` is 0."""
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def linear_op(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Sums, means, average pooling, interpolation: in proportion to the terms."""
    kind: StepKind = "total" if call.name == "sum" else "rule"
    return proportional(relevance_pass, call, carriers, kind=kind)


def contracted(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """An einsum: an equal part to each operand that is no constant."""
    return proportional(relevance_pass, call, carriers, len(carriers))


def softmax(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """`R_x = x (R - s sum R)` (AttnLRP, eq. 13), `constant` or `identity`."""
    (x,) = carriers
    with torch.no_grad():
        result = call.run()
    mode = relevance_pass.composite.softmax
    if mode == "constant":
        return result
    dim = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else -1)
    kept = relevance_pass.keeper.keep(x, result)

    def propagate(relevance: Tensor) -> tuple[Tensor]:
        value, s = kept.values
        share = relevance
        if mode == "taylor":
            finite = torch.where(torch.isfinite(value), value, 0.0)
            share = finite * (relevance - s * relevance.sum(dim, keepdim=True))
        relevance_pass.passed(call, s, relevance, [share])
        return (share,)

    return step(result, carriers, propagate)


def argument(call: Call, position: int, name: str, default: Any = None) -> Any:
    """Return an argument of a call by position or name."""
    if position < len(call.args):
        return call.args[position]
    return call.kwargs.get(name, default)


def layer_norm(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """Linear with the deviation held fixed: `x (u - mean u)`, `u = R w / (sd y)`."""
    axes = tuple(range(-len(argument(call, 1, "normalized_shape")), 0))
    weight = argument(call, 2, "weight")
    epsilon = argument(call, 4, "eps", 1e-5)

    def linear(x: Tensor, gradient: Tensor) -> Tensor:
        scale = torch.rsqrt(x.var(axes, correction=0, keepdim=True) + epsilon)
        u = gradient * scale if weight is None else gradient * weight * scale
        return u - u.mean(axes, keepdim=True)

    return _normalised(relevance_pass, call, carriers, linear)


def group_norm(
    relevance_pass: RelevancePass, call: Call, carriers: Sequence[Tensor]
) -> Any:
    """As `layer_norm`, group by group; an instance norm has one channel per group."""
    own = call.name == "instance_norm"
    groups = carriers[0].shape[1] if own else argument(call, 1, "num_groups")
    weight = argument(call, 3 if own else 2, "weight")
    epsilon = argument(call, 7 if own else 4, "eps", 1e-5)

    def linear(x: Tensor, gradient: Tensor) -> Tensor:
        grouped = x.reshape(len(x), groups, -1)
        scale = torch.rsqrt(grouped.var(2, correction=0, keepdim=True) + epsilon)
        if weight is not None:
            gradient = gradient * weight.view(-1, *[1] * (x.dim() - 2))
        u = gradient.reshape(grouped.shape) * scale
        return (u - u.mean(2, keepdim=True)).view_as(x)

    return _normalised(relevance_pass, call, carriers, linear)


def _normalised(
    relevance_pass: RelevancePass,
    call: Call,
    carriers: Sequence[Tensor],
    linear: Callable[[Tensor, Tensor], Tensor],
) -> Any:
    if len(carriers) > 1:  # gain or shift made from activations
        return NotImplemented
    if relevance_pass.composite.identity_norms:
        return alike(relevance_pass, call, carriers)
    with torch.no_grad():
        result = call.run()
    kept = relevance_pass.keeper.keep(carriers[0], result)
    tiny = relevance_pass.composite.tiny

    def propagate(relevance: Tensor) -> tuple[Tensor]:
        x, y = kept.values
        return (x * linear(x, ratio(relevance, y, tiny)),)

    return step(result, carriers, propagate)
