"""A model as the rest of the program sees it: names first, tensors on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_core.sites import Layer, Site, Unlisted

if TYPE_CHECKING:
    import torch
    from torch import nn

    from analysis.tasks.base import Task


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without touching its tensors.

    Attributes:
        name: Short name for titles and files ("all-MiniLM-L6-v2").
        source: What was given to `load` ("example:digits-vit", a path ...).
        digest: Hash of names, shapes, stored types and sampled bytes; the same for
            every container that holds the same weights.
        layers: Quantizable parameters, in order of `named_parameters()`.
        unlisted: Parameters of two or more dimensions left out, with reasons.
        ties: Groups of layer indices that must share a precision.
        architecture: Class or config name ("BertModel"), "" when unknown.
        sites: Activation sites of the last trace; empty before a trace.
        notes: Sentences for the user ("LSTM: weight-only ...").
    """

    name: str
    source: str
    digest: str
    layers: tuple[Layer, ...]
    unlisted: tuple[Unlisted, ...] = ()
    ties: tuple[tuple[int, ...], ...] = ()
    architecture: str = ""
    sites: tuple[Site, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of weights in the listed layers."""
        return sum(layer.parameters for layer in self.layers)


@dataclass
class LoadedModel:
    """A model opened for work.

    Attributes:
        info: Names, shapes, ties.
        module: The network in eval mode, or None (`.safetensors` alone).
        read_tensor: Returns a parameter by name on the CPU in its stored type;
            memory-mapped, so that one layer at a time is resident.
        task: What "error" means for this model; None without a module.
        tokenizer: `tokenizers.Tokenizer` of a Hugging Face folder, or None.
        example_inputs: Returns `(args, kwargs)` of random inputs for N samples of
            the right shape and type; None when not known.
        input_hints: Facts a data loader needs (`vocab_size`, `max_positions`,
            `image_shape`, `input_name` ...).
    """

    info: ModelInfo
    module: nn.Module | None
    read_tensor: Callable[[str], torch.Tensor]
    task: Task | None = None
    tokenizer: Any = None
    example_inputs: (
        Callable[[int, int], tuple[tuple[Any, ...], dict[str, Any]]] | None
    ) = None
    input_hints: dict[str, Any] = field(default_factory=dict)
