"""One forward pass, then one backward pass per probe, through the tap.

`ProbeListener` starts the autograd graph at the first activation (parameters stay
frozen), keeps each layer's input, and turns the gradient at each layer's output into
projections `v` the moment it arrives, so that no gradient outlives its layer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.measures.candidates import Candidates
from quant_core.frozen_norm import frozen_batch_norm
from quant_core.ops import Op
from quant_core.projections import (
    activation_projections,
    conv_projections,
    embedding_projections,
    linear_projections,
)
from quant_core.sites import Layer, Site
from quant_core.tap import Listener, WeightUse

UseKey = tuple[str, int]


class SampleAxis(NamedTuple):
    """Where the samples lie in an operand.

    Attributes:
        axis: The axis; positions may be folded with the samples along it.
        inner: Samples vary fastest along the axis (position-major), as in
            `nn.MultiheadAttention`, which works time-major inside.
    """

    axis: int
    inner: bool = False


SHARED = SampleAxis(-1)
"""An operand that does not depend on the sample (a position table's indices)."""
ONE_ROW = SampleAxis(0)
"""Any axis will do when the whole batch makes one row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the samples lie all over a network.

    Attributes:
        uses: Sample axis by weight use.
        sites: Sample axis by site.
        sample_bytes: Bytes of activations per sample.
        overwrites: Whether the network writes into any of its tensors.
    """

    uses: dict[UseKey, SampleAxis]
    sites: dict[str, SampleAxis]
    sample_bytes: int
    overwrites: bool


class _Root(torch.autograd.Function):
    """Identity that makes a frozen tensor part of the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor) -> Tensor:
        """Return `x` itself."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None]:
        """End the graph here."""
        return None, None


def rooted(x: Tensor, anchor: Tensor) -> Tensor:
    """Return `x` as part of the graph that `anchor` belongs to."""
    alias: Tensor = _Root.apply(x, anchor)  # type: ignore[no-untyped-call]
    return alias


def on_gradient(x: Tensor, project: Callable[[Tensor], None]) -> None:
    """Call `project` with the gradient of `x` whenever a backward pass brings it."""
    x.register_hook(project)  # type: ignore[no-untyped-call]


class LayoutListener(Listener):
    """Notes the operands of every weight use, to find where the samples are."""

    sees_weights = True

    def __init__(self) -> None:
        self.operands: dict[UseKey, Tensor] = {}
        self.sites: dict[str, Tensor] = {}
        self.convolutions: set[UseKey] = set()
        self.opaque = False
        self.overwrites = False
        self.bytes = 0
        self._count: dict[str, int] = defaultdict(int)

    def activation(self, site: Site, x: Tensor) -> Tensor:
        """See `Listener.activation`."""
        self.sites[site.name] = x.detach()
        self.bytes += x.numel() * 4
        return x

    def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
        """See `Listener.weight_used`."""
        key = (use.layer.name, self._count[use.layer.name])
        self._count[use.layer.name] += 1
        self.operands[key] = use.x.detach()
        self.bytes += result.numel() * 4
        formula = formula_of(use)
        if formula == "conv":
            self.convolutions.add(key)
        if formula is None:
            self.opaque = True
        return result

    def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
        """See `Listener.weight_needed`."""
        self.opaque = True
        return parameter

    def before_write(self, x: Tensor) -> None:
        """See `Listener.before_write`."""
        self.overwrites = True


def sample_axis(one: Tensor, two: Tensor) -> SampleAxis | None:
    """Return where samples lie in an operand, given the same op seen twice.

    Args:
        one: Operand for the first sample alone.
        two: Operand for the first two samples together.

    Returns:
        The axis, `SHARED` when the operand does not depend on the samples, None
        when they cannot be told apart (tokens sorted by expert).
    """
    if one.dim() != two.dim() or one.dtype != two.dtype:
        return None
    if one.shape == two.shape:
        return SHARED if torch.equal(one, two) else None
    one, two = one.float(), two.float()
    largest = float(one.abs().max())
    if not math.isfinite(largest):
        # NaN is equal to nothing; what is not finite is compared as 0.
        one, two = (torch.nan_to_num(x, 0.0, 0.0, 0.0) for x in (one, two))
        largest = float(one.abs().max())
    # Batches of different size round differently, by far less than this.
    tolerance = 0.02 * largest
    for axis, size in enumerate(one.shape):
        doubled = (*one.shape[:axis], 2 * size, *one.shape[axis + 1 :])
        if two.shape != doubled:
            continue
        outer = two.narrow(axis, 0, size)
        inner = _unfolded(two, axis, 2).select(axis + 1, 0)
        for first, is_inner in ((outer, False), (inner, True)):
            if float((first - one).abs().max()) <= tolerance:
                return SampleAxis(axis, is_inner)
    return None


def _unfolded(x: Tensor, axis: int, samples: int) -> Tensor:
    """Return `x` with an axis of positions x samples split in two."""
    return x.reshape(*x.shape[:axis], -1, samples, *x.shape[axis + 1 :])


def find_layout(
    run_one: Callable[[], object],
    run_two: Callable[[], object],
    session: Callable[[Listener], Any],
    one: LayoutListener | None = None,
    *,
    with_sites: bool = True,
) -> Layout | None:
    """Return where the samples lie in every operand, or None if somewhere unknown.

    Args:
        run_one: Runs the network on the first sample.
        run_two: Runs it on the first two.
        session: `Tap.session`.
        one: Listens to the first sample; it may note more for itself.
        with_sites: Also look at the activations that are no operands of layers.

    Returns:
        The layout; None when one row per sample is impossible, so that samples
        have to be run one by one.
    """
    one, two = one or LayoutListener(), LayoutListener()
    for run, listener in ((run_one, one), (run_two, two)):
        with torch.no_grad(), session(listener):
            run()
    if one.opaque or one.operands.keys() != two.operands.keys():
        return None
    uses: dict[UseKey, SampleAxis] = {}
    known: dict[object, SampleAxis | None] = {}
    for key, operand in one.operands.items():
        pair = operand, two.operands[key]
        # Layers that share their input (query, key, value) have one answer.
        same = tuple((x.data_ptr(), x.shape, x.stride()) for x in pair)
        if same not in known:
            known[same] = sample_axis(*pair)
        axis = known[same]
        shared = axis == SHARED and operand.shape[0] == 1
        if axis is None or (axis == SHARED and not shared):
            return None
        if key in one.convolutions and axis.axis != 0:
            return None
        uses[key] = axis
    sites: dict[str, SampleAxis] = {}
    for name, x in one.sites.items() if with_sites else ():
        if name in two.sites:
            axis = sample_axis(x, two.sites[name])
            if axis is not None and axis != SHARED:
                sites[name] = axis
    return Layout(uses, sites, one.bytes, one.overwrites)


def split_samples(x: Tensor, where: SampleAxis, samples: int, tail: int) -> Tensor:
    """Return `[samples, positions, *last tail axes]`, summed axes flattened."""
    last = x.shape[x.dim() - tail :]
    if samples > 1 and where.inner:
        x = _unfolded(x, where.axis, samples).movedim(where.axis + 1, 0)
    elif samples > 1:
        x = x.movedim(where.axis, 0)
    return x.reshape(samples, -1, *last)


_CONV = {f"conv{n}d" for n in (1, 2, 3)}
_TRANSPOSED = {f"conv_transpose{n}d" for n in (1, 2, 3)}


def formula_of(use: WeightUse) -> str | None:
    """Return which projection formula a use has; None leaves it to autograd."""
    name, dims = use.op.name, use.weight.dim()
    if name in {"linear", "addmm", "matmul"}:
        plain = dims == 2 and use.x.is_floating_point()
        return name if plain else None
    if name == "embedding":
        return name if use.weight.is_contiguous() else None
    if name in _CONV | _TRANSPOSED:
        batched = use.x.dim() == use.weight.dim()
        return "conv" if batched and conv_args(use)[1] is not None else None
    return None


def conv_args(use: WeightUse) -> tuple[Any, Any, Any, Any]:
    """Return stride, padding, dilation and groups of a convolution call.

    Padding is None when it is not the same on both sides.
    """
    names = ["input", "weight", "bias", "stride", "padding"]
    if use.op.name in _TRANSPOSED:
        names += ["output_padding", "groups", "dilation"]
    else:
        names += ["dilation", "groups"]
    given = dict(zip(names, use.args, strict=False)) | use.kwargs
    kernel = use.weight.shape[2:]

    def each_axis(name: str, default: int) -> tuple[int, ...]:
        value = given.get(name, default)
        values = (value,) if isinstance(value, int) else tuple(value)
        return values * len(kernel) if len(values) == 1 else values

    stride, dilation = each_axis("stride", 1), each_axis("dilation", 1)
    padding: tuple[int, ...] | None
    if given.get("padding") == "valid":
        padding = (0,) * len(kernel)
    elif given.get("padding") == "same":
        spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        even = all(span % 2 == 0 for span in spans)
        padding = tuple(span // 2 for span in spans) if even else None
    else:
        padding = each_axis("padding", 0)
    return stride, padding, dilation, given.get("groups", 1)


@dataclass(slots=True)
class _Kept:
    """A layer's input as it was when the layer used it."""

    x: Tensor


class ProbeListener(Listener):
    """Collects projections of one batch; see the module's text.

    Args:
        candidates: Weight changes by layer.
        weight_columns: First column of each layer, by name.
        site_columns: Column of each (site, quantizer), by site name.
        axes: Where the samples lie, by weight use; None for one row per batch.
        site_axes: The same by site.
        width: Number of columns.
        device: Where to collect.
    """

    sees_weights = True

    def __init__(
        self,
        candidates: Candidates,
        weight_columns: Mapping[str, int],
        site_columns: Mapping[str, Sequence[tuple[int, Callable[[Tensor], Tensor]]]],
        axes: Mapping[UseKey, SampleAxis] | None,
        site_axes: Mapping[str, SampleAxis],
        width: int,
        device: torch.device | str,
    ) -> None:
        self._candidates = candidates
        self._weight_columns = weight_columns
        self._site_columns = site_columns
        self._axes = axes
        self._site_axes = site_axes
        self._width = width
        self._anchor = torch.zeros((), requires_grad=True, device=device)
        self.inside_attention = any(":" in name for name in site_columns)
        self.begin(1)

    def begin(self, samples: int) -> None:
        """Get ready for the next batch of `samples` samples."""
        rows = samples if self._axes is not None else 1
        self._samples = rows
        self.v = torch.zeros(rows, self._width, device=self._anchor.device)
        self._count: dict[str, int] = defaultdict(int)
        self._kept: dict[int, list[_Kept]] = defaultdict(list)
        self._stand_ins: dict[str, Tensor] = {}

    def take(self) -> Tensor:
        """Return the projections since the last call, `[rows, columns]`."""
        v, self.v = self.v, torch.zeros_like(self.v)
        return v

    def _in_graph(self, x: Tensor) -> Tensor:
        return x if x.requires_grad else rooted(x, self._anchor).clone()

    def activation(self, site: Site, x: Tensor) -> Tensor:
        """See `Listener.activation`."""
        columns = self._site_columns.get(site.name)
        if not columns or not x.is_floating_point():
            return x
        alias = x.view_as(x) if x.requires_grad else self._in_graph(x)
        kept = self._keep(x)
        axis = self._site_axes.get(site.name, ONE_ROW)

        def project(gradient: Tensor) -> None:
            for column, change in columns:
                delta = change(kept.x).sub_(kept.x.float())
                v = activation_projections(
                    split_samples(delta, axis, self._samples, 0),
                    split_samples(gradient, axis, self._samples, 0),
                )
                self.v[:, column] += v

        on_gradient(alias, project)
        return alias

    def compute(
        self, op: Op, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """See `Listener.compute`."""
        if func is F.batch_norm:
            return frozen_batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _keep(self, x: Tensor) -> _Kept:
        kept = _Kept(x.detach())
        self._kept[x.untyped_storage().data_ptr()].append(kept)
        return kept

    def before_write(self, x: Tensor) -> None:
        """Save the kept inputs that live in the memory of `x`."""
        for kept in self._kept.pop(x.untyped_storage().data_ptr(), ()):
            kept.x = kept.x.clone()

    def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
        """See `Listener.weight_used`."""
        name = use.layer.name
        key = (name, self._count[name])
        self._count[name] += 1
        if name not in self._weight_columns:
            return self._in_graph(result)
        if formula_of(use) is None:
            return self._differentiate(use)
        axis = ONE_ROW if self._axes is None else self._axes[key]
        if axis == SHARED:
            # One position table serves all samples; a copy per sample gives each
            # its own gradient.
            result = result.expand(self._samples, *result.shape[1:])
            axis = SampleAxis(0)
        result = self._in_graph(result)
        kept = self._keep(use.x)

        def project(gradient: Tensor) -> None:
            self._project(use, kept.x, gradient, axis)

        on_gradient(result, project)
        return result

    def _differentiate(self, use: WeightUse) -> Tensor:
        """Run a use again with a stand-in for the weight, for autograd to follow."""
        stand_in = use.view_of(self.weight_needed(use.layer, use.parameter))
        args, kwargs = use.op.replace(use.op.right, stand_in, use.args, use.kwargs)
        result: Tensor = use.func(*args, **kwargs)
        return result

    def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
        """See `Listener.weight_needed`."""
        if layer.name not in self._weight_columns:
            return parameter
        known = self._stand_ins.get(layer.name)
        if known is not None:
            return known
        stand_in = rooted(parameter.detach(), self._anchor)

        def project(gradient: Tensor) -> None:
            deltas = self._candidates.deltas(layer, parameter)
            v = deltas.flatten(1) @ gradient.float().reshape(-1)
            self._add(layer, v.unsqueeze(0))

        on_gradient(stand_in, project)
        self._stand_ins[layer.name] = stand_in
        return stand_in

    def _add(self, layer: Layer, v: Tensor) -> None:
        first = self._weight_columns[layer.name]
        self.v[:, first : first + v.shape[1]] += v

    def _project(
        self, use: WeightUse, x: Tensor, gradient: Tensor, axis: SampleAxis
    ) -> None:
        """Add the projections of one use; runs inside the backward pass."""
        formula, n = formula_of(use), self._samples
        if formula == "embedding":
            x = x.expand(gradient.shape[:-1])
            rows, index = torch.unique(x, return_inverse=True)
            deltas = self._candidates.row_deltas(use.layer, use.parameter, rows)
            v = embedding_projections(
                split_samples(index, axis, n, 0),
                split_samples(gradient, axis, n, 1),
                deltas,
            )
            self._add(use.layer, v)
            return
        deltas = self._candidates.deltas(use.layer, use.parameter)
        views = _views(deltas, use)
        if formula == "conv":
            self._add(use.layer, self._conv(use, x, gradient, views, axis))
            return
        if formula != "linear":
            views = views.transpose(1, 2)
        if x.dim() == gradient.dim() and x.shape[:-1] != gradient.shape[:-1]:
            x = x.expand(*gradient.shape[:-1], x.shape[-1])
        self._add(
            use.layer,
            linear_projections(
                split_samples(x, axis, n, 1), split_samples(gradient, axis, n, 1), views
            ),
        )

    def _conv(
        self,
        use: WeightUse,
        x: Tensor,
        gradient: Tensor,
        deltas: Tensor,
        axis: SampleAxis,
    ) -> Tensor:
        stride, padding, dilation, groups = conv_args(use)
        if use.op.name in _TRANSPOSED:
            x, gradient = gradient, x
        v = conv_projections(
            x,
            gradient,
            deltas,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        # Frames folded into the batch axis belong to one sample.
        return split_samples(v, axis, self._samples, 1).sum(1)


def _views(deltas: Tensor, use: WeightUse) -> Tensor:
    """Return `[F, *weight shape]`: each candidate seen through the same view."""
    if use.weight.shape == use.parameter.shape and use.weight.is_contiguous():
        return deltas
    return torch.stack([use.view_of(like(delta, use.parameter)) for delta in deltas])


def like(delta: Tensor, parameter: Tensor) -> Tensor:
    """Return `delta` laid out in memory as the parameter is."""
    if parameter.is_contiguous() and delta.is_contiguous():
        return delta
    out = torch.empty_strided(
        parameter.size(), parameter.stride(), dtype=delta.dtype, device=delta.device
    )
    return out.copy_(delta)
