"""One forward pass that makes a network's graph carry relevance.

`RelevancePass` listens at the tap and makes every call of the model itself, each with
the rule of its op for the way back; one ordinary backward pass then takes relevance
from the output to every place of the network. Nothing about the modules matters, so
functional ops, residual sums and attention written by hand are reached too. An op
without a rule is refused by name and site when relevance gets there, never passed by
its gradient.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quant_core.ops import tensors_in, writes_in_place
from quant_core.relevance.composites import Composite, Kind
from quant_core.relevance.graph import (
    Keeper,
    foreign_node,
    no_rule,
    refused,
    step,
    takes_input,
)
from quant_core.relevance.op_table import RULES
from quant_core.relevance.weight_rules import Rule
from quant_core.relevance.weighted import Made, Weighted
from quant_core.sites import Layer
from quant_core.tap import Call, Listener, Tap


@dataclass(frozen=True, slots=True)
class Passage:
    """Relevance as it passes an op.

    Attributes:
        call: The call of the op.
        value: What the op returned.
        relevance: Relevance of the value, of its shape.
        received: Relevance of what the op was given, all operands together; what
            is missing was taken up by biases and stabilizers.
    """

    call: Call
    value: Tensor
    relevance: Tensor
    received: tuple[Tensor, ...]


Observe = Callable[[Passage], None]


class RelevancePass(Listener):
    """Makes the calls of one forward pass so that a backward pass is relevance.

    Args:
        composite: The rules.
        observe: Told of relevance at every layer, product of two activations and
            softmax, during the backward pass.
        depth: Share of the network before each layer, in [0, 1); 0 when missing.
        samples: Samples of the batch. A sum that is rescaled by totals takes them
            sample by sample where the first axis has this size, else over all.

    Attributes:
        keeper: Keeps what rules need from being overwritten.
        last: The last use of a weight, its result first, for a batch-norm after it.
        used: Names of the layers whose weight was used by an op with a rule.
        looked_up: Every look-up of a layer: indices and rows, whose `grad` is their
            relevance after the backward pass.
    """

    inside_attention = True
    makes_calls = True

    def __init__(
        self,
        composite: Composite,
        observe: Observe = lambda passage: None,
        *,
        depth: Mapping[str, float] | None = None,
        samples: int = 1,
    ) -> None:
        self.composite = composite
        self._observe = observe
        self.samples = samples
        self.used: set[str] = set()
        self.looked_up: list[tuple[Layer, Tensor, Tensor]] = []
        self.keeper = Keeper()
        self.last: tuple[Tensor, Weighted, Made] | None = None
        self._depth = depth or {}

    def call(self, call: Call) -> Any:
        """See `Listener.call`."""
        target = _written_to(call)
        if target is not None:
            return self._written(call, target)
        carriers = carrying(call)
        if call.layer is not None:
            self.used.add(call.layer.name)
        if not carriers:
            result = call.run()
            looked_up = call.layer is not None and call.name == "embedding"
            return self._rooted(call, result) if looked_up else result
        rule = RULES.get(call.name)
        made = rule(self, call, carriers) if rule is not None else NotImplemented
        return self.moved(call, carriers) if made is NotImplemented else made

    def moved(self, call: Call, carriers: Sequence[Tensor]) -> Any:
        """Make a call that only moves values, refuse any other."""
        result = call.run()
        made = [t for t in tensors_in(result) if t.requires_grad]
        if foreign_node(made, carriers) is None:
            return result
        return refused(result, call.name, call.site, carriers)

    def passed(
        self,
        call: Call,
        value: Tensor,
        relevance: Tensor,
        received: Sequence[Tensor],
    ) -> None:
        """Tell of relevance at an op; see `Passage`."""
        self._observe(Passage(call, value, relevance, tuple(received)))

    def rule_for(self, call: Call, x: Tensor) -> Rule:
        """Return the rule of an op with a weight."""
        kind: Kind = "conv" if call.name.startswith("conv") else "linear"
        depth = self._depth.get(call.layer.name, 0.0) if call.layer else 0.0
        return self.composite.rule_for(kind, takes_input(x), depth)

    def _rooted(self, call: Call, result: Tensor) -> Tensor:
        """Return looked-up rows as a place where relevance ends."""
        assert call.layer is not None
        assert call.op is not None
        if not result.is_floating_point() or not torch.is_grad_enabled():
            return result
        index = call.op.operand(call.op.left, call.args, call.kwargs)
        if len(result) == 1 < self.samples:
            # Positions are looked up once for all samples; so each keeps its own.
            result = result.expand(self.samples, *result.shape[1:])
        rows = result.detach().requires_grad_()
        self.looked_up.append((call.layer, index, rows))
        kept = self.keeper.keep(rows)

        def propagate(relevance: Tensor) -> tuple[Tensor]:
            self.passed(call, kept.values[0], relevance, [relevance])
            return (relevance,)

        return step(result.detach().clone(), [rows], propagate)

    def _written(self, call: Call, target: Tensor) -> Any:
        """Make a call that writes into a tensor: compute beside it, then copy."""
        if not carrying(call) or call.name in _PLACING:
            self.keeper.before_write(target)
            return call.run()
        new = self.call(_out_of_place(call))
        self.keeper.before_write(target)
        return target.copy_(new)


def carrying(call: Call) -> list[Tensor]:
    """Return the different tensors among the arguments that carry relevance."""
    found: dict[int, Tensor] = {}
    for tensor in tensors_in([call.args, call.kwargs]):
        if tensor.requires_grad:
            found[id(tensor)] = tensor
    return list(found.values())


_PLACING = frozenset(
    "setitem copy fill zero masked_fill index_fill index_copy masked_scatter".split()
)
"""Writes that put values somewhere and compute nothing."""


def _written_to(call: Call) -> Tensor | None:
    """Return the tensor that a call overwrites, if it does."""
    target = call.kwargs.get("out")
    if target is None and writes_in_place(call.func, call.args, call.kwargs):
        target = call.args[0] if call.args else call.kwargs.get("input")
    return target if isinstance(target, Tensor) else None


def _out_of_place(call: Call) -> Call:
    """Return a call that computes what another one would write."""
    kwargs = {k: v for k, v in call.kwargs.items() if k not in {"inplace", "out"}}
    if len(kwargs) < len(call.kwargs):
        return dataclasses.replace(call, kwargs=kwargs)
    if call.args[-1] is True:  # F.relu(x, True)
        return dataclasses.replace(call, args=(*call.args[:-1], False))
    func = getattr(torch.Tensor, call.name, None) or getattr(torch, call.name, None)
    func = func or getattr(F, call.name, None)
    if func is None:
        raise no_rule(call.name, call.site)
    return dataclasses.replace(call, func=func)


_OWN = "a function with a gradient of its own"
_ACTIVATION = re.compile(r"gelu|silu|swish|mish|relu|tanh|sigmoid", re.IGNORECASE)


@contextlib.contextmanager
def relevance_session(tap: Tap, relevance_pass: RelevancePass) -> Iterator[None]:
    """Let `relevance_pass` make the calls of the network inside the block.

    A module without parameters that is an activation by its name passes relevance
    unchanged as a whole, however it computes its values (GELU by its tanh formula).
    A function with a gradient of its own, which the tap cannot see, is looked for in
    what every module returns, so that it can be refused with its place.
    """
    handles = []
    known: set[Any] = set()

    def refuse_in(path: str) -> Callable[..., Any]:
        def looked_through(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                parts = [looked_through(part) for part in value]
                same = all(a is b for a, b in zip(parts, value, strict=True))
                return value if same else type(value)(parts)
            if not isinstance(value, Tensor) or not value.requires_grad:
                return value
            foreign = foreign_node([value], [], known)
            if foreign is None:
                return value
            return refused(value, foreign, f"{path}:{foreign}, {_OWN}")

        return lambda module, args, made: looked_through(made)

    def pass_unchanged(module: nn.Module, args: tuple[Any, ...], made: Any) -> Any:
        del module
        x = args[0] if len(args) == 1 else None
        if not isinstance(x, Tensor) or not isinstance(made, Tensor):
            return made
        if not made.requires_grad or made is x or made.shape != x.shape:
            return made
        return step(made.detach(), [x], lambda relevance: (relevance,), "alike")

    try:
        for path, module in tap.module.named_modules():
            own = any(True for _ in module.parameters())
            if not own and _ACTIVATION.search(type(module).__name__):
                handles.append(module.register_forward_hook(pass_unchanged))
            handles.append(module.register_forward_hook(refuse_in(path)))
        with torch.enable_grad(), tap.session(relevance_pass):
            yield
    finally:
        for handle in handles:
            handle.remove()
        relevance_pass.last = None


def propagate(
    output: Tensor, start: Tensor, places: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Take relevance from the output of a pass back through the network.

    Args:
        output: What a network returned in a `relevance_session`.
        start: Relevance of the output, of its shape.
        places: Where relevance is wanted: leaves of the graph, such as the inputs.

    Returns:
        Relevance at the places, 0 where none arrives.

    Raises:
        QuantError: an op on the way has no rule; names op and site.
    """
    foreign = foreign_node([output], [])
    if foreign is not None:
        raise no_rule(foreign, _OWN)
    return torch.autograd.grad(
        output, list(places), start, allow_unused=True, materialize_grads=True
    )
