"""The autograd graph as a carrier of relevance.

A backward pass hands relevance from output to input when every node either moves
values without changing them, so that its gradient moves relevance, or is a `Step`
whose backward is a rule. `foreign_node` finds nodes that are neither.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from quant_core.errors import QuantError

StepKind = Literal["rule", "alike", "scale", "total", "refused"]
Propagate = Callable[[Tensor], Sequence[Tensor | None]]

_MOVING = frozenset(
    # Views and copies of values.
    "View UnsafeView Reshape ReshapeAlias Alias AsStrided Transpose T Permute Squeeze "
    "Unsqueeze Expand Clone ToCopy Copy CopySlices Contiguous Slice Select Diagonal "
    "Narrow Split SplitWithSizes UnsafeSplit Chunk Unbind Unfold Unflatten Flip Roll "
    "Cat Stack Repeat PixelShuffle PixelUnshuffle ChannelShuffle UpsampleNearest1D "
    "UpsampleNearest2D UpsampleNearest3D ReflectionPad1D ReflectionPad2D "
    "ReplicationPad1D ReplicationPad2D ConstantPadNd "
    # Values taken from or put at places.
    "Index IndexSelect Gather TakeAlongDim Take MaskedSelect Sort Topk IndexCopy "
    "Scatter MaskedFill MaskedScatter Where Tril Triu Fill Zero "
    # The largest value takes it all.
    "Maximum Minimum Max Min Amax Amin MaxPool2DWithIndices MaxPool3DWithIndices "
    "MaxPool2D AdaptiveMaxPool2D AdaptiveMaxPool3D "
    "AccumulateGrad _Step".split()
)


class Kept:
    """Values that a rule needs later, safe from being overwritten in the meantime.

    Attributes:
        values: The values.
        fresh: None of them had to be copied: a graph built on them is still valid.
    """

    def __init__(self, values: Sequence[Tensor]) -> None:
        self.values = [value.detach() for value in values]
        self.fresh = True

    def save(self, storage: int) -> None:
        """Copy what lies in a storage that is about to be overwritten."""
        for index, value in enumerate(self.values):
            if value.untyped_storage().data_ptr() == storage:
                self.values[index] = value.clone()
                self.fresh = False


class Keeper:
    """Knows all kept values by where they lie in memory."""

    def __init__(self) -> None:
        self._kept: dict[int, weakref.WeakSet[Kept]] = {}

    def keep(self, *values: Tensor) -> Kept:
        """Return values that survive a write to their memory."""
        kept = Kept(values)
        for value in values:
            storage = value.untyped_storage().data_ptr()
            self._kept.setdefault(storage, weakref.WeakSet()).add(kept)
        return kept

    def before_write(self, x: Tensor) -> None:
        """Copy what is kept of a tensor that is about to be overwritten."""
        storage = x.untyped_storage().data_ptr()
        for kept in list(self._kept.pop(storage, ())):
            kept.save(storage)


class _Step(torch.autograd.Function):
    """A node whose backward is a rule."""

    @staticmethod
    def forward(ctx: Any, made: list[Any], *inputs: Tensor) -> Tensor:
        """Return the result in `made`, which holds it and the rule."""
        # Emptied, so that the result is not held by its own graph.
        ctx.kind, ctx.propagate, result = made.pop(), made.pop(), made.pop()
        ctx.dtypes = [x.dtype for x in inputs]
        return result  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor | None, ...]:
        """Return the relevance of the inputs."""
        shares = ctx.propagate(relevance[0])
        cast = [
            None if share is None else share.to(dtype)
            for share, dtype in zip(shares, ctx.dtypes, strict=True)
        ]
        return (None, *cast)


def step(
    result: Tensor,
    inputs: Sequence[Tensor],
    propagate: Propagate,
    kind: StepKind = "rule",
) -> Tensor:
    """Return `result` as made from `inputs`, with a rule for the way back.

    Args:
        result: A tensor without graph, no view of an input.
        inputs: What gets relevance.
        propagate: Relevance of each input, from that of the result.
        kind: `scale` for a root or standard deviation, which only a division or
            product may use; `alike` for what such a number stays after the op
            (adding a constant, a limit, an inverse); `total` for a sum, by which its
            own terms may be divided; `refused` where relevance may not arrive.
    """
    made: Tensor = _Step.apply([result, propagate, kind], *inputs)  # type: ignore[no-untyped-call]
    return made


def node_name(node: Any) -> str:
    """Return the name of a graph node without torch's additions ("Mul")."""
    return re.sub(r"Backwards?\d*$", "", str(node.name()).rpartition("::")[2])


def foreign_node(
    made: Iterable[Tensor],
    sources: Iterable[Tensor],
    known: set[Any] | None = None,
) -> str | None:
    """Return the name of a node that neither moves values nor has a rule.

    Args:
        made: Tensors whose graph is looked through.
        sources: Where to stop.
        known: Nodes that were looked at before; added to. What lies before a node
            that ends the backward pass with an error is not looked at.
    """
    seen = set() if known is None else known
    seen |= {x.grad_fn for x in sources}
    nodes = [x.grad_fn for x in made if x.grad_fn is not None]
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        name = node_name(node)
        if name not in _MOVING:
            return name
        if getattr(node, "kind", "") == "refused":
            continue
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    return None


def takes_input(x: Tensor) -> bool:
    """Tell whether `x` was only moved since the network's input: no rule yet."""
    nodes = [x.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        if node_name(node) == "_Step":
            return False
        nodes += [parent for parent, _ in node.next_functions]
    return True


def is_scale(x: Tensor) -> bool:
    """Tell whether `x` is a normalising factor: made of nothing but `scale` steps."""
    nodes = [x.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node_name(node) == "AccumulateGrad":
            return False
        kind = getattr(node, "kind", "alike")
        if kind in ("rule", "total"):
            return False
        if kind == "alike":
            nodes += [parent for parent, _ in node.next_functions if parent is not None]
    return x.grad_fn is not None


def is_total_of(x: Tensor, terms: Tensor) -> bool:
    """Tell whether `x` is the sum of `terms`, but for limits and constants added."""
    node = x.grad_fn
    while node is not None and getattr(node, "kind", "alike") == "alike":
        node = next((p for p, _ in node.next_functions if p is not None), None)
    if node is None or getattr(node, "kind", "") != "total":
        return False
    return any(parent is terms.grad_fn for parent, _ in node.next_functions)


def refused(
    result: Any, op: str, site: str, inputs: Sequence[Tensor] | None = None
) -> Any:
    """Return a result through which relevance ends with an error.

    Args:
        result: A tensor, or a list or tuple of some.
        op: Name of the op that made it.
        site: Where it was made.
        inputs: What it was made from; the result's own graph when None.

    Returns:
        The result with its way back; as it is where it carries no relevance.
    """

    def propagate(relevance: Tensor) -> tuple[None, ...]:
        if bool(relevance.any()):
            raise no_rule(op, site)
        return (None,) * (1 if inputs is None else len(inputs))

    if isinstance(result, Tensor):
        if not result.requires_grad:
            return result
        sources = [result] if inputs is None else inputs
        return step(result.detach(), sources, propagate, "refused")
    if isinstance(result, (list, tuple)):
        # Named tuples of torch take one sequence, as tuples do.
        return type(result)([refused(part, op, site, inputs) for part in result])
    return result


def no_rule(op: str, site: str) -> QuantError:
    """Return the error for an op that relevance cannot pass."""
    return QuantError(
        f"There is no rule that takes relevance through {op}.",
        value=site,
        allowed="matrix products, convolutions, attention, normalisation, sums, "
        "products, pooling, look-ups and elementwise functions of one tensor",
        hint="The measures weights, activations, predicted_error and measured_error "
        "work on this network.",
    )
