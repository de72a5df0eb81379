"""A network that is run with chosen weights and activations quantized."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from analysis.data.batch import Batch, Data, call
from analysis.measures.candidates import (
    broken_parameters,
    broken_warnings,
    fitting_schemes,
)
from analysis.measures.context import MeasureContext
from analysis.measures.finite import first_broken_site, left_out, no_finite_sample
from analysis.measures.input_quantizers import InputQuantizer, InputQuantizers
from analysis.measures.probing import like
from quant_core.assignment import Assignment
from quant_core.errors import QuantError
from quant_core.quantizer import Quantizer, fake_quantized
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site
from quant_core.tap import Tap

_BATCH = (64, 512)
"""Usual batch, and the largest one, for networks so small that calls cost the time."""
_BATCH_VALUES = 1 << 16
_TOKEN_VALUES = 1 << 10  # values that a token id stands for
_SMALL = 1 << 18
"""Values of a weight up to which it is quantized in all schemes at a time."""

Change = tuple[dict[str, Tensor], dict[str, Callable[[Tensor], Tensor]]]
"""New weights by parameter name and changed activations by site name."""


@dataclass(frozen=True)
class Setting:
    """What is quantized and how; whatever is not named is as it was before.

    Attributes:
        weights: Scheme by layer name, None for float.
        inputs: Quantizer by site name, None for float.
    """

    weights: Mapping[str, Scheme | None] = field(default_factory=dict)
    inputs: Mapping[str, InputQuantizer | None] = field(default_factory=dict)

    def __or__(self, later: Setting) -> Setting:
        """Return this setting with the changes of another on top."""
        return Setting(
            {**self.weights, **later.weights}, {**self.inputs, **later.inputs}
        )


class Measuring:
    """The network, its data in batches, and its output under any setting.

    Args:
        context: Needs a module, data and a task.
        module: The network, in evaluation mode.
        title: Of the measure, for errors.

    Attributes:
        layers: The layers by name.
        batches: The data.
        samples: Their number.
        inside_attention: Whether sites inside attention are among those changed.
        quantizers: One per calibrated scheme, by site.
        warnings: Sentences that no update has told yet.
    """

    def __init__(self, context: MeasureContext, module: nn.Module, title: str) -> None:
        _, data, task = context.need_run(title)
        self.context, self.task = context, task
        self.tap = Tap(module)
        self.layers = {layer.name: layer for layer in self.tap.layers}
        self.parameters = self.tap.parameters
        fixed = context.model.input_hints.get("batch_size")
        size = int(fixed or context.batch_size or usual_batch(data))
        self.batches = [batch.to(context.device) for batch in data.batches(size)]
        self.samples = len(data)
        self.per_token = data.labels is not None and data.labels.dim() > 1
        self.inside_attention = False
        self.quantizers: dict[str, list[InputQuantizer]] = {}
        self.warnings: list[str] = []
        self._broken_samples = 0
        self._broken_site = ""
        self._at_once: tuple[str, dict[Scheme, Tensor]] = "", {}

    def broken(self) -> dict[str, Tensor]:
        """Return stand-ins for weights that hold NaN, and warn of them."""
        broken = broken_parameters(self.layers.values(), self.parameters)
        self.warnings += broken_warnings(self.layers.values(), broken)
        return broken

    def calibrate(
        self, schemes: Sequence[Scheme], wanted: Callable[[Site], bool]
    ) -> Iterator[int]:
        """Run over the data once for the ranges of activations.

        Args:
            schemes: For every site.
            wanted: Tells which sites.

        Yields:
            The number of batches seen; `quantizers` is filled after the last.
        """
        made = InputQuantizers()
        yield from made.calibrate(
            self.tap,
            self.batches,
            schemes,
            wanted,
            inside_attention=self.inside_attention,
        )
        self.warnings += made.warnings
        self.quantizers = {site.name: found for site, found in made.by_site.items()}

    def weights(self, setting: Setting) -> dict[str, Tensor]:
        """Return the stored weights of a setting by parameter name."""
        found = {}
        single = len(setting.weights) == 1
        for name, scheme in setting.weights.items():
            if scheme is not None:
                layer = self.layers[name]
                weight = self.parameters[layer.parameter].detach()
                if single and weight.numel() <= _SMALL:
                    value = self._stored_at_once(scheme, weight, layer)
                else:
                    value = stored(scheme, weight, layer)
                found[layer.parameter] = like(value, weight)
        return found

    def _stored_at_once(self, scheme: Scheme, weight: Tensor, layer: Layer) -> Tensor:
        """Return a small weight; kept in all schemes until another one is asked for.

        Steps go from scheme to scheme of a layer, and for small weights most of the
        time goes into the calls.
        """
        if self._at_once[0] != layer.name:
            schemes = fitting_schemes(layer, self.context.schemes)
            values = fake_quantized(weight, schemes, layer.channel_axes)
            self._at_once = layer.name, dict(zip(schemes, values, strict=True))
        known = self._at_once[1].get(scheme)
        return stored(scheme, weight, layer) if known is None else known

    @staticmethod
    def inputs(setting: Setting) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return the quantizers of a setting by site name."""
        return {k: q for k, q in setting.inputs.items() if q is not None}

    def setting_of(self, assignment: Assignment) -> Setting:
        """Return what an assignment quantizes; its inputs must be calibrated."""
        palette = assignment.palette
        chosen = zip(assignment.layers, assignment.weight.tolist(), strict=True)
        inputs = {
            site: quantizer
            for site, scheme in assigned_inputs(assignment).items()
            for quantizer in self.quantizers.get(site, ())
            if quantizer.scheme == scheme
        }
        return Setting({x.name: palette[i] for x, i in chosen}, inputs)

    def output(self, change: Change, batch: Batch) -> Tensor:
        """Return the judged output under a change, which is taken back at once."""
        with (
            torch.no_grad(),
            self.tap.quantized(*change, inside_attention=self.inside_attention),
        ):
            return self.task.output(call(self.tap.module, batch), batch)

    def reference(self, batch: Batch) -> Tensor:
        """Return the float output of a batch; note samples that are not finite."""
        output = self.output(({}, {}), batch)
        good = torch.isfinite(output.reshape(batch.size, -1)).all(1)
        if not good.all():
            self._broken_site = self._broken_site or first_broken_site(self.tap, batch)
            self._broken_samples += int((~good).sum())
        return output

    def check_samples(self) -> None:
        """Warn of samples that were left out, once all references were made.

        Raises:
            AnalysisError: no sample is left.
        """
        if self._broken_samples == self.samples:
            raise no_finite_sample(self._broken_site)
        if self._broken_samples:
            self.warnings.append(left_out(self._broken_samples, self._broken_site))

    def told(self) -> tuple[str, ...]:
        """Return the warnings since the last call."""
        told, self.warnings = tuple(self.warnings), []
        return told


def usual_batch(data: Data) -> int:
    """Return how many samples go into a call: more of small ones, 64 as a rule."""
    values = sum(
        t[:1].numel() * (1 if t.is_floating_point() else _TOKEN_VALUES)
        for t in (*data.args, *data.kwargs.values())
    )
    low, high = _BATCH
    return min(max(low, _BATCH_VALUES // max(values, 1)), high, len(data))


def assigned_inputs(assignment: Assignment) -> dict[str, Scheme]:
    """Return the schemes that an assignment gives to activations, by site."""
    found = dict(assignment.sites)
    for layer, number in zip(assignment.layers, assignment.input.tolist(), strict=True):
        scheme = assignment.palette[number]
        if scheme is not None:
            found[layer.name] = scheme
    return found


def stored(scheme: Scheme, weight: Tensor, layer: Layer) -> Tensor:
    """Return the fake-quantized weight, with the layer named in any error."""
    try:
        return Quantizer(scheme).fake_quantize(weight, layer.channel_axes)
    except QuantError as error:
        raise error.within(layer.name) from None
