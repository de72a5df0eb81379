"""Predicted error: every layer x every format from one forward pass and few probes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.data.batch import Batch, Data, call
from analysis.measures.candidates import Candidates, broken_parameters, broken_warnings
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import (
    copied_saved_tensors,
    evaluating,
    overwrites_saved,
)
from analysis.measures.finite import first_broken_site, left_out, no_finite_sample
from analysis.measures.input_quantizers import (
    InputQuantizer,
    InputQuantizers,
)
from analysis.measures.memory_layout import channels_last
from analysis.measures.probe_columns import ProbeColumns
from analysis.measures.probe_rows import ProbeRows
from analysis.measures.probing import ProbeListener
from analysis.measures.random_signs import probe_signs
from analysis.measures.sample_layout import Layout, SampleAxis, find_layout
from analysis.method import Method, Update, param
from analysis.tasks.base import Task
from quant_core.sites import Site
from quant_core.tap import Tap

_KEEP_CANDIDATES = 2 << 30
_SMALL_MODEL = 16 << 20
"""Bytes of candidates that are kept in any case: those of one layer of a larger one."""
_MIN_SAMPLES = 8
"""A standard error from fewer samples is too uncertain to stop on."""
_ROWS_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class PredictedError(Method):
    """How far the output would move if one layer were stored in a format.

    The second-order prediction `E (u . J dW)^2` of the error of the task, J being the
    output's Jacobian, dW the rounding error and u a random direction whose covariance
    is the curvature of the task's error at the output. For all layers and all formats
    at once: one forward pass, then one backward pass per probe. Every value has a
    standard error, and the projections are kept, so that the error of any whole
    assignment follows with the interactions between layers included and without running
    the model again.

    The direction-aware form of FIT (arXiv 2210.08502) and HAWQ-V2 (arXiv 1911.03852),
    which replace the rounding error by its norm.
    """

    key: ClassVar[str] = "predicted_error"
    title: ClassVar[str] = "Predicted error"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "lower"
    version: ClassVar[int] = 2
    needs_data: ClassVar[bool] = True

    probes: int = param(
        4,
        "Random output directions per sample. Each costs about one backward pass "
        "and lowers the error bars with its square root.",
        minimum=1,
        maximum=1024,
    )
    precision: float = param(
        0.0,
        "Stop as soon as the median relative standard error over all layers and "
        "formats is at most this; 0 uses all samples and probes.",
        minimum=0.0,
        maximum=1.0,
    )
    sites: str = param(
        "inputs",
        "Which activations are judged when input formats are given: the inputs of "
        "layers, or all sites (attention products, softmax, activations, norms).",
        choices=("inputs", "all"),
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield results that sharpen with every probe.

        Args:
            context: Needs a module, data and a task.

        Yields:
            Rows with quantity "error" in the unit of the task and the arrays of
            `analysis.prediction.Predictor`.
        """
        module, data, task = context.need_run(self.title)
        with evaluating(module), channels_last(context, module):
            yield from _Probing(self, context, module, data, task).run()


class _Probing:
    """One run: finds the layout, calibrates, then probes batch by batch."""

    def __init__(
        self,
        method: PredictedError,
        context: MeasureContext,
        module: nn.Module,
        data: Data,
        task: Task,
    ) -> None:
        self.method, self.context, self.task = method, context, task
        self.data = data
        self.tap = Tap(module)
        self.device = context.device
        self.warnings: list[str] = []
        self.broken: set[str] = set()
        self.dropped, self.outputs = 0, 0
        self.dropped_at = ""
        self.copies_saved = False
        self.fixed_batch = context.model.input_hints.get("batch_size")

    def run(self) -> Iterator[Update]:
        parameters = self.tap.parameters
        repaired = broken_parameters(self.tap.layers, parameters)
        healthy = [x for x in self.tap.layers if x.parameter not in repaired]
        self.warnings += broken_warnings(self.tap.layers, repaired)
        with self.tap.exchanged(repaired):
            yield Update(0, 1, "looking for the sample axis of every op")
            layout = self._layout()
            uses = layout.uses if layout else None
            site_axes = layout.sites if layout else {}
            size = self._batch_size(layout)
            batches = [batch.to(self.device) for batch in self.data.batches(size)]
            if layout is None or layout.overwrites:
                first = batches[0] if self.fixed_batch else self._head(1)
                self.copies_saved = self._overwrites_saved(first)
            quantizers: dict[Site, list[InputQuantizer]] = {}
            if self.context.input_schemes:
                yield from self._calibrate(batches, quantizers, site_axes)
            keep = _KEEP_CANDIDATES if uses is None else 0
            candidates = Candidates(healthy, self.context.schemes, keep)
            candidates.form(healthy, parameters, _SMALL_MODEL)
            self.warnings += candidates.warnings
            columns = ProbeColumns.of(healthy, candidates, quantizers)
            if not columns.table:
                yield self._report(ProbeRows(0), columns, 1, 1, "nothing to judge")
                return
            listener = ProbeListener(
                candidates,
                columns.weights,
                columns.sites,
                uses,
                site_axes,
                len(columns.table),
                self.device,
            )
            yield from self._probe(batches, listener, columns, uses is not None)

    def _head(self, samples: int) -> Batch:
        """Return the first samples of the data."""
        return next(self.data.take(samples).batches(samples)).to(self.device)

    def _layout(self) -> Layout | None:
        """Return where the samples lie, None to run them one by one."""
        if len(self.data) < 2 or self.fixed_batch:
            return None
        sites = bool(self.context.input_schemes)
        return find_layout(self.tap, self.data, self.device, with_sites=sites)

    def _batch_size(self, layout: Layout | None) -> int:
        if self.fixed_batch:
            return int(self.fixed_batch)
        if layout is None:
            return 1
        # Candidates are formed once per batch: larger batches share that cost.
        return self.context.batch_size or layout.batch_size

    def _calibrate(
        self,
        batches: list[Batch],
        quantizers: dict[Site, list[InputQuantizer]],
        site_axes: Mapping[str, SampleAxis],
    ) -> Iterator[Update]:
        """Fill `quantizers` from one pass over the data."""
        everything = self.method.sites == "all"

        def wanted(site: Site) -> bool:
            return everything or site.role == "input"

        made = InputQuantizers()
        for number in made.calibrate(
            self.tap,
            batches,
            self.context.input_schemes,
            wanted,
            inside_attention=everything,
        ):
            yield Update(0, 1, f"activation ranges, batch {number} of {len(batches)}")
        self.warnings += made.warnings
        for site, found in made.by_site.items():
            if not site_axes or site.name in site_axes:
                quantizers[site] = found

    def _probe(
        self,
        batches: list[Batch],
        listener: ProbeListener,
        columns: ProbeColumns,
        rows_per_sample: bool,
    ) -> Iterator[Update]:
        """Run all probes of all batches, yielding after each."""
        rows = ProbeRows(len(columns.table))
        finished = self._resume(rows, columns)
        work = sum(batch.size for batch in batches) * (1 + 3 * self.method.probes)
        done, shown = 0.0, 0.0
        for number, batch in enumerate(batches):
            samples = self._sample_indices(batch, rows_per_sample, number)
            fresh = ~np.isin(samples, finished)
            if not fresh.any():
                done += batch.size * (1 + 3 * self.method.probes)
                continue
            output = self._forward(batch, listener)
            self.outputs = output.numel() // (batch.size if rows_per_sample else 1)
            weight = self._weights(output.detach(), batch, rows_per_sample)
            good = fresh & self._finite(output.detach(), batch, rows_per_sample)
            done += batch.size
            for probe in range(self.method.probes):
                direction = self._directions(output.detach(), batch, probe)
                last = probe == self.method.probes - 1
                torch.autograd.backward(output, direction, retain_graph=not last)
                v = self._checked(listener.take().cpu().numpy(), columns)
                good &= self._told_finite(np.isfinite(v).all(1) | ~good, batch)
                rows.update(v[good], weight[good], samples[good])
                done += 3 * batch.size
                if self._precise_enough(rows):
                    yield self._report(rows, columns, done, done, "precise enough")
                    return
                note = f"batch {number + 1} of {len(batches)}, probe {probe + 1}"
                if time.monotonic() - shown > _ROWS_EVERY_SECONDS and done < work:
                    yield self._report(rows, columns, done, work, note)
                    shown = time.monotonic()
                else:
                    yield Update(done, work, note, samples=rows.samples)
            rows.close()
        if not rows.samples:
            raise no_finite_sample(self.dropped_at)
        if self.dropped:
            self.warnings.append(left_out(self.dropped, self.dropped_at))
        yield self._report(rows, columns, work, work, "")

    def _forward(self, batch: Batch, listener: ProbeListener) -> Tensor:
        """Return the output of a batch with the graph that leads to it."""
        listener.begin(batch.size)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if self.copies_saved:
                stack.enter_context(copied_saved_tensors(self.tap.module))
            with self.tap.session(listener):
                raw = call(self.tap.module, batch)
            return self.task.output(raw, batch)

    def _overwrites_saved(self, batch: Batch) -> bool:
        """Tell whether the model overwrites what autograd has saved."""
        listener = ProbeListener(Candidates((), ()), {}, {}, None, {}, 0, self.device)
        return overwrites_saved(self._forward(batch, listener))

    def _sample_indices(
        self, batch: Batch, rows_per_sample: bool, number: int
    ) -> NDArray[np.int64]:
        first = self.context.first_sample
        if rows_per_sample:
            return first + batch.first + np.arange(batch.size)
        return np.array([first + number])

    def _weights(
        self, output: Tensor, batch: Batch, rows_per_sample: bool
    ) -> NDArray[np.float64]:
        kept = self.task.weight(output, batch).cpu().numpy()
        return kept if rows_per_sample else kept.sum(keepdims=True)

    def _finite(
        self, output: Tensor, batch: Batch, rows_per_sample: bool
    ) -> NDArray[np.bool_]:
        """Return which rows have a finite output."""
        flat = output.reshape(batch.size if rows_per_sample else 1, -1)
        return self._told_finite(torch.isfinite(flat).all(1).cpu().numpy(), batch)

    def _told_finite(self, good: NDArray[np.bool_], batch: Batch) -> NDArray[np.bool_]:
        """Return `good`, and remember how many are not and where it began."""
        if not good.all():
            self.dropped += int((~good).sum())
            if not self.dropped_at:
                self.dropped_at = first_broken_site(self.tap, batch)
        return good

    def _checked(
        self, v: NDArray[np.float32], columns: ProbeColumns
    ) -> NDArray[np.float32]:
        """Return `v` with 0 in columns that never are finite, and warn of these.

        One row alone cannot tell a layer that always overflows from a bad sample.
        """
        if len(v) < 2:
            return v
        never = ~np.isfinite(v).any(0)
        names = sorted({columns.table[c][1] for c in np.flatnonzero(never)})
        self.warnings += [
            f"{name} meets NaN or infinity in every sample: it has no result."
            for name in names
            if name not in self.broken
        ]
        self.broken.update(names)
        return np.where(never, np.float32(0), v)

    def _directions(self, output: Tensor, batch: Batch, probe: int) -> Tensor:
        """Return one random direction per sample, the same in any batching."""
        first = self.context.first_sample + batch.first
        signs = probe_signs(output, first=first, seed=self.context.seed, probe=probe)
        return torch.nan_to_num(self.task.probe(output, batch, signs), 0.0, 0.0, 0.0)

    def _precise_enough(self, rows: ProbeRows) -> bool:
        if self.method.precision <= 0 or rows.samples < _MIN_SAMPLES:
            return False
        value, stderr = rows.own()
        known = value > 0
        if not known.any():
            return False
        relative = np.median(stderr[known] / value[known])
        return bool(relative <= self.method.precision)

    def _resume(self, rows: ProbeRows, columns: ProbeColumns) -> NDArray[np.int64]:
        """Take over complete samples of an interrupted run; return their indices."""
        nothing = np.zeros(0, dtype=np.int64)
        arrays = self.context.arrays
        table = arrays.get("predicted_error/columns")
        v = arrays.get("predicted_error/v")
        if not self.context.done or table is None or v is None:
            return nothing
        if not columns.match(table):
            return nothing
        sample = np.asarray(arrays["predicted_error/sample"], dtype=np.int64)
        index, count = np.unique(sample, return_counts=True)
        complete: NDArray[np.int64] = index[count == self.method.probes]
        kept = np.isin(sample, complete)
        if kept.any():
            weight = np.asarray(arrays["predicted_error/weight"], dtype=np.float64)
            rows.update(np.asarray(v)[kept], weight[kept], sample[kept])
            rows.close()
            self.outputs = int(arrays["predicted_error/outputs"][0])
        return complete

    def _report(
        self,
        rows: ProbeRows,
        columns: ProbeColumns,
        done: float,
        work: float,
        note: str,
    ) -> Update:
        own = rows.own()
        found = columns.rows(own[0], own[1], self.broken)
        arrays = rows.arrays(own) if rows.samples else {}
        if self.outputs:
            arrays["predicted_error/outputs"] = np.array([self.outputs])
        arrays["predicted_error/columns"] = columns.array()
        warnings, self.warnings = tuple(self.warnings), []
        return Update(done, work, note, found, arrays, warnings, rows.samples)
