"""Scores by which other tools rank layers, under their own names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.data.batch import Batch, call
from analysis.measures.candidates import (
    Candidates,
    broken_parameters,
    broken_warnings,
)
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import evaluating
from analysis.measures.measuring import usual_batch
from analysis.measures.tool_inputs import InputScores, by_sample
from analysis.method import Method, Row, Update
from analysis.results import Part
from analysis.tasks.outputs import attended
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site
from quant_core.tap import Tap

_NNCF = (
    "mean_activation_variance",
    "max_activation_variance",
    "mean_activation_magnitude",
)


@dataclass(frozen=True)
class ToolScores(Method):
    """What NNCF, msModelSlim and llama.cpp rank layers by, from one forward pass.

    NNCF's weight compression, with e the largest mean squared error of an output
    channel in asymmetric 8 bits: `nncf_weight_error` is 1 / (e + eps), the tool's
    default without data. `nncf_mean_activation_variance`,
    `nncf_max_activation_variance` (its default with data) and
    `nncf_mean_activation_magnitude` multiply it by a statistic of the layer's input;
    `nncf_hessian_input` is the norm of the error in 8 bits times twice the input's
    mean square, as meant; `nncf_hessian_input_as_run` takes the running mean that the
    tool computes, which forgets all but the last sample. In all of them the layers of
    the lowest scores get 4 bits first; embeddings score 0 where data are used.

    msModelSlim, of the layer's input: `msmodelslim_std` (largest magnitude over the
    standard deviation about the channels' mid-ranges), `msmodelslim_quantile` (step
    of int8 over the inter-quartile range), `msmodelslim_kurtosis` (excess kurtosis of
    every 100th value in order).

    llama.cpp: the importance matrix E[x_j^2] is kept per input channel;
    `imatrix_mean`, `imatrix_entropy` [bit] and, per format, `imatrix_error`, the
    squared rounding error weighted by it: what the layer's output moves by when input
    channels are independent.
    """

    key: ClassVar[str] = "tool_scores"
    title: ClassVar[str] = "Scores of other tools"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "neither"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True
    reconstruction: ClassVar[str] = (
        "The tools look at one sample at a time, linear layers and sequences. Here a "
        "convolution's positions stand for tokens and padding is left out. How "
        "msModelSlim joins batches is not known for its quantile and kurtosis: they "
        "are means over samples, and inputs of fewer than 1,000 values enter the "
        "kurtosis in full."
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield progress, and all rows and arrays at the end.

        Args:
            context: Needs a module, data and a task.
        """
        module, _, _ = context.need_run(self.title)
        with evaluating(module):
            yield from _Run(context, module).updates()


class _Run:
    """One run over the data."""

    def __init__(self, context: MeasureContext, module: nn.Module) -> None:
        _, data, _ = context.need_run(ToolScores.title)
        self._context, self._tap = context, Tap(module)
        self._parameters = self._tap.parameters
        self._layers = {layer.name: layer for layer in self._tap.layers}
        self._broken = broken_parameters(self._layers.values(), self._parameters)
        fixed = context.model.input_hints.get("batch_size")
        size = int(fixed or context.batch_size or usual_batch(data))
        self._batches = [batch.to(context.device) for batch in data.batches(size)]
        self._samples = len(data)
        self._inputs: dict[str, InputScores] = {}
        self._lost: dict[str, None] = {}
        self._recent: tuple[Tensor, int, InputScores] | None = None

    def updates(self) -> Iterator[Update]:
        warnings = tuple(broken_warnings(self._layers.values(), self._broken))
        total, done = float(2 * self._samples), 0.0
        yield Update(done, total, "inputs", warnings=warnings)
        for batch in self._batches:
            self._recent = None

            def see(site: Site, x: Tensor, batch: Batch = batch) -> None:
                self._see(site, x, batch)

            with (
                torch.no_grad(),
                self._tap.exchanged(self._broken),
                self._tap.watch(see),
            ):
                call(self._tap.module, batch)
            done += batch.size
            yield Update(done, total, "inputs", samples=int(done))
        rows: list[Row] = []
        layers = [x for x in self._layers.values() if x.parameter not in self._broken]
        candidates = Candidates(layers, self._context.schemes)
        for number, layer in enumerate(layers, 1):
            rows += self._rows(layer, candidates)
            part = self._samples * (1 + number / len(layers))
            yield Update(part, total, layer.name, samples=self._samples)
        told = (*candidates.warnings, *self._told())
        arrays = {
            f"{ToolScores.key}/{name}/imatrix": found.importance
            for name, found in self._inputs.items()
        }
        yield Update(total, total, "", tuple(rows), arrays, told, samples=self._samples)

    def _see(self, site: Site, x: Tensor, batch: Batch) -> None:
        """Add the input of a layer; that of query, key and value is looked at once."""
        if site.role != "input" or site.layer is None:
            return
        held = self._recent
        if held is not None and held[0] is x and held[1] == x._version:
            found: InputScores | None = held[2]
        else:
            found = _scores(site, x, batch)
        if found is None:
            self._lost.setdefault(site.layer)
            return
        if not x.is_inference():
            self._recent = x, x._version, found
        self._inputs.setdefault(site.layer, InputScores()).merge(found)

    def _told(self) -> Iterator[str]:
        if self._lost:
            yield (
                f"The inputs of {', '.join(self._lost)} are not finite or cannot be "
                "told apart by sample: no score of the input."
            )

    def _rows(self, layer: Layer, candidates: Candidates) -> Iterator[Row]:
        weight = self._parameters[layer.parameter].detach()
        error = Quantizer(Scheme("uint8")).error(weight, layer.channel_axes)
        ease = 1 / (_worst_channel(error, layer) + _epsilon(layer))
        yield _row(layer, "nncf_weight_error", ease)
        inputs = None if layer.name in self._lost else self._inputs.get(layer.name)
        if inputs is None:
            if layer.kind == "embedding":
                for name in (*_NNCF, "hessian_input", "hessian_input_as_run"):
                    yield _row(layer, f"nncf_{name}", 0.0)
            return
        for name in _NNCF:
            mean, stderr = inputs.mean(name)
            yield _row(layer, f"nncf_{name}", ease * mean, ease * stderr)
        size = float(error.double().norm())
        yield _row(layer, "nncf_hessian_input", size * inputs.hessian)
        recursive = size * inputs.hessian_recursive
        yield _row(layer, "nncf_hessian_input_as_run", recursive)
        yield _row(layer, "msmodelslim_std", inputs.range_over_std, part="input")
        for name in ("quantile", "kurtosis"):
            told = inputs.mean(name)
            yield _row(layer, f"msmodelslim_{name}", *told, part="input")
        importance = inputs.importance
        yield _row(layer, "imatrix_mean", float(importance.mean()), part="input")
        yield _row(layer, "imatrix_entropy", inputs.entropy, part="input")
        columns = _columns(layer, weight, importance)
        if columns is None:
            return
        deltas = candidates.deltas(layer, weight)
        for scheme, delta in zip(candidates.schemes_of(layer), deltas, strict=True):
            weighted = float((delta.double().square() * columns.to(delta.device)).sum())
            yield Row(layer.name, scheme.key, weighted, quantity="imatrix_error")


def _scores(site: Site, x: Tensor, batch: Batch) -> InputScores | None:
    """Return the statistics of one input, without padding; None if it has none."""
    parts = by_sample(x, batch.size, site.op.startswith("conv"))
    if parts is None or not bool(torch.isfinite(x).all()):
        return None
    mask = attended(parts.shape[:2], batch)
    found = InputScores()
    if mask is None or bool(mask.all()):
        found.update(parts)
        return found
    for part, keep in zip(parts, mask, strict=True):
        if keep.any():
            found.update(part[keep].unsqueeze(0))
    return found if found.samples else None


def _row(
    layer: Layer,
    quantity: str,
    value: float,
    stderr: float = math.nan,
    *,
    part: Part = "weight",
) -> Row:
    return Row(layer.name, None, value, stderr, quantity, part)


def _worst_channel(error: Tensor, layer: Layer) -> float:
    """Return the largest over the output channels of the mean squared error."""
    axes = [axis for axis in range(error.dim()) if axis not in layer.channel_axes]
    squares = error.square()
    return float((squares.mean(axes) if axes else squares).max())


def _epsilon(layer: Layer) -> float:
    """Return the distance of 1 from the next number of the stored type."""
    kind = getattr(torch, layer.dtype, torch.float32)
    return float(torch.finfo(kind if kind.is_floating_point else torch.float32).eps)


def _columns(
    layer: Layer, weight: Tensor, importance: NDArray[np.float64]
) -> Tensor | None:
    """Return E[x^2] of the input channel that each weight meets, or None.

    Args:
        layer: Linear or convolution; of others it is not known.
        weight: Its parameter.
        importance: `[C]`.

    Returns:
        float64, of a shape that fits beside `weight`.
    """
    found = torch.from_numpy(importance)
    if layer.kind == "linear" and weight.dim() == 2:
        axis = 1 - layer.channel_axes[0]
        if weight.shape[axis] == len(found):
            return found if axis == 1 else found[:, None]
    if layer.kind == "conv" and len(found) % weight.shape[1] == 0:
        groups = len(found) // weight.shape[1]
        by_group = found.reshape(groups, 1, -1).expand(
            groups, len(weight) // groups, -1
        )
        return by_group.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
    return None
