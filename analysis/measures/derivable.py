"""Whether a network can be differentiated, and if not, which op stands in the way.

Measures that follow derivatives take what autograd gives them. Where an op has no
derivative autograd raises an error that names neither op nor place; where an op cuts
the graph, or is marked as differentiable once, it silently gives zero. Both are looked
for with one sample before such a measure runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from analysis.data.batch import Batch, call
from analysis.errors import AnalysisError
from analysis.measures import NAMES
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import copied_saved_tensors, evaluating
from analysis.method import Measure, Update
from quant_core.ops import tensors_in
from quant_core.tap import Call, Listener, Tap

ORDERS = {
    "predicted_error": 1,
    "fisher": 1,
    "hessian": 1,
    "hessian_eigenvalues": 2,
    "hessian_spectrum": 2,
}
"""How often measures differentiate; others not at all, or by rules of their own."""
_BY_RULES = frozenset({"relevance"})
_FLAT = frozenset({"round", "floor", "ceil", "trunc", "sign", "heaviside"})
_FLAT_NODES = tuple(f"{name.capitalize()}Backward" for name in _FLAT)

Names = Mapping[Tensor, str]
"""Names of layers by their parameters."""


def order_of(measure: Measure) -> int:
    """Return how many times a measure differentiates the network."""
    order = ORDERS.get(measure.key, 0)
    exact = getattr(measure, "operator", "") == "hessian"
    exact |= getattr(measure, "estimator", "") == "hutch++"
    return 2 if order and exact else order


def still_work(order: int) -> str:
    """Return the measures that differentiate less than `order` times."""
    names = [n for n in NAMES if ORDERS.get(n, 0) < order and n not in _BY_RULES]
    text = ", ".join(names)
    return f"{text} (with operator ggn)" if "hessian" in names else text


def checked(measure: Measure, context: MeasureContext) -> Iterator[Update]:
    """Run a measure on what can be differentiated, and tell what cannot.

    Args:
        measure: One that does not differentiate runs as it is.
        context: What it runs on.

    Yields:
        Its updates, without rows of layers that matter but get no gradient.

    Raises:
        AnalysisError: an op has no derivative; names op, place, and what still works.
    """
    order = order_of(measure)
    found = _looked(measure, context, order) if order else _Found()
    if found.cut:
        yield Update(0, 1, "looking for cuts", warnings=(_told(measure, found),))
    with contextlib.closing(measure.run(context)) as updates:  # type: ignore[type-var]
        try:
            for update in updates:
                rows = [row for row in update.rows if row.target not in found.cut]
                yield dataclasses.replace(update, rows=tuple(rows))
        except RuntimeError:
            if order == 1:  # it had to differentiate twice after all
                _looked(measure, context, 2)
            raise


@dataclass
class _Found:
    """Layers whose gradient does not arrive, though what they do is used.

    Attributes:
        cut: Their names.
        at: Ops and sites where it is cut off.
    """

    cut: frozenset[str] = frozenset()
    at: tuple[str, ...] = ()


def _looked(measure: Measure, context: MeasureContext, order: int) -> _Found:
    """Differentiate the network for one sample.

    Raises:
        AnalysisError: that cannot be done so often.
    """
    module, data, task = context.need_run(measure.title)
    size = int(context.model.input_hints.get("batch_size") or 1)
    batch = next(data.batches(size)).to(context.device)
    tap, watcher = Tap(module), _Cuts()
    with evaluating(module), contextlib.ExitStack() as stack:
        names: dict[Tensor, str] = {
            module.get_parameter(x.parameter): x.name for x in tap.layers
        }
        for parameter in names:
            parameter.requires_grad_(True)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel([SDPBackend.MATH]))
        stack.enter_context(copied_saved_tensors(module))
        with tap.session(watcher):
            output = task.output(call(module, batch), batch)
        graph = _behind([output], names)
        if function := graph.refusing(order):
            site = _place_of(function, module, batch)
            raise _refusal(measure, function.__name__, site, order)
        if not _derives(output, list(names), order):
            trial = _Trial(order)
            with tap.session(trial):
                call(module, batch)
            if trial.found:
                raise _refusal(measure, *trial.found, order)
        return watcher.found(graph.layers, names)


class _Cuts(Listener):
    """Notes calls that take tensors with a graph and return none with one."""

    makes_calls = True

    def __init__(self) -> None:
        self._lost: list[tuple[str, list[Tensor]]] = []

    def call(self, call: Call) -> Any:
        """See `Listener.call`."""
        result = call.run()
        given = [t for t in tensors_in([call.args, call.kwargs]) if t.requires_grad]
        gave = tensors_in([result])
        if given and gave:
            flat = call.name.rstrip("_") in _FLAT
            if flat or not any(t.requires_grad for t in gave):
                self._lost.append((f"{call.name} at {call.site}", given))
        return result

    def found(self, reached: set[str], names: Names) -> _Found:
        """Return what is cut off of the layers that the output does not reach."""
        cut: set[str] = set()
        at: list[str] = []
        for where, tensors in self._lost:
            lost = _behind(tensors, names).layers - reached
            cut |= lost
            at += [where] * bool(lost)
        return _Found(frozenset(cut), tuple(dict.fromkeys(at)))


@dataclass
class _Graph:
    """What lies behind some tensors.

    Attributes:
        layers: Names of the layers that a gradient reaches.
        functions: Functions with a backward pass of their own.
    """

    layers: set[str] = field(default_factory=set)
    functions: list[type] = field(default_factory=list)

    def refusing(self, order: int) -> type | None:
        """Return a function that cannot be differentiated so often.

        `once_differentiable` wraps the backward function. Differentiated again, it
        does not fail but counts as constant.
        """
        for function in self.functions:
            backward = getattr(function, "backward", None)
            missing = backward is torch.autograd.Function.backward
            if missing or (order > 1 and hasattr(backward, "__wrapped__")):
                return function
        return None


def _behind(tensors: Iterable[Tensor], names: Names) -> _Graph:
    """Walk the graph behind tensors, up to ops whose derivative is zero."""
    found = _Graph()
    waiting: list[Any] = []
    for tensor in tensors:
        found.layers |= {names[tensor]} if tensor in names else set()
        waiting.append(tensor.grad_fn)
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node in seen or node.name().startswith(_FLAT_NODES):
            continue
        seen.add(node)
        if (variable := getattr(node, "variable", None)) is not None:
            found.layers |= {names[variable]} if variable in names else set()
        if function := getattr(type(node), "_forward_cls", None):
            found.functions.append(function)
        waiting += [parent for parent, _ in node.next_functions if parent]
    return found


def _place_of(function: type, module: nn.Module, batch: Batch) -> str:
    """Return the path of the innermost module that calls a function."""
    found: list[str] = []

    def looker(path: str) -> Callable[..., None]:
        def look(_module: nn.Module, _args: Any, output: Any) -> None:
            # Inner modules return before those around them.
            if not found and function in _behind(tensors_in([output]), {}).functions:
                found.append(path)

        return look

    handles = [
        inner.register_forward_hook(looker(path))
        for path, inner in module.named_modules()
    ]
    try:
        call(module, batch)
    finally:
        for handle in handles:
            handle.remove()
    return next(iter(found), "")


def _derives(output: Tensor, inputs: Sequence[Tensor], order: int) -> bool:
    """Tell whether autograd can differentiate an output so often."""
    if not output.requires_grad:
        return True
    value = output.float().square().sum()
    try:
        for step in range(1, order + 1):
            slopes = torch.autograd.grad(
                value, inputs, create_graph=step < order, allow_unused=True
            )
            curved = [s.square().sum() for s in slopes if getattr(s, "grad_fn", None)]
            if not curved:
                break
            value = torch.stack(curved).sum()
    except RuntimeError:
        return False
    return True


class _Trial(Listener):
    """Differentiates every call by itself, until one cannot be."""

    makes_calls = True

    def __init__(self, order: int) -> None:
        self._order = order
        self.found: tuple[str, str] | None = None

    def call(self, call: Call) -> Any:
        """See `Listener.call`."""
        if self.found is None and not self._passes(call):
            self.found = call.name, call.site
        return call.run()

    def _passes(self, call: Call) -> bool:
        leaves: list[Tensor] = []

        def fresh(value: Any) -> Any:
            # What needs no gradient in the network needs none here.
            if not isinstance(value, Tensor) or not value.requires_grad:
                return value
            leaves.append(value.detach().clone().requires_grad_(True))
            return leaves[-1].clone()  # a leaf must not be written to

        args, kwargs = tree_map(fresh, (call.args, call.kwargs))
        try:
            result = call.func(*args, **kwargs)
        except RuntimeError:
            return True
        floats = [t for t in tensors_in([result]) if t.requires_grad]
        return all(_derives(t, leaves, self._order) for t in floats)


def _refusal(measure: Measure, op: str, site: str, order: int) -> AnalysisError:
    often = "twice" if order > 1 else "at all"
    return AnalysisError(
        f"{measure.title} differentiates the network, and {op} cannot be "
        f"differentiated {often}.",
        value=f"{op} at {site}",
        hint=f"These measures still work on this network: {still_work(order)}.",
    )


def _told(measure: Measure, found: _Found) -> str:
    at = ", ".join(found.at)
    return (
        f"No gradient reaches {', '.join(sorted(found.cut))}: it is cut off by {at}. "
        f"{measure.title} has no result there; {still_work(1)} have."
    )
