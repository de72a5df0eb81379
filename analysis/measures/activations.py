"""Distribution of the activations at every site of a network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from analysis.data.batch import Batch, Data, call
from analysis.measures.context import MeasureContext
from analysis.measures.distribution import distribution_rows
from analysis.measures.leaders import Leaders, number_positions, token_ids
from analysis.measures.memory_layout import channels_last
from analysis.measures.places import (
    Places,
    attended,
    attention_masks,
    places_of,
)
from analysis.method import Method, Row, Update, param
from quant_core.errors import QuantError
from quant_core.outstanding import Outstanding
from quant_core.sites import Site
from quant_core.stats import LLM_INT8_THRESHOLD, TensorStats
from quant_core.tap import Tap

_KEEP_SECONDS = 10.0  # between two partial results
_BATCH_MACS = 24e9  # multiply-adds of one forward call: about 0.2 s on two cores
_MAX_BATCH = 512
_USUAL_TOKENS = 64
_SHARED = 4  # activations remembered: consumers of one tensor run close together
_SYSTEMATIC = 0.06  # share of positions that makes an outlier channel systematic
_FEEDING = {"layer_norm", "rms_norm", "gelu", "relu", "silu"}
_NAMED = 5  # sites a warning names


@dataclass(frozen=True)
class Activations(Method):
    """How the values that flow through the network are distributed, site by site.

    Per site: mean, standard deviation, skewness, kurtosis (3 for a normal
    distribution), largest magnitude, its ratio to the 99.9 % magnitude, spread of the
    channels, histogram, channel ranges, the channels of the largest magnitude, and
    the outliers of LLM.int8(): number of values with `|x| >= threshold`, number of
    channels with any (`outlier_columns`), and of those that have one in at least 6 %
    of the positions (`systematic_columns`).

    One forward pass over the data; the statistics take about as long again. Every
    value counts, but the histogram (and with it `outlier_ratio`) looks at evenly spaced
    values of tensors above 65,536, at least that many and a sixteenth of the largest;
    its counts add up to all values and it reaches from the smallest to the largest.
    `hist_binned` says how many values it looked at. Sites that share a tensor, such as
    the inputs of query, key and value, are computed once. When the data have an
    `attention_mask` `[N, T]`, activations of shape `[N, T, C]`, `[N * T, C]` and
    `[N, heads, T, C]` count at attended tokens only; others count in full. Channels
    are the last axis; axis 1 for convolutions, batch norms and what follows them; for
    products of two activations the axis contiguous in memory, which are the features
    of keys that come transposed.

    A site that meets NaN or infinite values is named and left out. Dettmers et al.,
    "LLM.int8(): 8-bit matrix multiplication for transformers at scale", arXiv
    2208.07339, sections 3.2 and 4.
    """

    key: ClassVar[str] = "activations"
    title: ClassVar[str] = "Activation statistics"
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher", "neither"]] = "neither"
    version: ClassVar[int] = 3
    needs_data: ClassVar[bool] = True

    bins: int = param(
        2048,
        "Largest number of histogram bins; at least half of them span the values.",
        minimum=16,
        maximum=65536,
    )
    threshold: float = param(
        LLM_INT8_THRESHOLD,
        "Magnitude from which a value is an outlier.",
        minimum=1e-6,
    )
    top: int = param(
        8,
        "Channels, and positions, listed; largest magnitude first.",
        minimum=1,
        maximum=4096,
    )

    def run(self, context: MeasureContext) -> Iterator[Update]:
        """Yield updates; results so far come every ten seconds and at the end.

        An interrupted run is continued after the samples its last results cover.

        Args:
            context: Model and data.
        """
        module, data, _ = context.need_run(self.key)
        with channels_last(context, module):
            yield from self._watched(context, module, data)

    def _watched(
        self, context: MeasureContext, module: nn.Module, data: Data
    ) -> Iterator[Update]:
        tap = Tap(module)
        watcher = _Watcher(self, _kept_arrays(context), data, context.model.tokenizer)
        first = watcher.samples
        cost = float(max(context.model.info.parameters, 1))
        total = len(data) * cost
        yield Update(first * cost, total, "activations", samples=first)
        kept = time.monotonic()
        for batch in data.slice(first, len(data)).batches(_batch_size(context)):
            watcher.start(batch.to(context.device))
            # The tap is open during the call alone: nothing of it is left in the
            # model whenever the caller stops iterating.
            with torch.no_grad(), tap.watch(watcher.see):
                call(module, watcher.batch)
            warnings = watcher.finish()
            note = f"samples {watcher.samples} of {len(data)}"
            last = watcher.samples >= len(data)
            rows: tuple[Row, ...] = ()
            arrays: dict[str, np.ndarray] = {}
            if last or time.monotonic() - kept > _KEEP_SECONDS:
                rows, arrays = watcher.rows(), watcher.arrays()
                kept = time.monotonic()
            if last:
                warnings += watcher.silent()
            done = watcher.samples * cost
            yield Update(done, total, note, rows, arrays, warnings, watcher.samples)


def _kept_arrays(context: MeasureContext) -> Mapping[str, np.ndarray]:
    """Return the arrays of the run being resumed; none when there is no such run."""
    resumed = bool(context.done) and "activations/samples" in context.arrays
    return context.arrays if resumed else {}


def _batch_size(context: MeasureContext) -> int:
    """Return samples per call: as wished, else what takes some 0.1 s.

    An exported program may take one number only. The choice depends on sizes alone,
    so that two runs see the same batches.
    """
    wished = context.model.input_hints.get("batch_size") or context.batch_size
    if wished:
        return int(wished)
    layers = context.model.info.layers
    macs = sum(layer.macs for layer in layers)
    if not macs:  # not traced yet: every weight once per token, look-ups apart
        used = sum(layer.parameters for layer in layers if layer.kind != "embedding")
        macs = used * _USUAL_TOKENS
    return int(min(max(_BATCH_MACS // max(macs, 1), 1), _MAX_BATCH))


@dataclass
class _Shared:
    """Statistics of one tensor, for every site that sees it.

    The tensor is held so that its memory cannot become another tensor's meanwhile.

    Attributes:
        kind: What else the statistics depend on (shape, channel axis, mask).
        tensor: The tensor.
        version: Its version when it was counted; None for inference tensors, which
            have none and could change unnoticed.
        stats: Its statistics, None when it was refused.
        error: Why it was refused.
        outstanding: What stands out in it, None where that is not asked.
        places: How its positions are numbered, None where that is unknown.
    """

    kind: tuple[object, ...]
    tensor: Tensor
    version: int | None
    stats: TensorStats | None
    error: str = ""
    outstanding: Outstanding | None = None
    places: Places | None = None

    def holds(self, x: Tensor) -> bool:
        """Tell whether `x` has the values that were counted."""
        if self.version is None or self.tensor._version != self.version:
            return False
        if (x.data_ptr(), x.stride()) == (self.tensor.data_ptr(), self.tensor.stride()):
            return True
        # A comparison ends at the first difference and is far cheaper than counting.
        return torch.equal(x, self.tensor)


@dataclass
class _Watcher:
    """Collects the statistics of all sites while batches run."""

    measure: Activations
    kept: Mapping[str, np.ndarray]
    data: Data
    tokenizer: Any
    samples: int = 0
    batch: Batch = field(init=False)
    _stats: dict[str, TensorStats] = field(init=False, default_factory=dict)
    _parts: dict[str, Literal["input", "output"]] = field(
        init=False, default_factory=dict
    )
    _refused: dict[str, str] = field(init=False, default_factory=dict)
    _recent: deque[_Shared] = field(
        init=False, default_factory=lambda: deque(maxlen=_SHARED)
    )

    def __post_init__(self) -> None:
        prefix = "activations/"
        kept = {name.removeprefix(prefix): x for name, x in self.kept.items()}
        self._leaders = Leaders(self.measure.top, kept)
        if self.kept:
            self.samples = int(self.kept["activations/samples"].item())
            refused = self.kept.get("activations/refused", ())
            self._refused = {str(name): "" for name in refused}

    def start(self, batch: Batch) -> None:
        """Prepare for the activations of `batch`."""
        self.batch = batch
        self._masks = attention_masks(batch)
        self._convolutional = False
        self._before = len(self._refused)

    def see(self, site: Site, x: Tensor) -> None:
        """Take in one activation."""
        x = x if x.ndim else x.reshape(1)
        if site.role == "input":
            self._convolutional = site.op.startswith("conv")
        if site.name in self._refused:
            return
        shared = self._of_tensor(site, x)
        if shared.stats is None:
            self._refused[site.name] = shared.error
            self._stats.pop(site.name, None)
            self._leaders.forget(site.name)
            return
        self._parts[site.name] = "output" if site.role == "output" else "input"
        if site.name not in self._stats:
            self._stats[site.name] = self._opened(site.name)
        self._stats[site.name].merge(shared.stats)
        if shared.outstanding is not None:
            self._leaders.add(site.name, shared.outstanding, shared.places)

    def finish(self) -> tuple[str, ...]:
        """Close the batch; return warnings about sites refused in it."""
        self._recent.clear()
        self.samples += self.batch.size
        new = list(self._refused)[self._before :]
        if not new:
            return ()
        return (
            f"{_listed(new)}: {self._refused[new[0]]} "
            "Left out of the activation statistics, in order of execution; the first "
            "is where it starts.",
        )

    def silent(self) -> tuple[str, ...]:
        """Return a warning about the sites that no value reached."""
        names = [name for name, s in self._stats.items() if not s.moments.count]
        if not names:
            return ()
        return (f"{_listed(names)}: no value of these samples came here.",)

    def rows(self) -> tuple[Row, ...]:
        """Return the results so far."""
        return tuple(
            row
            for name, stats in self._stats.items()
            if stats.moments.count
            for row in _site_rows(name, self._parts[name], stats)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays so far; they are also what a resumed run starts from."""
        arrays: dict[str, np.ndarray] = {
            "activations/samples": np.array([self.samples], np.int64)
        }
        if self._refused:
            arrays["activations/refused"] = np.array(list(self._refused))
        for name, stats in self._stats.items():
            if not stats.moments.count:
                continue
            top = stats.channels.top(self.measure.top)
            state = {
                **stats.state(),
                "top_channels": top.channels,
                "top_absmax": top.absmax,
                **self._leaders.arrays(
                    name, self.tokenizer, token_ids(self.data.kwargs, name)
                ),
            }
            arrays |= {f"activations/{name}/{key}": v for key, v in state.items()}
        return arrays

    def _opened(self, name: str) -> TensorStats:
        """Return the statistics a site starts with."""
        prefix, settings = f"activations/{name}/", self.measure
        if prefix + "moments" not in self.kept:
            return TensorStats(settings.bins, settings.threshold)
        state = {key: self.kept[prefix + key] for key in TensorStats().state()}
        return TensorStats.from_state(state, settings.bins, settings.threshold)

    def _of_tensor(self, site: Site, x: Tensor) -> _Shared:
        """Return the statistics of one tensor, computed when first seen."""
        axis = _channel_axis(site, x, self._convolutional) % x.ndim
        mask = self._masks["decoder" in site.name.split(".")]
        if axis != x.ndim - 1 and site.role != "operand":
            mask = None
        # An output of these is counted before the layer that it goes to asks for it.
        listed = site.role == "input" or site.op in _FEEDING
        floor = self._leaders.floor(site.name) if listed else None
        kind = (x.shape, x.dtype, x.device, axis, id(mask), floor)
        for shared in self._recent:
            if shared.kind == kind and shared.holds(x):
                return shared
        version = None if x.is_inference() else x._version
        stats = TensorStats(self.measure.bins, self.measure.threshold)
        values, found, places = x, None, None
        if mask is not None:
            whole, axis = x.movedim(axis, -1), x.ndim - 1
            values = attended(whole, mask)
            mask = None if values is whole else mask
            axis = values.ndim - 1
        if floor is not None:
            found = Outstanding(self.measure.top, floor)
            places = places_of(self.batch, values, axis, mask, self.samples)
        fresh = _Shared(kind, x, version, stats, "", found, places)
        try:
            stats.update(values, axis, found)
        except QuantError as error:
            fresh.stats, fresh.error = None, error.what
        else:
            if found is not None:
                number_positions(found, places)
        self._recent.append(fresh)
        return fresh


def _site_rows(
    name: str, part: Literal["input", "output"], stats: TensorStats
) -> Iterator[Row]:
    yield from distribution_rows(
        name, part, stats.moments, stats.histogram, stats.channels
    )
    counts = {
        "outlier_values": stats.outliers.values,
        "outlier_columns": stats.outliers.columns(),
        "systematic_columns": stats.outliers.columns(_SYSTEMATIC),
    }
    for quantity, count in counts.items():
        yield Row(name, None, float(count), quantity=quantity, part=part)


def _channel_axis(site: Site, x: Tensor, convolutional: bool) -> int:
    """Return the axis that holds the channels of an activation."""
    if site.role == "operand":
        axes = [axis for axis in range(x.ndim) if x.shape[axis] > 1]
        return min(
            axes, key=lambda axis: (x.stride(axis) or x.numel(), -axis), default=-1
        )
    if x.ndim < 3 or site.op in {"softmax", "layer_norm", "rms_norm"}:
        return -1
    if site.op.startswith("conv") or site.op in {"batch_norm", "group_norm"}:
        return 1
    # GELU and its like keep the layout of the layer before them.
    return 1 if site.role == "output" and convolutional else -1


def _listed(names: list[str]) -> str:
    """Return the first few names and how many more there are."""
    text = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{text} and {more} more" if more > 0 else text
