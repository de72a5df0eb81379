"""The layer table of a checkpoint, from names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from analysis.load.digest import digest_of_headers
from analysis.load.headers import TensorHeader
from analysis.model import ModelInfo
from quant_core.sites import NO_VALUES, Layer, Unlisted
from quant_core.ties import find_ties

_EMBEDDING = re.compile(
    r"(\w+_)?embed(ding)?s?|embed_(tokens|positions|in)|w[tp]e|shared"
    r"|relative_attention_bias"
)
_EXPERT_MODULE = re.compile(r"\.experts\.\d+\.")
_RECURRENT = re.compile(r"weight_([ih]h|hr)(_l\d+(_reverse)?)?")
_CONV1D = re.compile(r"c_(attn|fc|proj)|q_attn")
# model_type of architectures whose projections are transformers' Conv1D, [in, out].
_CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})


def info_of_checkpoint(
    tensors: Mapping[str, TensorHeader],
    *,
    name: str,
    source: str,
    architecture: str = "",
    model_type: str = "",
    notes: tuple[str, ...] = (),
) -> ModelInfo:
    """Return what is known of a model whose tensors were not touched.

    Names follow `quant_core.layers.layers_of`. Kinds are read from names and
    shapes: what cannot be told from them (a transposed convolution) becomes
    certain when the network itself is opened.

    Args:
        tensors: Headers of the checkpoint.
        name: Short name of the model.
        source: What the user gave.
        architecture: Class name in config.json, if any.
        model_type: `model_type` in config.json, if any.
        notes: Sentences for the user.
    """
    conv1d = model_type in _CONV1D_MODELS or _looks_like_conv1d(tensors)
    layers: list[Layer] = []
    unlisted: list[Unlisted] = []
    for key in sorted(tensors, key=_natural):
        tensor = tensors[key]
        if len(tensor.shape) < 2:
            continue
        reason = _why_not(tensor)
        if reason is not None:
            unlisted.append(Unlisted(key, tensor.shape, reason))
            continue
        layers.append(_layer(tensor, conv1d))
    if any(_EXPERT_MODULE.search(layer.name) for layer in layers):
        notes += (
            "Experts are listed one by one, as the checkpoint stores them; the opened "
            "network may hold all experts of a block in one tensor.",
        )
    return ModelInfo(
        name=name,
        source=source,
        digest=digest_of_headers(tensors),
        layers=tuple(layers),
        unlisted=tuple(unlisted),
        ties=find_ties([layer.name for layer in layers]),
        architecture=architecture,
        notes=notes,
    )


def _natural(key: str) -> list[tuple[int, int, str]]:
    """Return a sort key in which layer 10 follows layer 9."""
    parts = re.split(r"(\d+)", key)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def _why_not(tensor: TensorHeader) -> str | None:
    leaf = tensor.name.rpartition(".")[2]
    if 0 in tensor.shape:
        return NO_VALUES
    if not tensor.is_float:
        return f"stored as {tensor.dtype}: an index table or packed weights"
    if leaf in {"bias", "masked_bias", "bias_k", "bias_v"}:
        return "a mask or bias, added to the activations"
    if leaf != "weight" and tensor.shape[0] == 1 and len(tensor.shape) >= 3:
        return "learned constant added to the activations, kept in float"
    return None


def _layer(tensor: TensorHeader, conv1d: bool) -> Layer:
    path, _, leaf = tensor.name.rpartition(".")
    kind, axes = _kind(path.rpartition(".")[2], leaf, len(tensor.shape), conv1d)
    name = path if leaf == "weight" and path else tensor.name
    return Layer(name, tensor.name, kind, tensor.shape, tensor.dtype, axes)


def _kind(
    module: str, leaf: str, dims: int, conv1d: bool
) -> tuple[str, tuple[int, ...]]:
    if leaf.startswith("in_proj_weight") or re.fullmatch("[qkv]_proj_weight", leaf):
        return "attention_projection", (0,)
    if _RECURRENT.fullmatch(leaf):
        return "recurrent", (0,)
    if dims == 3 and leaf != "weight":
        return "experts", (0, 1)
    if leaf != "weight":
        return "other", (0,)
    if dims >= 3:
        return "conv", (0,)
    if _EMBEDDING.fullmatch(module):
        return "embedding", (0,)
    if conv1d and _CONV1D.fullmatch(module):
        return "linear", (1,)
    return "linear", (0,)


def _looks_like_conv1d(tensors: Mapping[str, TensorHeader]) -> bool:
    """Tell whether fused projections are stored `[in, 3 * in]`, as in GPT-2."""
    fused = [t.shape for k, t in tensors.items() if k.endswith("c_attn.weight")]
    return bool(fused) and all(len(s) == 2 and s[1] == 3 * s[0] for s in fused)
