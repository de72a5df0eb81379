"""Where the samples lie in the operands of a network, found by running it twice."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from analysis.data.batch import Data, call
from analysis.measures.formulas import formula_of
from quant_core.sites import Layer, Site
from quant_core.tap import Listener, Tap, WeightUse

UseKey = tuple[str, int]

_GRAPH_BYTES = 2 << 30
_MAX_BATCH = 512


class SampleAxis(NamedTuple):
    """Where the samples lie in an operand.

    Attributes:
        axis: The axis; positions may be folded with the samples along it.
        inner: Samples vary fastest along the axis (position-major), as in
            `nn.MultiheadAttention`, which works time-major inside.
    """

    axis: int
    inner: bool = False


SHARED = SampleAxis(-1)
"""An operand that does not depend on the sample (a position table's indices)."""
ONE_ROW = SampleAxis(0)
"""Any axis will do when the whole batch makes one row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the samples lie all over a network.

    Attributes:
        uses: Sample axis by weight use.
        sites: Sample axis by site.
        sample_bytes: Bytes of activations per sample.
        overwrites: Whether the network writes into any of its tensors.
    """

    uses: dict[UseKey, SampleAxis]
    sites: dict[str, SampleAxis]
    sample_bytes: int
    overwrites: bool

    @property
    def batch_size(self) -> int:
        """How many samples are differentiated at a time.

        The graph holds about two tensors per activation seen.
        """
        fitting = _GRAPH_BYTES // max(1, 2 * self.sample_bytes)
        return max(1, min(_MAX_BATCH, fitting))


class LayoutListener(Listener):
    """Notes the operands of every weight use, to find where the samples are."""

    sees_weights = True

    def __init__(self) -> None:
        self.operands: dict[UseKey, Tensor] = {}
        self.sites: dict[str, Tensor] = {}
        self.convolutions: set[UseKey] = set()
        self.opaque = False
        self.overwrites = False
        self.bytes = 0
        self._count: dict[str, int] = defaultdict(int)

    def activation(self, site: Site, x: Tensor) -> Tensor:
        """See `Listener.activation`."""
        self.sites[site.name] = x.detach()
        self.bytes += x.numel() * 4
        return x

    def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
        """See `Listener.weight_used`."""
        key = (use.layer.name, self._count[use.layer.name])
        self._count[use.layer.name] += 1
        self.operands[key] = use.x.detach()
        self.bytes += result.numel() * 4
        formula = formula_of(use)
        if formula == "conv":
            self.convolutions.add(key)
        if formula is None:
            self.opaque = True
        return result

    def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
        """See `Listener.weight_needed`."""
        self.opaque = True
        return parameter

    def before_write(self, x: Tensor) -> None:
        """See `Listener.before_write`."""
        self.overwrites = True


def sample_axis(one: Tensor, two: Tensor) -> SampleAxis | None:
    """Return where samples lie in an operand, given the same op seen twice.

    Args:
        one: Operand for the first sample alone.
        two: Operand for the first two samples together.

    Returns:
        The axis, `SHARED` when the operand does not depend on the samples, None
        when they cannot be told apart (tokens sorted by expert).
    """
    if one.dim() != two.dim() or one.dtype != two.dtype:
        return None
    if one.shape == two.shape:
        return SHARED if torch.equal(one, two) else None
    one, two = one.float(), two.float()
    largest = float(one.abs().max())
    if not math.isfinite(largest):
        # NaN is equal to nothing; what is not finite is compared as 0.
        one, two = (torch.nan_to_num(x, 0.0, 0.0, 0.0) for x in (one, two))
        largest = float(one.abs().max())
    # Batches of different size round differently, by far less than this.
    tolerance = 0.02 * largest
    for axis, size in enumerate(one.shape):
        doubled = (*one.shape[:axis], 2 * size, *one.shape[axis + 1 :])
        if two.shape != doubled:
            continue
        outer = two.narrow(axis, 0, size)
        inner = _unfolded(two, axis, 2).select(axis + 1, 0)
        for first, is_inner in ((outer, False), (inner, True)):
            if float((first - one).abs().max()) <= tolerance:
                return SampleAxis(axis, is_inner)
    return None


def _unfolded(x: Tensor, axis: int, samples: int) -> Tensor:
    """Return `x` with an axis of positions x samples split in two."""
    return x.reshape(*x.shape[:axis], -1, samples, *x.shape[axis + 1 :])


def find_layout(
    tap: Tap,
    data: Data,
    device: torch.device | str,
    one: LayoutListener | None = None,
    *,
    with_sites: bool = True,
) -> Layout | None:
    """Run the first sample and the first two; return where samples lie in operands.

    Args:
        tap: On the network.
        data: At least two samples, of any number in a batch.
        device: Where the network is.
        one: Listens to the first sample; it may note more for itself.
        with_sites: Also look at the activations that are no operands of layers.

    Returns:
        The layout; None when one row per sample is impossible, so that samples
        have to be run one by one.
    """
    one, two = one or LayoutListener(), LayoutListener()
    for samples, listener in ((1, one), (2, two)):
        batch = next(data.take(samples).batches(samples)).to(device)
        with torch.no_grad(), tap.session(listener):
            call(tap.module, batch)
    if one.opaque or one.operands.keys() != two.operands.keys():
        return None
    uses: dict[UseKey, SampleAxis] = {}
    known: dict[object, SampleAxis | None] = {}
    for key, operand in one.operands.items():
        pair = operand, two.operands[key]
        # Layers that share their input (query, key, value) have one answer.
        same = tuple((x.data_ptr(), x.shape, x.stride()) for x in pair)
        if same not in known:
            known[same] = sample_axis(*pair)
        axis = known[same]
        shared = axis == SHARED and operand.shape[0] == 1
        if axis is None or (axis == SHARED and not shared):
            return None
        if key in one.convolutions and axis.axis != 0:
            return None
        uses[key] = axis
    sites: dict[str, SampleAxis] = {}
    for name, x in one.sites.items() if with_sites else ():
        if name in two.sites:
            axis = sample_axis(x, two.sites[name])
            if axis is not None and axis != SHARED:
                sites[name] = axis
    return Layout(uses, sites, one.bytes, one.overwrites)


def split_samples(x: Tensor, where: SampleAxis, samples: int, tail: int) -> Tensor:
    """Return `[samples, positions, *last tail axes]`, summed axes flattened."""
    last = x.shape[x.dim() - tail :]
    if samples > 1 and where.inner:
        x = _unfolded(x, where.axis, samples).movedim(where.axis + 1, 0)
    elif samples > 1:
        x = x.movedim(where.axis, 0)
    return x.reshape(samples, -1, *last)
