"""The step from token vectors to the embedding that users of an encoder compare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from analysis.data.batch import Batch
from analysis.tasks.outputs import attended

POOLINGS = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean")
"""Ways of pooling, by the names of sentence-transformers."""


@dataclass(frozen=True)
class Pooling:
    """Pools token vectors `[N, T, D]` to `[N, D * len(modes)]`.

    Definitions as in sentence-transformers (`models.Pooling`), over attended tokens.

    Attributes:
        modes: Entries of `POOLINGS`; several are concatenated.
        normalize: Scale the result to length 1.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False

    def __call__(self, tokens: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the embedding of each sample."""
        found = attended(tokens.shape[:2], batch)
        mask = torch.ones_like(tokens[..., 0]) if found is None else found.to(tokens)
        pooled = torch.cat([_pool(mode, tokens, mask) for mode in self.modes], dim=-1)
        return F.normalize(pooled, dim=-1) if self.normalize else pooled


def _pool(mode: str, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mode in {"cls", "lasttoken"}:
        place = _first(mask) if mode == "cls" else _last(mask)
        return tokens[torch.arange(len(tokens), device=tokens.device), place]
    weight = mask.unsqueeze(-1)
    # Padding may hold anything, NaN included, so it is filled, not multiplied away.
    if mode == "max":
        return tokens.masked_fill(weight == 0, float("-inf")).amax(1)
    tokens = tokens.masked_fill(weight == 0, 0.0)
    if mode == "weightedmean":
        position = torch.arange(1, mask.shape[1] + 1, device=tokens.device)
        weight = weight * position.to(tokens).unsqueeze(-1)
    total = (tokens * weight).sum(1)
    length = weight.sum(1).clamp(min=1e-9)
    return total / (length.sqrt() if mode == "mean_sqrt_len_tokens" else length)


def _first(mask: torch.Tensor) -> torch.Tensor:
    return mask.argmax(1)


def _last(mask: torch.Tensor) -> torch.Tensor:
    return mask.shape[1] - 1 - mask.flip(1).argmax(1)
