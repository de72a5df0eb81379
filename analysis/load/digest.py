"""The fingerprint by which a project recognises its model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.load.headers import TensorHeader

if TYPE_CHECKING:
    from torch import nn

_WHOLE = 4096
_BLOCKS = 8
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class _Content:
    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    read: Callable[[int, int], bytes]


def digest_of_headers(tensors: Mapping[str, TensorHeader]) -> str:
    """Return the digest of a checkpoint: sha256 as 64 hexadecimal digits.

    Hashed are name, stored type, shape and sampled bytes of each floating-point
    tensor of two or more dimensions, in order of their names: the whole tensor up
    to 4 KiB, else eight blocks of 512 bytes spread from its start to its end. So
    the digest costs little on any file, does not depend on the container, and is
    the same for `headers_only` and for the opened network.
    """
    return _digest(
        _Content(t.name, t.dtype, t.shape, t.nbytes, t.read_bytes)
        for t in tensors.values()
        if t.is_float and len(t.shape) >= 2
    )


def digest_of_module(module: nn.Module) -> str:
    """Return the digest of a network's parameters; see `digest_of_headers`."""
    return _digest(
        _module_content(name, parameter)
        for name, parameter in module.named_parameters()
        if parameter.is_floating_point() and parameter.dim() >= 2
    )


def _module_content(name: str, parameter: nn.Parameter) -> _Content:
    import torch

    def read(start: int, stop: int) -> bytes:
        values = parameter.detach().reshape(-1)
        item = values.element_size()
        first, last = start // item, -(-stop // item)
        part = values[first:last].cpu().contiguous().view(torch.uint8)
        return bytes(part.numpy().tobytes()[start - first * item :][: stop - start])

    return _Content(
        name,
        str(parameter.dtype).removeprefix("torch."),
        tuple(parameter.shape),
        parameter.numel() * parameter.element_size(),
        read,
    )


def _digest(contents: Iterable[_Content]) -> str:
    total = hashlib.sha256(b"quantscope-model-1")
    for content in sorted(contents, key=lambda c: c.name):
        label = [content.name, content.dtype, list(content.shape)]
        total.update(json.dumps(label).encode())
        if content.nbytes <= _WHOLE:
            total.update(content.read(0, content.nbytes))
            continue
        last = content.nbytes - _BLOCK
        for block in range(_BLOCKS):
            start = last * block // (_BLOCKS - 1)
            total.update(content.read(start, start + _BLOCK))
    return total.hexdigest()
