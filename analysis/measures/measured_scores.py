"""Scores of quantized outputs, sample by sample, so that shards add up exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.data.batch import Batch
from analysis.method import Row
from analysis.prediction import clustered_ratio
from analysis.results import Part
from analysis.tasks.base import Task
from analysis.tasks.kl import Kl
from analysis.tasks.outputs import attended

METRICS = ("kl", "mse", "sqnr", "cosine", "task")
"""Further numbers of a quantized output; "task" stands for top-1, perplexity ..."""

Pair = tuple[Tensor, Tensor]
"""Numerator and weight of a mean over samples, `[N]` each."""
Error = Callable[[Tensor], Pair]
"""Compares a quantized output with the float one."""


class Comparison:
    """Compares outputs with the float one; what that alone decides is made once.

    Args:
        task: Says what error is.
        metrics: Of `METRICS`.
        batch: What the outputs are computed from.
        reference: Float output, `[N, ...]`. Samples that are broken in it weigh
            nothing.
    """

    def __init__(
        self, task: Task, metrics: Sequence[str], batch: Batch, reference: Tensor
    ) -> None:
        self._task, self._metrics, self._batch = task, set(metrics), batch
        self._reference = reference
        self._error = task.against(reference, batch)
        self._kl: Error | None = None
        if "kl" in self._metrics and reference.dim() > 1:
            is_kl = isinstance(task, Kl)
            self._kl = self._error if is_kl else Kl().against(reference, batch)
        self._good = torch.isfinite(reference.reshape(batch.size, -1)).all(1)

    def with_output(self, output: Tensor) -> dict[str, Pair]:
        """Return the scores of a quantized output by column.

        Args:
            output: Of the shape of the reference.

        Returns:
            "error" in the task's unit; "kl" of the outputs read as logits; "mse":
            squared distance and power, also for SQNR; "cosine"; the task's own metrics
            under their names.
        """
        reference, batch, metrics = self._reference, self._batch, self._metrics
        found = {"error": self._error(output)}
        if self._kl is not None:
            same = self._kl is self._error
            found["kl"] = found["error"] if same else self._kl(output)
        if {"mse", "sqnr", "cosine"} & metrics:
            found |= distances(reference, output, batch)
        if "task" in metrics:
            found |= task_metrics(self._task, output, batch)
        return {name: finite(pair, self._good) for name, pair in found.items()}


def task_metrics(task: Task, output: Tensor, batch: Batch) -> dict[str, Pair]:
    """Return the task's metrics of an output; {} without labels."""
    return {
        name: (values.nan_to_num(0.0), (~values.isnan()).double())
        for name, values in task.metrics(output, batch).items()
    }


def finite(pair: Pair, good: Tensor) -> Pair:
    """Return a pair to add up, on the CPU, in which only good samples weigh anything.

    A quantized network that leaves the finite numbers is infinitely wrong.
    """
    numerator = pair[0].double().nan_to_num(math.inf, math.inf, math.inf)
    return (
        torch.where(good, numerator, 0.0).cpu(),
        torch.where(good, pair[1].double(), 0.0).cpu(),
    )


def distances(reference: Tensor, output: Tensor, batch: Batch) -> dict[str, Pair]:
    """Return squared distance by power, and the cosine, of judged positions.

    Args:
        reference: `[N, ...]`; positions that a mask `[N, T]` of the batch leaves out
            do not count where the tensor is `[N, T, C]`.
        output: Of the same shape.
        batch: What both were computed from.

    Returns:
        Numerators and weights of "mse" and "cosine".
    """
    mask = attended(reference.shape[:2], batch) if reference.dim() == 3 else None
    pair = []
    for tensor in (reference, output):
        kept = tensor if mask is None else tensor.masked_fill(~mask.unsqueeze(-1), 0.0)
        pair.append(kept.reshape(batch.size, -1).double())
    z, q = pair
    power = z.square().sum(1)
    norms = (power * q.square().sum(1)).sqrt()
    cosine = torch.where(norms > 0, (z * q).sum(1) / norms, 0.0)
    return {
        "mse": ((q - z).square().sum(1), power),
        "cosine": (cosine, torch.ones_like(cosine)),
    }


class Scores:
    """Numerators and weights of many measurements, by sample.

    Args:
        count: How many measurements.
        samples: Samples in the whole data set.
        metrics: Of `METRICS`; says which quantities are told.
        per_token: The labels are token ids: perplexity stands in place of `nll`.
    """

    def __init__(
        self, count: int, samples: int, metrics: Sequence[str], *, per_token: bool
    ) -> None:
        self._shape = (count, 2, samples)
        self._metrics = set(metrics)
        self._per_token = per_token
        self._columns: dict[str, NDArray[np.float64]] = {}

    def _column(self, name: str) -> NDArray[np.float64]:
        if name not in self._columns:
            self._columns[name] = np.zeros(self._shape)
        return self._columns[name]

    def add(self, number: int, first: int, pairs: Mapping[str, Pair]) -> None:
        """Take over a batch of one measurement.

        Args:
            number: Which measurement.
            first: Place of the batch's first sample among the samples.
            pairs: From `compared`.
        """
        for name, (numerator, weight) in pairs.items():
            part = self._column(name)[number, :, first : first + len(weight)]
            part[0], part[1] = numerator.numpy(), weight.numpy()

    def part(self, first: int, size: int) -> dict[str, NDArray[np.float64]]:
        """Return what is known of some samples, `[count, 2, size]` by column."""
        return {
            name: column[:, :, first : first + size].copy()
            for name, column in self._columns.items()
        }

    def put(self, first: int, parts: Mapping[str, NDArray[np.float64]]) -> bool:
        """Take over what `part` returned elsewhere; return whether it fits here."""
        count, _, samples = self._shape
        fits = bool(parts) and all(
            part.ndim == 3
            and part.shape[:2] == (count, 2)
            and first + part.shape[2] <= samples
            for part in parts.values()
        )
        if fits:
            for name, part in parts.items():
                self._column(name)[:, :, first : first + part.shape[2]] = part
        return fits

    def rows(
        self,
        number: int,
        target: str,
        format: str | None,  # noqa: A002
        part: Part,
        quantity: str = "error",
    ) -> tuple[Row, ...]:
        """Return every number of one measurement, the error first.

        Args:
            number: Which measurement.
            target: What the rows are for.
            format: Key of the scheme.
            part: What was quantized.
            quantity: What the error is called; further numbers of any but "error" are
                called after it ("cumulative_sqnr").
        """
        prefix = "" if quantity == "error" else f"{quantity}_"
        found = []
        for column, pairs in self._columns.items():
            value, stderr = _ratio(pairs[number])
            for name, told, error in self._told(column, value, stderr):
                called = quantity if name == "error" else prefix + name
                found.append(Row(target, format, told, error, called, part))
        return tuple(found)

    def _told(
        self, name: str, value: float, stderr: float
    ) -> list[tuple[str, float, float]]:
        """Return (quantity, value, standard error) of what a column stands for."""
        if name == "mse":
            both = [("mse", value, stderr), ("sqnr", *_decibel(value, stderr))]
            return [one for one in both if one[0] in self._metrics]
        if name == "cosine" and name not in self._metrics:
            return []
        if self._per_token and name.startswith("nll"):
            # d exp(m) = exp(m) dm: the delta method.
            perplexity = math.exp(value)
            return [
                (name.replace("nll", "perplexity", 1), perplexity, perplexity * stderr)
            ]
        return [(name, value, stderr)]


def _ratio(column: NDArray[np.float64]) -> tuple[float, float]:
    """Return a mean over samples and its standard error."""
    numerator, weight = column
    if np.isinf(numerator).any():
        return math.inf, math.nan
    value, stderr = clustered_ratio(numerator, weight, np.arange(len(weight)))
    return float(value), float(stderr)


def _decibel(mse: float, stderr: float) -> tuple[float, float]:
    """Return the signal-to-noise ratio [dB] of a relative squared error."""
    if not mse > 0:
        return (math.inf if mse == 0 else math.nan), math.nan
    return -10 * math.log10(mse), 10 / math.log(10) * stderr / mse
