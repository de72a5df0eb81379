"""Which part of a network's output relevance explains, and where its input is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.data.batch import Batch
from analysis.errors import AnalysisError
from analysis.tasks.base import Task
from analysis.tasks.kl import Kl
from analysis.tasks.outputs import attended

TARGETS = ("auto", "predicted", "label", "norm")
_WHITE = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥"})
_IGNORED = -100  # label of positions without a target


def resolved(target: str, task: Task) -> str:
    """Return what is explained: `auto` takes the class of logits, else the norm.

    Raises:
        AnalysisError: a class is asked for where the output has none.
    """
    has_classes = isinstance(task, Kl)
    if target == "auto":
        return "predicted" if has_classes else "norm"
    if target != "norm" and not has_classes:
        raise AnalysisError(
            "The output of this model has no classes that relevance could explain.",
            value=target,
            allowed="norm, the squared length of the output",
        )
    return target


def start_of(target: str, task: Task, output: Tensor, batch: Batch) -> Tensor:
    """Return the relevance of the output: 1 per sample, of the output's shape.

    Args:
        target: `predicted` gives all to the largest logit, `label` to that of the
            label, in equal parts over the judged positions; `norm` shares by the
            squares of the output.
        task: How outputs are judged.
        output: The judged output `[N, ...]`, classes last, without graph.
        batch: What it was computed from.

    Raises:
        AnalysisError: labels are missing or do not fit.
    """
    if target == "norm":
        squares = output.square()
        total = squares.reshape(len(output), -1).sum(1)
        return squares / total.clamp(min=1e-30).view(-1, *[1] * (output.dim() - 1))
    assert isinstance(task, Kl)
    positions = output.shape[:-1]
    keep = attended(positions, batch, name=task.mask)
    if keep is None:
        keep = torch.ones(positions, dtype=torch.bool, device=output.device)
    classes = output.argmax(-1)
    if target == "label":
        classes = _labels(task, output, batch)
        keep = keep & (classes != _IGNORED)
    count = keep.reshape(len(output), -1).sum(1).clamp(min=1)
    share = keep / count.view(-1, *[1] * (keep.dim() - 1))
    start = torch.zeros_like(output)
    chosen = classes.clamp(min=0).unsqueeze(-1)
    return start.scatter_(-1, chosen, share.to(output).unsqueeze(-1))


def _labels(task: Kl, output: Tensor, batch: Batch) -> Tensor:
    """Return the class to explain at every position."""
    labels = batch.labels
    if labels is None:
        raise AnalysisError(
            "The data have no labels.",
            value="label",
            allowed="predicted, norm",
            hint="Give data with labels, or explain the predicted class.",
        )
    if task.causal:  # position t predicts t + 1
        ahead = torch.full_like(labels, _IGNORED)
        ahead[:, :-1] = labels[:, 1:]
        labels = ahead
    if labels.shape != output.shape[:-1]:
        raise AnalysisError(
            "The labels do not fit the output.",
            value=f"labels {tuple(labels.shape)}, output {tuple(output.shape)}",
            allowed=f"one label per position: {tuple(output.shape[:-1])}",
        )
    return labels


@dataclass(frozen=True)
class RootedBatch:
    """A batch whose real-valued tensors are where relevance ends.

    Attributes:
        batch: What the network is called with.
        leaves: The real-valued tensors, masks apart; the first is the input.
    """

    batch: Batch
    leaves: tuple[Tensor, ...]

    @classmethod
    def of(cls, batch: Batch) -> RootedBatch:
        """Return `batch` with its real-valued tensors rooted."""
        leaves: list[Tensor] = []

        def rooted(x: Tensor, name: str) -> Tensor:
            if not x.is_floating_point() or "mask" in name:
                return x
            leaves.append(x.detach().clone().requires_grad_())
            return leaves[-1].clone()  # a network may overwrite its input

        args = tuple(rooted(x, "") for x in batch.args)
        kwargs = {name: rooted(x, name) for name, x in batch.kwargs.items()}
        made = Batch(args, kwargs, batch.size, batch.labels, batch.first)
        return cls(made, tuple(leaves))

    def is_input(self, index: Tensor) -> bool:
        """Tell whether a look-up's indices are the tokens of the batch."""
        given = (*self.batch.args, *self.batch.kwargs.values())
        return any(
            x.shape == index.shape and x.dtype == index.dtype and torch.equal(x, index)
            for x in given
            if not x.is_floating_point()
        )


def token_texts(batch: Batch, index: Tensor, tokenizer: Any) -> NDArray[np.str_]:
    """Return the text of every token, "" where the attention mask hides it.

    Args:
        batch: What the network is called with.
        index: `[N, T]` tokens.
        tokenizer: `tokenizers.Tokenizer`; None gives the numbers of the tokens.

    Returns:
        `[N, T]`.
    """
    mask = batch.kwargs.get("attention_mask")
    if mask is None or mask.shape != index.shape:
        mask = torch.ones_like(index)
    texts = {
        token: _token_text(token, tokenizer) for token in torch.unique(index).tolist()
    }
    rows = zip(index.tolist(), mask.tolist(), strict=True)
    return np.array(
        [
            [texts[t] if seen else "" for t, seen in zip(*row, strict=True)]
            for row in rows
        ],
        dtype=np.str_,
    )


def _token_text(token: int, tokenizer: Any) -> str:
    if tokenizer is None:
        return str(token)
    # Decoded, for a byte-level vocabulary spells spaces and accents in its own way.
    text = str(tokenizer.decode([token], skip_special_tokens=False))
    told = text.strip() or text.translate(_WHITE)
    return told or str(tokenizer.id_to_token(token) or token)


def input_map(relevance: Tensor, looked_up: bool) -> Tensor:
    """Return relevance of the input as it is shown.

    Returns:
        `[N, T]` of tokens (looked-up rows summed over channels), `[N, H, W]` of
        images `[N, C, H, W]`, anything else as it is.
    """
    if looked_up:
        return relevance.flatten(2).sum(2) if relevance.dim() > 2 else relevance
    return relevance.sum(1) if relevance.dim() == 4 else relevance
