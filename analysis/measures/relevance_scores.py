"""Scores of layers from the relevance that passes them, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.measures.probing import ONE_ROW, SampleAxis, split_samples
from analysis.method import Row
from quant_core.relevance import Passage
from quant_core.tap import Call

QUANTITIES = ("positive", "absolute", "share", "absorbed", "gradient")
"""Mean of max(0, R), mean of |R|, sum of R, sum taken up, mean of max(0, gradient R);
all over the output of an op."""

_SUMS = len(QUANTITIES)
_ATTENTION = frozenset(("matmul", "softmax"))


@dataclass
class _Tally:
    """Sums over all uses of one target in one batch."""

    sums: NDArray[np.float64]
    elements: int = 0
    uses: int = 0


@dataclass
class RelevanceScores:
    """Scores per sample of every layer and attention product; shards are joined.

    Attributes:
        targets: Layers and sites, in order of first sight, with how they are filed.
        rows: Per sample its index and, by target, the five numbers.
    """

    targets: dict[str, Literal["weight", "output"]] = field(default_factory=dict)
    rows: dict[int, dict[str, NDArray[np.float64]]] = field(default_factory=dict)

    def merge(self, other: RelevanceScores) -> None:
        """Take in the samples of another shard."""
        self.targets |= other.targets
        self.rows |= other.rows

    @property
    def samples(self) -> NDArray[np.int64]:
        """Indices of the samples, in order."""
        return np.array(sorted(self.rows), np.int64)

    def table(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return samples `[N]` and scores `[N, targets, 5]`, 0 where none came."""
        samples = self.samples
        table = np.zeros((len(samples), len(self.targets), _SUMS))
        for row, sample in enumerate(samples.tolist()):
            found = self.rows[sample]
            for column, target in enumerate(self.targets):
                if target in found:
                    table[row, column] = found[target]
        return samples, table

    def result(self, gradients: bool) -> tuple[Row, ...]:
        """Return mean and standard error over samples of every score."""
        samples, table = self.table()
        if not len(samples):
            return ()
        means = table.mean(0)
        errors = np.full_like(means, math.nan)
        if len(samples) > 1:
            errors = table.std(0, ddof=1) / math.sqrt(len(samples))
        shown = QUANTITIES if gradients else QUANTITIES[:-1]
        return tuple(
            Row(
                target,
                None,
                float(means[column, number]),
                float(errors[column, number]),
                quantity,
                part,
            )
            for column, (target, part) in enumerate(self.targets.items())
            for number, quantity in enumerate(shown)
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything, to be kept: shards and resumed runs start from it."""
        samples, table = self.table()
        return {
            "relevance/sample": samples,
            "relevance/scores": table,
            "relevance/targets": np.array(list(self.targets)),
            "relevance/parts": np.array(list(self.targets.values())),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> RelevanceScores:
        """Return the scores that `arrays` kept."""
        scores = cls()
        for target, part in zip(
            arrays["relevance/targets"], arrays["relevance/parts"], strict=True
        ):
            scores.targets[str(target)] = "weight" if part == "weight" else "output"
        table = np.asarray(arrays["relevance/scores"], np.float64)
        for row, sample in enumerate(arrays["relevance/sample"].tolist()):
            scores.rows[int(sample)] = dict(
                zip(scores.targets, table[row], strict=True)
            )
        return scores


class BatchScores:
    """Collects what passes during the backward pass of one batch.

    Args:
        samples: Rows to tell apart: the samples, or 1 for the batch as a whole.
        size: Samples in the batch.
        axes: Where the samples lie, by target.
        gradients: Gradient by number of the call, for the `gradient` score.
    """

    def __init__(
        self,
        samples: int,
        size: int,
        axes: Mapping[str, SampleAxis],
        gradients: Mapping[int, Tensor],
    ) -> None:
        self._samples, self._size = samples, size
        self._axes, self._gradients = axes, gradients
        self._tallies: dict[str, _Tally] = {}
        self.parts: dict[str, Literal["weight", "output"]] = {}

    def see(self, passage: Passage) -> None:
        """Take in relevance at one op."""
        call, relevance = passage.call, passage.relevance.detach()
        if not is_scored(call):
            return
        n = self._samples
        r = split_samples(relevance, self._axis(call), n, 0)
        sums = torch.zeros(_SUMS, n, dtype=torch.float64)
        sums[0] = r.clamp(min=0).sum(1)
        sums[1] = r.abs().sum(1)
        sums[2] = r.sum(1, dtype=torch.float64)
        sums[3] = sums[2] - self._received(passage, sums[2])
        gradient = self._gradients.get(call.index)
        if gradient is not None:
            weighted = (gradient.reshape(relevance.shape) * relevance).clamp(min=0)
            sums[4] = split_samples(weighted, self._axis(call), n, 0).sum(1)
        part: Literal["weight", "output"] = "output" if call.layer is None else "weight"
        self.parts.setdefault(call.target, part)
        tally = self._tallies.setdefault(call.target, _Tally(np.zeros((n, _SUMS))))
        tally.sums += sums.T.cpu().numpy()
        tally.elements += r.shape[1]
        tally.uses += 1

    def _axis(self, call: Call) -> SampleAxis:
        return ONE_ROW if self._samples == 1 else self._axes.get(call.target, ONE_ROW)

    def _received(self, passage: Passage, whole: Tensor) -> Tensor:
        """Return the total that went on to the operands, per sample.

        Operands of other layout (keys come transposed) hold the samples first too;
        what does not is left out of the account: nothing counts as taken up.
        """
        n = self._samples
        found = torch.zeros_like(whole)
        for x in passage.received:
            if n > 1 and x.numel() % n:
                return whole
            axis = self._axis(passage.call)
            if n > 1 and (x.dim() <= axis.axis or x.shape[axis.axis] % n):
                return whole
            found += split_samples(x, axis, n, 0).sum(1, dtype=torch.float64).cpu()
        return found

    def scores(self, first: int, good: NDArray[np.bool_]) -> RelevanceScores:
        """Return the scores of the good samples, the first of them number `first`."""
        found = RelevanceScores(dict(reversed(self.parts.items())))
        for sample in range(self._samples):
            if not good[sample]:
                continue
            found.rows[first + sample] = {
                target: self._scaled(tally, sample)
                for target, tally in self._tallies.items()
            }
        return found

    def _scaled(self, tally: _Tally, sample: int) -> NDArray[np.float64]:
        """Return means over elements and totals per use, per sample."""
        per_sample = self._size / self._samples
        elements, uses = max(tally.elements, 1), max(tally.uses, 1)
        scale = [1 / elements, 1 / elements, 1 / uses / per_sample]
        scale += [1 / uses / per_sample, 1 / elements]
        return np.asarray(tally.sums[sample] * np.array(scale))


def is_scored(call: Call) -> bool:
    """Tell whether an op is one whose relevance is looked at."""
    return call.layer is not None or (call.op is not None and call.name in _ATTENTION)
