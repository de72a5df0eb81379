"""Which positions of an activation count, and where in the data they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from analysis.data.batch import Batch

UNKNOWN = "?"
"""Stands for a token that no vocabulary names."""

_Numbers = npt.NDArray[np.int64]


def attention_masks(batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Return the attended tokens `[N, T]` for most sites and for a decoder's."""
    own = _mask(batch, "attention_mask")
    if "decoder_input_ids" not in batch.kwargs:
        return own, own
    return own, _mask(batch, "decoder_attention_mask")


def _mask(batch: Batch, name: str) -> Tensor | None:
    mask = batch.kwargs.get(name)
    if mask is None or mask.ndim != 2:
        return None
    attended = mask != 0
    return None if bool(attended.all()) else attended


def attended(x: Tensor, mask: Tensor) -> Tensor:
    """Return the attended tokens of `x` (channels last), all of it if unrelated."""
    samples, tokens = mask.shape
    if x.ndim == 4 and (x.shape[0], x.shape[2]) == (samples, tokens):
        return x.transpose(1, 2)[mask]
    if x.ndim == 3 and tuple(x.shape[:2]) == (samples, tokens):
        return x[mask]
    if x.ndim == 2 and len(x) == samples * tokens:
        return x[mask.reshape(-1)]
    return x


@dataclass(frozen=True)
class Places:
    """How the positions of one activation are numbered through all samples.

    Position `p` of sample `s` has number `s * size + p`, and `p` counts along `shape`.

    Attributes:
        first: Samples before those of the activation.
        shape: Positions of one sample along each axis: tokens, rows and columns, heads
            and tokens; () when a sample has one.
        attended: Which tokens are counted, flat over samples and tokens, heads after
            them where there are any; None for all, in the order of the axes.
    """

    first: int
    shape: tuple[int, ...]
    attended: _Numbers | None = None

    @property
    def size(self) -> int:
        """Positions of one sample."""
        return math.prod(self.shape)

    def number(self, found: _Numbers) -> _Numbers:
        """Return the numbers of positions that count along an activation's axes."""
        if self.attended is not None and len(self.attended):
            tokens, heads = self.shape[-1], math.prod(self.shape[:-1])
            at, head = self.attended[found // heads], found % heads
            found = (at // tokens * heads + head) * tokens + at % tokens
        return found + self.first * self.size


def places_of(
    batch: Batch, values: Tensor, axis: int, mask: Tensor | None, first: int
) -> Places | None:
    """Return how the positions of an activation are numbered.

    Args:
        batch: The samples it was computed from.
        values: The activation, or `[attended tokens, ..., channels]` of it.
        axis: Its channels, counted from 0.
        mask: Tokens that were picked, bool `[N, T]`, None when all are there.
        first: Samples before those of the batch.

    Returns:
        None when the positions cannot be told to belong to samples: the sample axis is
        neither the first one nor joined with others in it.
    """
    if mask is not None:
        tokens = torch.nonzero(mask.reshape(-1)).view(-1).cpu().numpy()
        return Places(first, (*values.shape[1:-1], mask.shape[1]), tokens)
    size = len(values)
    if not axis or not size or size % batch.size:
        return None
    if size != batch.size and values.ndim > 2 and values.shape[1] == batch.size:
        return None  # the sequence comes first
    joined = (size // batch.size,) if size > batch.size else ()
    rest = [n for i, n in enumerate(values.shape) if i not in (0, axis)]
    return Places(first, (*joined, *rest))


def token_texts(
    tokenizer: Any,
    ids: Tensor | None,
    numbers: _Numbers,
    shape: Sequence[int],
) -> npt.NDArray[np.str_] | None:
    """Return the vocabulary's entries at some positions, None where there are none.

    Args:
        tokenizer: `tokenizers.Tokenizer`, or None.
        ids: Token numbers of all samples, `[samples, T]`, or None.
        numbers: Positions, as `Places.number` counts them.
        shape: Positions of one sample along each axis; only tokens have texts.
    """
    if tokenizer is None or ids is None or ids.ndim != 2:
        return None
    if tuple(shape) != (ids.shape[1],):
        return None
    found = ids.reshape(-1)[torch.from_numpy(numbers)].tolist()
    texts = [tokenizer.id_to_token(int(token)) or UNKNOWN for token in found]
    return np.array(texts, np.str_)
