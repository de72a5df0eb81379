"""Squared norms of per-sample weight gradients, of all layers from one backward pass.

The gradient of a layer is a sum over positions t of outer products a_t b_t^T of what
came back at its output and what went into it. Its squared norm follows from the two
Gram matrices, `sum_tt' (a_t . a_t') (b_t . b_t')`, or, where that is cheaper, from
the gradient formed for a few samples at a time; it is never kept for a batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.measures.candidates import Candidates
from analysis.measures.formulas import conv_args, formula_of
from analysis.measures.probing import ProbeListener
from analysis.measures.sample_layout import (
    LayoutListener,
    SampleAxis,
    UseKey,
    split_samples,
)
from quant_core.projections import conv_rows, depthwise_gradients, is_depthwise
from quant_core.sites import Layer
from quant_core.tap import WeightUse

_CHUNK_BYTES = 4 << 20

View = tuple[int, tuple[int, ...], tuple[int, ...], bool]
"""Offset, shape and strides of the part of a parameter a use sees; rows are inputs."""


@dataclass(frozen=True, slots=True)
class Factors:
    """A per-sample gradient as a sum of outer products.

    Attributes:
        rows: `[N, groups, T, a]`, or indices `[N, 1, T]` of rows with a one.
        columns: `[N, groups, T, b]`.
    """

    rows: Tensor
    columns: Tensor

    @property
    def is_dense(self) -> bool:
        """Whether rows are numbers, not indices."""
        return self.rows.is_floating_point()


def _chunks(f: Factors, numbers: int) -> list[slice]:
    """Return ranges of samples with so many numbers each that fit the cache."""
    step = max(1, _CHUNK_BYTES // (4 * max(1, numbers)))
    return [slice(i, i + step) for i in range(0, len(f.columns), step)]


def square_norms(uses: Sequence[Factors]) -> Tensor:
    """Return the squared norm of the summed gradients of several uses, `[N]`."""
    total = torch.zeros(len(uses[0].columns), device=uses[0].columns.device)
    for i, one in enumerate(uses):
        total += _square(one)
        for other in uses[:i]:
            total += 2 * _inner(one, other)
    return total


def _square(f: Factors) -> Tensor:
    """Return the squared norm of one use by the cheaper of the two routes."""
    positions, width = f.columns.shape[2:]
    if not f.is_dense:
        return _inner(f, f)
    if positions == 1:  # ||a b^T|| = ||a|| ||b||
        sides = f.rows.square().sum(-1) * f.columns.square().sum(-1)
        return sides.flatten(1).sum(1)
    height = f.rows.shape[-1]
    if positions * (height + width) < height * width:
        return _inner(f, f)
    found = []
    for part in _chunks(f, f.columns.shape[1] * height * width):
        formed = f.rows[part].transpose(-1, -2) @ f.columns[part]
        found.append(torch.linalg.vector_norm(formed.flatten(1), dim=1).square())
    return torch.cat(found)


def _inner(one: Factors, other: Factors) -> Tensor:
    """Return the inner product of two gradients of one parameter, `[N]`."""
    found = []
    groups, positions = one.columns.shape[1:3]
    for part in _chunks(one, groups * positions * other.columns.shape[2]):
        columns = one.columns[part] @ other.columns[part].transpose(-1, -2)
        a, b = one.rows[part], other.rows[part]
        if one.is_dense and other.is_dense:
            rows = a @ b.transpose(-1, -2)
        elif one.is_dense:
            index = b.unsqueeze(-2).expand(*a.shape[:3], b.shape[-1])
            rows = a.gather(-1, index)
        elif other.is_dense:
            index = a.unsqueeze(-2).expand(*b.shape[:3], a.shape[-1])
            rows = b.gather(-1, index).transpose(-1, -2)
        else:
            rows = (a.unsqueeze(-1) == b.unsqueeze(-2)).to(columns)
        found.append((columns * rows).sum((1, 2, 3)))
    return torch.cat(found)


def factors_of(
    use: WeightUse,
    x: Tensor,
    gradient: Tensor,
    axis: SampleAxis,
    samples: int,
    *,
    by_position: bool = False,
) -> Factors:
    """Return the per-sample gradient of one use of a weight.

    Args:
        use: The use; it must have a formula.
        x: What went in.
        gradient: What came back at the output.
        axis: Where the samples lie.
        samples: Number of samples.
        by_position: Return one outer product for each position, even where forming
            the gradient is cheaper.
    """
    formula = formula_of(use)
    if formula == "embedding":
        index = split_samples(x.expand(gradient.shape[:-1]), axis, samples, 0)
        columns = split_samples(gradient, axis, samples, 1).float()
        return Factors(index.unsqueeze(1), columns.unsqueeze(1))
    if formula == "conv":
        return _conv_factors(use, x, gradient, axis, samples, by_position)
    if x.dim() == gradient.dim() and x.shape[:-1] != gradient.shape[:-1]:
        x = x.expand(*gradient.shape[:-1], x.shape[-1])
    a = split_samples(gradient, axis, samples, 1).float().unsqueeze(1)
    b = split_samples(x, axis, samples, 1).float().unsqueeze(1)
    return Factors(a, b) if formula == "linear" else Factors(b, a)


def _conv_factors(
    use: WeightUse,
    x: Tensor,
    gradient: Tensor,
    axis: SampleAxis,
    samples: int,
    by_position: bool,
) -> Factors:
    stride, padding, dilation, groups = conv_args(use)
    kernel = use.weight.shape[2:]
    if use.op.name.startswith("conv_transpose"):
        x, gradient = gradient, x
    shape = (len(x), groups, gradient.shape[1] // groups)
    if is_depthwise(x, groups) and not by_position:
        formed = depthwise_gradients(
            x, gradient, kernel, stride, padding, dilation, groups
        )
        a = torch.eye(shape[-1], device=x.device).expand(*shape, -1)
        b = formed.reshape(*shape, -1)
    else:
        size = gradient.shape[2:]
        a = gradient.float().reshape(*shape, -1).transpose(-1, -2)
        b = conv_rows(x.float(), kernel, stride, padding, dilation, groups, size)
    return Factors(_positions(a, axis, samples), _positions(b, axis, samples))


def _positions(x: Tensor, axis: SampleAxis, samples: int) -> Tensor:
    """Return `[N, groups, T, width]` from `[frames, groups, positions, width]`."""
    # Frames folded into the batch axis are positions of their sample.
    return split_samples(x, axis, samples, 3).transpose(1, 2).flatten(2, 3)


def as_factors(deltas: Tensor) -> Tensor:
    """Return weight changes `[F, *shape]` in the order that `Factors` have.

    Of a convolution the channels come last: `[F, out, *kernel, C / groups]`.
    """
    return deltas.movedim(2, -1) if deltas.dim() > 3 else deltas


def _parts(
    use: WeightUse, x: Tensor, gradient: Tensor, axis: SampleAxis, samples: int
) -> list[slice]:
    """Return ranges of samples whose patches fit the cache; one where none are formed.

    Patches hold every input as often as the kernel covers it.
    """
    if formula_of(use) != "conv" or samples == 1 or len(x) != samples or axis.axis != 0:
        return [slice(None)]
    kernel = math.prod(use.weight.shape[2:])
    if kernel == 1 or is_depthwise(x, conv_args(use)[3]):
        return [slice(None)]
    below = x if use.op.name.startswith("conv_transpose") else gradient
    channels = x.shape[1] + gradient.shape[1] - below.shape[1]
    numbers = kernel * channels * math.prod(below.shape[2:])
    step = max(1, _CHUNK_BYTES // (4 * numbers))
    return [slice(i, i + step) for i in range(0, samples, step)]


def view_of_use(use: WeightUse) -> View:
    """Return which part of the parameter a use sees, and which way round."""
    w = use.weight
    offset = int(w.storage_offset()) - int(use.parameter.storage_offset())
    turned = formula_of(use) in {"addmm", "matmul"}
    return offset, tuple(w.shape), tuple(w.stride()), turned


class UseListener(LayoutListener):
    """Finds, too, the layers whose gradient norm only autograd can give.

    These are used by an op without a formula, or through views that overlap without
    being equal.
    """

    def __init__(self) -> None:
        super().__init__()
        self._views: dict[str, set[View]] = defaultdict(set)
        self._opaque: set[str] = set()

    def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
        """See `Listener.weight_used`."""
        if formula_of(use) is None:
            self._opaque.add(use.layer.name)
        self._views[use.layer.name].add(view_of_use(use))
        return super().weight_used(use, result)

    def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
        """See `Listener.weight_needed`."""
        self._opaque.add(layer.name)
        return super().weight_needed(layer, parameter)

    @property
    def through_autograd(self) -> frozenset[str]:
        """Names of these layers."""
        clashing = {name for name, views in self._views.items() if _overlap(views)}
        return frozenset(self._opaque | clashing)


def _overlap(views: set[View]) -> bool:
    spans = sorted(
        (start, start + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)))
        for start, shape, strides, _ in views
    )
    return any(b[0] <= a[1] for a, b in zip(spans, spans[1:], strict=False))


class NormListener(ProbeListener):
    """Collects `||J_layer^T u||^2` per sample and layer; see the module's text.

    Args:
        layers: Layers to judge; `take` returns one column each, in this order.
        axes: Where the samples lie, by weight use; None for one row per batch.
        through_autograd: Layers whose gradient is formed by autograd; only with
            one row per batch.
        device: Where to collect.

    Attributes:
        by_position: See `factors_of`.
        norms_alone: Nothing but norms is wanted of the gradient of a convolution:
            it is taken in a few samples at a time.
    """

    by_position = False
    norms_alone = True

    def __init__(
        self,
        layers: Sequence[Layer],
        axes: Mapping[UseKey, SampleAxis] | None,
        through_autograd: frozenset[str],
        device: torch.device | str,
    ) -> None:
        columns = {layer.name: i for i, layer in enumerate(layers)}
        self._through_autograd = through_autograd
        self._pending: dict[str, dict[View, list[Factors]]] = {}
        nothing = Candidates((), ())
        super().__init__(nothing, columns, {}, axes, {}, len(columns), device)

    def take(self) -> Tensor:
        """Return squared norms since the last call, `[rows, layers]`."""
        for name, views in self._pending.items():
            column = self._weight_columns[name]
            for uses in views.values():
                self.v[:, column] += square_norms(uses)
        self._pending = {}
        return super().take()

    def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
        """See `Listener.weight_used`."""
        if use.layer.name in self._through_autograd:
            return self._differentiate(use)
        return super().weight_used(use, result)

    def _of_whole(self, layer: Layer, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient.float().square().sum().view(1)

    def _project(
        self, use: WeightUse, x: Tensor, gradient: Tensor, axis: SampleAxis
    ) -> None:
        parts = [slice(None)]
        if self.norms_alone and self._count[use.layer.name] == 1:
            parts = _parts(use, x, gradient, axis, self._samples)
        if len(parts) > 1:
            norms = [
                _square(factors_of(use, x[i], gradient[i], axis, len(x[i])))
                for i in parts
            ]
            self._add(use.layer, torch.cat(norms).unsqueeze(1))
            return
        found = factors_of(
            use, x, gradient, axis, self._samples, by_position=self.by_position
        )
        self._take_in(use, found)

    def _take_in(self, use: WeightUse, factors: Factors) -> None:
        """Add what the gradient of one use tells."""
        if self._count[use.layer.name] == 1:
            self._add(use.layer, square_norms([factors]).unsqueeze(1))
            return
        # Gradients of several uses add up before the norm is taken.
        views = self._pending.setdefault(use.layer.name, {})
        views.setdefault(view_of_use(use), []).append(factors)
