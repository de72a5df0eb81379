"""Chooses layers by a line of text: `mlp kind:linear bits<8 -locked`.

Terms are separated by spaces and must all hold; `|` separates alternatives and
binds less tightly. A term is one of

- a word: found anywhere in the layer name, capitals ignored;
- a pattern with `*`, `?` or `[...]`: must match the whole name;
- `field:value`: the text field begins with the value (or matches the pattern),
  several values separated by commas (`kind:linear,conv`);
- a comparison of a number: `bits<8`, `error>=1e-3`, `params > 1e6`, `size>2MB`;
- a flag (`locked`);

and `-` or `!` before a term turns it round.
"""

from __future__ import annotations

import difflib
import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError

_COMPARE: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kmgt]?)b?", re.I)
_TERM = re.compile(r"(?P<field>\w+)(?P<op><=|>=|!=|<|>|==?|:)(?P<value>.*)", re.S)
_SPACED = re.compile(r"\s*(<=|>=|!=|==|<|>|=)\s*")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class LayerFields:
    """What can be asked about layers; every column has one entry per layer.

    Attributes:
        names: Layer names.
        texts: Text fields by name (`kind`).
        numbers: Numbers by name, NaN where unknown (`bits`, `error`).
        flags: Yes-or-no fields by name (`locked`).
    """

    names: Sequence[str]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    numbers: Mapping[str, NDArray[np.floating] | NDArray[np.integer]] = field(
        default_factory=dict
    )
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def select(query: str, layers: LayerFields) -> NDArray[np.bool_]:
    """Return which layers a query chooses; an empty query chooses all.

    A comparison with an unknown number (NaN) does not hold.

    Args:
        query: The text, in the language of this module.
        layers: The columns it may name.

    Returns:
        `[layers]` of bool.

    Raises:
        AnalysisError: a field is unknown or a value is not a number.

    Example:
        >>> fields = LayerFields(
        ...     ["a.mlp", "a.head"], numbers={"bits": np.array([4.0, 8.0])}
        ... )
        >>> select("mlp bits<8", fields).tolist()
        [True, False]
    """
    total = len(layers.names)
    if not query.strip():
        return np.ones(total, dtype=np.bool_)
    chosen = np.zeros(total, dtype=np.bool_)
    for alternative in query.split("|"):
        spaced = _SPACED.sub(r"\1", alternative)
        terms = [term for term in spaced.split() if term != "&"]
        if not terms:
            raise AnalysisError(
                "One side of | is empty.",
                value=query,
                allowed="terms on both sides, as in `query | key`",
            )
        holds = np.ones(total, dtype=np.bool_)
        for term in terms:
            holds &= _term(term, layers)
        chosen |= holds
    return chosen


def _term(term: str, layers: LayerFields) -> NDArray[np.bool_]:
    """Return where one term holds."""
    if term[0] in "-!":
        if len(term) == 1:
            raise AnalysisError(
                f"{term} turns the next term round, but none follows.",
                value=term,
                allowed="a term right after it, as in -locked",
            )
        return ~_term(term[1:], layers)
    parts = _TERM.fullmatch(term)
    if parts is not None:
        name, op, value = parts["field"].lower(), parts["op"], parts["value"]
        if op == ":":
            return _text(name, value, layers)
        return _number(name, "=" if op == "==" else op, value, layers)
    flag = layers.flags.get(term.lower())
    if flag is not None:
        return np.asarray(flag, dtype=np.bool_)
    return _names(term, layers.names)


def _names(word: str, names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which names hold the word, or match it when it is a pattern."""
    if _WILD.search(word):
        match = re.compile(fnmatch.translate(word), re.I).match
        found = (match(name) is not None for name in names)
    else:
        low = word.lower()
        found = (low in name.lower() for name in names)
    return np.fromiter(found, dtype=np.bool_, count=len(names))


def _text(name: str, value: str, layers: LayerFields) -> NDArray[np.bool_]:
    """Return where a text field begins with, or matches, one of the values."""
    values = [part for part in value.split(",") if part]
    if name == "name":
        parts = [_names(part, layers.names) for part in values]
    elif name in layers.texts:
        # Kinds and formats repeat: match each distinct text once.
        column = layers.texts[name]
        verdict = {text: _begins(text, values) for text in set(column)}
        fits = (verdict[text] for text in column)
        parts = [np.fromiter(fits, dtype=np.bool_, count=len(column))]
    elif name in layers.numbers:
        return _number(name, "=", value, layers)
    else:
        raise _unknown(name, layers)
    if not values:
        raise AnalysisError(
            f"{name}: needs a value.", value=f"{name}:", allowed=f"{name}:word"
        )
    holds = parts[0]
    for part in parts[1:]:
        holds = holds | part
    return holds


def _begins(text: str, values: Sequence[str]) -> bool:
    """Return whether a text begins with, or matches, one of the values."""
    low = text.lower()
    return any(
        fnmatch.fnmatchcase(low, value.lower())
        if _WILD.search(value)
        else low.startswith(value.lower())
        for value in values
    )


def _number(name: str, op: str, value: str, layers: LayerFields) -> NDArray[np.bool_]:
    """Return where a comparison holds."""
    column = layers.numbers.get(name)
    if column is None:
        raise _unknown(name, layers)
    parts = _NUMBER.fullmatch(value)
    if parts is None:
        raise AnalysisError(
            f"{name}{op} needs a number.",
            value=value or "nothing",
            allowed="8, 1e-3, 2.5M, 10MB",
        )
    bound = float(parts[1]) * _SUFFIX[parts[2].lower()]
    known = np.asarray(column, dtype=np.float64)
    return _COMPARE[op](known, bound) & ~np.isnan(known)


def _unknown(name: str, layers: LayerFields) -> AnalysisError:
    """Return the error for a field that does not exist."""
    known = ["name", *layers.texts, *layers.numbers, *layers.flags]
    close = difflib.get_close_matches(name, known, n=1)
    near = f"Did you mean {close[0]}? " if close else ""
    fields = ["name:", *(f"{text}:" for text in layers.texts)]
    fields += [f"{number}<" for number in layers.numbers]
    fields += list(layers.flags)
    return AnalysisError(
        "Layers have no such field.",
        value=name,
        allowed=", ".join(fields),
        hint=f"{near}A plain word looks in the layer names.",
    )
