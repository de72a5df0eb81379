"""What a data reader is asked for, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from analysis.load.inputs import InputSpec
from analysis.model import LoadedModel


@dataclass(frozen=True, slots=True)
class Request:
    """Samples wanted from a source; see `analysis.data.load_data`."""

    source: str
    model: LoadedModel
    samples: int
    seed: int
    max_length: int

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """Inputs of the model; empty when they are not known."""
        return tuple(self.model.input_hints.get("inputs", ()))

    def choose(self, available: int) -> torch.Tensor:
        """Return the indices of the samples to keep, ascending, `[n]`."""
        if not self.samples or available <= self.samples:
            return torch.arange(available)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(available, generator=generator)
        return order[: self.samples].sort().values


@dataclass(frozen=True, slots=True)
class Found:
    """What a reader found: tensors by name, not yet matched to the inputs.

    Attributes:
        tensors: By the name the source gives them; "" when it gives none. Values
            are tensors or arrays with the sample axis first.
        positional: Tensors given by position.
        labels: Targets, or None; otherwise looked for among `tensors`.
        warnings: Sentences for the user.
    """

    tensors: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()
    labels: Any = None
    warnings: tuple[str, ...] = ()
