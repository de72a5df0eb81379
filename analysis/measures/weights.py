"""Distribution of the weights and the noise each scheme adds to them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from analysis.measures.candidates import Candidates
from analysis.measures.context import MeasureContext
from analysis.measures.distribution import distribution_rows
from analysis.method import Method, Row, Update, param
from quant_core.blocks import blocks
from quant_core.errors import QuantError
from quant_core.granularity import group
from quant_core.histogram import Histogram
from quant_core.moments import Moments
from quant_core.quantizer import Quantizer, errors
from quant_core.ranges import QParams
from quant_core.scheme import Scheme
from quant_core.sites import Layer
from quant_core.stats import ChannelRange

_CHUNK = 1 << 20  # weights between two updates: some 50 ms with eight schemes
_DOT = 1 << 17


@dataclass(frozen=True)
class Weights(Method):
    """How each layer's weights are distributed, and how well each format keeps them.

    Per layer: mean, standard deviation, skewness, kurtosis (3 for a normal
    distribution), largest magnitude, its ratio to the 99.9 % magnitude, spread of the
    channels, histogram, and range and energy of every output and every input channel.
    Per layer and scheme, with `w` the weights
    and `q` what would be stored:

        sqnr = 10 log10(sum w^2 / sum (q - w)^2)   [dB]
        mse = mean (q - w)^2
        cosine = (w . q) / (|w| |q|)

    Noise in the weights says little about the output: compare formats of one layer by
    it, and layers by the predicted error. It needs no data and no network, reads one
    layer at a time, and so takes checkpoints larger than memory. A layer that holds
    NaN or infinite values is named and left out. SQNR: Widrow and Kollar,
    "Quantization noise", Cambridge University Press 2008.
    """

    key: ClassVar[str] = "weights"
    title: ClassVar[str] = "Weight statistics and noise"
    unit: ClassVar[str] = "dB"
    better: ClassVar[Literal["lower", "higher", "neither"]] = "higher"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = False

    bins: int = param(
        2048,
        "Largest number of histogram bins; at least half of them span the values.",
        minimum=16,
        maximum=65536,
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield updates; a layer's rows and arrays come together when it is done.

        Args:
            context: Model and schemes. Layers all of whose rows are in
                `context.done` are not read again.
        """
        layers = context.model.info.layers
        total = float(max(context.model.info.parameters, 1))
        candidates = Candidates(layers, context.schemes)
        yield Update(0.0, total, "weights", warnings=candidates.warnings)
        finished = 0
        for layer in layers:
            schemes = candidates.schemes_of(layer)
            if layer.parameters and not _is_done(layer, schemes, context):
                yield from self._layer(layer, schemes, context, finished, total)
            finished += layer.parameters
        yield Update(total, total, "weights")

    def _layer(
        self,
        layer: Layer,
        schemes: Sequence[Scheme],
        context: MeasureContext,
        finished: int,
        total: float,
    ) -> Iterator[Update]:
        """Yield progress on one layer, its results last."""
        weight = context.model.read_tensor(layer.parameter).detach()
        work = _Work(layer, weight, schemes, context.device, self.bins)
        try:
            for share in work.steps():
                done = finished + share * layer.parameters
                yield Update(done, total, layer.name)
        except QuantError as error:
            text = f"{layer.name}: {error} The layer is left out of the weight rows."
            yield Update(
                finished + layer.parameters, total, layer.name, warnings=(text,)
            )
            return
        yield Update(
            finished + layer.parameters,
            total,
            layer.name,
            rows=work.rows(),
            arrays={
                f"weights/{layer.name}/{name}": array
                for part in (work.histogram, work.channels)
                for name, array in part.state().items()
            }
            | {f"weights/{layer.name}/{k}": v for k, v in work.sides().items()},
        )


def _is_done(layer: Layer, schemes: Sequence[Scheme], context: MeasureContext) -> bool:
    """Tell whether an interrupted run already has every row of a layer."""
    if (layer.name, None, "absmax", "weight") not in context.done:
        return False
    return all(
        (layer.name, scheme.key, "sqnr", "weight") in context.done for scheme in schemes
    )


@dataclass
class _Work:
    """One layer on its way through the measure, a few channels at a time.

    Attributes:
        layer: The layer.
        weight: Its parameter as stored.
        schemes: What to try on it.
        device: Where the arithmetic runs.
        bins: Largest number of histogram bins.
    """

    layer: Layer
    weight: Tensor
    schemes: Sequence[Scheme]
    device: str
    bins: int
    moments: Moments = field(init=False, default_factory=Moments)
    histogram: Histogram = field(init=False)
    channels: ChannelRange = field(init=False, default_factory=ChannelRange)

    def __post_init__(self) -> None:
        self.histogram = Histogram(self.bins)
        self._squares: list[Tensor] = []
        self._inputs: Tensor | None = None
        self._signal = 0.0
        self._noise = [0.0] * len(self.schemes)
        self._cross = [0.0] * len(self.schemes)

    def steps(self) -> Iterator[float]:
        """Do the work; yield the share of it that is done now and then.

        The statistics come first: they find NaN before any scheme is fitted.
        """
        cost = 1 + len(self.schemes)
        for share, chunk in self._chunks():
            with _one_thread():
                self._describe(chunk)
            yield share / cost
        with _one_thread():
            params = self._whole_tensor_params()
        for share, chunk in self._chunks():
            with _one_thread():
                self._quantize(chunk, params)
            yield (1 + share * len(self.schemes)) / cost

    def _chunks(self) -> Iterator[tuple[float, Tensor]]:
        """Yield consecutive channels and the share of the weight up to them."""
        axes = self.layer.channel_axes
        if not axes:
            yield 1.0, self._on_device(self.weight)
            return
        length = self.weight.shape[axes[0]]
        step = max(1, _CHUNK * length // self.weight.numel())
        seen = 0
        for chunk in torch.split(self.weight, step, axes[0]):
            seen += chunk.shape[axes[0]]
            yield seen / length, self._on_device(chunk)

    def _on_device(self, chunk: Tensor) -> Tensor:
        chunk = chunk.to(self.device)
        # One-byte floats have no arithmetic of their own.
        return chunk.float() if chunk.dtype.itemsize == 1 else chunk

    def _describe(self, chunk: Tensor) -> None:
        first = len(self.channels.low)
        for block in blocks(chunk, self.layer.channel_axes):
            self.moments.add(block)
            self.histogram.add(block)
            self.channels.add(block, first)
        matrix = group(chunk.float(), "channel", self.layer.channel_axes)
        squared = matrix.square()
        self._squares.append(squared.sum(1))
        ends = torch.stack([matrix.amin(0), matrix.amax(0), squared.sum(0)])
        if self._inputs is not None:
            low, high, energy = self._inputs
            ends[0] = torch.minimum(ends[0], low)
            ends[1] = torch.maximum(ends[1], high)
            ends[2] += energy
        self._inputs = ends

    def sides(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the energy of every output channel, and what enters from each input.

        Returns:
            `channel_squares` `[channels]`: sums of squares; `input_min`, `input_max`
            and `input_squares` `[rest]`: the same and the range over the output
            channels, for each weight of a channel.
        """
        assert self._inputs is not None
        low, high, energy = self._inputs.cpu().numpy()
        return {
            "channel_squares": torch.cat(self._squares).cpu().numpy(),
            "input_min": low,
            "input_max": high,
            "input_squares": energy,
        }

    def _whole_tensor_params(self) -> dict[Scheme, QParams]:
        """Fit the schemes whose one scale spans all chunks."""
        axes = self.layer.channel_axes
        return {
            scheme: Quantizer(scheme).fit(self._on_device(self.weight), axes)
            for scheme in self.schemes
            if scheme.granularity == "tensor"
        }

    def _quantize(self, chunk: Tensor, params: dict[Scheme, QParams]) -> None:
        axes = self.layer.channel_axes
        flat = chunk.float().reshape(-1)
        self._signal += _dot(flat, flat)
        by_chunk = [s for s in self.schemes if s not in params]
        found = dict(zip(by_chunk, errors(chunk, by_chunk, axes), strict=True))
        for number, scheme in enumerate(self.schemes):
            error = found.get(scheme)
            if error is None:
                error = Quantizer(scheme).error(chunk, axes, params[scheme])
            noise = error.reshape(-1)
            self._noise[number] += _dot(noise, noise)
            self._cross[number] += _dot(flat, noise)

    def rows(self) -> tuple[Row, ...]:
        """Return the results; call it after the last step."""
        rows = [
            *distribution_rows(
                self.layer.name, "weight", self.moments, self.histogram, self.channels
            )
        ]
        for scheme, noise, cross in zip(
            self.schemes, self._noise, self._cross, strict=True
        ):
            values = {
                "sqnr": _sqnr_db(self._signal, noise),
                "mse": noise / self.layer.parameters,
                "cosine": _cosine(self._signal, noise, cross),
            }
            rows += [
                Row(self.layer.name, scheme.key, value, quantity=quantity)
                for quantity, value in values.items()
            ]
        return tuple(rows)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone.

    Work on pieces that fit the cache is over before a second thread is awake, and
    waiting for one that shares its core with other programs takes twenty times as
    long as the work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _dot(left: Tensor, right: Tensor) -> float:
    """Return the sum of products, float32 in short pieces, float64 across them."""
    pairs = zip(torch.split(left, _DOT), torch.split(right, _DOT), strict=True)
    return float(torch.stack([torch.dot(a, b) for a, b in pairs]).double().sum())


def _sqnr_db(signal: float, noise: float) -> float:
    """Return the signal-to-noise ratio in dB, infinite without noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _cosine(signal: float, noise: float, cross: float) -> float:
    """Return cos(w, q) from `w.w`, `e.e` and `w.e` with `q = w + e`."""
    if noise == 0:
        return 1.0
    stored = signal + 2 * cross + noise
    if signal <= 0 or stored <= 0:
        return 0.0
    return min(1.0, (signal + cross) / math.sqrt(signal * stored))
