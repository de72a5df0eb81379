"""Inputs of a transformers network, read from its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.load.inputs import InputSpec
from analysis.load.sentence import SentenceFolder

if TYPE_CHECKING:
    from torch import nn


def hints_of(
    module: nn.Module, sentence: SentenceFolder | None = None
) -> tuple[dict[str, Any], tuple[InputSpec, ...]]:
    """Return what data loaders need to know, and the inputs of the network.

    Args:
        module: A transformers network.
        sentence: Facts of a sentence-transformers folder.

    Returns:
        Hints (`input_name`, `inputs`, `vocab_size`, `max_positions`, `max_length`,
        `pad_token_id`, `causal`, `image_shape` ... as far as they apply) and the
        specs under `inputs`; no specs for inputs other than text and images.
    """
    config: Any = module.config
    name = str(getattr(module, "main_input_name", "input_ids"))
    hints: dict[str, Any] = {"input_name": name}
    if name == "pixel_values":
        hints |= _image_hints(config)
    elif name == "input_ids":
        hints |= _text_hints(module, config, sentence)
    specs = _specs(hints)
    hints["inputs"] = specs
    return hints, specs


def _image_hints(config: Any) -> dict[str, Any]:
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", None)
    if size is None:
        return {}
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = int(getattr(config, "num_channels", 3))
    return {"image_shape": (channels, int(height), int(width))}


def _text_hints(
    module: nn.Module, config: Any, sentence: SentenceFolder | None
) -> dict[str, Any]:
    text = config.get_text_config()
    table = module.get_input_embeddings()  # type: ignore[operator]
    seq2seq = bool(getattr(config, "is_encoder_decoder", False))
    architecture = type(module).__name__
    causal = "ForCausalLM" in architecture or "LMHead" in architecture
    hints: dict[str, Any] = {
        "vocab_size": int(table.weight.shape[0]),
        "causal": causal and not seq2seq,
        "pad_token_id": getattr(text, "pad_token_id", None),
    }
    for key in ("max_position_embeddings", "n_positions"):
        positions = getattr(text, key, None)
        if isinstance(positions, int) and positions > 0:
            hints["max_positions"] = positions
            break
    # RoBERTa numbers positions from pad_token_id + 1, which costs that many.
    if "max_positions" in hints and "roberta" in str(config.model_type):
        hints["max_positions"] -= (hints["pad_token_id"] or 0) + 1
    if sentence is not None and sentence.max_length is not None:
        hints["max_length"] = sentence.max_length
    if seq2seq:
        start = getattr(config, "decoder_start_token_id", None)
        hints["decoder_start_token_id"] = start or 0
    return hints


def _specs(hints: dict[str, Any]) -> tuple[InputSpec, ...]:
    name = hints["input_name"]
    if "image_shape" in hints:
        return (InputSpec(name, "float", hints["image_shape"], keyword=True),)
    if "vocab_size" not in hints:
        return ()
    vocabulary = hints["vocab_size"]
    specs = [
        InputSpec(name, "int", (None,), True, vocabulary),
        InputSpec("attention_mask", "int", (None,), True, 2, optional=True),
    ]
    if "decoder_start_token_id" in hints:
        specs += [
            InputSpec("decoder_input_ids", "int", (None,), True, vocabulary),
            InputSpec("decoder_attention_mask", "int", (None,), True, 2, True),
        ]
    return tuple(specs)
