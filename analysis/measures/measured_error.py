"""Measured error: the network run with quantized weights or activations."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from analysis.data.batch import Batch, call
from analysis.measures.candidates import Candidates, broken_parameters, broken_warnings
from analysis.measures.context import MeasureContext, RowKey
from analysis.measures.evaluating import evaluating
from analysis.measures.finite import first_broken_site, left_out, no_finite_sample
from analysis.measures.input_quantizers import (
    InputQuantizer,
    InputQuantizers,
)
from analysis.method import Row, Update, check_params
from analysis.prediction import clustered_ratio
from analysis.quality import FORWARD_SECONDS
from analysis.tasks.base import Task
from quant_core.errors import QuantError
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site
from quant_core.tap import Tap

if TYPE_CHECKING:
    from quant_core.assignment import Assignment

_MAX_BATCH = 64

Change = tuple[dict[str, Tensor], dict[str, Callable[[Tensor], Tensor]]]
"""New weights by parameter name and changed activations by site name."""


@dataclass(frozen=True)
class MeasuredError:
    """How far the output really moves with one layer quantized and the rest float.

    Runs the network once over all data per layer and format: exact on the data
    given, and slow. Use it to verify a prediction, or `whole` for one assignment.
    """

    key: ClassVar[str] = "measured_error"
    title: ClassVar[str] = "Measured error"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_params(self)

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield one row per (layer, format), others float.

        Args:
            context: Needs a module, data and a task. Rows in `context.done` are
                not measured again.

        Yields:
            Rows with quantity "error" in the unit of the task.
        """
        module, _, _ = context.need_run(self.title)
        with evaluating(module):
            yield from _Measuring(context, module).layer_by_layer()

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
            yield from _Measuring(context, module).whole(assignment)


@dataclass(frozen=True)
class _Step:
    """One thing to measure: a layer's weight or input in one scheme."""

    part: Literal["weight", "input"]
    target: str
    scheme: Scheme
    quantizer: InputQuantizer | None = None

    @property
    def row_key(self) -> RowKey:
        return self.target, self.scheme.key, "error", self.part


class _Score:
    """Numerators and weights of a comparison, sample by sample."""

    def __init__(self) -> None:
        self._numerator: list[Tensor] = []
        self._weight: list[Tensor] = []

    def add(self, numerator: Tensor, weight: Tensor) -> None:
        # A quantized network that leaves the finite numbers is infinitely wrong.
        infinite = numerator.double().nan_to_num(math.inf, math.inf, math.inf)
        self._numerator.append(infinite.cpu())
        self._weight.append(weight.double().cpu())

    def result(self) -> tuple[float, float]:
        """Return the error and its standard error over samples."""
        numerator = torch.cat(self._numerator).numpy()
        if np.isinf(numerator).any():
            return math.inf, math.nan
        weight = torch.cat(self._weight).numpy()
        value, stderr = clustered_ratio(numerator, weight, np.arange(len(weight)))
        return float(value), float(stderr)


class _Measuring:
    """Float reference outputs of one data set, and comparisons with them."""

    def __init__(self, context: MeasureContext, module: nn.Module) -> None:
        _, data, task = context.need_run(MeasuredError.title)
        self.context, self.task = context, task
        self.tap = Tap(module)
        self.layers = {layer.name: layer for layer in self.tap.layers}
        self.parameters = dict(module.named_parameters())
        fixed = context.model.input_hints.get("batch_size")
        size = int(fixed or context.batch_size or min(_MAX_BATCH, len(data)))
        self.batches = [batch.to(context.device) for batch in data.batches(size)]
        self.samples = len(data)
        self.inside_attention = False
        self.references: list[Tensor] = []
        self.finite: list[Tensor] = []
        self.warnings: list[str] = []

    def layer_by_layer(self) -> Iterator[Update]:
        """See `MeasuredError.run`."""
        broken = self._broken()
        with self.tap.exchanged(broken):
            steps = self._weight_steps(broken)
            yield from self._input_steps(steps)
            steps = [s for s in steps if s.row_key not in self.context.done]
            work = float(self.samples * (len(steps) + 1))
            yield from self._reference(work)
            done = float(self.samples)
            for step in steps:
                score = _Score()
                note = f"{step.target} in {step.scheme.key}"
                for size in self._compare(self._change(step), score, None):
                    done += size
                    yield self._update(done, work, note)
                value, stderr = score.result()
                row = Row(
                    step.target, step.scheme.key, value, stderr, "error", step.part
                )
                yield self._update(done, work, note, (row,))
            yield self._update(work, work, "")

    def _broken(self) -> dict[str, Tensor]:
        """Return stand-ins for weights that hold NaN, and warn of them."""
        broken = broken_parameters(self.layers.values(), self.parameters)
        self.warnings += broken_warnings(self.layers.values(), broken)
        return broken

    def whole(self, assignment: Assignment) -> Iterator[Update]:
        """See `MeasuredError.whole`."""
        with self.tap.exchanged(self._broken()):
            yield from self._whole(assignment)

    def _whole(self, assignment: Assignment) -> Iterator[Update]:
        self.inside_attention = any(":" in name for name in assignment.sites)
        wanted: dict[str, Scheme] = dict(assignment.sites)
        weights: dict[str, Tensor] = {}
        work = 3.0 * self.samples
        for i, layer in enumerate(assignment.layers):
            scheme = assignment.palette[int(assignment.input[i])]
            if scheme is not None:
                wanted[layer.name] = scheme
            scheme = assignment.palette[int(assignment.weight[i])]
            if scheme is not None:
                weight = self.parameters[layer.parameter].detach()
                weights[layer.parameter] = _stored(layer.name, scheme, weight, layer)
        inputs: dict[str, Callable[[Tensor], Tensor]] = {}
        if wanted:
            schemes = tuple(dict.fromkeys(wanted.values()))
            made = InputQuantizers()
            yield from self._calibrate(made, schemes, lambda s: s.name in wanted)
            for site, quantizers in made.by_site.items():
                chosen = schemes.index(wanted[site.name])
                inputs[site.name] = quantizers[chosen]
        yield from self._reference(work)
        score, metrics = _Score(), _Metrics(self.task)
        done = 2.0 * self.samples
        for size in self._compare((weights, inputs), score, metrics):
            done += size
            yield self._update(done, work, "quantized network")
        value, stderr = score.result()
        rows = (Row("", None, value, stderr, "error", "model"), *metrics.rows())
        yield self._update(work, work, "", rows)

    def _weight_steps(self, broken: Mapping[str, Tensor]) -> list[_Step]:
        healthy = [x for x in self.layers.values() if x.parameter not in broken]
        candidates = Candidates(healthy, self.context.schemes)
        self.warnings += candidates.warnings
        return [
            _Step("weight", layer.name, scheme)
            for layer in healthy
            for scheme in candidates.schemes_of(layer)
        ]

    def _input_steps(self, steps: list[_Step]) -> Iterator[Update]:
        """Append the steps for layer inputs, after the pass that calibrates them."""
        schemes = self.context.input_schemes
        if not schemes:
            return
        made = InputQuantizers()
        yield from self._calibrate(made, schemes, lambda site: site.role == "input")
        for site, quantizers in made.by_site.items():
            steps += [_Step("input", site.name, q.scheme, q) for q in quantizers]

    def _calibrate(
        self,
        made: InputQuantizers,
        schemes: Sequence[Scheme],
        wanted: Callable[[Site], bool],
    ) -> Iterator[Update]:
        for number in made.calibrate(
            self.tap,
            self.batches,
            schemes,
            wanted,
            inside_attention=self.inside_attention,
        ):
            note = f"activation ranges, batch {number} of {len(self.batches)}"
            yield self._update(0, 1, note)
        self.warnings += made.warnings

    def _change(self, step: _Step) -> Change:
        if step.quantizer is not None:
            return {}, {step.target: step.quantizer}
        layer = self.layers[step.target]
        weight = self.parameters[layer.parameter].detach()
        return {layer.parameter: _stored(layer.name, step.scheme, weight, layer)}, {}

    def _outputs(self, change: Change) -> Iterator[tuple[Batch, Tensor]]:
        """Yield each batch and its output under a change.

        The change is taken back before every yield, so that whoever iterates may
        stop at any point.
        """
        for batch in self.batches:
            with (
                torch.no_grad(),
                self.tap.quantized(*change, inside_attention=self.inside_attention),
            ):
                output = self.task.output(call(self.tap.module, batch), batch)
            yield batch, output

    def _reference(self, work: float) -> Iterator[Update]:
        """Keep the float outputs, and the time they took."""
        done, left, where = 0.0, 0, ""
        seconds, start = 0.0, time.perf_counter()
        for batch, output in self._outputs(({}, {})):
            good = torch.isfinite(output.reshape(batch.size, -1)).all(1)
            if not good.all():
                where = where or first_broken_site(self.tap, batch)
                left += int((~good).sum())
            self.references.append(output)
            self.finite.append(good)
            done += batch.size
            seconds += time.perf_counter() - start
            yield self._update(done, work, "float reference")
            start = time.perf_counter()
        if left == self.samples:
            raise no_finite_sample(where)
        if left:
            self.warnings.append(left_out(left, where))
        # So that the cost of any run can be told in forward passes.
        yield dataclasses.replace(
            self._update(done, work, "float reference"),
            arrays={FORWARD_SECONDS: np.array([seconds])},
        )

    def _compare(
        self, change: Change, score: _Score, metrics: _Metrics | None
    ) -> Iterator[int]:
        """Score a change against the reference; yield the size of each batch."""
        outputs = self._outputs(change)
        for reference, good, (batch, output) in zip(
            self.references, self.finite, outputs, strict=True
        ):
            numerator, weight = self.task.error(reference, output, batch)
            score.add(numerator[good], weight[good])
            if metrics is not None:
                metrics.add(reference, output, batch)
            yield batch.size

    def _update(
        self, done: float, work: float, note: str, rows: tuple[Row, ...] = ()
    ) -> Update:
        warnings, self.warnings = tuple(self.warnings), []
        return Update(done, work, note, rows, warnings=warnings, samples=self.samples)


class _Metrics:
    """Metrics of the task (top-1, perplexity) in float and quantized."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._values: dict[str, list[Tensor]] = {}
        self._per_token = False

    def add(self, reference: Tensor, output: Tensor, batch: Batch) -> None:
        self._per_token = batch.labels is not None and batch.labels.dim() > 1
        for suffix, tensor in (("", output), ("_float", reference)):
            for name, values in self._task.metrics(tensor, batch).items():
                kept = self._values.setdefault(name + suffix, [])
                kept.append(values.double().cpu())

    def rows(self) -> tuple[Row, ...]:
        """Return mean and standard error of every metric.

        Of token predictions the perplexity stands in place of its logarithm, `nll`.
        """
        found = []
        for name, parts in self._values.items():
            values = torch.cat(parts)
            mean, n = float(values.mean()), len(values)
            stderr = float(values.std() / math.sqrt(n)) if n > 1 else math.nan
            if self._per_token and name.startswith("nll"):
                # d exp(m) = exp(m) dm: the delta method.
                name = name.replace("nll", "perplexity", 1)
                mean, stderr = math.exp(mean), math.exp(mean) * stderr
            found.append(Row("", None, mean, stderr, name, "model"))
        return tuple(found)


def _stored(name: str, scheme: Scheme, weight: Tensor, layer: Layer) -> Tensor:
    """Return the fake-quantized weight, with the layer named in any error."""
    try:
        return Quantizer(scheme).fake_quantize(weight, layer.channel_axes)
    except QuantError as error:
        raise error.within(name) from None
