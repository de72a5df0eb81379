"""Choosing what "error" means for a model."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from analysis.errors import AnalysisError
from analysis.tasks import TASKS
from analysis.tasks.base import Task
from analysis.tasks.cosine import Cosine
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from analysis.tasks.outputs import HIDDEN, LOGITS, has, pick
from analysis.tasks.pooling import Pooling

_CAUSAL = re.compile(r"ForCausalLM|LMHead|DoubleHeads|GenerationDecoder")
_LOGITS = re.compile(
    r"ForMaskedLM|ForPreTraining|ForConditionalGeneration|ForSpeechSeq2Seq|ForCTC|For\w*Classification"
    r"|ForMultipleChoice|ForNextSentencePrediction|ForSemanticSegmentation|Classifier"
)
_HEADS = frozenset(
    "classifier classification_head fc head heads lm_head score logits".split()
)


def choose_task(
    module: nn.Module,
    architecture: str,
    output: Any = None,
    *,
    key: str = "auto",
    pooling: Pooling | None = None,
) -> Task | None:
    """Return the task of a model, by its architecture name, else by its output.

    Logits are judged by KL, everything else by the relative squared error. A
    pooling (sentence-transformers) wins over both. A plain tensor `[N, C]` counts
    as logits when the last weight of the network belongs to a head by its name
    (`fc`, `classifier`, `head`, `lm_head` ...).

    Args:
        module: The network.
        architecture: Class name ("BertForMaskedLM"), or "".
        output: What the network returned for some samples, or None when it was not
            run; needed for networks outside transformers.
        key: A key of `TASKS`, to decide against the default.
        pooling: How users of the network turn tokens into an embedding.

    Returns:
        The task, or None when neither name nor output tell.

    Raises:
        AnalysisError: `key` is unknown.
    """
    if key not in ("auto", *TASKS):
        raise AnalysisError(
            "There is no such task.", value=key, allowed=", ".join(("auto", *TASKS))
        )
    config = getattr(module, "config", None)
    seq2seq = bool(getattr(config, "is_encoder_decoder", False))
    mask = "decoder_attention_mask" if seq2seq else "attention_mask"
    if key == "auto":
        found = _auto(module, architecture, output, pooling)
        if found is None:
            return None
        key = found
    if key == "kl":
        axis = _class_axis(architecture, output)
        causal = bool(_CAUSAL.search(architecture)) and not seq2seq
        return Kl(causal=causal, mask=mask, class_axis=axis)
    tokens = pooling is None and config is not None
    names = (*LOGITS, *HIDDEN) if _gives_logits(architecture) else HIDDEN
    kind = Cosine if key == "cosine" else Mse
    return kind(pooling=pooling, tokens=tokens, mask=mask, names=names)


def _gives_logits(architecture: str) -> bool:
    return bool(_CAUSAL.search(architecture) or _LOGITS.search(architecture))


def _auto(
    module: nn.Module, architecture: str, output: Any, pooling: Pooling | None
) -> str | None:
    if pooling is not None:
        return "mse"
    config = getattr(module, "config", None)
    if config is not None and _is_regression(config):
        return "mse"
    if _gives_logits(architecture):
        return "kl"
    if config is not None and hasattr(config, "model_type"):
        return "mse"
    if output is None:
        return None
    if has(output, LOGITS):
        return "kl"
    flat = pick(output)
    return (
        "kl" if flat.dim() == 2 and flat.shape[1] > 1 and _has_head(module) else "mse"
    )


def _is_regression(config: Any) -> bool:
    return (
        getattr(config, "problem_type", None) == "regression"
        or getattr(config, "num_labels", 2) == 1
    )


def _has_head(module: nn.Module) -> bool:
    """Tell whether the last matrix of a network belongs to a head by its name."""
    names = [name for name, p in module.named_parameters() if p.dim() >= 2]
    return bool(names) and not _HEADS.isdisjoint(names[-1].split("."))


def _class_axis(architecture: str, output: Any) -> int:
    """Return 1 for maps of logits `[N, C, H, W]`, else -1."""
    if "SemanticSegmentation" in architecture:
        return 1
    return 1 if output is not None and pick(output, LOGITS).dim() == 4 else -1
