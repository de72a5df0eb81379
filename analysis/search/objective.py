"""What a search makes small: a measure, or several with weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError
from analysis.search.problem import MEASURE, Floats

if TYPE_CHECKING:
    from analysis.project import Project

ALLOWED = (
    "MEASURE, MEASURE.QUANTITY or MEASURE.QUANTITY*WEIGHT, several of them separated "
    "by commas: predicted_error, weights.sqnr, predicted_error,weights.sqnr*0.1"
)

_TERM = re.compile(r"\s*(\w+)(?:\.(\w+))?\s*(?:\*\s*([0-9.eE+-]+))?\s*")

LOSSES: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType(
    {
        "sqnr": lambda decibels: np.asarray(10.0 ** (-decibels / 10.0)),
        "cosine": lambda cosine: np.asarray(1.0 - cosine),
    }
)
"""Quantities of which more is better, as a loss that adds up over layers.

SQNR in dB becomes the relative error: noise power over signal power.
"""


@dataclass(frozen=True, slots=True)
class Term:
    """One measure of an objective.

    Attributes:
        measure: Key of a measure.
        quantity: Which number of it, one for each layer and format.
        weight: Factor, above zero.
    """

    measure: str
    quantity: str = "error"
    weight: float = 1.0

    def __str__(self) -> str:
        name = self.measure + f".{self.quantity}" * (self.quantity != "error")
        return name + (f"*{self.weight:g}" if self.weight != 1 else "")

    def loss(self, values: Floats) -> Floats:
        """Return numbers of the measure as losses of zero or more.

        A score below zero is the noise of an estimate and counts as zero.

        Args:
            values: Any shape, NaN where missing.
        """
        loss = LOSSES.get(self.quantity, np.asarray)(values)
        return np.asarray(np.maximum(loss, 0.0))


@dataclass(frozen=True, slots=True)
class Objective:
    """A sum of measures.

    One measure keeps its unit. Of several each is divided by its own largest value
    over layers and formats, so that the weights and not the units decide.

    >>> str(Objective.parse("predicted_error, weights.sqnr * 0.10"))
    'predicted_error,weights.sqnr*0.1'
    """

    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Return the objective written in `text`.

        Raises:
            AnalysisError: it cannot be read; the message says what can.
        """
        terms = tuple(_parse_term(part, text) for part in text.split(","))
        named = [(term.measure, term.quantity) for term in terms]
        if len(set(named)) != len(named):
            raise AnalysisError(
                "The objective names a measure twice.",
                value=text,
                allowed="each measure and quantity once",
            )
        return cls(terms)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def objectives_of(project: Project) -> tuple[str, ...]:
    """Return the single measures of a project that a search can minimise."""
    measures = dict.fromkeys([MEASURE, *(run.measure for run in project.runs)])
    terms = [
        Term(measure, quantity)
        for measure in measures
        for quantity in ("error", *LOSSES, "score", "mse", "hawq_v2", "noise", "linear")
        if project.formats(measure, quantity)
    ]
    return tuple(map(str, terms)) or (MEASURE,)


def _parse_term(part: str, text: str) -> Term:
    match = _TERM.fullmatch(part)
    weight = float("nan")
    if match is not None:
        try:
            weight = float(match[3] or 1.0)
        except ValueError:
            match = None
    if match is None:
        raise AnalysisError(
            "The objective cannot be read.", value=text, allowed=ALLOWED
        )
    if not (weight > 0 and math.isfinite(weight)):
        raise AnalysisError(
            "The weight of a measure must be a positive number.", value=part.strip()
        )
    return Term(match[1], match[2] or "error", weight)
