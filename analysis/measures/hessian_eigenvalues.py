"""Largest Hessian eigenvalue of every layer, and the scores of HAWQ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import torch

from analysis.measures.context import MeasureContext
from analysis.measures.hessian_lanczos import Ritz, lanczos
from analysis.measures.hessian_loss import LOSSES, choose_loss
from analysis.measures.hessian_products import Curvature, Operator, differentiable
from analysis.measures.random_signs import weight_signs
from analysis.measures.trace_job import TraceJob, trace_job
from analysis.method import Method, Row, Update, param
from quant_core.sites import Layer

_BATCH = 64


@dataclass(frozen=True)
class HessianEigenvalues(Method):
    """The sharpest direction of the loss within the weights of each layer.

    The eigenvalue of largest magnitude of each layer's own block of the Hessian of
    the mean loss, by Lanczos, which needs fewer products than the power iteration of
    the paper for the same eigenvalue; HAWQ's order of layers, eigenvalue per number
    of weights; and, per format, eigenvalue times squared rounding error. The samples
    are taken as given, and the number stated as error is a bound on the distance to
    an eigenvalue, not a standard error over samples. The other layers are in float.

    One layer after the other: a product with vectors for all layers at once would mix
    the blocks, and random signs that cancel the mixing on average would leave noise
    in every step of the iteration. A product reaches from the output back to the
    layer and no further.

    `operator` ggn and hessian are equal for loss=task; see the measure `hessian`.

    Formulas: Dong et al., HAWQ (arXiv 1905.03696, reconstruction).
    """

    key: ClassVar[str] = "hessian_eigenvalues"
    title: ClassVar[str] = "Hessian eigenvalue"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    loss: str = param(
        "task", "Whose curvature; see the measure hessian.", choices=LOSSES
    )
    operator: str = param(
        "ggn",
        "The generalised Gauss-Newton matrix, or the exact Hessian.",
        choices=("ggn", "hessian"),
    )
    samples: int = param(
        32,
        "Calibration samples used: each product of each layer runs over all of them.",
        minimum=1,
    )
    products: int = param(20, "Products per layer at most.", minimum=2, maximum=1000)
    tolerance: float = param(
        1e-2,
        "A layer is done when its eigenvalue is known to this relative precision.",
        minimum=1e-6,
        maximum=1.0,
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield one layer after the other; layers in `context.done` stay.

        Args:
            context: Needs a module, data and a task; schemes are scored when given.

        Yields:
            Rows without format of quantity "eigenvalue" (unit of the loss per squared
            weight) and "hawq" (per weight), rows with format of quantity "hawq_error"
            (unit of the loss).
        """
        module, data, task = context.need_run(self.title)
        loss = choose_loss(self.loss, task, data)
        with trace_job(context, module, loss) as job:
            yield from self._layers(job)

    def _layers(self, job: TraceJob) -> Iterator[Update]:
        yield from job.scores.prepare()
        samples = min(self.samples, len(job.data))
        batches = job.batches(_BATCH, samples)
        work = float(sum(layer.parameters for layer in job.layers))
        done, unsure = 0.0, []
        for number, layer in enumerate(job.layers):
            if (layer.name, None, "eigenvalue", "weight") not in job.context.done:
                parameter = job.parameters[layer.parameter]
                operator = cast(Operator, self.operator)
                curvature = Curvature(
                    job.tap.module, batches, job.loss, operator, [parameter]
                )
                signs = weight_signs(
                    parameter.detach().flatten(), job.context.seed % 2**64, number
                )
                found = None
                with differentiable([parameter]):
                    for ritz in lanczos(curvature.flat, _wide(signs), self.products):
                        found = ritz
                        note = f"{layer.name}, {len(ritz.values)} products"
                        yield Update(done, work, note, samples=samples)
                        if self._is_known(ritz):
                            break
                assert found is not None
                if not self._is_known(found):
                    unsure.append(layer.name)
                yield Update(
                    done,
                    work,
                    layer.name,
                    self._rows(job, layer, found),
                    {},
                    job.told(),
                    samples,
                )
            done += layer.parameters
        if unsure:
            job.warnings.append(
                f"The eigenvalue of {', '.join(unsure[:3])}"
                + (f" and {len(unsure) - 3} more" if len(unsure) > 3 else "")
                + f" is not known to {self.tolerance:g} after {self.products} products."
            )
        yield Update(work, work, "", warnings=job.told(), samples=samples)

    def _is_known(self, ritz: Ritz) -> bool:
        top = ritz.leading()
        return bool(ritz.residuals[top] <= self.tolerance * abs(ritz.values[top]))

    def _rows(self, job: TraceJob, layer: Layer, ritz: Ritz) -> tuple[Row, ...]:
        top = ritz.leading()
        value, error = float(ritz.values[top]), float(ritz.residuals[top])
        size = layer.parameters
        return (
            Row(layer.name, None, value, error, "eigenvalue"),
            Row(layer.name, None, value / size, error / size, "hawq"),
            *job.scores.rows(
                "hawq_error", np.array([value]), np.array([error]), [layer]
            ),
        )


def _wide(x: torch.Tensor) -> torch.Tensor:
    """Return `x` in float32 at least."""
    return x.float() if x.element_size() < 4 else x
