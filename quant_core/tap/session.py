"""One stretch of calls that the tap sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from quant_core.ops import OPS, Op, plain_name, tensors_in, writes_in_place
from quant_core.tap.fused import attention_forward, explicit_attention
from quant_core.tap.listener import Call, Listener, WeightUse
from quant_core.tap.naming import Naming
from quant_core.tap.owners import Owners

_BINARY = frozenset({"matmul"})


class Session(TorchFunctionMode):
    """Hands the calls of a network to a listener; see `quant_core.tap.Tap.session`.

    Args:
        listener: Who is told.
        owners: Of the network's parameters.
        naming: Follows the network's modules.
    """

    def __init__(self, listener: Listener, owners: Owners, naming: Naming) -> None:
        super().__init__()
        self._listener, self._owners, self._naming = listener, owners, naming
        self._calls = 0

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is F.multi_head_attention_forward:
            with self:
                return attention_forward(*args, **named)
        op = OPS.get(func)
        if self._listener.makes_calls and (op is None or op.family != "attention"):
            return self._handed_over(func, op, args, named)
        if op is None:
            return self._unknown(func, args, named)
        if op.family == "attention":
            if not self._listener.inside_attention:
                return func(*args, **named)
            with self:
                return explicit_attention(*args, **named)
        if op.family == "output":
            return self._output(func, op, args, named)
        return self._weight_or_product(func, op, args, named)

    def _handed_over(
        self, func: Any, op: Op | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if getattr(func, "__name__", "") == "__get__":  # x.shape, x.dtype ...
            return func(*args, **kwargs)
        layer = None
        if op is not None and op.family == "weight":
            owner = self._owners.of(op.operand(op.right, args, kwargs))
            layer = None if owner is None else owner.layer
        name = plain_name(func) if op is None else op.name
        is_output = op is not None and op.family == "output"
        naming = self._naming
        site = naming.next_output(name) if is_output else naming.next_call(name)
        self._calls += op is not None
        index = 0 if op is None else self._calls
        return self._listener.call(
            Call(func, name, site, index, op, layer, args, kwargs)
        )

    def _weight_or_product(
        self, func: Any, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        x, weight = (
            op.operand(op.left, args, kwargs),
            op.operand(op.right, args, kwargs),
        )
        owner = self._owners.of(weight)
        if owner is None:
            if op.name in _BINARY and self._owners.of(x) is None:
                args, kwargs = self._operands(op, args, kwargs)
            return self._unknown(func, args, kwargs)
        if x.is_floating_point():
            site = self._naming.layer_site(owner, op.name, x)
            seen = self._listener.activation(site, x)
            if seen is not x:
                x = seen
                args, kwargs = op.replace(op.left, x, args, kwargs)
        result = func(*args, **kwargs)
        if not self._listener.sees_weights:
            return result
        use = WeightUse(owner.layer, op, func, weight, owner.parameter, x, args, kwargs)
        return self._listener.weight_used(use, result)

    def _operands(
        self, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        name = self._naming.next_call(op.name)
        for side, letter in ((op.left, "a"), (op.right, "b")):
            x = op.operand(side, args, kwargs)
            if isinstance(x, Tensor) and x.is_floating_point():
                site = self._naming.site(f"{name}.{letter}", op.name, "operand", x)
                seen = self._listener.activation(site, x)
                if seen is not x:
                    args, kwargs = op.replace(side, seen, args, kwargs)
        return args, kwargs

    def _output(
        self, func: Any, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._announce_write(func, args, kwargs)
        result = self._listener.compute(op, func, args, kwargs)
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        name = self._naming.next_output(op.name)
        site = self._naming.site(name, op.name, "output", result)
        return self._listener.activation(site, result)

    def _announce_write(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if args and isinstance(args[0], Tensor) and writes_in_place(func, args, kwargs):
            self._listener.before_write(args[0])
        if isinstance(kwargs.get("out"), Tensor):
            self._listener.before_write(kwargs["out"])

    def _unknown(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._listener.sees_weights:
            return func(*args, **kwargs)
        self._announce_write(func, args, kwargs)
        result = func(*args, **kwargs)
        if not isinstance(result, (Tensor, tuple, list)):
            return result
        used = [o for t in tensors_in([args, kwargs]) if (o := self._owners.of(t))]
        fresh = [
            t
            for t in tensors_in(result)
            if t.is_floating_point() and self._owners.of(t) is None
        ]
        if not used or not fresh:
            return result
        # The op consumed a parameter in a way we have no formula for: let
        # autograd differentiate it through a stand-in for the parameter.
        stand_ins = {
            id(o.parameter): self._listener.weight_needed(o.layer, o.parameter)
            for o in used
        }
        exchanged = self._owners.exchanged
        return func(*exchanged(args, stand_ins), **exchanged(kwargs, stand_ins))
