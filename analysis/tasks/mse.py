"""Squared error relative to the power of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch

from analysis.data.batch import Batch
from analysis.tasks.outputs import HIDDEN, attended, pick
from analysis.tasks.pooling import Pooling


@dataclass(frozen=True)
class Mse:
    """Relative squared error E||z_q - z||^2 / E||z||^2, without unit.

    The judged output is the first of: the pooled embedding, when a pooling is
    given; `last_hidden_state` with padding set to zero; the first floating-point
    tensor that the network returns.

    Attributes:
        pooling: How users of the network turn its tokens into one vector, or None.
        tokens: The output is `[N, T, D]` and padding is left out by the mask.
        mask: Keyword argument that marks the attended tokens.
        names: Entries of the output to look for first.
    """

    key: ClassVar[str] = "mse"
    title: ClassVar[str] = "Relative squared error of the output"
    unit: ClassVar[str] = "relative"

    pooling: Pooling | None = None
    tokens: bool = False
    mask: str = "attention_mask"
    names: tuple[str, ...] = HIDDEN

    def output(self, raw: Any, batch: Batch) -> torch.Tensor:
        """Return the judged tensor `[N, ...]` in float32; padding is zero."""
        value = pick(raw, self.names)
        if self.pooling is not None:
            return self.pooling(value, batch)
        if self.tokens and value.dim() == 3:
            mask = attended(value.shape[:2], batch, name=self.mask)
            if mask is not None:
                value = value.masked_fill(~mask.unsqueeze(-1), 0.0)
        return value

    def error(
        self, reference: torch.Tensor, quantized: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return squared distance and signal power per sample."""
        z = reference.reshape(len(reference), -1).double()
        difference = quantized.reshape(z.shape).double() - z
        return difference.square().sum(1), self.weight(z, batch)

    def weight(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the signal power per sample."""
        del batch
        return output.reshape(len(output), -1).double().square().sum(1)

    def against(
        self, reference: torch.Tensor, batch: Batch
    ) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Return `error` as a function of the quantized output alone."""
        return partial(self.error, reference, batch=batch)

    def probe(
        self, output: torch.Tensor, batch: Batch, signs: torch.Tensor
    ) -> torch.Tensor:
        """Return `u` = +-1 on every element: E[u u^T] = I."""
        del output, batch
        return signs

    def metrics(self, output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Return no metrics: labels say nothing about an embedding."""
        del output, batch
        return {}
