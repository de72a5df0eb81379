"""Whose score function the Fisher information is made of: drawn or given labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from analysis.data.batch import Batch, Data
from analysis.measures.hessian_loss import Loss, TaskLoss, choose_loss
from analysis.measures.random_signs import sample_uniform
from analysis.tasks.base import Task
from analysis.tasks.kl import Kl

LABELS = ("model", "data")


class Draws(Protocol):
    """Slopes of the log-likelihood of labels by the outputs."""

    @property
    def loss(self) -> Loss:
        """Whose weights (positions, signal power) the sums are divided by."""
        ...

    @property
    def are_random(self) -> bool:
        """Whether another draw gives another slope."""
        ...

    def slope(
        self, output: Tensor, batch: Batch, first: int, seed: int, probe: int
    ) -> Tensor:
        """Return the slope of one draw, shaped like `output`.

        Args:
            output: `[N, ...]`.
            batch: What it was computed from.
            first: Index of its first sample in the whole data set.
            seed: Seed of the run.
            probe: Number of the draw.
        """
        ...


@dataclass(frozen=True)
class ModelDraws:
    """Labels drawn from the model: the true Fisher information.

    Classes are drawn from the softmax; where the task judges a vector, the model is a
    Gaussian around its output whose negative log-likelihood is the task's error.
    """

    task: Task

    are_random = True

    @property
    def loss(self) -> Loss:
        """See `Draws.loss`."""
        return TaskLoss(self.task)

    def slope(
        self, output: Tensor, batch: Batch, first: int, seed: int, probe: int
    ) -> Tensor:
        """See `Draws.slope`."""
        key = {"first": first, "seed": seed, "probe": probe}
        if isinstance(self.task, Kl):
            return self.task.drawn(output, batch, sample_uniform(output[..., 0], **key))
        # Keeps erfinv finite: 0 is a possible draw.
        tiny = torch.finfo(torch.float64).tiny
        even = sample_uniform(output, **key).clamp_(min=tiny)
        normal = torch.special.ndtri(even).to(output.dtype)
        return self.task.probe(output, batch, normal) * 2**0.5


@dataclass(frozen=True)
class DataDraws:
    """The labels of the data: the empirical Fisher information."""

    loss: Loss

    are_random = False

    def slope(
        self, output: Tensor, batch: Batch, first: int, seed: int, probe: int
    ) -> Tensor:
        """See `Draws.slope`."""
        del first, seed, probe
        with torch.enable_grad():
            z = output.detach().requires_grad_()
            numerator, _ = self.loss.value(z, batch)
            (slope,) = torch.autograd.grad(numerator.sum(), z)
        return slope


def choose_draws(labels: str, task: Task, data: Data) -> Draws:
    """Return the draws called `labels`.

    Raises:
        AnalysisError: labels of the data are asked for and there are none.
    """
    if labels == "model":
        return ModelDraws(task)
    return DataDraws(choose_loss("labels", task, data))
