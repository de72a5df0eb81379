"""Loader of a lone safetensors file: weights without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from analysis.load.base import Loader, Options
from analysis.load.checkpoint import info_of_checkpoint
from analysis.load.headers import TensorHeader, read_checkpoint
from analysis.model import LoadedModel

if TYPE_CHECKING:
    import torch


def _accepts(source: str) -> bool:
    return source.endswith((".safetensors", ".safetensors.index.json"))


def _open(source: str, options: Options) -> LoadedModel:
    """Open the tensors of a file or of a shard index; nothing is instantiated."""
    del options  # there is no network to place, cast or judge
    path = Path(source)
    tensors = read_checkpoint(path)
    info = info_of_checkpoint(
        tensors,
        name=path.name.removesuffix(".index.json").removesuffix(".safetensors"),
        source=source,
        notes=("Weights alone were opened: measures that run the network need more.",),
    )
    return LoadedModel(info, None, reader(tensors))


def reader(
    tensors: Mapping[str, TensorHeader],
) -> Callable[[str], torch.Tensor]:
    """Return a function that reads one tensor of a checkpoint by its name."""

    def read(name: str) -> torch.Tensor:
        if name not in tensors:
            raise AnalysisError(
                "The checkpoint has no tensor of this name.",
                value=name,
                hint="List the layers with `quantscope layers`.",
            )
        return tensors[name].read()

    return read


LOADER = Loader("safetensors_file", "a .safetensors file", _accepts, _open)
