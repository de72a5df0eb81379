"""Weight changes of every layer in every scheme it can take, one layer at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from quant_core.errors import QuantError
from quant_core.granularity import group_count
from quant_core.quantizer import Quantizer, errors
from quant_core.scheme import Scheme
from quant_core.sites import Layer

_ROW_LOCAL = ("channel", "group")


class Candidates:
    """`Q(W) - W` of a layer for all schemes that fit its shape.

    Args:
        layers: The layers of the model.
        schemes: Schemes asked for.
        keep_bytes: Keep candidates between calls while they fit in this many
            bytes in all; 0 forms them anew each time, one layer resident.

    Attributes:
        warnings: One sentence per scheme that does not fit some layers.
    """

    def __init__(
        self, layers: Iterable[Layer], schemes: Sequence[Scheme], keep_bytes: int = 0
    ) -> None:
        self._schemes: dict[str, tuple[Scheme, ...]] = {}
        self._room = keep_bytes
        self._kept: dict[str, Tensor] = {}
        self._scratch = torch.empty(0)
        refused: dict[str, list[str]] = {}
        for layer in layers:
            fitting = fitting_schemes(layer, schemes)
            self._schemes[layer.name] = fitting
            for scheme in schemes:
                if scheme not in fitting:
                    refused.setdefault(scheme.key, []).append(layer.name)
        self.warnings = tuple(
            f"{key} does not fit {_layers(names)}: no result in it for them."
            for key, names in refused.items()
        )

    def form(
        self, layers: Iterable[Layer], parameters: Mapping[str, Tensor], room: int
    ) -> None:
        """Form and keep what `deltas` will be asked for, if all of it is small.

        One layer after the other takes half the time that it takes in between the
        steps of a network. Look-ups are left out: they ask for single rows.

        Args:
            layers: Layers whose candidates will be needed.
            parameters: By name.
            room: Most bytes that may be kept.
        """
        used = [layer for layer in layers if layer.kind != "embedding"]
        needed = sum(4 * x.parameters * len(self._schemes[x.name]) for x in used)
        if needed <= room:
            self._room = max(self._room, needed)
            for layer in used:
                self.deltas(layer, parameters[layer.parameter])

    def schemes_of(self, layer: Layer) -> tuple[Scheme, ...]:
        """Return the schemes that fit `layer`, in the order asked for."""
        return self._schemes[layer.name]

    def deltas(self, layer: Layer, parameter: Tensor) -> Tensor:
        """Return `[F, *shape]` float32: `Q(W) - W` for each fitting scheme.

        The result is only good until the next call: its memory is used again.
        """
        kept = self._kept.get(layer.name)
        if kept is not None:
            return kept
        schemes = self._schemes[layer.name]
        count = len(schemes) * parameter.numel()
        keeps = 4 * count <= self._room
        if keeps:
            flat = torch.empty(count, device=parameter.device)
            self._room -= 4 * count
        else:
            if self._scratch.numel() < count:
                self._scratch = torch.empty(count, device=parameter.device)
            flat = self._scratch[:count]
        result = flat.view(len(schemes), *parameter.shape)
        errors(parameter.detach(), schemes, layer.channel_axes, result)
        if keeps:
            self._kept[layer.name] = result
        return result

    def row_deltas(self, layer: Layer, parameter: Tensor, rows: Tensor) -> Tensor:
        """Return `[F, rows, D]`: the same for some rows of an embedding table.

        Only the rows that were looked up are quantized when the scheme scales
        each row by itself; otherwise the range is fitted on the whole table.
        """
        table = parameter.detach()
        chosen = table[rows]
        parts = []
        for scheme in self._schemes[layer.name]:
            quantizer = Quantizer(scheme)
            local = scheme.granularity.startswith(_ROW_LOCAL)
            params = None if local else quantizer.fit(table, layer.channel_axes)
            parts.append(quantizer.error(chosen, layer.channel_axes, params))
        if not parts:
            return torch.empty(0, *chosen.shape, device=chosen.device)
        return torch.stack(parts)


def fitting_schemes(layer: Layer, schemes: Iterable[Scheme]) -> tuple[Scheme, ...]:
    """Return the schemes whose groups divide the weight of a layer."""
    schemes = tuple(schemes)
    fitting = set()
    for granularity in {scheme.granularity for scheme in schemes}:
        with contextlib.suppress(QuantError):
            group_count(layer.shape, granularity, layer.channel_axes)
            fitting.add(granularity)
    return tuple(scheme for scheme in schemes if scheme.granularity in fitting)


def _layers(names: Sequence[str], limit: int = 3) -> str:
    """Return "3 layers (a, b, c)", the names cut off after a few."""
    more = len(names) - limit
    shown = ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
    return f"{len(names)} {'layer' if len(names) == 1 else 'layers'} ({shown})"


def broken_warnings(layers: Iterable[Layer], broken: Mapping[str, Tensor]) -> list[str]:
    """Return a sentence for every layer whose parameter is in `broken`."""
    return [
        f"{layer.name} holds NaN or infinite weights: they are taken as 0, and it has "
        "no result of its own."
        for layer in layers
        if layer.parameter in broken
    ]


def broken_parameters(
    layers: Iterable[Layer], parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return copies with 0 for every NaN or infinity, of parameters that have any."""
    repaired = {}
    for layer in layers:
        weight = parameters[layer.parameter].detach()
        # A sum is finite unless an element is not (or it overflows: then look).
        if not torch.isfinite(weight.sum()) and not torch.isfinite(weight).all():
            repaired[layer.parameter] = torch.nan_to_num(weight, 0.0, 0.0, 0.0)
    return repaired
