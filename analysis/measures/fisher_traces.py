"""Fisher traces of all layers and sites from the same backward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.data.batch import Batch
from analysis.measures.candidates import Candidates
from analysis.measures.fisher_draws import Draws
from analysis.measures.fisher_listener import (
    FisherListener,
    Sums,
    Wanted,
    kfac_scores,
)
from analysis.measures.hessian_norms import NormListener, as_factors
from analysis.measures.hessian_traces import GaussNewtonTraces
from analysis.measures.input_quantizers import InputQuantizer, InputQuantizers
from analysis.measures.trace_job import TraceJob
from analysis.method import Row, Update

_CALIBRATION_BATCH = 64


class FisherTraces(GaussNewtonTraces):
    """E ||d log p(y) / d W_layer||^2, with labels of its own for every sample.

    Args:
        job: The run.
        draws: Whose labels.
        channels: Whether traces are split by output channel as well.
        scores: Which scores per format: "fit", "diagonal", "kfac".
    """

    arrays = "fisher"

    def __init__(
        self, job: TraceJob, draws: Draws, channels: bool, scores: Sequence[str]
    ) -> None:
        super().__init__(job)
        self._draws, self._channels, self._scores = draws, channels, scores
        self._sites: dict[str, list[InputQuantizer]] = {}
        self._sums = Sums()

    def run(self, probes: int, precision: float) -> Iterator[Update]:
        """Yield rows that sharpen with every draw."""
        if self.job.context.input_schemes and "fit" in self._scores:
            yield from self._calibrate()
        yield from super().run(probes if self._draws.are_random else 1, precision)

    def _calibrate(self) -> Iterator[Update]:
        """Give the inputs of the layers their ranges."""
        made, job = InputQuantizers(), self.job
        batches = job.batches(_CALIBRATION_BATCH)
        for number in made.calibrate(
            job.tap,
            batches,
            job.context.input_schemes,
            lambda site: site.role == "input",
            inside_attention=False,
        ):
            yield Update(0, 1, f"activation ranges, batch {number} of {len(batches)}")
        job.warnings += made.warnings
        self._sites = {site.name: found for site, found in made.by_site.items()}

    def _prepare(self) -> list[Batch]:
        batches = super()._prepare()
        if self._axes is not None:
            known = self._site_axes
            self._sites = {n: q for n, q in self._sites.items() if n in known}
        job = self.job
        scored = "diagonal" in self._scores
        self._wanted = Wanted(
            job.layers,
            self._sites,
            Candidates(job.layers, job.context.schemes) if scored else None,
            self._channels,
            "kfac" in self._scores,
        )
        names = [layer.name for layer in job.layers] + list(self._sites)
        for layer, schemes in self._wanted.diagonal():
            names += [layer.name] * schemes
        self._judge(names)
        return batches

    def _listener(self) -> NormListener:
        return FisherListener(
            self._wanted,
            self._sums,
            self._axes,
            self._site_axes,
            self._through_autograd,
            self.job.context.device,
        )

    def _direction(self, output: Tensor, batch: Batch, probe: int) -> Tensor:
        context = self.job.context
        first = context.first_sample + batch.first
        return self._draws.slope(output, batch, first, context.seed, probe)

    def _begin_probe(
        self,
        listener: NormListener,
        batch: Batch,
        probe: int,
        weights: NDArray[np.float64],
    ) -> None:
        assert isinstance(listener, FisherListener)
        starts = [first for first, _ in self._clusters(batch)]
        done = self.sums.probes_of(starts) > probe
        listener.begin_probe(np.where(done, np.nan, weights))

    # -- results -----------------------------------------------------------------------

    def _rows(
        self,
        value: NDArray[np.float64],
        stderr: NDArray[np.float64],
        *,
        is_last: bool,
    ) -> tuple[Row, ...]:
        job, count = self.job, len(self.job.layers)
        sizes = np.array([layer.parameters for layer in job.layers], dtype=np.float64)
        rows: list[Row] = []
        for quantity, scale in (("trace", 1.0), ("average_trace", 1.0 / sizes)):
            both = np.stack([value[:count], stderr[:count]]) * scale
            rows += [
                Row(layer.name, None, v, e, quantity)
                for layer, v, e in zip(job.layers, *both.tolist(), strict=True)
            ]
        if "fit" in self._scores:
            # E[dW^2] is the squared norm over the number of weights.
            per_weight = value[:count] / sizes, stderr[:count] / sizes
            rows += job.scores.rows("fit", *per_weight, job.layers)
            rows += self._site_rows(value[count:], stderr[count:])
        first = count + len(self._sites)
        for layer, schemes in self._wanted.diagonal():
            scored = self._wanted.scored
            assert scored is not None
            for scheme, column in zip(
                scored.schemes_of(layer), range(first, first + schemes), strict=True
            ):
                if value[column] > 0:
                    v, e = 0.5 * float(value[column]), 0.5 * float(stderr[column])
                    rows.append(Row(layer.name, scheme.key, v, e, "diagonal"))
            first += schemes
        if is_last and "kfac" in self._scores:
            rows += self._kfac_rows()
        return tuple(rows)

    def _site_rows(
        self, value: NDArray[np.float64], stderr: NDArray[np.float64]
    ) -> Iterator[Row]:
        """Yield the trace at every input, and FIT of every format there."""
        for i, (name, quantizers) in enumerate(self._sites.items()):
            v, e = float(value[i]), float(stderr[i])
            yield Row(name, None, v, e, "trace", "input")
            noise = self._sums.noise.get(name)
            if noise is None:
                continue
            for quantizer, (square, number) in zip(
                quantizers, noise.tolist(), strict=True
            ):
                mean = square / number
                key = quantizer.scheme.key
                yield Row(name, key, v * mean, e * mean, "fit", "input")

    def _kfac_rows(self) -> Iterator[Row]:
        """Yield the K-FAC score of every layer whose factors are kept."""
        sums, job = self._sums, self.job
        candidates = Candidates(job.layers, job.context.schemes)
        for layer in job.layers:
            rows, columns = sums.rows.get(layer.name), sums.columns.get(layer.name)
            schemes = candidates.schemes_of(layer)
            if rows is None or columns is None or not schemes:
                continue
            deltas = candidates.deltas(layer, job.parameters[layer.parameter])
            scale = 0.5 / (sums.weight * sums.positions[layer.name])
            found = kfac_scores(rows, columns, as_factors(deltas)).double() * scale
            for scheme, v in zip(schemes, found.tolist(), strict=True):
                yield Row(layer.name, scheme.key, v, quantity="kfac")

    def _kept(self) -> dict[str, np.ndarray]:
        found = super()._kept()
        sums = self._sums
        if sums.channels:
            found["fisher/channel_weight"] = np.array([sums.weight])
            for name, total in sums.channels.items():
                found[f"fisher/channels/{name}"] = (total / sums.weight).cpu().numpy()
        return found

    def _resume(self, batches: Sequence[Batch]) -> None:
        super()._resume(batches)
        arrays, context = self.job.context.arrays, self.job.context
        if "kfac" in self._scores or self._sites:
            # Moments and noise are not kept: they need all samples again.
            self._judge(self.names)
            return
        weight = arrays.get("fisher/channel_weight")
        if not context.done or weight is None or not self._channels:
            return
        self._sums.weight = float(weight[0])
        for layer in self.job.layers:
            known = arrays.get(f"fisher/channels/{layer.name}")
            if known is not None:
                total = torch.from_numpy(np.asarray(known)) * self._sums.weight
                self._sums.channels[layer.name] = total.to(context.device)
