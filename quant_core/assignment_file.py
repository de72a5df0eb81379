"""The assignment file: strict reading, plain writing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from quant_core.assignment import Assignment
from quant_core.errors import QuantError
from quant_core.scheme import Scheme
from quant_core.sites import Layer

FILE_FORMAT = "quantscope-assignment"
FILE_VERSION = 1

_TOP = ("format", "version", "model", "layers", "sites", "totals", "provenance")
_MODEL = ("name", "digest")
_LAYER = ("weight", "input", "locked")


def to_json(assignment: Assignment) -> dict[str, Any]:
    """Return the document of an assignment; every layer is written."""
    written = [None if s is None else s.to_json() for s in assignment.palette]
    layers = {
        layer.name: {"weight": written[w], "input": written[i], "locked": locked}
        for layer, w, i, locked in zip(
            assignment.layers,
            assignment.weight.tolist(),
            assignment.input.tolist(),
            assignment.locked.tolist(),
            strict=True,
        )
    }
    sites = {name: scheme.to_json() for name, scheme in assignment.sites.items()}
    return {
        "format": FILE_FORMAT,
        "version": FILE_VERSION,
        "model": {"name": assignment.model_name, "digest": assignment.model_digest},
        "layers": layers,
        "sites": sites,
        "totals": assignment.totals().to_json(),
        "provenance": assignment.provenance,
    }


def from_json(data: object, layers: Sequence[Layer], digest: str) -> Assignment:
    """Return the assignment a document describes; see `Assignment.from_json`."""
    document = _object(data, "The assignment file", _TOP, required=_TOP[:4])
    _check_kind(document)
    model = _object(document["model"], "`model`", _MODEL, required=("digest",))
    if model["digest"] != digest:
        raise QuantError(
            "The assignment was made for another model.",
            value=f"{model.get('name', '')} {model['digest']}".strip(),
            allowed=f"digest {digest}",
            hint="Open the model it was made for, or make a new assignment.",
        )
    entries = _object(document["layers"], "`layers`", None)
    index = {layer.name: i for i, layer in enumerate(layers)}
    _check_names(entries, index)
    palette: dict[Scheme | None, int] = {None: 0}
    chosen = {part: np.zeros(len(layers), dtype=np.int16) for part in _LAYER[:2]}
    locks = np.zeros(len(layers), dtype=np.bool_)
    read = _SchemeReader()
    for name, entry in entries.items():
        entry = _object(entry, name, _LAYER)
        for part, picks in chosen.items():
            scheme = read(entry.get(part), f"{name}, {part}")
            picks[index[name]] = palette.setdefault(scheme, len(palette))
        locked = entry.get("locked", False)
        if not isinstance(locked, bool):
            raise QuantError(
                f"{name}: `locked` has a wrong value.",
                value=locked,
                allowed="true or false",
            )
        locks[index[name]] = locked
    found = Assignment(
        layers,
        tuple(palette),
        chosen["weight"],
        chosen["input"],
        locks,
        _sites(document.get("sites", {}), read),
        str(model.get("name", "")),
        digest,
        _object(document.get("provenance", {}), "`provenance`", None),
    )
    for scheme in found.used():
        # Group sizes that do not divide a layer are told as in an edit.
        found.with_weight(found.weight == found.palette.index(scheme), scheme)
    return found


def _check_kind(document: Mapping[str, Any]) -> None:
    """Refuse other files and other versions."""
    if document["format"] != FILE_FORMAT:
        raise QuantError(
            "This is not an assignment file.",
            value=document["format"],
            allowed=FILE_FORMAT,
        )
    if document["version"] != FILE_VERSION or isinstance(document["version"], bool):
        raise QuantError(
            "The assignment file has another version.",
            value=repr(document["version"]),
            allowed=str(FILE_VERSION),
            hint="Use the version of the program that wrote it.",
        )


def _check_names(entries: Iterable[str], known: Mapping[str, int]) -> None:
    """Refuse layers that the model does not have."""
    unknown = [name for name in entries if name not in known]
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], known, n=3)
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    raise QuantError(
        "The assignment names a layer that the model does not have.",
        value=unknown[0] + more,
        allowed="the layer names that `quantscope layers` lists",
        hint=f"Did you mean {' or '.join(close)}?" if close else None,
    )


def _sites(data: object, read: _SchemeReader) -> dict[str, Scheme]:
    """Return the schemes of activation sites; null entries stay float."""
    schemes = {
        name: read(entry, f"site {name}")
        for name, entry in _object(data, "`sites`", None).items()
    }
    return {name: scheme for name, scheme in schemes.items() if scheme is not None}


class _SchemeReader:
    """Reads schemes, each different one once: files repeat a few very often."""

    def __init__(self) -> None:
        self._seen: dict[tuple[tuple[str, str], ...], Scheme] = {}

    def __call__(self, data: object, where: str) -> Scheme | None:
        if data is None:
            return None
        if isinstance(data, Mapping) and set(map(type, data.values())) <= {str}:
            key = tuple(data.items())
        else:
            key = None
        try:
            if key is None:
                return Scheme.from_json(data)
            if key not in self._seen:
                self._seen[key] = Scheme.from_json(data)
            return self._seen[key]
        except QuantError as error:
            raise error.within(where) from None


def _object(
    data: object,
    where: str,
    known: tuple[str, ...] | None,
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return `data` as a dict, checked for missing and unknown keys."""
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise QuantError(
            f"{where} must be an object.",
            value=type(data).__name__,
            allowed='an object, {"...": ...}',
        )
    missing = [key for key in required if key not in data]
    unknown = [key for key in data if known is not None and key not in known]
    if missing or unknown:
        problem = f"has no {missing[0]!r}" if missing else "has an unknown entry"
        raise QuantError(
            f"{where} {problem}.",
            value=None if missing else unknown[0],
            allowed=", ".join(known or required),
        )
    return dict(data)
