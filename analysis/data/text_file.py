"""Plain text as calibration data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from analysis.data.request import Found, Request
from analysis.errors import AnalysisError

LIMIT = 16_000_000
"""Characters read of a text; more adds nothing to a calibration set."""

_FEWEST_WORDS = 4
_IGNORED = -100


def read_text(path: Path, request: Request) -> Found:
    """Return token ids and attention masks of a UTF-8 text.

    For a causal language model the text is one stream, cut into pieces of
    `max_length` tokens, as perplexity is usually measured. For other models a
    sample is a paragraph when blank lines separate any, else a line; paragraphs of
    fewer than four words (headings, rules) are left out while others remain, and
    long samples are cut at `max_length` tokens.
    """
    with path.open("rb") as stream:
        head = stream.read(4 * LIMIT + 4)
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < 4 * LIMIT else "ignore")
    except UnicodeDecodeError as error:
        raise AnalysisError(
            "The text is not UTF-8.",
            value=path,
            hint=f"Byte {error.start} is the first that is not; convert the file.",
        ) from error
    warnings: tuple[str, ...] = ()
    if len(text) > LIMIT or len(head) > 4 * LIMIT:
        text = text[:LIMIT]
        warnings = (f"Only the first {LIMIT:,} characters of the text were read.",)
    if not text.strip():
        raise AnalysisError("The text is empty.", value=path)
    if request.model.input_hints.get("causal"):
        return _stream(text, request, warnings)
    samples = split_samples(text)
    keep = request.choose(len(samples)).tolist()
    return encode([samples[i] for i in keep], request, warnings)


def split_samples(text: str) -> list[str]:
    r"""Return paragraphs, or lines when no blank line separates any.

    Example:
        >>> split_samples("A title\n\nOne two three\nfour five.\n\n****\n")
        ['One two three four five.']
        >>> split_samples("yes\nno\n")
        ['yes', 'no']
    """
    blocks = re.split(r"\n[^\S\n]*\n\s*", text.replace("\r\n", "\n").strip())
    if len(blocks) == 1:
        return [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = [" ".join(block.split()) for block in blocks]
    full = [p for p in paragraphs if len(re.findall(r"\w+", p)) >= _FEWEST_WORDS]
    return full or [p for p in paragraphs if p]


def encode(texts: list[str], request: Request, warnings: tuple[str, ...] = ()) -> Found:
    """Return texts as padded token ids, one sample each.

    All samples are as long as the longest, at most `max_length`. Labels are the
    ids themselves where there is a text to predict, with padding left out.
    """
    tokenizer, length = _tokenizer(request)
    tokenizer.enable_truncation(length)
    pad = _pad_id(tokenizer, request)
    tokenizer.enable_padding(pad_id=pad, pad_token=tokenizer.id_to_token(pad) or "")
    encoded = tokenizer.encode_batch(texts)
    ids = torch.tensor([e.ids for e in encoded], dtype=torch.int64)
    mask = torch.tensor([e.attention_mask for e in encoded], dtype=torch.int64)
    if ids.numel() == 0 or not mask.any():
        raise AnalysisError("The texts hold no tokens.", value=request.source)
    # A tokenizer may turn a text into nothing; such a sample has no output.
    real = mask.any(1)
    return _found(ids[real], mask[real], request, warnings)


def _stream(text: str, request: Request, warnings: tuple[str, ...]) -> Found:
    tokenizer, length = _tokenizer(request)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = torch.tensor(
        tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64
    )
    if len(ids) < 2:
        raise AnalysisError("The text holds fewer than 2 tokens.", value=request.source)
    length = min(length, len(ids))
    pieces = ids[: len(ids) // length * length].view(-1, length)
    return _found(pieces, torch.ones_like(pieces), request, warnings)


def _found(
    ids: torch.Tensor, mask: torch.Tensor, request: Request, warnings: tuple[str, ...]
) -> Found:
    hints = request.model.input_hints
    tensors = {"input_ids": ids, "attention_mask": mask}
    labels = ids.masked_fill(mask == 0, _IGNORED)
    if "decoder_start_token_id" in hints:
        start = torch.full_like(ids[:, :1], hints["decoder_start_token_id"])
        tensors["decoder_input_ids"] = torch.cat([start, ids[:, :-1]], 1)
        tensors["decoder_attention_mask"] = mask
        return Found(tensors, (), labels, warnings)
    return Found(tensors, (), labels if hints.get("causal") else None, warnings)


def _tokenizer(request: Request) -> tuple[Any, int]:
    """Return a tokenizer of our own to configure, and the length of texts."""
    tokenizer = request.model.tokenizer
    if tokenizer is None:
        raise AnalysisError(
            "The model has no tokenizer, so text cannot become token ids.",
            value=request.source,
            allowed="text, for Hugging Face folders with tokenizer.json",
            hint='Write one: python -c "from transformers import AutoTokenizer as T; '
            "T.from_pretrained('DIR').save_pretrained('DIR')\"; or give token ids as "
            "an .npz file with input_ids.",
        )
    hints = request.model.input_hints
    limits = [hints[key] for key in ("max_positions", "max_length") if key in hints]
    own = type(tokenizer).from_str(tokenizer.to_str())
    return own, min([request.max_length, *limits])


def _pad_id(tokenizer: Any, request: Request) -> int:
    padding = tokenizer.padding
    if padding is not None:
        return int(padding["pad_id"])
    pad = request.model.input_hints.get("pad_token_id")
    # Any id will do where the mask hides it.
    return pad if isinstance(pad, int) and pad >= 0 else 0
