"""Many measurements of one network, each of which runs only what it changes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Container, Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from analysis.data.batch import Batch, call
from analysis.measures.context import RowKey
from analysis.measures.measured_scores import Comparison, Scores
from analysis.measures.measured_steps import Group, Step
from analysis.measures.measuring import Measuring, Setting
from analysis.method import Row, Update
from analysis.quality import FORWARD_SECONDS
from quant_core.replay import Recording, recorded
from quant_core.scheme import Scheme
from quant_core.sites import Site

_CHECKED = (1.0, 0.5)
"""Places in the network, by share of its steps, where a replay is checked first."""


class Sweep:
    """Measures groups of steps, batch by batch, and adds the batches up.

    Of one batch at a time the outputs inside the network are kept, so that a step
    costs only the part of the network after its change (`quant_core.replay`).

    Args:
        measuring: The network and its data.
        key: Of the measure, for its arrays.
        groups: What to measure; a shard of the context measures its share of it.
        metrics: Further numbers (`measured_scores.METRICS`).
        after: Work that follows it.
    """

    def __init__(
        self,
        measuring: Measuring,
        key: str,
        groups: Sequence[Group],
        metrics: Sequence[str] = (),
        after: float = 0.0,
    ) -> None:
        self._on, self._key, self._metrics = measuring, key, tuple(metrics)
        done: Mapping[RowKey, Row] = {}
        if len(measuring.batches) == 1:
            # Rows of several batches may have been estimates from the first ones.
            done = measuring.context.done
        left = [
            Group([s for s in group.steps if s.row_key not in done], group.base)
            for group in groups
        ]
        everything = [step for group in left for step in group.steps]
        self._number = {id(step): i for i, step in enumerate(everything)}
        self._scores = Scores(
            len(everything), measuring.samples, metrics, per_token=measuring.per_token
        )
        self._cost = np.ones(len(everything))
        # Dealt out like cards: later steps of a network cost less.
        shard, shards = measuring.context.shard
        mine = {id(step) for step in everything[shard::shards]}
        shares = (
            Group([s for s in group.steps if id(s) in mine], group.base)
            for group in left
        )
        self._groups = [group for group in shares if group.steps]
        self._steps = [step for group in self._groups for step in group.steps]
        self._reuses = True
        self._checked = False
        self._done, self._after = 0.0, after

    def run(self) -> Iterator[Update]:
        """Yield updates; rows of several batches sharpen with each of them."""
        yield from self._time()
        last = len(self._on.batches) - 1
        for number, batch in enumerate(self._on.batches):
            name = f"{self._key}/batch/{number}"
            if number < last and self._restored(name, batch):
                continue
            yield from self._batch(batch, is_last=number == last)
            if number < last:
                yield self._estimates(name, batch)
        yield self._update("", done=self.total - self._after)

    @property
    def total(self) -> float:
        """Work in passes times samples: float, recorded, and what each step costs."""
        costs = self._cost[[self._number[id(step)] for step in self._steps]]
        passes = 1 + len(self._groups) + float(costs.sum())
        return self._on.samples * passes + self._after

    def _update(
        self, note: str, rows: tuple[Row, ...] = (), *, done: float | None = None
    ) -> Update:
        total = self.total
        return Update(
            min(self._done, total - self._after) if done is None else done,
            total,
            note,
            rows,
            warnings=self._on.told(),
            samples=self._on.samples,
        )

    def _time(self) -> Iterator[Update]:
        """Run the float network over all samples, and tell the time it takes."""
        seconds = 0.0
        for batch in self._on.batches:
            start = time.perf_counter()
            self._on.reference(batch)
            seconds += time.perf_counter() - start
            self._done += batch.size
            yield self._update("float reference")
        self._on.check_samples()
        # So that the cost of any run can be told in forward passes.
        yield dataclasses.replace(
            self._update("float reference"),
            arrays={FORWARD_SECONDS: np.array([seconds])},
        )

    # -- resuming --------------------------------------------------------------------

    def _restored(self, name: str, batch: Batch) -> bool:
        """Take over a batch that an interrupted run had finished."""
        arrays = self._on.context.arrays
        parts = {
            key.removeprefix(f"{name}/"): np.asarray(arrays[key], np.float64)
            for key in arrays
            if key.startswith(f"{name}/")
        }
        found = self._scores.put(batch.first, parts)
        passes = len(self._groups) + len(self._steps)
        self._done += batch.size * passes * found
        return found

    def _estimates(self, name: str, batch: Batch) -> Update:
        """Return the rows as far as known, and the batch for a run that goes on."""
        rows = [row for step in self._steps for row in self._rows(step)]
        parts = self._scores.part(batch.first, batch.size)
        return dataclasses.replace(
            self._update(f"batch of {batch.size}", tuple(rows)),
            arrays={f"{name}/{column}": part for column, part in parts.items()},
            samples=batch.first + batch.size,
        )

    def _rows(self, step: Step) -> tuple[Row, ...]:
        number = self._number[id(step)]
        return self._scores.rows(
            number, step.target, step.format, step.part, step.quantity
        )

    # -- one batch -------------------------------------------------------------------

    def _batch(self, batch: Batch, *, is_last: bool) -> Iterator[Update]:
        compare: Comparison | None = None
        for group in self._groups:
            weights = self._on.weights(group.base)
            recording, output = self._record(group, weights, batch)
            known: dict[int, Tensor] = {}
            if not self._checked:
                self._estimate(group, recording)
                known = yield from self._check(group, weights, recording, batch)
            if compare is None:
                is_float = group.base == Setting()
                reference = output if is_float else self._on.reference(batch)
                compare = Comparison(self._on.task, self._metrics, batch, reference)
            self._done += batch.size
            yield self._update("recorded pass")
            for step in group.steps:
                number = self._number[id(step)]
                found = known.pop(number, None)
                if found is None:
                    found = self._run(group, weights, step, recording, batch)
                self._scores.add(number, batch.first, compare.with_output(found))
                self._done += batch.size * self._cost[number]
                rows = self._rows(step) if is_last else ()
                yield self._update(f"{step.target} in {step.format}", rows)
        self._checked = True

    def _record(
        self, group: Group, weights: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Recording, Tensor]:
        """Run the setting of a group once; return what a replay needs, and the output.

        A network may set up caches in its first pass: then the second is kept.
        """
        on = self._on
        for _ in range(2):
            with (
                torch.no_grad(),
                on.tap.exchanged(weights),
                recorded(
                    on.tap,
                    on.inputs(group.base),
                    inside_attention=on.inside_attention,
                ) as recording,
            ):
                raw = call(on.tap.module, batch)
            if len(recording) or self._checked:
                break
        return recording, on.task.output(raw, batch)

    def _estimate(self, group: Group, recording: Recording) -> None:
        """Note what share of a pass every step of a group costs."""
        if not self._reuses:
            return
        if not len(recording):
            self._distrust("has no part that could be left out")
            return
        for step in group.steps:
            share = recording.share(*self._changed(step))
            self._cost[self._number[id(step)]] = share

    def _changed(self, step: Step) -> tuple[list[str], list[str]]:
        """Return the parameters and sites that a step changes."""
        layers = self._on.layers
        names = [layers[name].parameter for name in step.change.weights]
        return names, list(step.change.inputs)

    def _run(
        self,
        group: Group,
        weights: Mapping[str, Tensor],
        step: Step,
        recording: Recording,
        batch: Batch,
        *,
        reuse: bool = True,
    ) -> Tensor:
        """Return the output of a step."""
        on = self._on
        setting = group.base | step.change
        floats = {
            on.layers[name].parameter
            for name, scheme in step.change.weights.items()
            if scheme is None
        }
        changed = {k: w for k, w in weights.items() if k not in floats}
        change = {**changed, **on.weights(step.change)}, on.inputs(setting)
        if reuse and self._reuses:
            with recording.skipping(recording.begin(*self._changed(step))):
                output = on.output(change, batch)
            if recording.intact:
                return output
            self._distrust("overwrites what it has computed before")
        return on.output(change, batch)

    # -- whether the parts left out can be left out ------------------------------------

    def _check(
        self,
        group: Group,
        weights: Mapping[str, Tensor],
        recording: Recording,
        batch: Batch,
    ) -> Generator[Update, None, dict[int, Tensor]]:
        """Compare a few steps with full runs; return these by number.

        The rules of `quant_core.replay` make a replay exact, as far as a network
        tells what it does; one that hides state anywhere else is caught here. The last
        full run is of the earliest change, which alters what the replays leave out:
        state that they find left behind is then not what they need.
        """
        if not self._reuses:
            return {}
        order = sorted(
            group.steps, key=lambda step: recording.begin(*self._changed(step))
        )
        late = [order[round(place * (len(order) - 1))] for place in _CHECKED]
        full: dict[int, Tensor] = {}
        for step in (*late, order[0]):
            number = self._number[id(step)]
            if number not in full:
                full[number] = self._run(
                    group, weights, step, recording, batch, reuse=False
                )
                yield self._update("checks what can be left out")
        for step in late:
            again = self._run(group, weights, step, recording, batch)
            expected = full[self._number[id(step)]]
            if not torch.equal(expected.nan_to_num(), again.nan_to_num()):
                self._distrust("gives another output when parts are left out")
                break
        return full

    def _distrust(self, why: str) -> None:
        self._reuses = False
        self._cost[:] = 1.0
        self._on.warnings.append(
            f"{self._on.context.model.info.name} {why}: every measurement runs all "
            "of it."
        )


def calibrated(
    measuring: Measuring, schemes: Sequence[Scheme], sites: Container[str] | None = None
) -> Iterator[Update]:
    """Calibrate activations; yield progress.

    Args:
        measuring: Gets the quantizers.
        schemes: For every activation; none needs no pass.
        sites: Names of the activations, None for the inputs of all layers.
    """

    def wanted(site: Site) -> bool:
        return site.role == "input" if sites is None else site.name in sites

    count = len(measuring.batches)
    if schemes:
        for number in measuring.calibrate(schemes, wanted):
            note = f"activation ranges, batch {number} of {count}"
            yield Update(0, 1, note, samples=measuring.samples)
