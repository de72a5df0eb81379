"""What torch runs as one piece, run so that its inside is seen."""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _unchecked_attention() -> Callable[..., Any]:
    """Return torch's multi-head attention without its look at active modes.

    The library function hands itself to an active mode and thereby hides its
    inside; a copy whose check says "no" runs the same code, and so gives the same
    bits, with every inner op visible.
    """
    source = F.multi_head_attention_forward
    namespace = {**source.__globals__, "has_torch_function": lambda _tensors: False}
    copy = types.FunctionType(
        source.__code__, namespace, source.__name__, source.__defaults__
    )
    copy.__kwdefaults__ = source.__kwdefaults__
    return copy


attention_forward = _unchecked_attention()
"""Does what `F.multi_head_attention_forward` does."""


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return scaled dot-product attention as two products and a softmax.

    Args:
        query: `[..., heads, T, E]`.
        key: `[..., kv heads, S, E]`.
        value: `[..., kv heads, S, V]`.
        attn_mask: `[..., T, S]`, boolean (True = attend) or added to the scores.
        dropout_p: Ignored: quantization is judged in evaluation mode.
        is_causal: Mask the upper triangle.
        scale: Factor on the scores, `1/sqrt(E)` by default.
        enable_gqa: Repeat key and value heads to the number of query heads.

    Returns:
        `[..., heads, T, V]`; definition in the documentation of
        `torch.nn.functional.scaled_dot_product_attention`.
    """
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        repeats = query.shape[-3] // key.shape[-3]
        key = key.repeat_interleave(repeats, -3)
        value = value.repeat_interleave(repeats, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * factor, key.transpose(-2, -1))
    if is_causal:
        size = scores.shape[-2:]
        attn_mask = torch.ones(size, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
        else:
            scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        reaches = attn_mask.any(-1, keepdim=True)
        if not bool(reaches.all()):
            # A query that may attend to nothing gives 0, as the fused kernel does.
            weights = weights.masked_fill(~reaches, 0.0)
    return torch.matmul(weights, value)


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Switch torch's fused transformer-encoder path off inside the block."""
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
