"""Floors, ceilings and fixed formats for layers chosen by a pattern."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.select import LayerFields, select
from quant_core.cost import stored_bits
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer

Kind = Literal["at_least", "at_most", "fix"]

KINDS: tuple[Kind, ...] = ("at_least", "at_most", "fix")


@dataclass(frozen=True, slots=True)
class Rule:
    """What some layers may take.

    Attributes:
        kind: `at_least` and `at_most` bound the bits per value of the weights (scales
            not counted), `fix` names the one format.
        layers: Which layers, in the language of `analysis.select`; the words `first`
            and `last` stand for the ends of the layer table.
        value: Bits, or the key of a scheme or "float".

    Example:
        >>> str(Rule.parse("at_least", "first | last = 8"))
        'at_least first | last=8'
    """

    kind: Kind
    layers: str
    value: str

    @classmethod
    def parse(cls, kind: str, text: str) -> Rule:
        """Return the rule of a kind that is written in `text`.

        Raises:
            AnalysisError: it cannot be read.
        """
        layers, sep, value = (part.strip() for part in text.rpartition("="))
        if kind not in KINDS or not (sep and layers and value):
            raise AnalysisError(
                "A rule cannot be read.",
                value=f"{kind} {text}",
                allowed="LAYERS=BITS for at_least and at_most, LAYERS=FORMAT for fix, "
                "such as embeddings.*=8 or kind:conv=int8",
            )
        rule = cls(kind, layers, value)
        if rule.kind == "fix":
            rule.scheme()
        else:
            rule.bits()
        return rule

    @classmethod
    def read(cls, text: str) -> Rule:
        """Return the rule that `str` wrote.

        Raises:
            AnalysisError: it cannot be read.
        """
        kind, _, rest = text.partition(" ")
        return cls.parse(kind, rest)

    def __str__(self) -> str:
        return f"{self.kind} {self.layers}={self.value}"

    def bits(self) -> float:
        """Return the bound of a floor or ceiling.

        Raises:
            AnalysisError: it is not a positive number.
        """
        try:
            bits = float(self.value)
        except ValueError:
            bits = math.nan
        if not (bits > 0 and math.isfinite(bits)):
            raise AnalysisError(
                "A floor or ceiling is a number of bits.",
                value=str(self),
                allowed="a positive number such as 8",
            )
        return bits

    def scheme(self) -> Scheme | None:
        """Return the fixed format.

        Raises:
            QuantError: there is no such format.
        """
        return None if self.value == "float" else parse_scheme(self.value)


def allowed(
    rules: Sequence[Rule],
    layers: Sequence[Layer],
    palette: Sequence[Scheme | None],
) -> NDArray[np.bool_]:
    """Return `[L, W]` which schemes the rules leave to which layers.

    Args:
        rules: All of them must hold.
        layers: The L layers.
        palette: The W schemes of weights, None for float.

    Raises:
        AnalysisError: a rule matches no layer, or fixes a format that is not offered.
    """
    fits = np.ones((len(layers), len(palette)), dtype=np.bool_)
    if not rules:
        return fits
    fields = _fields(layers)
    stored = np.array([stored_bits(layer.dtype) for layer in layers], dtype=np.float64)
    widths = np.stack(
        [stored if s is None else np.full(len(layers), s.bits) for s in palette], axis=1
    )
    for rule in rules:
        chosen = select(rule.layers, fields)
        if not chosen.any():
            raise AnalysisError(
                "No layer matches this pattern.",
                value=str(rule),
                allowed="patterns of the names that `quantscope layers` lists",
            )
        if rule.kind == "at_least":
            keeps = widths >= rule.bits()
        elif rule.kind == "at_most":
            keeps = widths <= rule.bits()
        else:
            keeps = np.broadcast_to(_only(rule, palette), fits.shape)
        fits[chosen] &= keeps[chosen]
    return fits


def _only(rule: Rule, palette: Sequence[Scheme | None]) -> NDArray[np.bool_]:
    scheme = rule.scheme()
    if scheme not in palette:
        known = ", ".join("float" if s is None else s.key for s in palette)
        raise AnalysisError(
            "A rule fixes a format that was not analysed.",
            value=str(rule),
            allowed=known,
            hint="Analyse it first, or lock the layers at it: locks need no numbers.",
        )
    return np.array([other == scheme for other in palette])


def _fields(layers: Sequence[Layer]) -> LayerFields:
    place = np.arange(len(layers))
    return LayerFields(
        [layer.name for layer in layers],
        texts={"kind": [layer.kind for layer in layers]},
        numbers={"params": np.array([layer.parameters for layer in layers])},
        flags={"first": place == 0, "last": place == len(layers) - 1},
    )
