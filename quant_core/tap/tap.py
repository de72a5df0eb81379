"""The tap itself: what attaches sessions to a network and exchanges its weights."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from quant_core.errors import QuantError
from quant_core.layers import layers_of
from quant_core.sites import Layer, Site
from quant_core.tap.fused import without_fast_path
from quant_core.tap.listener import Listener, WeightUse
from quant_core.tap.naming import Naming
from quant_core.tap.owners import Owners
from quant_core.tap.session import Session


class Tap:
    """Sees and changes weights and activations of a network, then lets go.

    Nothing is attached between sessions. A session restores hooks, parameters and
    torch's global flags however it ends.

    Args:
        module: The network, in evaluation mode.

    Attributes:
        layers: Its layers (`quant_core.layers.layers_of`).
        unlisted: Parameters that are no layers, with reasons.
        parameters: All parameters by name.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers, self.unlisted = layers_of(module)
        self.parameters = dict(module.named_parameters())
        self._paths = {id(inner): path for path, inner in module.named_modules()}

    @contextlib.contextmanager
    def session(self, listener: Listener) -> Iterator[None]:
        """Tell `listener` of everything the network does inside the block."""
        naming = Naming(self._paths)
        session = Session(listener, Owners(self.layers, self.parameters), naming)
        with without_fast_path(), naming.following(), session:
            yield

    @contextlib.contextmanager
    def watch(
        self, callback: Callable[[Site, Tensor], None], *, inside_attention: bool = True
    ) -> Iterator[None]:
        """Call `callback(site, x)` with every activation; it must not change `x`."""

        class Watcher(Listener):
            def activation(self, site: Site, x: Tensor) -> Tensor:
                callback(site, x.detach())
                return x

        watcher = Watcher()
        watcher.inside_attention = inside_attention
        with self.session(watcher):
            yield

    @contextlib.contextmanager
    def quantized(
        self,
        weights: Mapping[str, Tensor] | None = None,
        inputs: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        *,
        inside_attention: bool = False,
    ) -> Iterator[None]:
        """Run with other weights and changed activations, then restore both.

        A reference to compare with must be run with the same `inside_attention`
        and nothing changed: it then takes the same path, bit for bit.

        Args:
            weights: New values by parameter name, of the parameter's shape.
            inputs: Function of the activation by site name.
            inside_attention: Write attention out, for sites inside it.

        Raises:
            QuantError: a parameter is unknown or a tensor has the wrong shape.
        """
        changed = dict(inputs or {})

        class Changer(Listener):
            def activation(self, site: Site, x: Tensor) -> Tensor:
                change = changed.get(site.name)
                return x if change is None else change(x)

        changer = Changer()
        changer.inside_attention = inside_attention
        watched = bool(changed) or inside_attention
        # An idle session gives the same bits, and takes time.
        session = self.session(changer) if watched else without_fast_path()
        with self.exchanged(weights or {}), session:
            yield

    @contextlib.contextmanager
    def exchanged(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Give parameters other values inside the block; see `quantized`."""
        parameters = {name: self._parameter(name) for name in weights}
        for name, value in weights.items():
            if value.shape != parameters[name].shape:
                raise QuantError(
                    f"The new weight of {name} has another shape.",
                    value=tuple(value.shape),
                    allowed=str(tuple(parameters[name].shape)),
                )
        kept = {name: parameters[name].data for name in weights}
        try:
            for name, value in weights.items():
                parameters[name].data = value.to(kept[name])
            yield
        finally:
            for name, value in kept.items():
                parameters[name].data = value

    def _parameter(self, name: str) -> nn.Parameter:
        try:
            return self.module.get_parameter(name)
        except AttributeError:
            raise QuantError(
                "There is no such parameter.",
                value=name,
                allowed="a name of named_parameters()",
            ) from None

    def trace(
        self, run: Callable[[], object], samples: int = 1
    ) -> tuple[tuple[Site, ...], tuple[Layer, ...]]:
        """Run the network once and note what it does.

        Args:
            run: Calls the network on a few samples.
            samples: Number of samples in that call.

        Returns:
            The sites in order of first use, and the layers with `macs` per sample.
        """
        sites: dict[str, Site] = {}
        macs: dict[str, int] = defaultdict(int)

        class Tracer(Listener):
            inside_attention = True
            sees_weights = True

            def activation(self, site: Site, x: Tensor) -> Tensor:
                sites.setdefault(site.name, site)
                return x

            def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
                macs[use.layer.name] += use.macs(result)
                return result

        with torch.no_grad(), self.session(Tracer()):
            run()
        layers = tuple(
            replace(layer, macs=macs[layer.name] // samples) for layer in self.layers
        )
        return tuple(sites.values()), layers
