"""Fisher information of every layer: true or empirical, and scores built on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from analysis.measures.context import MeasureContext
from analysis.measures.fisher_draws import LABELS, choose_draws
from analysis.measures.fisher_traces import FisherTraces
from analysis.measures.trace_job import trace_job
from analysis.method import Method, Update, param


@dataclass(frozen=True)
class Fisher(Method):
    """How much information the output carries about the weights of each layer.

    The trace of each layer's block of the Fisher information, E ||d log p(y) / dW||^2
    with one gradient per sample, from one forward pass and one backward pass per draw
    of labels; no gradient of a weight is kept. With labels drawn from the model it is
    the true Fisher, equal in the mean to the trace of the Gauss-Newton matrix (the
    measure `hessian`); with those of the data the empirical one, which near a trained
    optimum can be far from it. The other layers are in float.

    Scores per format. `fit` is FIT's trace times the mean squared rounding error, for
    weights and, when input formats are judged, for activations; `diagonal` is half
    the squared gradient of each weight times its own squared rounding error; `kfac`
    is half of tr(G dW A dW^T) with the second moments A of inputs and G of gradients,
    which sees the direction of the rounding error within a layer.

    Formulas: Zandonati et al., FIT (arXiv 2210.08502); Martens and Grosse, K-FAC
    (arXiv 1503.05671), positions as in its `expand` form.
    """

    key: ClassVar[str] = "fisher"
    title: ClassVar[str] = "Fisher information"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 2
    needs_data: ClassVar[bool] = True

    labels: str = param(
        "model",
        "Drawn from the model (true Fisher, needs no labels), or those of the data "
        "(empirical Fisher).",
        choices=LABELS,
    )
    draws: int = param(
        4,
        "Labels drawn per sample. Each costs about one backward pass; labels of the "
        "data are used once.",
        minimum=1,
        maximum=1024,
    )
    precision: float = param(
        0.0,
        "Stop as soon as the median relative standard error over the layers is at "
        "most this; draws of a sample end as soon as their own part of it is. "
        "0 uses all samples and draws.",
        minimum=0.0,
        maximum=1.0,
    )
    channels: bool = param(
        False, "Keep the trace of every output channel as well, as arrays."
    )
    scores: str = param(
        "fit",
        "Scores per format: FIT alone; with the diagonal, which forms the gradient of "
        "every sample; or with the diagonal and K-FAC, which keeps two square "
        "matrices per layer.",
        choices=("fit", "fit+diagonal", "fit+diagonal+kfac"),
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield traces that sharpen with every draw.

        Args:
            context: Needs a module, data and a task; schemes are scored when given.

        Yields:
            Rows without format of quantity "trace" (nats or the unit of the task, per
            squared weight) and "average_trace", rows with format of quantity "fit",
            "diagonal" and "kfac" (unit of the task), the same sums as arrays, and
            "fisher/channels/LAYER" `[output channels]`.

        Raises:
            AnalysisError: labels of the data are asked for and there are none.
        """
        module, data, task = context.need_run(self.title)
        draws = choose_draws(self.labels, task, data)
        with trace_job(context, module, draws.loss) as job:
            traces = FisherTraces(job, draws, self.channels, self.scores.split("+"))
            yield from traces.run(self.draws, self.precision)
