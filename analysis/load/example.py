"""Loader of the bundled examples: `example:NAME`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError
from analysis.load.base import Loader, Options
from analysis.load.checkpoint import info_of_checkpoint
from analysis.load.headers import read_header
from analysis.load.inputs import InputSpec
from analysis.load.safetensors_file import reader
from analysis.model import LoadedModel

PREFIX = "example:"


@dataclass(frozen=True, slots=True)
class Example:
    """A bundled model with its held-out data, as `examples.json` describes it.

    Attributes:
        name: Name after `example:`.
        title: One sentence.
        metrics: What it reaches on its held-out data ("accuracy", "perplexity" ...).
        files: File by purpose: `weights`, `held_out`, perhaps `tokenizer`.
        sha256: Checksum by purpose.
    """

    name: str
    title: str
    metrics: dict[str, float]
    files: dict[str, Path]
    sha256: dict[str, str]

    def file(self, purpose: str) -> Path:
        """Return a file of the example after checking its checksum.

        Raises:
            AnalysisError: the file is missing or was changed.
        """
        path = self.files[purpose]
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise AnalysisError(
                f"A file of the example is missing: {error.strerror}.",
                value=path,
                hint="Install Quantscope again.",
            ) from error
        if found != self.sha256[purpose]:
            raise AnalysisError(
                "A file of the example was changed: its checksum differs.",
                value=path,
                hint="Install Quantscope again.",
            )
        return path


def examples() -> dict[str, Example]:
    """Return the bundled examples by name, in the order they are listed."""
    # Traversable.joinpath keeps to real files: the package is installed unzipped.
    folder = Path(str(resources.files("resources") / "examples"))
    table = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    return {
        name: Example(
            name,
            entry["title"],
            entry["metrics"],
            {key: folder / file["name"] for key, file in entry["files"].items()},
            {key: file["sha256"] for key, file in entry["files"].items()},
        )
        for name, entry in table.items()
    }


def find_example(source: str) -> Example:
    """Return the example that `example:NAME` names.

    Raises:
        AnalysisError: there is none of this name.
    """
    known = examples()
    name = source.removeprefix(PREFIX)
    if name not in known:
        raise AnalysisError(
            "There is no such example.",
            value=source,
            allowed=", ".join(PREFIX + n for n in known),
        )
    return known[name]


def _accepts(source: str) -> bool:
    return source.startswith(PREFIX)


def _open(source: str, options: Options) -> LoadedModel:
    example = find_example(source)
    weights = example.file("weights")
    tensors = read_header(weights)
    if options.headers_only:
        info = info_of_checkpoint(tensors, name=example.name, source=source)
        return LoadedModel(info, None, reader(tensors))

    from analysis.load.example_networks import NETWORKS, set_weights
    from analysis.load.network import open_network

    network = NETWORKS[example.name]()
    set_weights(network, {name: t.read() for name, t in tensors.items()})
    model = open_network(network, source, example.name, options, specs=_specs(example))
    model.read_tensor = reader(tensors)
    if "tokenizer" in example.files:
        from tokenizers import Tokenizer

        model.tokenizer = Tokenizer.from_file(str(example.file("tokenizer")))
    return model


def _specs(example: Example) -> tuple[InputSpec, ...]:
    """Return the inputs where the network itself does not tell them."""
    if example.name == "digits-cnn":
        return (InputSpec("images", "float", (1, 8, 8)),)
    return ()


def held_out(source: str) -> dict[str, Any]:
    """Return the held-out data of an example as tensors by name.

    `images` float32 `[N, 1, 8, 8]` in -1 ... 1 and `labels` `[N]`, or `input_ids`
    `[N, T]`, as the networks were trained with.
    """
    tensors = read_header(find_example(source).file("held_out"))
    data = {name: t.read() for name, t in tensors.items()}
    if "images" in data:
        # Stored as the counts 0 ... 16 that the digits data set consists of.
        data["images"] = data["images"].float().unsqueeze(1) / 8 - 1
    return {k: v if v.is_floating_point() else v.long() for k, v in data.items()}


LOADER = Loader("example", "example:NAME", _accepts, _open)
