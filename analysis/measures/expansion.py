"""The error near an assignment that is run: what every further change does to it.

Predicted error is an expansion at the float network, where the error has neither value
nor slope. Here it is made at a quantized one instead. With weights `a` in place of the
stored ones and `z` the output they give, a change `d` of the output turns the error
of a sample into

    error(z) + g . d + d^T M d,    g = d error / d z,    M the curvature at z

and to first order of the weights `d` is the sum of the chosen changes' own. So one
backward pass from `g` tells what every change adds by itself, without noise; probes of
`M` tell, as in predicted error, the rest. That is a Gauss-Newton step's model of the
error (Nocedal and Wright (2006), "Numerical Optimization", section 10.3), over weights
that can take a few values each. It is exact where the output is linear in the changed
weights and the error is a squared distance.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.data.batch import Batch, call
from analysis.measures.candidates import Candidates
from analysis.measures.context import MeasureContext
from analysis.measures.evaluating import copied_saved_tensors, evaluating
from analysis.measures.measured_sweep import calibrated
from analysis.measures.measuring import Measuring, assigned_inputs
from analysis.measures.probing import ProbeListener
from analysis.measures.random_signs import probe_signs
from analysis.measures.sample_layout import Layout, find_layout
from analysis.method import Update
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site

NAME = "expansion"
"""First part of the names of the arrays; see `expanding`."""

FLOAT = ""
"""Stands for the stored weights where a scheme's key is asked for."""

Expand = Callable[[Assignment, Sequence[Scheme]], Iterator[Update]]
"""Expands the error at an assignment; see `expanding`."""


class Changes(Candidates):
    """`Q(W) - A` for the stored weights W and other weights A in their place.

    Each layer's first change leads back to the stored weights, the others to those in
    the schemes that fit the layer.

    Args:
        layers: Layers that may change.
        schemes: Schemes they may change to.
        stored: `W` by the name of the parameter, where it is not what the network
            has at the time.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        schemes: Sequence[Scheme],
        stored: Mapping[str, Tensor],
    ) -> None:
        super().__init__(layers, schemes)
        self._stored = stored

    def keys_of(self, layer: Layer) -> tuple[str, ...]:
        """Return the scheme of each change of a layer, `FLOAT` the first."""
        return FLOAT, *(scheme.key for scheme in self.schemes_of(layer))

    def deltas(self, layer: Layer, parameter: Tensor) -> Tensor:
        """Return `[1 + F, *shape]` float32, good until the next call."""
        now = parameter.detach()
        stored = self._stored.get(layer.parameter, now)
        back = (stored.float() - now.float()).unsqueeze(0)
        return torch.cat([back, super().deltas(layer, stored) + back])

    def row_deltas(self, layer: Layer, parameter: Tensor, rows: Tensor) -> Tensor:
        """Return `[1 + F, rows, D]`: the same for some rows of an embedding table."""
        now = parameter.detach()
        stored = self._stored.get(layer.parameter, now)
        back = (stored[rows].float() - now[rows].float()).unsqueeze(0)
        return torch.cat([back, super().row_deltas(layer, stored, rows) + back])


class _AnchoredListener(ProbeListener):
    """Projects changes of weights while some inputs are quantized.

    Gradients pass a quantizer as if it were not there, or none would get through.
    """

    changed: Mapping[str, Callable[[Tensor], Tensor]] = {}

    def activation(self, site: Site, x: Tensor) -> Tensor:
        """See `Listener.activation`."""
        change = self.changed.get(site.name)
        if change is None:
            return x
        return x + (change(x.detach()) - x.detach())


def expanding(context: MeasureContext, probes: int) -> Expand:
    """Return what expands the error at one assignment after the other.

    It yields updates; the last holds the arrays

        expansion/columns  [C, 2]    layer, and key of the scheme it changes to
        expansion/slope    [n, C]    what the change adds to first order, by sample
        expansion/v        [n K, C]  projections, K probes to a sample
        expansion/sample   [n K]     sample of each
        expansion/error    [n]       error at the assignment
        expansion/weight   [n]       weight of the sample

    all in the unit of the task's numerator but `v`, which is in that of its root.
    Costs two passes forward, and a backward pass with projections for the slopes and
    for each probe.

    Args:
        context: Needs a module, data and a task; its schemes are not used. Network
            and data must stay as they are.
        probes: Random output directions per sample, at least 1.
    """
    return _Expanding(context, probes).run


class _Expanding:
    """What does not change from one assignment to the next is found once."""

    def __init__(self, context: MeasureContext, probes: int) -> None:
        title = "Expanding the error"
        self.module, self.data, self.task = context.need_run(title)
        self.context, self.probes = context, probes
        self.measuring = Measuring(context, self.module, title)
        self.tap = self.measuring.tap
        self.fixed = int(context.model.input_hints.get("batch_size") or 0)

    def run(
        self, assignment: Assignment, schemes: Sequence[Scheme]
    ) -> Iterator[Update]:
        """Yield progress; the last update holds the arrays."""
        measuring = self.measuring
        repaired = measuring.broken()
        with evaluating(self.module), self.tap.exchanged(repaired):
            inside = any(":" in name for name in assignment.sites)
            measuring.inside_attention = inside
            inputs = assigned_inputs(assignment)
            yield from calibrated(
                measuring, tuple(dict.fromkeys(inputs.values())), inputs
            )
            setting = measuring.setting_of(assignment)
            weights = measuring.weights(setting)
            stored = {name: measuring.parameters[name].data for name in weights}
            healthy = [x for x in self.tap.layers if x.parameter not in repaired]
            changes = Changes(healthy, schemes, stored)
            columns = [(x.name, key) for x in healthy for key in changes.keys_of(x)]
            listener = self._listener(changes, columns)
            listener.changed = measuring.inputs(setting)
            listener.inside_attention = inside
            yield from self._expanded(listener, weights, columns)

    @cached_property
    def layout(self) -> Layout | None:
        """Where samples lie, None to run them one by one."""
        if len(self.data) < 2 or self.fixed:
            return None
        return find_layout(self.tap, self.data, self.context.device)

    @cached_property
    def batches(self) -> list[Batch]:
        """The data, as many samples at a time as memory and layout allow."""
        size = self.fixed or 1
        if self.layout is not None:
            size = self.context.batch_size or self.layout.batch_size
        return [batch.to(self.context.device) for batch in self.data.batches(size)]

    def _listener(
        self, changes: Changes, columns: Sequence[tuple[str, str]]
    ) -> _AnchoredListener:
        first: dict[str, int] = {}
        for number, (name, _) in enumerate(columns):
            first.setdefault(name, number)
        uses = None if self.layout is None else self.layout.uses
        device = self.context.device
        return _AnchoredListener(changes, first, {}, uses, {}, len(columns), device)

    def _expanded(
        self,
        listener: _AnchoredListener,
        weights: Mapping[str, Tensor],
        columns: Sequence[tuple[str, str]],
    ) -> Iterator[Update]:
        """Run every batch forward once and backward once for slopes and each probe."""
        rows = _Rows()
        done, total = 0, len(self.data)
        for batch in self.batches:
            reference = self.measuring.output(({}, {}), batch)
            with self.tap.exchanged(weights):
                output = self._forward(batch, listener)
                at = output.detach()
                slope, error, weight = self._slope(reference, at, batch)
                directions = [slope] + [
                    self._direction(at, batch, probe) for probe in range(self.probes)
                ]
                for number, u in enumerate(directions):
                    more = number < self.probes
                    torch.autograd.backward(output, u, retain_graph=more)
                    rows.add(listener.take().cpu().numpy(), is_slope=not number)
            rows.close(error, weight, whole=self.layout is None)
            done += batch.size
            yield Update(done, total, "slopes", warnings=self.measuring.told())
        yield Update(total, total, arrays=rows.arrays(columns))

    def _forward(self, batch: Batch, listener: _AnchoredListener) -> Tensor:
        listener.begin(batch.size)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if self.layout is None or self.layout.overwrites:
                stack.enter_context(copied_saved_tensors(self.module))
            with self.tap.session(listener):
                return self.task.output(call(self.module, batch), batch)

    def _slope(
        self, reference: Tensor, at: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the error's slopes by the output, errors and weights; 0 if broken."""
        with torch.enable_grad():
            at = at.clone().requires_grad_()
            error, weight = self.task.error(reference, at, batch)
            (slope,) = torch.autograd.grad(error.sum(), at)
        good = torch.isfinite(error.detach())
        good &= torch.isfinite(reference.reshape(batch.size, -1)).all(1)
        slope = torch.where(good.view(-1, *[1] * (slope.dim() - 1)), slope, 0.0)
        error, weight = (
            torch.where(good, x.detach().double(), 0.0) for x in (error, weight)
        )
        return torch.nan_to_num(slope, 0.0, 0.0, 0.0), error, weight

    def _direction(self, at: Tensor, batch: Batch, probe: int) -> Tensor:
        seed = self.context.seed
        signs = probe_signs(at, first=batch.first, seed=seed, probe=probe)
        return torch.nan_to_num(self.task.probe(at, batch, signs), 0.0, 0.0, 0.0)


class _Rows:
    """What the passes have given so far."""

    def __init__(self) -> None:
        self._slope: list[NDArray[np.float32]] = []
        self._v: list[NDArray[np.float32]] = []
        self._sample: list[NDArray[np.int64]] = []
        self._error: list[NDArray[np.float64]] = []
        self._samples = 0

    def add(self, found: NDArray[np.float32], *, is_slope: bool) -> None:
        """Add the projections of a direction; what is not finite tells nothing."""
        finite = np.nan_to_num(found, posinf=0.0, neginf=0.0)
        (self._slope if is_slope else self._v).append(finite)
        if not is_slope:
            self._sample.append(self._samples + np.arange(len(finite)))

    def close(self, error: Tensor, weight: Tensor, *, whole: bool) -> None:
        """Add errors and weights of a batch, summed if it makes one row."""
        told = torch.stack([error, weight], 1).cpu().numpy()
        self._error.append(told.sum(0, keepdims=True) if whole else told)
        self._samples += len(self._error[-1])

    def arrays(self, columns: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
        """Return them under their names; see `expanding`."""
        error, weight = np.concatenate(self._error).T
        found: dict[str, np.ndarray] = {
            "columns": np.array(columns, dtype=np.str_).reshape(-1, 2),
            "slope": np.concatenate(self._slope),
            "v": np.concatenate(self._v),
            "sample": np.concatenate(self._sample),
            "error": error,
            "weight": weight,
        }
        return {f"{NAME}/{name}": array for name, array in found.items()}
