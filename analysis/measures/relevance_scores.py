"""Scores of layers from the relevance that passes them, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.measures.sample_layout import ONE_ROW, SampleAxis, split_samples
from analysis.method import Row
from quant_core.relevance import Passage
from quant_core.tap import Call

Part = Literal["weight", "output"]

QUANTITIES = ("positive", "absolute", "share", "absorbed", "gradient")
"""Mean of max(0, R), mean of |R|, sum of R, sum taken up, mean of max(0, gradient R);
all over the output of an op."""

_SUMS = len(QUANTITIES)
_ATTENTION = frozenset(("matmul", "softmax"))


@dataclass
class _Tally:
    """Sums over all uses of one target in one batch."""

    sums: Tensor
    elements: int = 0
    uses: int = 0


Table = NDArray[np.float64]


@dataclass
class RelevanceScores:
    """Scores per sample of every layer and attention product; shards are joined.

    Attributes:
        targets: Layers and sites, in order of first sight, with how they are filed.
    """

    targets: dict[str, Part] = field(default_factory=dict)
    _blocks: list[tuple[NDArray[np.int64], Table]] = field(default_factory=list)

    def add(
        self, targets: Mapping[str, Part], samples: NDArray[np.int64], table: Table
    ) -> None:
        """Take in some samples.

        Args:
            targets: What was scored.
            samples: Indices of the samples `[N]`.
            table: Scores `[N, targets, 5]`.
        """
        self.targets = {**self.targets, **targets}
        places = {target: column for column, target in enumerate(self.targets)}
        block = np.zeros((len(samples), len(self.targets), _SUMS))
        block[:, [places[target] for target in targets]] = table
        self._blocks.append((samples, block))

    def merge(self, other: RelevanceScores) -> None:
        """Take in the samples of another shard."""
        self.add(other.targets, *other.table())

    def table(self) -> tuple[NDArray[np.int64], Table]:
        """Return samples `[N]` in order and scores `[N, targets, 5]`, 0 where none."""
        width = len(self.targets)
        if not self._blocks:
            return np.zeros(0, np.int64), np.zeros((0, width, _SUMS))
        samples = np.concatenate([samples for samples, _ in self._blocks])
        table = np.concatenate(
            [
                np.pad(block, ((0, 0), (0, width - block.shape[1]), (0, 0)))
                for _, block in self._blocks
            ]
        )
        samples, order = np.unique(samples, return_index=True)
        return samples, table[order]

    def __len__(self) -> int:
        return sum(len(samples) for samples, _ in self._blocks)

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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything, to be kept: shards and resumed runs start from it."""
        samples, table = self.table()
        return {
            "relevance/sample": samples,
            "relevance/scores": table,
            "relevance/targets": np.array(list(self.targets)),
            "relevance/parts": np.array(list(self.targets.values())),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RelevanceScores:
        """Return the scores that `arrays` kept."""
        targets: dict[str, Part] = {
            str(target): "weight" if part == "weight" else "output"
            for target, part in zip(
                arrays["relevance/targets"], arrays["relevance/parts"], strict=True
            )
        }
        scores = cls()
        scores.add(targets, arrays["relevance/sample"], arrays["relevance/scores"])
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
        self._parts: dict[str, Part] = {}

    def see(self, passage: Passage) -> None:
        """Take in relevance at one op."""
        call, relevance = passage.call, passage.relevance.detach()
        if not is_scored(call):
            return
        n = self._samples
        r = _split(relevance, self._axis(call), n)
        sums = torch.zeros(_SUMS, n, dtype=torch.float64, device=r.device)
        sums[1] = r.abs().sum(1)
        sums[2] = r.sum(1)
        sums[0] = (sums[1] + sums[2]) / 2  # |R| + R = 2 max(0, R)
        sums[3] = sums[2] - self._received(passage, sums[2])
        gradient = self._gradients.get(call.index)
        if gradient is not None:
            weighted = (gradient.reshape(relevance.shape) * relevance).clamp(min=0)
            sums[4] = split_samples(weighted, self._axis(call), n, 0).sum(1)
        self._parts.setdefault(call.target, "weight" if call.layer else "output")
        tally = self._tallies.setdefault(call.target, _Tally(torch.zeros_like(sums)))
        tally.sums += sums
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
            found += _split(x, axis, n).sum(1)
        return found

    def add_to(
        self, scores: RelevanceScores, first: int, good: NDArray[np.bool_]
    ) -> None:
        """Add the scores of the good samples, the first of all being number `first`."""
        # Seen on the way back: in order of the network they read the other way.
        targets = dict(reversed(self._parts.items()))
        table = np.zeros((self._samples, len(targets), _SUMS))
        for column, target in enumerate(targets):
            tally = self._tallies[target]
            mean, total = 1 / tally.elements, self._samples / self._size / tally.uses
            scale = np.array([mean, mean, total, total, mean])
            table[:, column] = tally.sums.T.cpu().numpy() * scale
        samples = first + np.flatnonzero(good)
        scores.add(targets, samples, table[good])


def _split(x: Tensor, axis: SampleAxis, samples: int) -> Tensor:
    """Return `[samples, values]`, the values of a sample in any order."""
    if axis == ONE_ROW and x.dim() == 4 and not x.is_contiguous():
        x = x.permute(0, 2, 3, 1)  # a view where channels lie last
    return split_samples(x, axis, samples, 0)


def is_scored(call: Call) -> bool:
    """Tell whether an op is one whose relevance is looked at."""
    return call.layer is not None or (call.op is not None and call.name in _ATTENTION)
