"""Matching named arrays to the inputs of a network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from analysis.data.request import Found, Request
from analysis.errors import AnalysisError
from analysis.load.inputs import InputSpec, Kind

LABELS = ("labels", "label", "targets", "target", "y")
_MAIN = ("", "x", "input", "inputs", "data", "arr_0", "images", "image")
_KINDS: dict[Kind, str] = {"float": "floating-point", "int": "integer", "bool": "bool"}

Matched = tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor], torch.Tensor | None]


def match(found: Found, request: Request) -> Matched:
    """Return `(args, kwargs, labels)` for a call of the network.

    An array is passed by the keyword it is named after; a single array under a
    general name (`x`, `inputs`, `data`, `images` ...) is the main input.

    Raises:
        AnalysisError: a name belongs to no input, or a type is wrong.
    """
    named = {name: _tensor(name, value) for name, value in found.tensors.items()}
    labels = None if found.labels is None else _tensor("labels", found.labels)
    if labels is None:
        for name in LABELS:
            if name in named and name not in {s.name for s in request.specs}:
                labels = named.pop(name)
                break
    if labels is not None and not labels.is_floating_point():
        labels = labels.long()
    args = tuple(_tensor(f"input {i}", v) for i, v in enumerate(found.positional))
    named, extra = _place_main(named, request)
    args += extra
    _check_names(named, request)
    _check_count(args, named, request)
    return _cast(args, named, request), _cast_named(named, request), labels


def _place_main(
    named: dict[str, torch.Tensor], request: Request
) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
    """Return the named arrays and those that are passed by position."""
    positional = [s.name for s in request.specs if not s.keyword]
    if positional and set(positional) <= named.keys():
        rest = {k: v for k, v in named.items() if k not in positional}
        return rest, tuple(named[name] for name in positional)
    known = {s.name for s in request.specs} | set(_parameters(request))
    main = [name for name in named if name in _MAIN and name not in known]
    if len(main) != 1:
        return named, ()
    value = named[main[0]]
    rest = {k: v for k, v in named.items() if k != main[0]}
    keyword = request.model.input_hints.get("input_name")
    if isinstance(keyword, str) and keyword not in rest:
        return {keyword: value, **rest}, ()
    return rest, (value,)


def _parameters(request: Request) -> tuple[str, ...]:
    """Return the names of the arguments of `forward`; () when it takes any."""
    if request.model.module is None:
        return ()
    parameters = inspect.signature(request.model.module.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        return tuple(p.name for p in named)
    return tuple(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)


def _check_names(named: Mapping[str, torch.Tensor], request: Request) -> None:
    allowed = dict.fromkeys((*(s.name for s in request.specs), *_parameters(request)))
    if not allowed:
        return
    for name in named:
        if name not in allowed:
            raise AnalysisError(
                "An array of the data belongs to no input of the network.",
                value=name or "an array without a name",
                allowed=", ".join(dict.fromkeys((*allowed, *LABELS[:2]))),
                hint="Name the arrays after the arguments of the network.",
            )


def _check_count(
    args: tuple[torch.Tensor, ...], named: Mapping[str, torch.Tensor], request: Request
) -> None:
    """Check that each needed input is there."""
    positional = [s for s in request.specs if not s.keyword]
    missing = [s.name for s in positional[len(args) :] if s.name not in named]
    keywords = [s for s in request.specs if s.keyword and not s.optional]
    # Positional arrays may fill the first keywords of a transformers network.
    missing += [s.name for s in keywords[len(args) :] if s.name not in named]
    if missing and not ("inputs_embeds" in named or missing == ["decoder_input_ids"]):
        raise AnalysisError(
            "The data lack an input of the network.",
            value=", ".join(n or "an array without a name" for n in named) or None,
            allowed=", ".join(s.name for s in request.specs if not s.optional),
            hint=f"Add an array named {missing[0]}.",
        )


def _tensor(name: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    array = np.asarray(value)
    label = name or "the array"
    if array.dtype.kind not in "fiub":
        raise AnalysisError(
            f"The type of {label} is not numeric.",
            value=array.dtype,
            allowed="floating-point, integer or bool arrays",
        )
    if array.dtype == np.longdouble and array.dtype != np.float64:
        array = array.astype(np.float64)
    # Copied: readers hand out views of files, torch wants writable native order.
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    return torch.from_numpy(native)


def _cast(
    args: tuple[torch.Tensor, ...], named: Mapping[str, Any], request: Request
) -> tuple[torch.Tensor, ...]:
    specs = [s for s in request.specs if not s.keyword or s.name not in named]
    padded = [*specs, *[None] * len(args)]
    return tuple(
        _cast_one(f"input {i}" if spec is None else spec.name, value, spec, request)
        for i, (value, spec) in enumerate(zip(args, padded, strict=False))
    )


def _cast_named(
    named: Mapping[str, torch.Tensor], request: Request
) -> dict[str, torch.Tensor]:
    specs = {s.name: s for s in request.specs}
    return {
        name: _cast_one(name, value, specs.get(name), request)
        for name, value in named.items()
    }


def _cast_one(
    name: str, value: torch.Tensor, spec: InputSpec | None, request: Request
) -> torch.Tensor:
    kind = _kind(value)
    is_mask = name.endswith("mask")
    if spec is not None and kind != spec.kind and not (is_mask and kind != "float"):
        raise AnalysisError(
            f"{name} has the wrong type.",
            value=str(value.dtype).removeprefix("torch."),
            allowed=f"{_KINDS[spec.kind]} numbers",
            hint="Prepare the data as in training: scaled and normalised, in float32."
            if spec.kind == "float"
            else "Token ids and indices are integers.",
        )
    if kind == "float":
        return value.to(_float_type(request))
    if kind == "int" or is_mask:
        return value.long() if spec is None or spec.kind == "int" else value.bool()
    return value


def _kind(value: torch.Tensor) -> Kind:
    if value.dtype == torch.bool:
        return "bool"
    return "float" if value.is_floating_point() else "int"


def _float_type(request: Request) -> torch.dtype:
    """Return the type the network computes in."""
    module = request.model.module
    if module is not None:
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
    return torch.float32
