"""What one backward pass tells of every layer: norms, channels, factors, sites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from analysis.measures.candidates import Candidates
from analysis.measures.formulas import formula_of
from analysis.measures.hessian_norms import Factors, NormListener, as_factors
from analysis.measures.input_quantizers import InputQuantizer
from analysis.measures.probing import on_gradient
from analysis.measures.sample_layout import ONE_ROW, SampleAxis, UseKey, split_samples
from quant_core.sites import Layer, Site
from quant_core.tap import WeightUse

_CHUNK_BYTES = 16 << 20
KFAC_LIMIT = 8192
"""Widest factor that K-FAC keeps: its matrix has the square of that."""


@dataclass
class Sums:
    """What is summed over all samples and draws, beside the norms per sample.

    Attributes:
        weight: Weight of the loss of all rows that were added.
        channels: Squared gradients by layer, `[output channels]`.
        rows: Second moments of the row factors by layer, `[groups, a, a]`, or the
            counts of looked-up rows `[rows]`.
        columns: The same of the column factors, `[groups, b, b]`.
        positions: Row factors by layer.
        noise: Squared error and number of values by site and quantizer, `[Q, 2]`.
    """

    weight: float = 0.0
    channels: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    noise: dict[str, Tensor] = field(default_factory=dict)

    def add(self, table: dict[str, Tensor], name: str, value: Tensor) -> None:
        """Add `value` to an entry of one of the tables."""
        known = table.get(name)
        table[name] = value if known is None else known + value


@dataclass(frozen=True)
class Wanted:
    """What a `FisherListener` collects.

    Attributes:
        layers: One column of the norms each.
        sites: Quantizers of the inputs that are judged; a column each after these.
        scored: Candidates for the diagonal score, one column per (layer, scheme)
            after those; none to leave it out.
        channels: Whether squared gradients are split by output channel.
        kfac: Whether second moments of both factors are kept.
    """

    layers: Sequence[Layer]
    sites: Mapping[str, Sequence[InputQuantizer]]
    scored: Candidates | None
    channels: bool
    kfac: bool

    def diagonal(self) -> list[tuple[Layer, int]]:
        """Return the scored layers with their number of schemes."""
        if self.scored is None:
            return []
        return [(x, len(self.scored.schemes_of(x))) for x in self.layers]


class FisherListener(NormListener):
    """Collects squared score functions `||d log p / d W||^2` per sample and layer.

    Columns of `take`: layers, sites (`||d log p / d x||^2`), then the diagonal score
    `sum_j g_j^2 dW_j^2` of every layer and scheme.

    Args:
        wanted: What to collect.
        sums: Where everything that is not per sample is added.
        axes: Where the samples lie, by weight use; None for one row per batch.
        site_axes: The same by site.
        through_autograd: Layers whose gradient is formed by autograd.
        device: Where to collect.
    """

    def __init__(
        self,
        wanted: Wanted,
        sums: Sums,
        axes: Mapping[UseKey, SampleAxis] | None,
        site_axes: Mapping[str, SampleAxis],
        through_autograd: frozenset[str],
        device: torch.device | str,
    ) -> None:
        super().__init__(wanted.layers, axes, through_autograd, device)
        self._wanted, self._sums, self._site_axes = wanted, sums, site_axes
        self.by_position = wanted.kfac
        self.norms_alone = not (wanted.kfac or wanted.channels or wanted.scored)
        first = len(wanted.layers)
        self._site_column = {name: first + i for i, name in enumerate(wanted.sites)}
        first += len(wanted.sites)
        self._diagonal_column: dict[str, int] = {}
        for layer, schemes in wanted.diagonal():
            self._diagonal_column[layer.name] = first
            first += schemes
        self._width = first
        self.inside_attention = any(":" in name for name in wanted.sites)
        self.begin(1)

    def begin(self, samples: int) -> None:
        """See `ProbeListener.begin`."""
        super().begin(samples)
        self._fresh = torch.ones(len(self.v), device=self.v.device)
        self._is_first = True

    def begin_probe(self, weights: np.ndarray) -> None:
        """Say which rows count in the sums.

        Args:
            weights: `[rows]` weight of the loss; NaN for rows that do not count.
        """
        counted = np.isfinite(weights)
        self._sums.weight += float(weights[counted].sum())
        self._fresh = torch.from_numpy(counted).to(self.v)

    def take(self) -> Tensor:
        """See `NormListener.take`."""
        self._is_first = False
        return super().take()

    def activation(self, site: Site, x: Tensor) -> Tensor:
        """See `Listener.activation`."""
        column = self._site_column.get(site.name)
        if column is None or not x.is_floating_point():
            return x
        fixed = x.detach()
        squares = [
            (q(fixed).float() - fixed.float()).square().sum(dtype=torch.float64)
            for q in self._wanted.sites[site.name]
        ]
        counts = [torch.tensor(float(fixed.numel())).to(squares[0])] * len(squares)
        noise = torch.stack([torch.stack(squares), torch.stack(counts)], dim=1)
        self._sums.add(self._sums.noise, site.name, noise.cpu())
        alias = x.view_as(x) if x.requires_grad else self._in_graph(x)
        axis = self._site_axes.get(site.name, ONE_ROW)

        def square(gradient: Tensor) -> None:
            g = split_samples(gradient, axis, self._samples, 0).float()
            self.v[:, column] += g.square().sum(1)

        on_gradient(alias, square)
        return alias

    def _take_in(self, use: WeightUse, factors: Factors) -> None:
        """See `NormListener._take_in`."""
        super()._take_in(use, factors)
        name, wanted = use.layer.name, self._wanted
        is_whole = use.weight.numel() == use.parameter.numel()
        if not is_whole or self._count[name] > 1:
            # Parts of a weight, and sums over uses, have cross terms.
            return
        if wanted.channels:
            found = channel_squares(
                factors, len(use.parameter), columns=_output_is_column(use)
            )
            counted = torch.where(self._fresh[:, None] > 0, found, 0.0).sum(0)
            self._sums.add(self._sums.channels, name, counted.double())
        if name in self._diagonal_column and wanted.scored is not None:
            deltas = as_factors(wanted.scored.deltas(use.layer, use.parameter))
            first = self._diagonal_column[name]
            self.v[:, first : first + len(deltas)] += diagonal_forms(factors, deltas)
        if wanted.kfac:
            self._add_moments(name, factors, len(use.parameter))

    def _add_moments(self, name: str, f: Factors, size: int) -> None:
        """Add the second moments of both factors; inputs once, gradients each draw.

        Which of the two is the input does not matter: their product is linear in
        each, and the input is added as often as the gradient.
        """
        if max(f.columns.shape[-1], f.rows.shape[-1] * f.is_dense) > KFAC_LIMIT:
            return
        keep = self._fresh.view(-1, 1, 1, 1) > 0
        columns = torch.where(keep, f.columns, 0.0)
        sums = self._sums
        sums.add(sums.columns, name, torch.einsum("ngta,ngtb->gab", columns, columns))
        if f.is_dense:
            rows = torch.where(keep, f.rows, 0.0)
            sums.add(sums.rows, name, torch.einsum("ngta,ngtb->gab", rows, rows))
        else:
            index = f.rows[self._fresh > 0].flatten()
            counts = torch.bincount(index, minlength=size).double()
            sums.add(sums.rows, name, counts)
        sums.positions[name] += int(self._fresh.sum()) * f.columns.shape[2]


def _output_is_column(use: WeightUse) -> bool:
    """Return whether the columns of a gradient are the output channels."""
    return formula_of(use) in {"addmm", "matmul"} or use.op.name.startswith(
        "conv_transpose"
    )


def channel_squares(f: Factors, size: int, *, columns: bool) -> Tensor:
    """Return the squared gradient of every output channel, `[N, channels]`.

    A lookup table has its rows as channels.

    Args:
        f: The gradient of one use.
        size: Rows of the weight; the channels of a lookup table.
        columns: Whether output channels are columns of it.
    """
    if not f.is_dense:
        same = (f.rows.unsqueeze(-1) == f.rows.unsqueeze(-2)).to(f.columns)
        each = ((same @ f.columns) * f.columns).sum(-1)
        found = each.new_zeros(len(each), size)
        return found.scatter_add_(1, f.rows.flatten(1), each.flatten(1))
    out, other = (f.columns, f.rows) if columns else (f.rows, f.columns)
    gram = other @ other.transpose(-1, -2)
    return ((gram @ out) * out).sum(2).flatten(1)


def diagonal_forms(f: Factors, deltas: Tensor) -> Tensor:
    """Return `sum_j g_j^2 dW_j^2` of every sample and candidate, `[N, F]`.

    Args:
        f: The gradient of one use of the whole weight.
        deltas: `[F, *shape]`, as `as_factors` returns them.
    """
    squares = deltas.square().flatten(1)
    if not f.is_dense:
        tables = squares.view(len(deltas), *deltas.shape[1:])
        found = []
        for index, columns in zip(f.rows[:, 0], f.columns[:, 0], strict=True):
            rows, place = torch.unique(index, return_inverse=True)
            g = columns.new_zeros(len(rows), columns.shape[1])
            g = g.index_add_(0, place, columns).square()
            found.append((tables[:, rows] * g).sum((1, 2)))
        return torch.stack(found)
    numbers = f.rows.shape[1] * f.rows.shape[-1] * f.columns.shape[-1]
    step = max(1, _CHUNK_BYTES // (4 * numbers))
    found = [
        (f.rows[i : i + step].transpose(-1, -2) @ f.columns[i : i + step])
        .square()
        .flatten(1)
        @ squares.T
        for i in range(0, len(f.rows), step)
    ]
    return torch.cat(found)


def kfac_scores(rows: Tensor, columns: Tensor, deltas: Tensor) -> Tensor:
    """Return `tr(R dW C dW^T)` of every candidate, `[F]`.

    Args:
        rows: `[groups, a, a]`, or a diagonal `[a]`.
        columns: `[groups, b, b]`.
        deltas: `[F, *shape]` with `groups * a * b` numbers each, as
            `as_factors` returns them.
    """
    if rows.dim() == 1:
        seen = deltas[:, : len(rows)]
        return ((seen @ columns[0]) * seen).sum(-1) @ rows.to(seen)
    shape = (len(deltas), len(rows), rows.shape[-1], columns.shape[-1])
    w = deltas.reshape(shape)
    return ((rows.to(w) @ w) * (w @ columns.to(w))).sum((1, 2, 3))
