"""The tap: one mechanism that sees and changes what flows through any network.

A `TorchFunctionMode` sees every call the model makes, a stack of module paths tells
where it was made. Each op that uses a parameter and each activation-only op of
`quant_core.ops` is a *site* with a stable name. Weights are exchanged by parameter
name, activations by site name; the model's modules are never replaced.

What a mode cannot see by itself and what is done about it: torch's fused
transformer-encoder path is switched off; the inside of `nn.MultiheadAttention` is run
under the mode; scaled dot-product attention is written out when a listener wants its
inside. The inside of recurrent kernels stays closed: their weights are layers, their
gates are not sites.
"""

from __future__ import annotations

import contextlib
import math
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quant_core.errors import QuantError
from quant_core.layers import layers_of
from quant_core.ops import OPS, Op, plain_name, tensors_in, writes_in_place
from quant_core.sites import Layer, Site, SiteRole

_BINARY = frozenset({"matmul"})


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


@dataclass(frozen=True, slots=True)
class _Owner:
    layer: Layer
    parameter: Tensor
    start: int
    stop: int


def _unchecked_attention() -> Callable[..., Any]:
    """Return torch's multi-head attention without its look at active modes.

    The library function hands itself to an active mode and thereby hides its
    inside; a copy whose check says "no" runs the same code, and so gives the same
    bits, with every inner op visible.
    """
    source = F.multi_head_attention_forward
    namespace = {**source.__globals__, "has_torch_function": lambda _tensors: False}
    copy = types.FunctionType(
        source.__code__, namespace, source.__name__, source.__defaults__
    )
    copy.__kwdefaults__ = source.__kwdefaults__
    return copy


_attention_forward = _unchecked_attention()


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return scaled dot-product attention as two products and a softmax.

    Args:
        query: `[..., heads, T, E]`.
        key: `[..., kv heads, S, E]`.
        value: `[..., kv heads, S, V]`.
        attn_mask: `[..., T, S]`, boolean (True = attend) or added to the scores.
        dropout_p: Ignored: quantization is judged in evaluation mode.
        is_causal: Mask the upper triangle.
        scale: Factor on the scores, `1/sqrt(E)` by default.
        enable_gqa: Repeat key and value heads to the number of query heads.

    Returns:
        `[..., heads, T, V]`; definition in the documentation of
        `torch.nn.functional.scaled_dot_product_attention`.
    """
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        repeats = query.shape[-3] // key.shape[-3]
        key = key.repeat_interleave(repeats, -3)
        value = value.repeat_interleave(repeats, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * factor, key.transpose(-2, -1))
    if is_causal:
        size = scores.shape[-2:]
        attn_mask = torch.ones(size, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
        else:
            scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        reaches = attn_mask.any(-1, keepdim=True)
        if not bool(reaches.all()):
            # A query that may attend to nothing gives 0, as the fused kernel does.
            weights = weights.masked_fill(~reaches, 0.0)
    return torch.matmul(weights, value)


class _Session(TorchFunctionMode):
    """One stretch of observed calls; see `Tap.session`."""

    def __init__(self, tap: Tap, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self._path: list[str] = [""]
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._owners: dict[int, list[_Owner]] = defaultdict(list)
        self._sites: dict[tuple[str, SiteRole], Site] = {}
        self._calls = 0
        parameters = dict(tap.module.named_parameters())
        for layer in tap.layers:
            parameter = parameters[layer.parameter]
            start = int(parameter.storage_offset())
            stop = start + parameter.numel()
            self._owners[parameter.untyped_storage().data_ptr()].append(
                _Owner(layer, parameter, start, stop)
            )

    def enter_module(self, path: str) -> None:
        self._path.append(path)
        # A module called twice has the same sites both times.
        for key in [key for key in self._counts if key[0] == path]:
            del self._counts[key]

    def leave_module(self) -> None:
        if len(self._path) > 1:
            self._path.pop()

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
                return _attention_forward(*args, **named)
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
            owner = self._owner(op.operand(op.right, args, kwargs))
            layer = None if owner is None else owner.layer
        name = plain_name(func) if op is None else op.name
        count = self._count(name)
        # Named as `_operands` and `_output` name them.
        suffix = "" if op is not None and op.family == "output" and not count else count
        site = f"{self._path[-1]}:{name}" + (f".{suffix}" if suffix != "" else "")
        self._calls += op is not None
        index = 0 if op is None else self._calls
        return self._listener.call(
            Call(func, name, site, index, op, layer, args, kwargs)
        )

    def _owner(self, tensor: Any) -> _Owner | None:
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            return None
        storage = tensor.untyped_storage()
        if storage.device.type == "meta":
            # Exported programs check their inputs with tensors that have no values.
            return None
        owners = self._owners.get(storage.data_ptr())
        if not owners:
            return None
        offset = tensor.storage_offset()
        return next((o for o in owners if o.start <= offset < o.stop), None)

    def _site(self, name: str, op: str, role: SiteRole, x: Tensor) -> Site:
        site = self._sites.get((name, role))
        if site is None:
            site = Site(name, op, role, None, tuple(x.shape))
            self._sites[name, role] = site
        return site

    def _layer_site(self, owner: _Owner, op: str, x: Tensor) -> Site:
        """Return the input site of a layer.

        It has the layer's name, unless another module borrows the parameter (a
        tied head): then the borrower's path.
        """
        path, module = self._path[-1], owner.layer.parameter.rpartition(".")[0]
        own = path == module or path == "" or module.startswith(path + ".")
        name = owner.layer.name if own else path
        site = self._sites.get((name, "input"))
        if site is None:
            site = Site(name, op, "input", owner.layer.name, tuple(x.shape))
            self._sites[name, "input"] = site
        return site

    def _count(self, op: str) -> int:
        key = (self._path[-1], op)
        self._counts[key] += 1
        return self._counts[key] - 1

    def _weight_or_product(
        self, func: Any, op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        x, weight = (
            op.operand(op.left, args, kwargs),
            op.operand(op.right, args, kwargs),
        )
        owner = self._owner(weight)
        if owner is None:
            if op.name in _BINARY and self._owner(x) is None:
                args, kwargs = self._operands(op, args, kwargs)
            return self._unknown(func, args, kwargs)
        if x.is_floating_point():
            seen = self._listener.activation(self._layer_site(owner, op.name, x), x)
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
        name = f"{self._path[-1]}:{op.name}.{self._count(op.name)}"
        for side, letter in ((op.left, "a"), (op.right, "b")):
            x = op.operand(side, args, kwargs)
            if isinstance(x, Tensor) and x.is_floating_point():
                site = self._site(f"{name}.{letter}", op.name, "operand", x)
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
        count = self._count(op.name)
        suffix = f".{count}" if count else ""
        name = f"{self._path[-1]}:{op.name}{suffix}"
        return self._listener.activation(
            self._site(name, op.name, "output", result), result
        )

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
        used = [o for t in tensors_in([args, kwargs]) if (o := self._owner(t))]
        fresh = [
            t
            for t in tensors_in(result)
            if t.is_floating_point() and self._owner(t) is None
        ]
        if not used or not fresh:
            return result
        # The op consumed a parameter in a way we have no formula for: let
        # autograd differentiate it through a stand-in for the parameter.
        stand_ins = {
            id(o.parameter): self._listener.weight_needed(o.layer, o.parameter)
            for o in used
        }
        return func(
            *self._exchange(args, stand_ins), **self._exchange(kwargs, stand_ins)
        )

    def _exchange(self, values: Any, stand_ins: Mapping[int, Tensor]) -> Any:
        if isinstance(values, Tensor):
            owner = self._owner(values)
            if owner is None or id(owner.parameter) not in stand_ins:
                return values
            stand_in = stand_ins[id(owner.parameter)]
            if stand_in is owner.parameter:
                return values
            offset = values.storage_offset() - owner.parameter.storage_offset()
            return stand_in.as_strided(values.size(), values.stride(), offset)
        if isinstance(values, (list, tuple)):
            return type(values)([self._exchange(v, stand_ins) for v in values])
        if isinstance(values, dict):
            return {k: self._exchange(v, stand_ins) for k, v in values.items()}
        return values


@contextlib.contextmanager
def _without_fast_path() -> Iterator[None]:
    """Switch torch's fused transformer-encoder path off inside the block."""
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Tap:
    """Sees and changes weights and activations of a network, then lets go.

    Nothing is attached between sessions. A session restores hooks, parameters and
    torch's global flags however it ends.

    Args:
        module: The network, in evaluation mode.

    Attributes:
        layers: Its layers (`quant_core.layers.layers_of`).
        unlisted: Parameters that are no layers, with reasons.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers, self.unlisted = layers_of(module)

    @contextlib.contextmanager
    def session(self, listener: Listener) -> Iterator[None]:
        """Tell `listener` of everything the network does inside the block."""
        session = _Session(self, listener)
        handles: list[Any] = []

        def pusher(path: str) -> Callable[..., None]:
            return lambda _module, _args: session.enter_module(path)

        def pop(_module: nn.Module, _args: Any, _output: Any) -> None:
            session.leave_module()

        with _without_fast_path():
            try:
                for path, module in self.module.named_modules():
                    handles.append(
                        module.register_forward_pre_hook(pusher(path), prepend=True)
                    )
                    handles.append(module.register_forward_hook(pop, always_call=True))
                with session:
                    yield
            finally:
                for handle in handles:
                    handle.remove()

    @contextlib.contextmanager
    def watch(
        self, callback: Callable[[Site, Tensor], None], *, inside_attention: bool = True
    ) -> Iterator[None]:
        """Call `callback(site, x)` with every activation; it must not change `x`."""

        class Watcher(Listener):
            def activation(self, site: Site, x: Tensor) -> Tensor:
                callback(site, x.detach())
                return x

        watcher = Watcher()
        watcher.inside_attention = inside_attention
        with self.session(watcher):
            yield

    @contextlib.contextmanager
    def quantized(
        self,
        weights: Mapping[str, Tensor] | None = None,
        inputs: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        *,
        inside_attention: bool = False,
    ) -> Iterator[None]:
        """Run with other weights and changed activations, then restore both.

        A reference to compare with must be run with the same `inside_attention`
        and nothing changed: it then takes the same path, bit for bit.

        Args:
            weights: New values by parameter name, of the parameter's shape.
            inputs: Function of the activation by site name.
            inside_attention: Write attention out, for sites inside it.

        Raises:
            QuantError: a parameter is unknown or a tensor has the wrong shape.
        """
        changed = dict(inputs or {})

        class Changer(Listener):
            def activation(self, site: Site, x: Tensor) -> Tensor:
                change = changed.get(site.name)
                return x if change is None else change(x)

        changer = Changer()
        changer.inside_attention = inside_attention
        watched = bool(changed) or inside_attention
        # An idle session gives the same bits, and takes time.
        session = self.session(changer) if watched else _without_fast_path()
        with self.exchanged(weights or {}), session:
            yield

    @contextlib.contextmanager
    def exchanged(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Give parameters other values inside the block; see `quantized`."""
        parameters = {name: self._parameter(name) for name in weights}
        for name, value in weights.items():
            if value.shape != parameters[name].shape:
                raise QuantError(
                    f"The new weight of {name} has another shape.",
                    value=tuple(value.shape),
                    allowed=str(tuple(parameters[name].shape)),
                )
        kept = {name: parameters[name].data for name in weights}
        try:
            for name, value in weights.items():
                parameters[name].data = value.to(kept[name])
            yield
        finally:
            for name, value in kept.items():
                parameters[name].data = value

    def _parameter(self, name: str) -> nn.Parameter:
        try:
            return self.module.get_parameter(name)
        except AttributeError:
            raise QuantError(
                "There is no such parameter.",
                value=name,
                allowed="a name of named_parameters()",
            ) from None

    def trace(
        self, run: Callable[[], object], samples: int = 1
    ) -> tuple[tuple[Site, ...], tuple[Layer, ...]]:
        """Run the network once and note what it does.

        Args:
            run: Calls the network on a few samples.
            samples: Number of samples in that call.

        Returns:
            The sites in order of first use, and the layers with `macs` per sample.
        """
        sites: dict[str, Site] = {}
        macs: dict[str, int] = defaultdict(int)

        class Tracer(Listener):
            inside_attention = True
            sees_weights = True

            def activation(self, site: Site, x: Tensor) -> Tensor:
                sites.setdefault(site.name, site)
                return x

            def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
                macs[use.layer.name] += use.macs(result)
                return result

        with torch.no_grad(), self.session(Tracer()):
            run()
        layers = tuple(
            replace(layer, macs=macs[layer.name] // samples) for layer in self.layers
        )
        return tuple(sites.values()), layers
