"""Traces of all layers from the same passes: probes of the outputs, or of the weights.

Both routes add up quadratic forms per cluster of samples (`TraceSums`); they differ
in what a probe is and in what samples share it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.data.batch import Batch, call
from analysis.measures.evaluating import copied_saved_tensors, overwrites_saved
from analysis.measures.finite import first_broken_site, left_out, no_finite_sample
from analysis.measures.hessian_norms import NormListener, UseListener
from analysis.measures.hessian_products import Curvature, differentiable
from analysis.measures.hessian_rows import TraceSums
from analysis.measures.random_signs import sample_signs, weight_signs
from analysis.measures.sample_layout import Layout, SampleAxis, UseKey, find_layout
from analysis.measures.trace_job import TraceJob
from analysis.method import Row, Update

_CLUSTERS = 8
"""Batches the exact Hessian is taken in, so that their spread is a standard error."""
_MIN_CLUSTERS = 8
"""A standard error from fewer is too uncertain to stop on."""
_ROWS_EVERY_SECONDS = 1.0

ARRAYS = "hessian"
"""Where the sums are kept among the arrays of a run."""


class _Traces:
    """The loop over batches and probes; subclasses say what a probe is.

    Attributes:
        names: Layer or site of every column of the quadratic forms.
        sums: Their sums so far.
    """

    arrays = ARRAYS

    def __init__(self, job: TraceJob) -> None:
        self.job = job
        self._judge([layer.name for layer in job.layers])
        self._left_out: set[int] = set()
        self._left_at = ""
        self._broken: set[int] = set()

    def _judge(self, names: Sequence[str]) -> None:
        """Begin anew with these columns."""
        self.names = list(names)
        self.sums = TraceSums(len(self.names))

    def _prepare(self) -> list[Batch]:
        """Return the batches, after looking at the network."""
        raise NotImplementedError

    def _clusters(self, batch: Batch) -> list[tuple[int, int]]:
        """Return first sample and size of the clusters of a batch."""
        raise NotImplementedError

    def _quadratic_forms(
        self, batch: Batch, probes: int
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Yield forms `[clusters, columns]` and weights `[clusters]` of each probe."""
        raise NotImplementedError

    def run(self, probes: int, precision: float) -> Iterator[Update]:
        """Yield rows that sharpen with every probe."""
        yield from self.job.scores.prepare()
        yield Update(0, 1, "looking for the samples in every op")
        batches = self._prepare()
        self._resume(batches)
        work = float(sum(batch.size for batch in batches) * probes)
        done, shown = 0.0, 0.0
        for number, batch in enumerate(batches):
            clusters = self._clusters(batch)
            if (self.sums.probes_of([first for first, _ in clusters]) >= probes).all():
                done += batch.size * probes
                continue
            forms = self._quadratic_forms(batch, probes)
            with contextlib.closing(forms):  # type: ignore[type-var]
                for probe, (value, weight) in enumerate(forms):
                    self._add(batch, clusters, probe, value, weight)
                    done += batch.size
                    if self._is_precise(precision):
                        yield self._report(done, done, "precise enough")
                        return
                    note = f"batch {number + 1} of {len(batches)}, probe {probe + 1}"
                    if self._needs_no_more_probes(precision):
                        done += batch.size * (probes - probe - 1)
                        yield Update(done, work, note, samples=self.sums.samples)
                        break
                    late = time.monotonic() - shown > _ROWS_EVERY_SECONDS
                    if late and done < work and self.sums.clusters:
                        yield self._report(done, work, note)
                        shown = time.monotonic()
                    else:
                        yield Update(done, work, note, samples=self.sums.samples)
        if not self.sums.clusters:
            raise no_finite_sample(self._left_at)
        if self._left_out:
            self.job.warnings.append(left_out(len(self._left_out), self._left_at))
        yield self._report(work, work, "")

    def _add(
        self,
        batch: Batch,
        clusters: list[tuple[int, int]],
        probe: int,
        value: NDArray[np.float64],
        weight: NDArray[np.float64],
    ) -> None:
        """Take in one probe of a batch, without what is not finite."""
        if len(clusters) > 1:
            # One row alone cannot tell a layer that always overflows from a bad
            # sample.
            never = set(np.flatnonzero(~np.isfinite(value).any(0)).tolist())
            names = [self.names[i] for i in sorted(never - self._broken)]
            if len(never) < value.shape[1]:
                self._broken |= never
                self.job.warnings += [
                    f"{name} meets NaN or infinity in every sample: it has no result."
                    for name in names
                ]
        value[:, sorted(self._broken)] = 0.0
        good = np.isfinite(value).all(1) & np.isfinite(weight)
        for number in np.flatnonzero(~good).tolist():
            first, size = clusters[number]
            self._left_out |= set(range(first, first + size))
            self._left_at = self._left_at or first_broken_site(self.job.tap, batch)
        starts, sizes = zip(*clusters, strict=True)
        due = good & (self.sums.probes_of(starts) == probe)
        new = np.flatnonzero(due).tolist()
        self.sums.update(
            [starts[i] for i in new], value[due], weight[due], [sizes[i] for i in new]
        )

    def _resume(self, batches: Sequence[Batch]) -> None:
        """Take over the clusters of an interrupted run."""
        context = self.job.context
        if not context.done:
            return
        known = TraceSums.from_arrays(context.arrays, self.arrays, len(self.names))
        wanted = [c for batch in batches for c in self._clusters(batch)]
        self.sums.merge(known.only(wanted))

    def _is_precise(self, precision: float) -> bool:
        if precision <= 0 or self.sums.clusters < _MIN_CLUSTERS:
            return False
        value, stderr = self.sums.result()
        return _median_ratio(stderr, value) <= precision

    def _needs_no_more_probes(self, precision: float) -> bool:
        """Tell whether probes of all samples like those so far are precise enough.

        What then is left of the standard error is the choice of samples.
        """
        if precision <= 0 or self.sums.clusters < _MIN_CLUSTERS:
            return False
        value, _ = self.sums.result()
        share = self.sums.samples / len(self.job.data)
        return _median_ratio(self.sums.noise(), value) * math.sqrt(share) <= precision

    def _report(self, done: float, work: float, note: str) -> Update:
        value, stderr = self.sums.result()
        broken = {self.names[i] for i in self._broken}
        rows = self._rows(value, stderr, is_last=done >= work)
        rows = tuple(row for row in rows if row.target not in broken)
        arrays = self._kept()
        warnings = self.job.told()
        return Update(done, work, note, rows, arrays, warnings, self.sums.samples)

    def _rows(
        self,
        value: NDArray[np.float64],
        stderr: NDArray[np.float64],
        *,
        is_last: bool,
    ) -> tuple[Row, ...]:
        """Return the results of all columns as rows."""
        del is_last
        return self.job.rows(value, stderr)

    def _kept(self) -> dict[str, np.ndarray]:
        """Return the arrays to keep, those that a resumed run goes on from too."""
        return self.sums.arrays(self.arrays)


def _median_ratio(error: NDArray[np.float64], value: NDArray[np.float64]) -> float:
    """Return the median relative error over what is above 0, inf without any."""
    known = value > 0
    return float(np.median(error[known] / value[known])) if known.any() else np.inf


class GaussNewtonTraces(_Traces):
    """E ||J_layer^T u||^2 with a direction u of its own for every sample."""

    def _prepare(self) -> list[Batch]:
        job = self.job
        layout = self._layout()
        self._axes: Mapping[UseKey, SampleAxis] | None = None
        self._site_axes: Mapping[str, SampleAxis] = {}
        self._copies = False
        if layout is None:
            batches = self._one_by_one()
            self._copies = self._overwrites(batches[0])
            return batches
        self._axes, self._site_axes = layout.uses, layout.sites
        batches = job.batches(layout.batch_size)
        if layout.overwrites:
            self._copies = self._overwrites(job.head(1))
        return batches

    def _one_by_one(self) -> list[Batch]:
        size, device = int(self.job.fixed_batch or 1), self.job.context.device
        return [batch.to(device) for batch in self.job.data.batches(size)]

    def _layout(self) -> Layout | None:
        """Return where the samples lie, None to run them one by one.

        Learns, too, which layers' gradient only autograd can form.
        """
        job, module, uses = self.job, self.job.tap.module, UseListener()
        layout = None
        if len(job.data) < 2 or job.fixed_batch:
            batch = job.head(int(job.fixed_batch or 1))
            with torch.no_grad(), job.tap.session(uses):
                call(module, batch)
        else:
            layout = find_layout(job.tap, job.data, job.context.device, uses)
        self._through_autograd = uses.through_autograd
        return None if self._through_autograd else layout

    def _overwrites(self, batch: Batch) -> bool:
        """Tell whether the network overwrites what autograd has saved."""
        listener = NormListener((), None, frozenset(), self.job.context.device)
        return overwrites_saved(self._forward(batch, listener))

    def _clusters(self, batch: Batch) -> list[tuple[int, int]]:
        first = self.job.context.first_sample + batch.first
        if self._axes is None:
            return [(first, batch.size)]
        return [(first + i, 1) for i in range(batch.size)]

    def _quadratic_forms(
        self, batch: Batch, probes: int
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        job = self.job
        rows = len(self._clusters(batch))
        listener = self._listener()
        output = self._forward(batch, listener)
        fixed = output.detach()
        _, weight = job.loss.value(fixed, batch)
        weights = weight.double().reshape(rows, -1).sum(1).cpu().numpy()
        finite = torch.isfinite(fixed.reshape(rows, -1)).all(1).cpu().numpy()
        weights = np.where(finite, weights, np.nan)
        for probe in range(probes):
            u = torch.nan_to_num(self._direction(fixed, batch, probe), 0.0, 0.0, 0.0)
            self._begin_probe(listener, batch, probe, weights)
            torch.autograd.backward(output, u, retain_graph=probe < probes - 1)
            yield listener.take().double().cpu().numpy(), weights

    def _listener(self) -> NormListener:
        """Return what collects the norms of a batch."""
        job = self.job
        return NormListener(
            job.layers, self._axes, self._through_autograd, job.context.device
        )

    def _direction(self, output: Tensor, batch: Batch, probe: int) -> Tensor:
        """Return `u` of a probe, `[N, ...]`."""
        context = self.job.context
        first = context.first_sample + batch.first
        signs = sample_signs(output, first=first, seed=context.seed, probe=probe)
        return self.job.loss.probe(output, batch, signs)

    def _begin_probe(
        self,
        listener: NormListener,
        batch: Batch,
        probe: int,
        weights: NDArray[np.float64],
    ) -> None:
        """Get the listener ready; `weights` are NaN for what will be left out."""

    def _forward(self, batch: Batch, listener: NormListener) -> Tensor:
        """Return the output of a batch with the graph that leads to it."""
        module = self.job.tap.module
        listener.begin(batch.size)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if self._copies:
                stack.enter_context(copied_saved_tensors(module))
            with self.job.tap.session(listener):
                raw = call(module, batch)
            return self.job.loss.task.output(raw, batch)


class HessianTraces(_Traces):
    """v_layer . (H v)_layer, with a sign of its own for every weight and batch.

    The products of other layers have mean zero in it: they add noise, no bias.
    """

    def _prepare(self) -> list[Batch]:
        job = self.job
        batches = job.batches(max(1, len(job.data) // _CLUSTERS))
        self._parameters = [job.parameters[x.parameter] for x in job.layers]
        self._curvature = Curvature(
            job.tap.module, batches, job.loss, "hessian", self._parameters
        )
        return batches

    def _clusters(self, batch: Batch) -> list[tuple[int, int]]:
        return [(self.job.context.first_sample + batch.first, batch.size)]

    def _quadratic_forms(
        self, batch: Batch, probes: int
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        context = self.job.context
        first = context.first_sample + batch.first
        with differentiable(self._parameters):
            one = self._curvature.batch(batch)
            weight = one.weight.double().sum().cpu().numpy().reshape(1)
            for probe in range(probes):
                v = [
                    weight_signs(p, context.seed % 2**64, first, probe, number)
                    for number, p in enumerate(self._parameters)
                ]
                forms = [
                    float((x * y).sum(dtype=torch.float64))
                    for x, y in zip(v, one.product(v), strict=True)
                ]
                yield np.array([forms]), weight
