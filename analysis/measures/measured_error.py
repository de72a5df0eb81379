"""Measured error: the network run with quantized weights or activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import evaluating
from analysis.measures.measured_scores import (
    METRICS,
    Scores,
    compared,
    task_metrics,
)
from analysis.measures.measured_sweep import (
    Group,
    Sweep,
    calibrated,
    input_steps,
    weight_steps,
)
from analysis.measures.measuring import Measuring, assigned_inputs
from analysis.method import Update, check_params, param

if TYPE_CHECKING:
    from quant_core.assignment import Assignment


@dataclass(frozen=True)
class MeasuredError:
    """How far the output really moves with one layer quantized and the rest float.

    Runs the network over all data per layer and format, from that layer on: exact on
    the data given, and slow. Use it to verify a prediction, or `whole` for one
    assignment. AIMET calls it "alone on", PPQ the layer-wise error.
    """

    key: ClassVar[str] = "measured_error"
    title: ClassVar[str] = "Measured error"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    metrics: list[str] = param(
        [],
        "Further numbers of every output: relative squared error (mse), "
        "signal-to-noise ratio (sqnr), cosine, and what the labels tell (task: top-1, "
        "perplexity).",
        choices=METRICS,
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_params(self)

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield one row per (layer, format), others float.

        Args:
            context: Needs a module, data and a task. Rows in `context.done` are
                not measured again, nor are batches in `context.arrays`.

        Yields:
            Rows with quantity "error" in the unit of the task, and the metrics asked
            for. Of several batches the rows are estimates until the last.
        """
        module, _, _ = context.need_run(self.title)
        with evaluating(module):
            measuring = Measuring(context, module, self.title)
            broken = measuring.broken()
            with measuring.tap.exchanged(broken):
                yield from calibrated(measuring, context.input_schemes)
                steps = weight_steps(measuring, broken) + input_steps(measuring)
                groups = [Group(steps)]
                yield from Sweep(measuring, self.key, groups, self.metrics).run()

    def whole(
        self, context: MeasureContext, assignment: Assignment
    ) -> Iterator[Update]:
        """Yield the error of a whole assignment, and metrics when labels exist.

        Args:
            context: Needs a module, data and a task; its schemes are not used.
            assignment: What to run.

        Yields:
            Rows for target "", part "model": quantity "error", and for every metric
            of the task NAME (quantized) and NAME_float.
        """
        module, _, _ = context.need_run(self.title)
        with evaluating(module):
            measuring = Measuring(context, module, self.title)
            with measuring.tap.exchanged(measuring.broken()):
                yield from _whole(measuring, assignment)


def _whole(measuring: Measuring, assignment: Assignment) -> Iterator[Update]:
    samples = float(measuring.samples)
    measuring.inside_attention = any(":" in name for name in assignment.sites)
    inputs = assigned_inputs(assignment)
    schemes = tuple(dict.fromkeys(inputs.values()))
    yield from calibrated(measuring, schemes, inputs)
    setting = measuring.setting_of(assignment)
    change = measuring.weights(setting), measuring.inputs(setting)
    scores = Scores(1, measuring.samples, METRICS, per_token=measuring.per_token)
    done = samples
    for batch in measuring.batches:
        reference = measuring.reference(batch)
        output = measuring.output(change, batch)
        pairs = compared(measuring.task, ("task",), batch, reference, output)
        floats = task_metrics(measuring.task, reference, batch)
        pairs |= {f"{name}_float": pair for name, pair in floats.items()}
        scores.add(0, batch.first, pairs)
        done += 2 * batch.size
        told = measuring.told()
        yield Update(done, 3 * samples, "quantized network", warnings=told)
    measuring.check_samples()
    rows = scores.rows(0, "", None, "model")
    yield Update(
        3 * samples,
        3 * samples,
        "",
        rows,
        warnings=measuring.told(),
        samples=measuring.samples,
    )
