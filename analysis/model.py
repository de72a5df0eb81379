"""A model as the rest of the program sees it: names first, tensors on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from quant_core.sites import Layer, Site, Unlisted

if TYPE_CHECKING:
    import torch
    from torch import nn

    from analysis.tasks.base import Task


_NAMED = 3  # layers an error names


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


def refuse_other_layers(info: ModelInfo, known: ModelInfo) -> None:
    """Refuse a model whose layers are called or ordered otherwise.

    Args:
        info: The model that was opened.
        known: The same weights, as they were opened before.

    Raises:
        AnalysisError: which names differ.
    """
    new = [layer.name for layer in info.layers]
    old = [layer.name for layer in known.layers]
    if new == old:
        return
    before, now = set(old), set(new)
    only_new = [name for name in new if name not in before]
    only_old = [name for name in old if name not in now]
    raise AnalysisError(
        "The weights are those of the project, but the layers have other names."
        if only_new or only_old
        else "The weights are those of the project, but the layers come in another "
        "order.",
        value=f"{_some(only_new or new)} in {info.source}",
        allowed=f"{_some(only_old or old)} in {known.source}",
        hint="A checkpoint alone lists its tensors as they were saved, the opened "
        "network by its modules: open what the project was made from, or start a new "
        "project.",
    )


def _some(names: list[str]) -> str:
    """Return the first few names and how many more there are."""
    shown = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown or "no other layer"
