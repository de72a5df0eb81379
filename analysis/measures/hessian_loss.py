"""Which loss a curvature belongs to: that of the task, or that of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from analysis.data.batch import Batch, Data
from analysis.errors import AnalysisError
from analysis.tasks.base import Task
from analysis.tasks.kl import Kl

LOSSES = ("task", "labels")


class Loss(Protocol):
    """A loss over samples, `sum(numerator) / sum(weight)`, as a function of outputs."""

    @property
    def task(self) -> Task:
        """The task whose outputs it is a function of."""
        ...

    def value(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return `(numerator [N], weight [N])`, twice differentiable."""
        ...

    def probe(self, output: Tensor, batch: Batch, signs: Tensor) -> Tensor:
        """Return `u` with E[u u^T] = Hessian of the numerator by the output."""
        ...


@dataclass(frozen=True)
class TaskLoss:
    """The error of the task against the float output itself.

    Zero with zero slope where the weights are; only its curvature is left.
    """

    task: Task

    def value(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Loss.value`."""
        return self.task.error(output.detach(), output, batch)

    def probe(self, output: Tensor, batch: Batch, signs: Tensor) -> Tensor:
        """See `Loss.probe`; a task states half the Hessian."""
        return self.task.probe(output, batch, signs) * 2**0.5


@dataclass(frozen=True)
class LabelLoss:
    """Cross entropy with the labels, in nats per target."""

    task: Kl

    def value(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Loss.value`.

        Raises:
            AnalysisError: the labels do not fit the logits.
        """
        found = self.task.label_loss(output, batch)
        if found is None:
            raise AnalysisError(
                "The labels do not fit the logits.",
                value=None if batch.labels is None else tuple(batch.labels.shape),
                allowed=f"one label per row of {tuple(output.shape)}",
            )
        return found

    def probe(self, output: Tensor, batch: Batch, signs: Tensor) -> Tensor:
        """See `Loss.probe`."""
        return self.task.label_probe(output, batch, signs)


def choose_loss(name: str, task: Task, data: Data) -> Loss:
    """Return the loss called `name`.

    Args:
        name: An entry of `LOSSES`.
        task: What error means for the model.
        data: The calibration data.

    Raises:
        AnalysisError: labels are asked for and there are none, or no logits.
    """
    if name == "task":
        return TaskLoss(task)
    if not isinstance(task, Kl) or data.labels is None:
        raise AnalysisError(
            "The curvature of the label loss needs logits and labels.",
            value=f"task {task.key}, {'no ' * (data.labels is None)}labels",
            hint="The curvature of the task's own error needs none: loss=task.",
        )
    return LabelLoss(task)


def output_product(loss: Loss, output: Tensor, batch: Batch, t: Tensor) -> Tensor:
    """Return the Hessian of the summed numerator by the output, times `t`.

    Args:
        loss: The loss.
        output: `[N, ...]`.
        batch: What it was computed from.
        t: A direction of the shape of `output`.
    """
    with torch.enable_grad():
        z = output.detach().requires_grad_()
        numerator, _ = loss.value(z, batch)
        (slope,) = torch.autograd.grad(numerator.sum(), z, create_graph=True)
        (product,) = torch.autograd.grad(slope, z, t)
    return product
