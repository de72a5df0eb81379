"""Headers of safetensors checkpoints, read with `json` and `struct` alone.

A safetensors file starts with the length of its header (8 bytes, little endian) and
the header, a JSON object `name -> {dtype, shape, data_offsets}`; the tensors follow
without gaps (https://github.com/huggingface/safetensors, "Format"). Listing the
layers of a checkpoint therefore costs one small read, however large the file is.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    import torch

HEADER_LIMIT = 100_000_000
"""Largest header the format allows (bytes)."""

# Name in the file -> (name in torch, bits per element).
_DTYPES = {
    "F64": ("float64", 64),
    "F32": ("float32", 32),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3", 6),
    "F6_E3M2": ("float6_e3m2", 6),
    "F4": ("float4_e2m1", 4),
    "I64": ("int64", 64),
    "I32": ("int32", 32),
    "I16": ("int16", 16),
    "I8": ("int8", 8),
    "U64": ("uint64", 64),
    "U32": ("uint32", 32),
    "U16": ("uint16", 16),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
    "C64": ("complex64", 64),
}
_PACKED = frozenset({"float6_e2m3", "float6_e3m2", "float4_e2m1"})


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """Where a tensor lies and what it is.

    Attributes:
        name: Key in the checkpoint.
        dtype: Stored type without the `torch.` prefix.
        shape: Its shape.
        file: File that holds it.
        start: Position of the first byte in the file.
        nbytes: Length (bytes).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    nbytes: int

    @property
    def is_float(self) -> bool:
        """Whether the values are floating-point numbers."""
        return self.dtype.startswith(("float", "bfloat"))

    def read_bytes(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` of the tensor."""
        with self.file.open("rb") as stream:
            stream.seek(self.start + start)
            return stream.read(stop - start)

    def read(self) -> torch.Tensor:
        """Return the tensor in its stored type; only its own bytes are read.

        Raises:
            AnalysisError: torch cannot hold the stored type, or the file changed.
        """
        import numpy as np
        import torch

        dtype = getattr(torch, self.dtype, None)
        if dtype is None or self.dtype in _PACKED:
            raise AnalysisError(
                f"{self.name} is stored in a packed type that cannot be read.",
                value=self.dtype,
                hint="Open the checkpoint that it was quantized from.",
            )
        try:
            data = np.fromfile(self.file, np.uint8, self.nbytes, offset=self.start)
        except OSError as error:
            raise AnalysisError(
                f"The file cannot be read: {error.strerror}.", value=self.file
            ) from error
        if data.nbytes != self.nbytes:
            raise _truncated(self.file, self.start + self.nbytes)
        if not self.nbytes:
            return torch.empty(self.shape, dtype=dtype)
        return torch.from_numpy(data).view(dtype).reshape(self.shape)


def read_header(path: Path) -> dict[str, TensorHeader]:
    """Return the tensors of one safetensors file by name, in file order.

    Args:
        path: An existing file.

    Raises:
        AnalysisError: the file is no safetensors file, is cut short, or its header
            contradicts itself.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= HEADER_LIMIT:
                raise _malformed(path, "it does not start with the length of a header")
            if length > size - 8:
                raise _truncated(path, 8 + length)
            text = stream.read(length)
    except OSError as error:
        raise AnalysisError(
            f"The file cannot be read: {error.strerror}.", value=path
        ) from error
    return _parse(path, text, 8 + length, size)


def _parse(path: Path, text: bytes, base: int, size: int) -> dict[str, TensorHeader]:
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"its header is not valid JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _malformed(path, "its header is not a JSON object")
    entries.pop("__metadata__", None)
    tensors = [_entry(path, name, entry, base) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.nbytes))
    end = base
    for tensor in tensors:
        if tensor.start != end:
            raise _malformed(
                path, f"{tensor.name} does not follow the tensor before it"
            )
        end += tensor.nbytes
    if end > size:
        raise _truncated(path, end)
    if end < size:
        raise _malformed(path, f"{size - end} bytes follow the last tensor")
    return {tensor.name: tensor for tensor in tensors}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice")
    return result


def _entry(path: Path, name: str, entry: Any, base: int) -> TensorHeader:
    try:
        dtype, bits = _DTYPES[entry["dtype"]]
        shape = tuple(entry["shape"])
        start, stop = entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(path, f"the entry of {name} is not understood") from error
    numbers = (*shape, start, stop)
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise _malformed(path, f"{name} has a shape or an offset that is no number")
    if math.prod(shape) * bits != (stop - start) * 8:
        raise _malformed(path, f"shape and length of {name} do not agree")
    return TensorHeader(name, dtype, shape, path, base + start, stop - start)


def read_index(index: Path) -> dict[str, TensorHeader]:
    """Return the tensors of a checkpoint in shards, by its `*.index.json`.

    Args:
        index: `model.safetensors.index.json` beside its shards.

    Raises:
        AnalysisError: the index is malformed, names a file outside its folder or a
            missing one, or a shard lacks a tensor.
    """
    content = read_json(index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise AnalysisError(
            "The shard index has no weight_map.",
            value=index,
            allowed='{"weight_map": {TENSOR: FILE}}',
        )
    shards = {name: _shard(index, name) for name in dict.fromkeys(weight_map.values())}
    tensors: dict[str, TensorHeader] = {}
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise AnalysisError(
                f"The shard index places {name} in {shard}, which does not hold it.",
                value=index,
                hint="Fetch the shards of this checkpoint again.",
            )
        tensors[name] = shards[shard][name]
    return tensors


def _shard(index: Path, name: Any) -> dict[str, TensorHeader]:
    inside = isinstance(name, str) and bool(name) and "\\" not in name
    inside = inside and "\0" not in name and not name.startswith("/")
    # A colon is a drive or a stream on Windows. Links are followed: the cache of
    # the Hugging Face hub is made of them.
    if not inside or ":" in name or ".." in PurePosixPath(name).parts:
        raise AnalysisError(
            "The shard index names a file outside its folder, which is refused.",
            value=name,
            allowed="names of .safetensors files inside the folder",
            hint="Do not use this checkpoint unless you know who made it.",
        )
    path = index.parent / name
    if path.suffix != ".safetensors":
        refuse_pickle(path)
        raise AnalysisError(
            "The shard index names a file that is no safetensors file.", value=name
        )
    if not path.is_file():
        raise AnalysisError(
            "A shard of the checkpoint is missing.",
            value=path,
            hint="Fetch the missing file; its name is in the shard index.",
        )
    return read_header(path)


def read_checkpoint(path: Path) -> dict[str, TensorHeader]:
    """Return the tensors of a folder, a shard index or a safetensors file.

    Raises:
        AnalysisError: there is no safetensors checkpoint at `path`.
    """
    if not path.is_dir():
        return read_index(path) if path.suffix == ".json" else read_header(path)
    single, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if index.is_file() and not single.is_file():
        return read_index(index)
    if single.is_file():
        return read_header(single)
    for name in sorted(os.listdir(path)):
        refuse_pickle(path / name)
    others = sorted(f.name for f in path.glob("*.safetensors"))
    raise AnalysisError(
        "The folder holds no checkpoint.",
        value=path,
        allowed="model.safetensors, or model.safetensors.index.json with its shards",
        hint=f"Open {path / others[0]} for measures of the weights alone."
        if others
        else "Choose the folder that `save_pretrained` wrote.",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        AnalysisError: the file is missing or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisError(
            f"{path.name} cannot be read: {error.strerror}.", value=path
        ) from error
    except (ValueError, RecursionError) as error:
        raise AnalysisError(
            f"{path.name} is not valid JSON.",
            value=path,
            hint="Fetch or copy the file again.",
        ) from error
    if not isinstance(content, dict):
        raise AnalysisError(
            f"{path.name} is not a JSON object.",
            value=path,
            allowed='an object, {"...": ...}',
            hint="Fetch or copy the file again.",
        )
    return content


PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Extensions of checkpoints that run code when they are read."""


def refuse_pickle(path: Path) -> None:
    """Refuse a file whose reading could run code, and say how to convert it.

    Raises:
        AnalysisError: `path` has the extension of a pickle checkpoint.
    """
    # training_args.bin lies beside many good checkpoints and holds no weights.
    if path.suffix.lower() not in PICKLES or path.name == "training_args.bin":
        return
    target = path.with_suffix(".safetensors")
    command = (
        "import torch; from safetensors.torch import save_file; "
        f"s = torch.load({str(path)!r}, map_location='cpu', weights_only=True); "
        "s = s.get('state_dict', s); "
        f"save_file({{k: v.clone().contiguous() for k, v in s.items() "
        f"if torch.is_tensor(v)}}, {str(target)!r})"
    )
    folder = (
        f" For a Hugging Face folder, name the result model.safetensors beside "
        f"config.json and open the folder {path.parent}."
        if (path.parent / "config.json").is_file()
        else ""
    )
    raise AnalysisError(
        "Pickle checkpoints are not opened: reading one can run code.",
        value=path,
        allowed=".safetensors, .pt2 or a Hugging Face folder with safetensors",
        hint=f'Convert it, if you trust its maker: python -c "{command}"{folder}',
    )


def _truncated(path: Path, needed: int) -> AnalysisError:
    return AnalysisError(
        f"The safetensors file is cut short: its header asks for {needed:,} bytes, "
        f"it has {path.stat().st_size:,}.",
        value=path,
        hint="Fetch or copy the file again.",
    )


def _malformed(path: Path, why: str) -> AnalysisError:
    return AnalysisError(
        f"This is not a valid safetensors file: {why}.",
        value=path,
        hint="Fetch or write the file again.",
    )
