"""Calibration samples, and the batches a model is called with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from analysis.errors import AnalysisError


@dataclass(frozen=True)
class Batch:
    """Arguments of one forward call over `size` samples.

    Attributes:
        args: Positional tensors, sample axis first.
        kwargs: Keyword tensors, sample axis first (`input_ids`, `attention_mask`).
        size: Number of samples.
        labels: `[N]` class indices or `[N, T]` token ids, or None.
        first: Index of the first sample in the whole data set.
    """

    args: tuple[torch.Tensor, ...]
    kwargs: Mapping[str, torch.Tensor]
    size: int
    labels: torch.Tensor | None = None
    first: int = 0

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with every tensor on `device`."""
        return Batch(
            tuple(a.to(device) for a in self.args),
            {k: v.to(device) for k, v in self.kwargs.items()},
            self.size,
            None if self.labels is None else self.labels.to(device),
            self.first,
        )


@dataclass(frozen=True)
class Data:
    """A data set held as stacked tensors, all samples of one shape.

    Attributes:
        args: Positional tensors `[samples, ...]`.
        kwargs: Keyword tensors `[samples, ...]`.
        labels: `[samples]` or `[samples, T]`, or None.
        source: What was given (`topics.txt`, `example`, `random`).
        digest: Hash of the content, kept with every result.
        warnings: Sentences for the user ("random data ...").
    """

    args: tuple[torch.Tensor, ...] = ()
    kwargs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    labels: torch.Tensor | None = None
    source: str = ""
    digest: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {len(t) for t in self._tensors()}
        if len(sizes) != 1:
            raise AnalysisError(
                "The tensors of a data set differ in their number of samples.",
                value=", ".join(map(str, sorted(sizes))) or "no tensors",
                allowed="one first dimension, the same for all, labels included",
            )

    def _tensors(self) -> list[torch.Tensor]:
        labels = [] if self.labels is None else [self.labels]
        return [*self.args, *self.kwargs.values(), *labels]

    def __len__(self) -> int:
        return len(self._tensors()[0])

    def take(self, samples: int) -> Data:
        """Return the first `samples` samples (all when there are fewer)."""
        return self.slice(0, samples)

    def slice(self, start: int, stop: int) -> Data:
        """Return samples `start` to `stop` as a data set."""
        return Data(
            tuple(a[start:stop] for a in self.args),
            {k: v[start:stop] for k, v in self.kwargs.items()},
            None if self.labels is None else self.labels[start:stop],
            self.source,
            self.digest,
            self.warnings,
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of at most `size` samples."""
        for start in range(0, len(self), size):
            part = self.slice(start, start + size)
            yield Batch(part.args, part.kwargs, len(part), part.labels, start)


def call(module: torch.nn.Module, batch: Batch) -> Any:
    """Run `module` on a batch and return its raw output."""
    return module(*batch.args, **batch.kwargs)
