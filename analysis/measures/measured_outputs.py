"""Errors at the outputs of the layers themselves, made there or come along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from analysis.data.batch import Batch, call
from analysis.measures.measured_scores import Pair, Scores, distances, finite
from analysis.measures.measured_steps import Step, union
from analysis.measures.measuring import Measuring, Setting, stored
from analysis.method import Row
from analysis.tasks.outputs import attended
from quant_core.scheme import Scheme
from quant_core.sites import Layer
from quant_core.tap import Listener, WeightUse

LOCAL, ACCUMULATED = "local", "accumulated"
"""Quantities: squared error of a layer's output over its power, with the layer alone
quantized on its float input; with all layers quantized, its input off as well."""
KEPT_VALUES = 4096
"""Values of a layer's output compared per sample where errors accumulate, at random
but fixed places; as many as PPQ keeps."""

Key = tuple[str, str, str]
Pairs = dict[str, Pair]


class LayerOutputs:
    """Compares what layers return with what they return in the float network.

    Args:
        measuring: The network and its data.
        steps: Every layer alone in every scheme (`weight_steps`).
        wanted: Of `LOCAL` and `ACCUMULATED`.
        metrics: Further numbers; only SQNR and cosine mean anything inside a network.
    """

    def __init__(
        self,
        measuring: Measuring,
        steps: Sequence[Step],
        wanted: Sequence[str],
        metrics: Sequence[str],
    ) -> None:
        self._on, self._wanted = measuring, wanted
        keys = [(which, step.target, step.format) for which in wanted for step in steps]
        self._number = {key: number for number, key in enumerate(keys)}
        told = [name for name in metrics if name in ("sqnr", "cosine")]
        self._scores = Scores(len(keys), measuring.samples, told, per_token=False)
        self._schemes: dict[str, list[Scheme]] = defaultdict(list)
        together: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            self._schemes[step.target] += filter(None, step.change.weights.values())
            together[step.format].append(step)
        self._settings = {key: union(found) for key, found in together.items()}
        self._pairs: dict[Key, Pairs] = {}
        self._seen: set[Key] = set()
        self._lost: set[str] = set()
        self._places: dict[int, Tensor] = {}

    @property
    def work(self) -> float:
        """Passes times samples: a pass, and one in every scheme for each quantity."""
        passes = 1 + len(self._wanted) * len(self._settings)
        return float(self._on.samples * passes)

    def run(self) -> Iterator[tuple[float, str, tuple[Row, ...]]]:
        """Yield (work done, what was done, rows); the rows come last."""
        done = 0.0
        for batch in self._on.batches:
            for passes, note in self._batch(batch):
                done += passes * batch.size
                yield done, note, ()
        if self._lost:
            self._on.warnings.append(
                f"What {', '.join(sorted(self._lost))} returned cannot be compared "
                "sample by sample: no error of these outputs."
            )
        yield self.work, "outputs of layers", tuple(self._rows())

    def _rows(self) -> Iterator[Row]:
        for key, number in self._number.items():
            which, name, scheme = key
            if key in self._seen and name not in self._lost:
                yield from self._scores.rows(number, name, scheme, "weight", which)

    def _batch(self, batch: Batch) -> Iterator[tuple[int, str]]:
        self._pairs = {}
        floats: list[tuple[str, Tensor | None]] = []

        def in_float(use: WeightUse, result: Tensor) -> None:
            if LOCAL in self._wanted:
                self._local(use, result, batch)
            if ACCUMULATED in self._wanted:
                floats.append((use.layer.name, self._spread(result, batch)))

        self._pass(Setting(), batch, in_float)
        local = LOCAL in self._wanted
        yield 1 + local * len(self._settings), "outputs of the float layers"
        for scheme, setting in self._settings.items():
            if ACCUMULATED in self._wanted:
                self._pass(setting, batch, self._against(floats, scheme, batch))
                yield 1, f"all layers in {scheme}"
        for key, found in self._pairs.items():
            self._seen.add(key)
            self._scores.add(self._number[key], batch.first, found)

    def _local(self, use: WeightUse, result: Tensor, batch: Batch) -> None:
        """Call a layer again with its weight in every scheme."""
        reference = _by_sample(result, batch)
        for scheme in self._schemes.get(use.layer.name, ()):
            weight = torch.empty_like(use.parameter)
            weight.copy_(stored(scheme, use.parameter, use.layer))
            view = use.view_of(weight)
            args, kwargs = use.op.replace(use.op.right, view, use.args, use.kwargs)
            output = _by_sample(use.func(*args, **kwargs), batch)
            key = LOCAL, use.layer.name, scheme.key
            self._compare(key, reference, output, batch)

    def _against(
        self, floats: Sequence[tuple[str, Tensor | None]], scheme: str, batch: Batch
    ) -> Callable[[WeightUse, Tensor], None]:
        """Return what compares a quantized pass with the float one, call by call."""
        calls = iter(floats)

        def in_scheme(use: WeightUse, result: Tensor) -> None:
            name, reference = next(calls, ("", None))
            if name != use.layer.name:
                # Quantized, the network takes another way (experts).
                self._lost |= {name, use.layer.name} - {""}
                return
            key = ACCUMULATED, name, scheme
            self._compare(key, reference, self._spread(result, batch), batch)

        return in_scheme

    def _compare(
        self, key: Key, reference: Tensor | None, output: Tensor | None, batch: Batch
    ) -> None:
        """Add the distance of one call to what other calls of the layer gave."""
        if key not in self._number:  # the scheme does not fit the layer
            return
        if reference is None or output is None or reference.shape != output.shape:
            self._lost.add(key[1])
            return
        good = torch.isfinite(reference.reshape(batch.size, -1)).all(1)
        found = distances(reference, output, batch)
        found = {"error": found["mse"], **found}
        new = {name: finite(pair, good) for name, pair in found.items()}
        old = self._pairs.get(key, {})
        self._pairs[key] = {n: _sum(old[n], p) if old else p for n, p in new.items()}

    def _spread(self, result: Tensor, batch: Batch) -> Tensor | None:
        """Return some values of every sample, `[N, values]`, the same each time."""
        found = _by_sample(result, batch)
        if found is None:
            return None
        mask = attended(found.shape[:2], batch) if found.dim() == 3 else None
        if mask is not None:
            found = found.masked_fill(~mask.unsqueeze(-1), 0.0)
        flat = found.reshape(batch.size, -1)
        count = flat.shape[1]
        if count <= KEPT_VALUES:
            return flat.clone()
        if count not in self._places:
            fixed = torch.Generator().manual_seed(0)
            chosen = torch.randperm(count, generator=fixed)[:KEPT_VALUES]
            self._places[count] = chosen.sort().values.to(flat.device)
        return flat[:, self._places[count]]

    def _pass(
        self,
        setting: Setting,
        batch: Batch,
        see: Callable[[WeightUse, Tensor], None],
    ) -> None:
        """Run the network under a setting and show every use of a weight."""
        on, lost = self._on, self._lost

        class Sees(Listener):
            sees_weights = True

            def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
                see(use, result)
                return result

            def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
                lost.add(layer.name)
                return parameter

        with (
            torch.no_grad(),
            on.tap.exchanged(on.weights(setting)),
            on.tap.session(Sees()),
        ):
            call(on.tap.module, batch)


def _sum(one: Pair, two: Pair) -> Pair:
    return one[0] + two[0], one[1] + two[1]


def _by_sample(result: Tensor, batch: Batch) -> Tensor | None:
    """Return an output with one row per sample, None when it cannot be split so.

    What is the same for all samples (positions) counts for each; rows of tokens are
    taken to come sample by sample. Only the standard error depends on that.
    """
    rows = result.shape[0] if result.dim() else 0
    if rows == batch.size:
        return result
    if rows == 1:
        return result.expand(batch.size, *result.shape[1:])
    if rows and rows % batch.size == 0:
        return result.reshape(batch.size, -1)
    return None
