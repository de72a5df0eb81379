"""Density of the eigenvalues of the Hessian, of the whole network or of one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.measures.context import MeasureContext
from analysis.measures.hessian_lanczos import lanczos, spectral_density
from analysis.measures.hessian_loss import LOSSES, choose_loss
from analysis.measures.hessian_products import Curvature, Operator, differentiable
from analysis.measures.random_signs import weight_signs
from analysis.measures.trace_job import TraceJob, trace_job
from analysis.method import Method, Row, Update, param

_BATCH = 64


@dataclass(frozen=True)
class HessianSpectrum(Method):
    """How the curvatures of the loss are spread over directions of the weights.

    Stochastic Lanczos quadrature: from random signs, a few products give nodes and
    weights of which the density of eigenvalues is the sum of Gaussians; the first
    moments it has are those of the matrix, without bias. Of all layers together or of
    one layer's block. Few large eigenvalues over a bulk near zero mean that most
    rounding noise costs nothing. Weights that are no layers (biases, norms) are left
    out, and the samples are taken as given.

    Formulas: Ghorbani, Krishnan and Xiao (arXiv 1901.10159); Yao et al., PyHessian
    (arXiv 1912.07145).
    """

    key: ClassVar[str] = "hessian_spectrum"
    title: ClassVar[str] = "Hessian spectrum"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "neither"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    layer: str = param("", "Name of one layer; empty for all layers together.")
    loss: str = param(
        "task", "Whose curvature; see the measure hessian.", choices=LOSSES
    )
    operator: str = param(
        "ggn",
        "The generalised Gauss-Newton matrix, or the exact Hessian.",
        choices=("ggn", "hessian"),
    )
    samples: int = param(
        64, "Calibration samples used: each product runs over all of them.", minimum=1
    )
    products: int = param(
        30, "Products per start: how finely eigenvalues are told apart.", minimum=2
    )
    starts: int = param(
        2, "Random starts; more lower the noise of the weights.", minimum=1
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield the density as it sharpens; complete starts are resumed.

        Args:
            context: Needs a module, data and a task.

        Yields:
            Rows of quantity "largest" and "smallest" (Ritz values) for the layer or,
            target "", for the model, and the arrays "hessian_spectrum/grid" (unit of
            the loss per squared weight) and "hessian_spectrum/density" (its inverse),
            with the nodes and weights of every start.

        Raises:
            AnalysisError: there is no such layer.
        """
        module, data, task = context.need_run(self.title)
        loss = choose_loss(self.loss, task, data)
        with trace_job(context, module, loss, only=self.layer, scored=False) as job:
            if not job.layers:
                raise AnalysisError(
                    "There is no such layer to take a spectrum of.",
                    value=self.layer,
                    allowed="a name as in `quantscope layers`, or empty for all",
                )
            yield from self._starts(job)

    def _starts(self, job: TraceJob) -> Iterator[Update]:
        samples = min(self.samples, len(job.data))
        named = [job.parameters[layer.parameter] for layer in job.layers]
        curvature = Curvature(
            job.tap.module,
            job.batches(_BATCH, samples),
            job.loss,
            cast(Operator, self.operator),
            named,
        )
        like = torch.empty(curvature.size, device=named[0].device)
        work = float(self.starts * self.products)
        finished = self._resume(job.context)
        for start in range(len(finished), self.starts):
            signs = weight_signs(like, job.context.seed % 2**64, start)
            found = None
            with differentiable(named):
                for ritz in lanczos(curvature.flat, signs, self.products):
                    found = np.stack([ritz.values, ritz.weights])
                    done = start * self.products + len(ritz.values)
                    note = f"start {start + 1}, {len(ritz.values)} products"
                    yield Update(done, work, note, samples=samples)
            assert found is not None
            finished.append(found)
            done = (start + 1) * self.products
            yield self._report(job, finished, done, work, samples)
        yield self._report(job, finished, work, work, samples)

    def _resume(self, context: MeasureContext) -> list[NDArray[np.float64]]:
        """Return nodes and weights of the starts an interrupted run finished."""
        ritz = context.arrays.get(f"{self.key}/ritz")
        start = context.arrays.get(f"{self.key}/start")
        if not context.done or ritz is None or start is None:
            return []
        return [np.asarray(ritz[:, start == i]) for i in np.unique(start)]

    def _report(
        self,
        job: TraceJob,
        finished: list[NDArray[np.float64]],
        done: float,
        work: float,
        samples: int,
    ) -> Update:
        ritz = np.concatenate(finished, 1)
        counts = [part.shape[1] for part in finished]
        grid, density = spectral_density(ritz[0], ritz[1] / len(finished))
        part: Literal["weight", "model"] = "weight" if self.layer else "model"
        rows = tuple(
            Row(self.layer, None, float(value), float("nan"), quantity, part)
            for quantity, value in (
                ("largest", ritz[0].max()),
                ("smallest", ritz[0].min()),
            )
        )
        arrays = {
            f"{self.key}/grid": grid,
            f"{self.key}/density": density,
            f"{self.key}/ritz": ritz,
            f"{self.key}/start": np.repeat(np.arange(len(finished)), counts),
        }
        return Update(done, work, "", rows, arrays, job.told(), samples)
