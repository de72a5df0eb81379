"""Hessian trace of every layer, and the HAWQ-V2 score of every format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from analysis.measures.context import MeasureContext
from analysis.measures.hessian_hutchpp import hutchpp
from analysis.measures.hessian_loss import LOSSES, choose_loss
from analysis.measures.hessian_products import Operator
from analysis.measures.hessian_traces import (
    GaussNewtonTraces,
    HessianTraces,
)
from analysis.measures.trace_job import trace_job
from analysis.method import Method, Update, param


@dataclass(frozen=True)
class Hessian(Method):
    """How strongly the loss bends along the weights of each layer.

    The trace of each layer's block of the Hessian of the mean loss, all layers from
    the same passes, with standard errors over samples and probes; and, per format,
    HAWQ-V2's score: average trace times squared rounding error. Half of it is the
    error predicted for rounding noise that has no preferred direction. The other
    layers are in float.

    Operators. `ggn`, the generalised Gauss-Newton matrix J^T H_out J, needs no second
    derivative of the network: its trace is E ||J^T u||^2 over random output
    directions u with covariance H_out. One backward pass serves all layers, each
    sample has directions of its own, and no layer adds noise to another; probes of
    the weights, v.Gv, cost half as much again, share one v among the samples of a
    batch and mix the layers. `hessian` is exact second differentiation with one
    random sign per weight, v.Hv taken layer by layer (Hutchinson), fresh signs for
    every batch.

    They are equal for loss=task, where the residual is zero, and, layer by layer, in
    networks that are piecewise linear in each weight (ReLU, max-pooling), whatever
    the loss. GELU, SiLU and attention make them differ for loss=labels.

    Formulas: Dong et al., HAWQ-V2 (arXiv 1911.03852); Hutchinson (1990); Schraudolph
    (2002) for the GGN.
    """

    key: ClassVar[str] = "hessian"
    title: ClassVar[str] = "Hessian trace"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    loss: str = param(
        "task",
        "Whose curvature: the task's own error, which needs no labels, or the cross "
        "entropy with the labels.",
        choices=LOSSES,
    )
    operator: str = param(
        "ggn",
        "The generalised Gauss-Newton matrix, or the exact Hessian, which costs about "
        "twice as much and is the same for loss=task.",
        choices=("ggn", "hessian"),
    )
    estimator: str = param(
        "hutchinson",
        "Hutchinson, all layers at once; or Hutch++ (arXiv 2010.09649), layer by layer "
        "on fixed samples: fewer products where few eigenvalues dominate, each of a "
        "layer's own, and a third as many vectors of its size in memory.",
        choices=("hutchinson", "hutch++"),
    )
    probes: int = param(
        4,
        "Random directions per sample (ggn) or batch (hessian), or products per layer "
        "(hutch++, a third for each of its steps). More lower the error bars.",
        minimum=1,
        maximum=1024,
    )
    precision: float = param(
        0.0,
        "Stop as soon as the median relative standard error over the layers is at "
        "most this; probes of a sample end as soon as their own part of it is. "
        "0 uses all samples and probes.",
        minimum=0.0,
        maximum=1.0,
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield traces that sharpen with every probe.

        Args:
            context: Needs a module, data and a task; schemes are scored when given.

        Yields:
            Rows without format of quantity "trace" (unit of the loss per squared
            weight) and "average_trace" (per weight), rows with format of quantity
            "hawq_v2" (unit of the loss), and the sums a resumed run goes on from.
        """
        module, data, task = context.need_run(self.title)
        loss = choose_loss(self.loss, task, data)
        with trace_job(context, module, loss) as job:
            if self.estimator == "hutch++":
                yield from hutchpp(job, cast(Operator, self.operator), self.probes)
            elif self.operator == "ggn":
                yield from GaussNewtonTraces(job).run(self.probes, self.precision)
            else:
                yield from HessianTraces(job).run(self.probes, self.precision)
