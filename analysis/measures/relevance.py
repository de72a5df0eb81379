"""Relevance: which layers the network's answer passes through."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.data.batch import Batch, Data, call
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import copied_saved_tensors, evaluating
from analysis.measures.explained import (
    TARGETS,
    RootedBatch,
    input_map,
    resolved,
    start_of,
    token_texts,
)
from analysis.measures.finite import first_broken_site, left_out, no_finite_sample
from analysis.measures.lrp_qvit import allocation_rows
from analysis.measures.memory_layout import channels_last
from analysis.measures.relevance_scores import (
    BatchScores,
    RelevanceScores,
    is_scored,
)
from analysis.measures.sample_layout import ONE_ROW, SHARED, SampleAxis, sample_axis
from analysis.method import Method, Row, Update, param
from analysis.tasks.base import Task
from quant_core.errors import QuantError
from quant_core.relevance import (
    COMPOSITES,
    RelevancePass,
    Settings,
    propagate,
    relevance_session,
)
from quant_core.relevance.gradients import GradientPass
from quant_core.tap import Call, Listener, Tap

_MAX_BATCH = 512
_KEEP_SECONDS = 1.0  # between two partial results
_GRAPH_BYTES = 1 << 30
_NAMED = 5


@dataclass(frozen=True)
class Relevance(Method):
    """How much of the network's answer passes through each layer.

    Layer-wise relevance propagation: what is explained starts as 1 per sample at the
    output and is handed back op by op, each by a rule that shares it among the
    operands; one forward and one backward pass for all layers. Scores per layer and
    attention product, over the output of the op, with standard errors over samples:
    `positive`, the mean of max(0, R), by which LRP-QViT (reconstruction) ranks layers;
    `absolute`, the mean of |R|; `share`, the sum of R, which is 1 outside of branches
    and the branch's part inside; `absorbed`, what biases and stabilizers took up;
    `gradient`, the mean of max(0, gradient times R). Sums are conserved, so they
    cannot rank layers one behind the other.

    With formats, also what LRP-QViT's allocation (reconstruction) makes small: `noise`,
    relative relevance times 4^-bits, and `linear`, relative relevance times the bits
    that are saved. Search with the objective relevance.noise or relevance.linear.

    Rule sets give scores that are not comparable with each other. `attnlrp` loses
    relevance in softmax by design; `chefer` keeps it. An op without a rule ends the
    measure and is named with its place.

    Achtibat et al., "AttnLRP", arXiv 2402.05602; Chefer et al., CVPR 2021; Montavon et
    al., "Layer-wise relevance propagation: an overview", 2019; Ranjan and Savakis,
    "LRP-QViT", arXiv 2401.11243.
    """

    key: ClassVar[str] = "relevance"
    title: ClassVar[str] = "Relevance"
    unit: ClassVar[str] = "of the output"
    better: ClassVar[Literal["lower", "higher", "neither"]] = "neither"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = True

    rules: str = param(
        "attnlrp",
        "Rule set. attnlrp, epsilon (attention held constant) and chefer are made for "
        "transformers; the others mix classic rules by kind of layer: z+, gamma or "
        "alpha-beta on convolutions, epsilon on matrices, flat or z-box at the input.",
        choices=tuple(COMPOSITES),
    )
    target: str = param(
        "auto",
        "What is explained: the largest logit, the logit of the label, or the squared "
        "length of the output; auto takes the first where there are logits.",
        choices=TARGETS,
    )
    epsilon: float = param(
        1e-6, "Stabilizer in the denominators.", minimum=0.0, maximum=1.0
    )
    gamma: float = param(
        0.25, "How far gamma rules favour one sign.", minimum=0.0, maximum=1000.0
    )
    alpha: float = param(
        2.0,
        "Weight of positive products in alpha-beta rules; beta is alpha - 1.",
        minimum=1.0,
        maximum=10.0,
    )
    gradient: bool = param(
        False,
        "Also weight relevance by the gradient, as Chefer's class maps do; costs "
        "another forward and backward pass.",
    )
    maps: int = param(
        64,
        "Samples whose relevance of the input is kept, as image or by token.",
        minimum=0,
        maximum=100000,
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield scores that sharpen with every batch.

        Args:
            context: Needs a module, data and a task. A run that is resumed goes on
                after the samples it has.

        Yields:
            Rows by quantity; the arrays of `RelevanceScores`, and `relevance/input`
            with the relevance of the input of the first samples; of text also
            `relevance/tokens`, as texts where the model has a tokenizer.

        Raises:
            AnalysisError: the target does not fit the task, or no sample is finite.
            QuantError: an op on the way has no rule.
        """
        module, data, task = context.need_run(self.title)
        with evaluating(module), channels_last(context, module):
            yield from _Run(self, context, module, data, task).run()


class _Run:
    """One run: finds where samples lie, then goes batch by batch."""

    def __init__(
        self,
        method: Relevance,
        context: MeasureContext,
        module: nn.Module,
        data: Data,
        task: Task,
    ) -> None:
        self.method, self.context, self.task = method, context, task
        self.data, self.tap = data, Tap(module)
        self.target = resolved(method.target, task)
        settings = Settings(method.epsilon, method.gamma, method.alpha)
        self.composite = COMPOSITES[method.rules](settings)
        layers = self.tap.layers
        self.depth = {layer.name: i / len(layers) for i, layer in enumerate(layers)}
        self.axes: dict[str, SampleAxis] = {}
        self.scores = RelevanceScores()
        self.maps: list[NDArray[np.float32]] = []
        self.tokens: list[NDArray[np.str_]] = []
        self.used: set[str] = set()
        self.dropped, self.dropped_at = 0, ""

    def run(self) -> Iterator[Update]:
        total = float(len(self.data))
        done = self._resume()
        yield Update(done, total, "looking for the samples in every op")
        size, rows_per_sample = self._batching()
        shown = 0.0
        for batch in self.data.slice(done, len(self.data)).batches(size):
            batch = batch.to(self.context.device)
            first = done if rows_per_sample else done // size
            self._batch(batch, first, batch.size if rows_per_sample else 1)
            done += batch.size
            last = done >= len(self.data)
            warnings = self._warnings() if last else ()
            show = len(self.scores) and (
                last or time.monotonic() - shown > _KEEP_SECONDS
            )
            shown = time.monotonic() if show else shown
            yield Update(
                float(done),
                total,
                f"samples {done} of {len(self.data)}",
                self._rows() if show else (),
                self._arrays(done) if show else {},
                warnings,
                done - self.dropped,
            )

    def _resume(self) -> int:
        """Take up what an interrupted run kept; return the samples it has seen."""
        arrays = self.context.arrays
        if not self.context.done or "relevance/seen" not in arrays:
            return 0
        self.scores = RelevanceScores.from_arrays(arrays)
        if "relevance/input" in arrays:
            self.maps = list(np.asarray(arrays["relevance/input"], np.float32)[:, None])
        if "relevance/tokens" in arrays:
            self.tokens = list(arrays["relevance/tokens"][:, None])
        return int(arrays["relevance/seen"].item())

    def _batching(self) -> tuple[int, bool]:
        """Return samples per call, and whether they can be told apart."""
        fixed = self.context.model.input_hints.get("batch_size")
        if fixed:
            return int(fixed), int(fixed) == 1
        if len(self.data) < 2:
            return 1, True
        one, two = _Results(), _Results()
        for listener, samples in ((one, 1), (two, 2)):
            batch = next(self.data.take(samples).batches(samples))
            with torch.no_grad(), self.tap.session(listener):
                call(self.tap.module, batch.to(self.context.device))
        axes = _axes(one, two)
        if axes is None or (self.composite.rescaled_sums and not _are_first(axes)):
            return 1, True
        self.axes = axes
        fitting = max(1, _GRAPH_BYTES // max(1, 6 * one.bytes))
        return self.context.batch_size or min(_MAX_BATCH, fitting), True

    def _batch(self, batch: Batch, first: int, samples: int) -> None:
        """Add the scores of one batch."""
        gradients = self._gradients(batch) if self.method.gradient else {}
        found = BatchScores(samples, batch.size, self.axes, gradients)
        relevance_pass = RelevancePass(
            self.composite, found.see, depth=self.depth, samples=batch.size
        )
        rooted = RootedBatch.of(batch)
        with relevance_session(self.tap, relevance_pass):
            output = self.task.output(call(self.tap.module, rooted.batch), batch)
        value = output.detach()
        finite = torch.isfinite(value.reshape(batch.size, -1)).all(1)
        start = start_of(self.target, self.task, torch.nan_to_num(value), batch)
        start = start * finite.view(-1, *[1] * (value.dim() - 1))
        self.used |= relevance_pass.used
        rows = [rows for _, _, rows in relevance_pass.looked_up]
        if not output.requires_grad:
            raise _cut_off()
        arrived = propagate(output, start, [*rooted.leaves, *rows])
        self._keep_map(rooted, relevance_pass, arrived)
        good = finite.cpu().numpy()
        if not good.all():
            self.dropped += int((~good).sum())
            self.dropped_at = self.dropped_at or first_broken_site(self.tap, batch)
        kept = good if samples == batch.size else np.array([bool(good.all())])
        found.add_to(self.scores, self.context.first_sample + first, kept)

    def _gradients(self, batch: Batch) -> dict[int, Tensor]:
        """Return the gradient of what is explained at every op that is scored."""
        listener = GradientPass(is_scored, batch.size)
        rooted = RootedBatch.of(batch)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(copied_saved_tensors(self.tap.module))
            stack.enter_context(self.tap.session(listener))
            output = self.task.output(call(self.tap.module, rooted.batch), batch)
        value = output.detach()
        start = start_of(self.target, self.task, torch.nan_to_num(value), batch)
        if self.target == "norm":  # relevance = value times gradient
            start = torch.where(value == 0, 0.0, start / value)
        if not output.requires_grad:
            raise _cut_off()
        torch.autograd.backward(output, start)
        return listener.gradients

    def _keep_map(
        self,
        rooted: RootedBatch,
        relevance_pass: RelevancePass,
        arrived: Sequence[Tensor],
    ) -> None:
        """Keep the relevance of the input, of as many samples as wished."""
        room = self.method.maps - sum(len(x) for x in self.maps)
        if room <= 0:
            return
        shown = None
        if rooted.leaves:
            shown = input_map(arrived[0], looked_up=False)
        else:
            for (_, index, _), relevance in zip(
                relevance_pass.looked_up, arrived, strict=True
            ):
                if rooted.is_input(index):
                    shown = input_map(relevance, looked_up=True)
                    if index.dim() == 2:
                        tokenizer = self.context.model.tokenizer
                        texts = token_texts(rooted.batch, index, tokenizer)
                        self.tokens.append(texts[:room])
                    break
        if shown is not None:
            self.maps.append(shown[:room].float().cpu().numpy())

    def _rows(self) -> tuple[Row, ...]:
        rows = self.scores.result(self.method.gradient)
        known = {row.target for row in rows}
        # A layer whose op has a rule and that nothing reached is not on the way.
        away = [x.name for x in self.tap.layers if x.name in self.used - known]
        quantities = {row.quantity for row in rows}
        zeros = [Row(n, None, 0.0, 0.0, q) for n in away for q in sorted(quantities)]
        found = (*rows, *zeros)
        positive = {
            row.target: (row.value, row.stderr)
            for row in found
            if row.quantity == "positive" and row.part == "weight"
        }
        costs = allocation_rows(positive, self.tap.layers, self.context.schemes)
        return (*found, *costs)

    def _arrays(self, seen: int) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = dict(self.scores.arrays())
        arrays["relevance/seen"] = np.array([seen])
        if self.maps and len({x.shape[1:] for x in self.maps}) == 1:
            arrays["relevance/input"] = np.concatenate(self.maps)
        if self.tokens and len({x.shape[1:] for x in self.tokens}) == 1:
            arrays["relevance/tokens"] = np.concatenate(self.tokens)
        return arrays

    def _warnings(self) -> tuple[str, ...]:
        if not len(self.scores):
            raise no_finite_sample(self.dropped_at)
        found = [left_out(self.dropped, self.dropped_at)] if self.dropped else []
        scored = set(self.scores.targets) | self.used
        closed = [x.name for x in self.tap.layers if x.name not in scored]
        if closed:
            more = f" and {len(closed) - _NAMED} more" * (len(closed) > _NAMED)
            found.append(
                f"{', '.join(closed[:_NAMED])}{more}: not used, or used by an op that "
                "shows no relevance of single layers."
            )
        return tuple(found)


class _Results(Listener):
    """Notes the results of all ops that are scored, by target."""

    inside_attention = True
    makes_calls = True

    def __init__(self) -> None:
        self.results: dict[str, list[tuple[str, bool, Tensor]]] = {}
        self.bytes = 0

    def call(self, call: Call) -> Any:
        """See `Listener.call`."""
        result = call.run()
        if isinstance(result, Tensor) and result.is_floating_point():
            self.bytes += result.numel() * result.element_size()
            if is_scored(call):
                kept = self.results.setdefault(call.target, [])
                kept.append(
                    (call.name, call.layer is not None, result.detach().clone())
                )
        return result


def _axes(one: _Results, two: _Results) -> dict[str, SampleAxis] | None:
    """Return where samples lie in the results of each target, None if unknown."""
    found: dict[str, SampleAxis] = {}
    for target, results in one.results.items():
        others = two.results.get(target, ())
        if len(others) != len(results):
            return None
        for (name, is_layer, first), (_, _, both) in zip(results, others, strict=True):
            axis = sample_axis(first, both)
            if axis == SHARED and name == "embedding" and len(first) == 1:
                axis = ONE_ROW  # positions: a relevance pass looks them up per sample
            if axis == SHARED and not is_layer:
                continue  # made of constants: carries no relevance
            if axis is None or axis == SHARED:
                return None
            if found.setdefault(target, axis) != axis:
                return None
    return found


def _are_first(axes: dict[str, SampleAxis]) -> bool:
    return all(axis == ONE_ROW for axis in axes.values())


def _cut_off() -> QuantError:
    return QuantError(
        "Relevance cannot leave the output: nothing connects it with the input.",
        hint="The network may compute without gradients (torch.no_grad) inside; "
        "weights, activations and measured_error still work.",
    )
