"""Finding the judged tensor in whatever a network returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from analysis.data.batch import Batch
from analysis.errors import AnalysisError

LOGITS = ("logits", "prediction_logits", "logits_per_image")
HIDDEN = ("last_hidden_state", "image_embeds", "text_embeds", "pooler_output")


def pick(raw: Any, preferred: Sequence[str] = ()) -> torch.Tensor:
    """Return the tensor that is judged, in float32.

    Args:
        raw: A tensor, or a tuple, list, mapping or dataclass that holds one.
        preferred: Names to look for first, in this order.

    Returns:
        The first preferred entry, else the first floating-point tensor.

    Raises:
        AnalysisError: there is no floating-point tensor in `raw`.
    """
    named = _named(raw)
    for name in preferred:
        value = named.get(name)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.float()
    for value in _tensors(raw):
        if value.is_floating_point():
            return value.float()
    raise AnalysisError(
        "The network returned no floating-point tensor that could be judged.",
        value=type(raw).__name__,
        allowed="a tensor, or a tuple, list, dict or dataclass that holds one",
    )


def has(raw: Any, names: Sequence[str]) -> bool:
    """Tell whether `raw` holds a tensor under one of `names`."""
    named = _named(raw)
    return any(isinstance(named.get(name), torch.Tensor) for name in names)


def _named(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    if dataclasses.is_dataclass(raw):
        return {f.name: getattr(raw, f.name) for f in dataclasses.fields(raw)}
    if hasattr(raw, "_asdict"):  # a named tuple
        return dict(raw._asdict())
    return {}


def _tensors(raw: Any) -> Iterator[torch.Tensor]:
    if isinstance(raw, torch.Tensor):
        yield raw
    elif named := _named(raw):
        for value in named.values():
            yield from _tensors(value)
    elif isinstance(raw, (list, tuple)):
        for value in raw:
            yield from _tensors(value)


def attended(
    shape: torch.Size, batch: Batch, *, name: str = "attention_mask"
) -> torch.Tensor | None:
    """Return the mask `[N, T]` of attended tokens, or None without a fitting one.

    Args:
        shape: Shape `[N, T]` of the positions.
        batch: Batch whose keyword arguments may hold the mask.
        name: Keyword of the mask.
    """
    mask = batch.kwargs.get(name)
    if mask is None or mask.shape != shape:
        return None
    return mask.bool()
