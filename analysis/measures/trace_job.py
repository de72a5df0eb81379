"""What measures of curvature work on: a network made ready, its layers and its loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.data.batch import Batch, Data
from analysis.measures.candidates import broken_parameters, broken_warnings
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import evaluating
from analysis.measures.hessian_loss import Loss
from analysis.measures.hessian_scores import HawqScores
from analysis.measures.memory_layout import channels_last
from analysis.method import Row
from quant_core.sites import Layer
from quant_core.tap import Tap


@dataclass
class TraceJob:
    """What every estimator of traces works on.

    Attributes:
        context: The run.
        tap: The tap on its network.
        layers: The layers to judge.
        loss: Whose curvature.
        scores: Rounding errors of the schemes.
        warnings: Sentences not told yet.
    """

    context: MeasureContext
    tap: Tap
    layers: Sequence[Layer]
    loss: Loss
    scores: HawqScores
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.warnings += self.scores.warnings
        self.fixed_batch = self.context.model.input_hints.get("batch_size")
        self.parameters = self.tap.parameters

    @property
    def data(self) -> Data:
        """The calibration data."""
        assert self.context.data is not None
        return self.context.data

    def batches(self, size: int, samples: int | None = None) -> list[Batch]:
        """Return the data, or so many samples, on the device, `size` at a time."""
        size = int(self.fixed_batch or self.context.batch_size or size)
        data = self.data if samples is None else self.data.take(samples)
        return [batch.to(self.context.device) for batch in data.batches(size)]

    def head(self, samples: int) -> Batch:
        """Return the first samples of the data."""
        batch = next(self.data.take(samples).batches(samples))
        return batch.to(self.context.device)

    def told(self) -> tuple[str, ...]:
        """Return the warnings not told yet."""
        warnings, self.warnings = tuple(self.warnings), []
        return warnings

    def rows(
        self,
        value: NDArray[np.float64],
        stderr: NDArray[np.float64],
        layers: Sequence[Layer] | None = None,
    ) -> tuple[Row, ...]:
        """Return traces, average traces and HAWQ-V2 scores as rows."""
        judged = self.layers if layers is None else layers
        sizes = np.array([layer.parameters for layer in judged], dtype=np.float64)
        average, average_error = value / sizes, stderr / sizes
        found = [
            Row(layer.name, None, v, e, quantity)
            for quantity, values, errors in (
                ("trace", value, stderr),
                ("average_trace", average, average_error),
            )
            for layer, v, e in zip(
                judged, values.tolist(), errors.tolist(), strict=True
            )
        ]
        found += self.scores.rows("hawq_v2", average, average_error, judged)
        return tuple(found)


@contextlib.contextmanager
def trace_job(
    context: MeasureContext,
    module: nn.Module,
    loss: Loss,
    *,
    only: str = "",
    scored: bool = True,
) -> Iterator[TraceJob]:
    """Give the job on a network in evaluation mode, broken weights stood in for.

    Args:
        context: Needs data and a task.
        module: The network; its flags are as before after the block.
        loss: Whose curvature.
        only: Name of the one layer to judge; empty for all.
        scored: Whether the schemes of the context are scored.
    """
    with evaluating(module), channels_last(context, module):
        tap = Tap(module)
        parameters = tap.parameters
        broken = broken_parameters(tap.layers, parameters)
        whole = [x for x in tap.layers if x.parameter not in broken]
        layers = [x for x in whole if only in ("", x.name)]
        warnings = broken_warnings(tap.layers, broken)
        with tap.exchanged(broken):
            scores = HawqScores(context, layers if scored else (), parameters)
            yield TraceJob(context, tap, layers, loss, scores, warnings)
