"""One forward pass, then one backward pass per probe, through the tap.

`ProbeListener` starts the autograd graph at the first activation (parameters stay
frozen), keeps each layer's input, and turns the gradient at each layer's output into
projections `v` the moment it arrives, so that no gradient outlives its layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.measures.candidates import Candidates
from analysis.measures.formulas import TRANSPOSED, conv_args, formula_of
from analysis.measures.sample_layout import (
    ONE_ROW,
    SHARED,
    SampleAxis,
    UseKey,
    split_samples,
)
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
            self._add(layer, self._of_whole(layer, parameter, gradient).unsqueeze(0))

        on_gradient(stand_in, project)
        self._stand_ins[layer.name] = stand_in
        return stand_in

    def _of_whole(self, layer: Layer, parameter: Tensor, gradient: Tensor) -> Tensor:
        """Return what the gradient of a whole parameter gives, `[columns]`."""
        deltas = self._candidates.deltas(layer, parameter)
        return deltas.flatten(1) @ gradient.float().reshape(-1)

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
        if use.op.name in TRANSPOSED:
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
    w, whole = use.weight, use.parameter
    if (w.shape, w.stride()) == (whole.shape, whole.stride()):
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
