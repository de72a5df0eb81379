"""Measured error: the network run with quantized weights or activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import evaluating
from analysis.measures.measured_outputs import ACCUMULATED, LOCAL, LayerOutputs
from analysis.measures.measured_scores import (
    METRICS,
    Comparison,
    Scores,
    task_metrics,
)
from analysis.measures.measured_steps import (
    ALL_BUT_ONE,
    ALONE,
    AT_TARGET,
    CUMULATIVE,
    Step,
    groups_of,
    input_steps,
    order_of_use,
    union,
    weight_steps,
)
from analysis.measures.measured_sweep import Sweep, calibrated
from analysis.measures.measuring import Measuring, Setting, assigned_inputs
from analysis.measures.memory_layout import channels_last
from analysis.method import Method, Update, param
from analysis.quality import ORDER
from quant_core.scheme import parse_scheme

if TYPE_CHECKING:
    from quant_core.assignment import Assignment


ERRORS = "measured_error/whole"
"""`[2, n]` numerators and weights of the error of a whole assignment, by sample."""

SCOPES: dict[str, str] = {
    "alone": ALONE,
    "all_but_one": ALL_BUT_ONE,
    "cumulative": CUMULATIVE,
    "at_target": AT_TARGET,
    "local": LOCAL,
    "accumulated": ACCUMULATED,
}
"""What may be quantized together, and the quantity of its error."""


@dataclass(frozen=True)
class MeasuredError(Method):
    """How far the output really moves with one layer quantized and the rest float.

    Runs the network over all data per layer and format, from that layer on: exact on
    the data given, and slow. Use it to verify a prediction, or `whole` for one
    assignment. By scope, the state of the other layers and where the error is read:

        alone        the others float; read at the output. Quantity `error`: what all
                     other measures are judged by (AIMET's "alone on", PPQ's
                     layer-wise error)
        all_but_one  the others in the same format, this one float (AIMET's "alone
                     off"): the lower, the more is gained by keeping it float
        cumulative   this one and all that are used before it in the format: where
                     the error starts
        at_target    the others in the scheme `target`
        local        the others float; read at the layer's own output
        accumulated  all in the format; read at the layer's own output (PPQ's
                     graph-wise error, ONNX Runtime's cross-model error)

    The last two are squared error over power. Inputs of layers are measured in the
    first four scopes, with all weights float but for `at_target`. A large difference
    between `alone` and `all_but_one` is an interaction.
    """

    key: ClassVar[str] = "measured_error"
    title: ClassVar[str] = "Measured error"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True
    shareable: ClassVar[bool] = True

    scopes: list[str] = param(
        ["alone"],
        "What is quantized beside the layer, and where the error is read; see above.",
        choices=tuple(SCOPES),
    )
    metrics: list[str] = param(
        [],
        "Further numbers of every output: KL divergence (kl), relative squared error "
        "(mse), signal-to-noise ratio (sqnr), cosine, and what the labels tell (task: "
        "top-1, perplexity).",
        choices=METRICS,
    )
    target: str = param(
        "int4", "Scheme of the other layers in the scope at_target, such as int8."
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        if not self.scopes:
            raise AnalysisError(
                "measured_error has nothing to measure.",
                value="no scopes",
                allowed=", ".join(SCOPES),
            )
        parse_scheme(self.target)

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield one row per (layer, format) and quantity.

        Args:
            context: Needs a module, data and a task. Rows in `context.done` are
                not measured again, nor are batches in `context.arrays`.

        Yields:
            Rows with the quantities of `SCOPES`, "error" in the unit of the task, and
            the metrics asked for. Of several batches the rows are estimates until the
            last. With the scope cumulative, the array `measured_error/order` holds the
            indices of the layers in the order in which they are used.
        """
        module, _, _ = context.need_run(self.title)
        with evaluating(module), channels_last(context, module):
            measuring = Measuring(context, module, self.title)
            broken = measuring.broken()
            with measuring.tap.exchanged(broken):
                yield from calibrated(measuring, context.input_schemes)
                yield from self._measured(measuring, broken)

    def _measured(
        self, measuring: Measuring, broken: Mapping[str, Tensor]
    ) -> Iterator[Update]:
        wanted = [SCOPES[scope] for scope in self.scopes]
        weights = weight_steps(measuring, broken, measuring.context.schemes)
        target = Setting()
        if AT_TARGET in wanted:
            scheme = parse_scheme(self.target)
            target = union(weight_steps(measuring, broken, [scheme]))
        inputs = input_steps(measuring)
        layers: list[str] = []
        if CUMULATIVE in wanted:
            layers = order_of_use(measuring.tap, measuring.batches[0])
        order = [*layers, *(step.target for step in inputs)]
        groups = groups_of(weights, wanted, order, target)
        groups += groups_of(inputs, wanted, order, target)
        outputs = self._outputs(measuring, weights, wanted)
        after = 0.0 if outputs is None else outputs.work
        sweep = Sweep(measuring, self.key, groups, self.metrics, after)
        if layers:
            used = _indices(measuring, layers)
            yield Update(0.0, sweep.total, arrays={ORDER: used})
        yield from sweep.run()
        if outputs is not None:
            for done, note, rows in outputs.run():
                done += sweep.total - after
                told, samples = measuring.told(), measuring.samples
                yield Update(done, sweep.total, note, rows, {}, told, samples)

    def _outputs(
        self, measuring: Measuring, steps: Sequence[Step], wanted: Sequence[str]
    ) -> LayerOutputs | None:
        """Return what is left to do inside the network; the first shard does it."""
        done, inside = measuring.context.done, (LOCAL, ACCUMULATED)
        left = [
            quantity
            for quantity in inside
            if quantity in wanted
            and any((s.target, s.format, quantity, s.part) not in done for s in steps)
        ]
        if not left or measuring.context.shard[0]:
            return None
        return LayerOutputs(measuring, steps, left, self.metrics)

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
        with evaluating(module), channels_last(context, module):
            measuring = Measuring(context, module, self.title)
            with measuring.tap.exchanged(measuring.broken()):
                yield from _whole(measuring, assignment)

    def repeatedly(
        self, context: MeasureContext
    ) -> Callable[[Assignment], Iterator[Update]]:
        """Return what `whole` does, running the float network the first time only.

        Its last update holds the array `ERRORS` as well.

        Args:
            context: Needs a module, data and a task; its schemes are not used. The
                network and the data must stay as they are.
        """
        module, _, _ = context.need_run(self.title)
        measuring = Measuring(context, module, self.title)
        references: dict[int, Tensor] = {}

        def run(assignment: Assignment) -> Iterator[Update]:
            with (
                evaluating(module),
                channels_last(context, module),
                measuring.tap.exchanged(measuring.broken()),
            ):
                yield from _whole(measuring, assignment, references)

        return run


def _indices(measuring: Measuring, names: Sequence[str]) -> NDArray[np.int32]:
    layers = measuring.context.model.info.layers
    place = {layer.name: index for index, layer in enumerate(layers)}
    return np.array([place[name] for name in names if name in place], np.int32)


def _whole(
    measuring: Measuring,
    assignment: Assignment,
    kept: dict[int, Tensor] | None = None,
) -> Iterator[Update]:
    """Compare an assignment; float outputs are read from `kept` and added to it."""
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
        reference = None if kept is None else kept.get(batch.first)
        if reference is None:
            reference = measuring.reference(batch)
            if kept is not None:
                kept[batch.first] = reference
        output = measuring.output(change, batch)
        compare = Comparison(measuring.task, ("task",), batch, reference)
        pairs = compare.with_output(output)
        floats = task_metrics(measuring.task, reference, batch)
        pairs |= {f"{name}_float": pair for name, pair in floats.items()}
        scores.add(0, batch.first, pairs)
        done += 2 * batch.size
        told = measuring.told()
        yield Update(done, 3 * samples, "quantized network", warnings=told)
    measuring.check_samples()
    rows = scores.rows(0, "", None, "model")
    found = scores.part(0, measuring.samples)["error"][0]
    yield Update(
        3 * samples,
        3 * samples,
        "",
        rows,
        {} if kept is None else {ERRORS: found},
        warnings=measuring.told(),
        samples=measuring.samples,
    )
