"""A picture of the rounding error of single layers, weight by weight."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.error_picture import (
    halving_of,
    largest_of,
    picture_name,
    stack_axis,
)
from analysis.errors import AnalysisError
from analysis.measures.candidates import Candidates
from analysis.measures.context import MeasureContext
from analysis.method import Method, Row, Update, param
from quant_core.errors import QuantError
from quant_core.granularity import group
from quant_core.quantizer import Quantizer
from quant_core.ranges import QParams
from quant_core.scheme import Scheme
from quant_core.sites import Layer

_BAND = 1 << 20  # weights between two updates: some 50 ms
_SAMPLE = 1 << 18  # errors the robust limit is read from
_ROBUST = 0.995
_SMALLEST = 256  # side of the coarsest level
EXACT = 1 << 22
"""Weights up to which pictures are kept in float32; larger ones in half precision."""


@dataclass(frozen=True)
class ErrorMap(Method):
    """Where in a weight matrix the rounding errors are, down to the single weight.

    Per layer and scheme the matrix `q - w` `[channels, rest]` of stored minus true
    weights, as a pyramid: every level halves the one before (the longer side alone
    while it is more than twice as long) and keeps, of the values joined, the one of
    the largest magnitude with its sign, so that a single bad weight stays visible at
    every zoom. With it the root mean square and the largest error of each row and
    column. Of stacked matrices, as those of experts, one is taken. Convolutions are
    flattened to `[out, in * kernel]`.

    Needs no data. A picture takes three to six bytes per weight in the project, more
    than all other results: name the layers.
    """

    key: ClassVar[str] = "error_map"
    title: ClassVar[str] = "Picture of the rounding error"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = False

    layers: list[str] = param(
        [], "Names of the layers, * matches anything; none takes every layer."
    )
    matrix: int = param(0, "Which of the stacked matrices (experts).", minimum=0)

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield updates; the arrays of a picture come one by one, its rows last.

        Args:
            context: Model and schemes.

        Raises:
            AnalysisError: no layer has such a name.
        """
        layers = [
            layer
            for layer in context.model.info.layers
            if not self.layers
            or any(fnmatch.fnmatchcase(layer.name, name) for name in self.layers)
        ]
        if not layers:
            raise AnalysisError(
                "No layer has such a name.",
                value=", ".join(self.layers),
                hint="`quantscope layers MODEL` lists them.",
            )
        candidates = Candidates(layers, context.schemes)
        work = [(x, s) for x in layers for s in candidates.schemes_of(x)]
        sizes = [_size(layer) for layer, _ in work]
        total, finished = float(max(sum(sizes), 1)), 0.0
        yield Update(0.0, total, "error picture", warnings=candidates.warnings)
        for (layer, scheme), size in zip(work, sizes, strict=True):
            if (layer.name, scheme.key, "max_error", "weight") not in context.done:
                yield from self._picture(layer, scheme, context, finished, total)
            finished += size
        yield Update(total, total, "error picture")

    def _picture(
        self,
        layer: Layer,
        scheme: Scheme,
        context: MeasureContext,
        finished: float,
        total: float,
    ) -> Iterator[Update]:
        """Yield the progress and the arrays of one picture, then its rows."""
        weight = context.model.read_tensor(layer.parameter).detach()
        try:
            matrix, axes, params = self._one_matrix(weight, layer, scheme)
            picture = _Picture(matrix, axes, scheme, params, context.device)
            for share in picture.steps():
                yield Update(finished + share * _size(layer), total, layer.name)
        except QuantError as error:
            text = f"{layer.name}: {error} There is no picture of it."
            yield Update(finished, total, layer.name, warnings=(text,))
            return
        name = picture_name(layer.name, scheme, self.matrix)
        done = finished + _size(layer)
        for key, array in picture.arrays():
            yield Update(done, total, layer.name, arrays={f"{name}/{key}": array})
        worst, rms = picture.worst, picture.rms
        rows = (
            Row(layer.name, scheme.key, worst, quantity="max_error"),
            Row(layer.name, scheme.key, rms, quantity="rms_error"),
        )
        yield Update(done, total, layer.name, rows=rows)

    def _one_matrix(
        self, weight: Tensor, layer: Layer, scheme: Scheme
    ) -> tuple[Tensor, tuple[int, ...], QParams | None]:
        """Return the matrix asked for, its channel axes, and scales it shares."""
        axes = layer.channel_axes
        params = None
        if scheme.granularity == "tensor":
            # One scale spans all that is stored, not the part that is shown.
            params = Quantizer(scheme).fit(weight, axes)
        stack = stack_axis(layer)
        if stack is None:
            if self.matrix:
                raise QuantError(
                    "The layer is one matrix.", value=self.matrix, allowed="0"
                )
            return weight, axes, params
        if self.matrix >= weight.shape[stack]:
            raise QuantError(
                "There is no such matrix in the stack.",
                value=self.matrix,
                allowed=f"0 to {weight.shape[stack] - 1}",
            )
        rest = tuple(a - (a > stack) for a in axes if a != stack)
        return weight.select(stack, self.matrix), rest, params


def _size(layer: Layer) -> int:
    stack = stack_axis(layer)
    return layer.parameters // (1 if stack is None else layer.shape[stack])


class _Picture:
    """The error of one matrix on its way into a pyramid, some channels at a time.

    Args:
        weight: The matrix, in any layout.
        axes: Its channel axes.
        scheme: How it would be stored.
        params: Scales fitted before; None fits them band by band, which the
            granularities other than the whole tensor allow.
        device: Where the arithmetic runs.
    """

    def __init__(
        self,
        weight: Tensor,
        axes: tuple[int, ...],
        scheme: Scheme,
        params: QParams | None,
        device: str,
    ) -> None:
        self._weight, self._axes, self._device = weight, axes, device
        self._scheme, self._params = scheme, params
        shape = group(weight, "channel", axes).shape
        self._rows, self._columns = shape
        is_small = weight.numel() <= EXACT
        self._type = np.float32 if is_small else np.float16
        self._unit = self._weight_unit = 1.0
        if not is_small:
            # Half precision has a narrow range: values are kept as shares of this.
            self._unit = self._weight_unit = float(weight.abs().amax()) or 1.0
        self.levels = [np.empty(shape, self._type)]
        self._values = np.empty(shape, self._type)
        self._squares = [np.zeros(n) for n in shape]
        self._largest = [np.zeros(n, np.float32) for n in shape]

    def steps(self) -> Iterator[float]:
        """Do the work; yield the share of it that is done now and then.

        Raises:
            QuantError: NaN or infinite weights, or a scheme that does not fit.
        """
        axes, top = self._axes, 0
        axis = axes[0] if axes else 0
        length = self._weight.shape[axis]
        step = max(1, _BAND * length // self._weight.numel()) if axes else length
        for band in torch.split(self._weight, step, axis):
            band = band.to(self._device)
            band = band.float() if band.dtype.itemsize == 1 else band
            error = Quantizer(self._scheme).error(band, axes, self._params)
            top = self._add(error, band, top)
            yield 0.7 * top / self._rows
        while max(self.levels[-1].shape) > _SMALLEST:
            for _ in self._halve():
                yield 0.9
        yield 1.0

    def _add(self, error: Tensor, band: Tensor, top: int) -> int:
        """Take in the next channels and return the number of the one after them."""
        flat = group(error, "channel", self._axes).cpu().numpy()
        bottom = top + len(flat)
        self.levels[0][top:bottom] = flat / self._unit if self._unit != 1 else flat
        values = group(band.float(), "channel", self._axes).cpu().numpy()
        self._values[top:bottom] = values / self._weight_unit
        squares, sizes = np.square(flat, dtype=np.float64), np.abs(flat)
        self._squares[0][top:bottom] = squares.sum(1)
        self._squares[1] += squares.sum(0)
        self._largest[0][top:bottom] = sizes.max(1)
        np.maximum(self._largest[1], sizes.max(0), out=self._largest[1])
        return bottom

    def _halve(self) -> Iterator[None]:
        """Add the next level, a band of rows at a time."""
        level = self.levels[-1]
        down, across = halving_of(level.shape)
        shape = -(-level.shape[0] // down), -(-level.shape[1] // across)
        result = np.empty(shape, self._type)
        step = max(1, _BAND // level.shape[1])
        for top in range(0, len(result), step):
            part = level[top * down : (top + step) * down].astype(np.float32)
            result[top : top + step] = largest_of(part, down, across)
            yield
        self.levels.append(result)

    @property
    def worst(self) -> float:
        """Largest error of a single weight."""
        return float(self._largest[0].max())

    @property
    def rms(self) -> float:
        """Root mean square of all errors."""
        return float(np.sqrt(self._squares[0].sum() / self._weight.numel()))

    def arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Yield the arrays by name, the ones that make the picture complete last."""
        for number, level in enumerate(self.levels):
            yield f"level{number}", level
        yield "weight", self._values
        across = ("row", self._columns), ("column", self._rows)
        for (side, n), squares, sizes in zip(
            across, self._squares, self._largest, strict=True
        ):
            yield f"{side}_rms", np.sqrt(squares / n).astype(np.float32)
            yield f"{side}_max", sizes
        sample = self.levels[0].ravel()[:: max(1, self.levels[0].size // _SAMPLE)]
        robust = float(np.quantile(np.abs(sample.astype(np.float32)), _ROBUST))
        yield "scale", np.array([self._unit, self._weight_unit, robust * self._unit])
