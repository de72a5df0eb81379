"""Quantizers of activations, with the ranges that a calibration pass gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from analysis.data.batch import Batch, call
from quant_core.quantizer import Quantizer
from quant_core.ranges import QParams
from quant_core.scheme import Scheme
from quant_core.sites import Site
from quant_core.tap import Tap

_KEPT_VALUES = 1 << 18
"""Values kept per site for range estimators that need the data themselves."""


@dataclass(frozen=True)
class InputQuantizer:
    """Stores an activation in a scheme: one static range, or one per token.

    Args:
        scheme: Granularity "tensor" uses `params`; "token" fits each row anew, as
            dynamic quantization does.
        params: Calibrated scale and zero point, None for "token".
    """

    scheme: Scheme
    params: QParams | None

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` as it reads after being stored, in the type of `x`."""
        return Quantizer(self.scheme).fake_quantize(x, (x.dim() - 1,), self.params)


class _Range:
    """Extremes of one site, and a spread sample of its values."""

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.finite = True
        self._values: list[Tensor] = []
        self._kept = 0

    def see(self, x: Tensor) -> None:
        low, high = (float(end) for end in torch.aminmax(x))
        self.finite &= abs(low) + abs(high) < float("inf")
        self.low, self.high = min(low, self.low), max(high, self.high)
        room = _KEPT_VALUES - self._kept
        if room > 0:
            flat = x.reshape(-1)
            step = max(1, len(flat) * 4 // _KEPT_VALUES)
            self._values.append(flat[::step][:room].float())
            self._kept += len(self._values[-1])

    def fit(self, scheme: Scheme) -> QParams:
        ends = torch.tensor([self.low, self.high], device=self._values[0].device)
        values = ends if scheme.range == "minmax" else torch.cat([*self._values, ends])
        return Quantizer(scheme).fit(values, (0,))


@dataclass
class InputQuantizers:
    """Quantizers by site, and what could not be calibrated.

    Attributes:
        by_site: One quantizer per scheme, in the order of the schemes.
        warnings: Sentences about sites that were left out.
    """

    by_site: dict[Site, list[InputQuantizer]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def calibrate(
        self,
        tap: Tap,
        batches: Sequence[Batch],
        schemes: Sequence[Scheme],
        wanted: Callable[[Site], bool],
        *,
        inside_attention: bool,
    ) -> Iterator[int]:
        """Run the network once over the data and fit every scheme to every site.

        Args:
            tap: On the network.
            batches: Calibration data, on the network's device.
            schemes: Granularity "tensor" (one range from all data) or "token".
            wanted: Tells which sites to quantize.
            inside_attention: Whether sites inside attention are among them.

        Yields:
            The number of batches seen; the quantizers are there after the last.

        Raises:
            QuantError: a scheme has another granularity.
        """
        for scheme in schemes:
            scheme.check_as_input()
        # By name: the shape of a site changes with the size of the batch.
        ranges: dict[str, _Range] = {}
        sites: dict[str, Site] = {}

        def see(site: Site, x: Tensor) -> None:
            if wanted(site) and x.numel():
                sites.setdefault(site.name, site)
                ranges.setdefault(site.name, _Range()).see(x)

        for number, batch in enumerate(batches, 1):
            with torch.no_grad(), tap.watch(see, inside_attention=inside_attention):
                call(tap.module, batch)
            yield number
        for name, seen in ranges.items():
            if seen.finite:
                self.by_site[sites[name]] = [
                    InputQuantizer(
                        s, seen.fit(s) if s.granularity == "tensor" else None
                    )
                    for s in schemes
                ]
            else:
                self.warnings.append(
                    f"{name} has NaN or infinite activations: it has no result."
                )
