"""What several measures say of the same layers: values, ranks and agreement.

A measure reports numbers of different kinds and units; here each is one number per
layer that can be laid beside the others. Knows no torch and no Qt: the window, the
command line and the report read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.described import measures_described
from analysis.errors import AnalysisError
from analysis.glossary import explain_quantity
from analysis.measures import NAMES
from analysis.quality import MORE_IS_BETTER, rank_correlation
from analysis.readings import Readings

Floats = NDArray[np.float64]

HEADLINES = {
    "predicted_error": "error",
    "measured_error": "error",
    "fisher": "fit",
    "hessian": "hawq_v2",
    "hessian_eigenvalues": "hawq_error",
    "relevance": "positive",
    "weights": "sqnr",
}
"""The number of a measure that ranks layers, of those that rank best first."""
_OF_THE_LOSS = frozenset(
    {"error", "hawq_v2", "hawq_error", "fit", "diagonal", "kfac"}
    | {"all_but_one", "cumulative", "at_target"}
)
_SMALLER_IS_WORSE = MORE_IS_BETTER | {"all_but_one"}
"""Numbers that fall as a layer suffers more: SQNR, or the error left without it."""
_OF_THE_OUTPUT = frozenset({"positive", "absolute", "share", "absorbed"})


@dataclass(frozen=True, slots=True)
class Criterion:
    """A number that measures tell of every layer.

    Attributes:
        measure: Key of the measure.
        quantity: Which of its numbers.
        part: "weight", "input" or "output": what of the layer was looked at.
    """

    measure: str
    quantity: str
    part: str = "weight"

    @property
    def key(self) -> str:
        """How the command line and the settings write it.

        >>> Criterion("fisher", "fit").key, Criterion("fisher", "fit", "input").key
        ('fisher.fit', 'fisher.fit.input')
        """
        end = "" if self.part == "weight" else f".{self.part}"
        return f"{self.measure}.{self.quantity}{end}"

    @property
    def short(self) -> str:
        """How the window writes it where there is little room."""
        is_headline = HEADLINES.get(self.measure) == self.quantity
        if not is_headline or self.quantity == "error" or self.part != "weight":
            return self.title
        entry = explain_quantity(self.quantity)
        return entry.term if entry else self.quantity

    @property
    def title(self) -> str:
        """How the window writes it."""
        known = measures_described().get(self.measure)
        measure = known.title if known else self.measure
        entry = explain_quantity(self.quantity)
        quantity = entry.term if entry else self.quantity
        if self.quantity == "error" or quantity == measure:
            text = measure
        else:
            text = f"{measure}: {quantity}"
        return text if self.part == "weight" else f"{text} of {self.part}s"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A criterion as one run tells it, in one format.

    Attributes:
        criterion: What is told.
        format: Scheme key; None where the number has none.
        unit: Of the values; "" for pure numbers.
        values: `[layers]`, NaN where not known.
        stderrs: `[layers]`, NaN where exact or not known.
        samples: Calibration samples behind them.
        state: What the other layers were in.
    """

    criterion: Criterion
    format: str | None
    unit: str
    values: Floats
    stderrs: Floats
    samples: int
    state: str

    @property
    def title(self) -> str:
        """The criterion with its format."""
        title = self.criterion.title
        return f"{title}, {self.format}" if self.format else title

    @property
    def is_ratio(self) -> bool:
        """Whether a logarithmic axis suits the values: decibels are logarithms."""
        return self.unit != "dB" and not (self.values < 0).any()

    @property
    def need(self) -> Floats:
        """`[layers]`: the values, turned round where a larger one means less harm."""
        is_turned = self.criterion.quantity in _SMALLER_IS_WORSE
        return -self.values if is_turned else self.values

    def ranks(self) -> Floats:
        """Return `[layers]` places: 1 is the most sensitive, NaN where not known.

        Equal numbers keep the order of the network.
        """
        need, ranks = self.need, np.full(len(self.values), np.nan)
        known = np.flatnonzero(~np.isnan(need))
        order = known[np.argsort(-need[known], kind="stable")]
        ranks[order] = np.arange(1, len(order) + 1)
        return ranks


def criteria(project: Readings) -> tuple[Criterion, ...]:
    """Return every criterion that some layer has a number for, in registry order."""
    ran = dict.fromkeys(run.measure for run in project.runs)
    found: dict[Criterion, None] = {}
    for measure in (name for name in NAMES if name in ran):
        for quantity, part, key in project.columns(measure):
            criterion = Criterion(measure, quantity, part)
            if part == "model" or criterion in found:
                continue
            if not np.isnan(project.values(measure, key, quantity, part)).all():
                found[criterion] = None
    return tuple(found)


def headlines(known: Sequence[Criterion]) -> tuple[Criterion, ...]:
    """Return the criterion of each measure that ranks its layers, the best first."""
    every = (Criterion(measure, quantity) for measure, quantity in HEADLINES.items())
    return tuple(criterion for criterion in every if criterion in known)


def formats_of(project: Readings, chosen: Sequence[Criterion]) -> tuple[str, ...]:
    """Return the scheme keys that any of the criteria has numbers in, first seen."""
    keys: dict[str, None] = {}
    for criterion in chosen:
        asked = criterion.measure, criterion.quantity, criterion.part
        keys |= dict.fromkeys(project.formats(*asked))
    return tuple(keys)


def usual_format(formats: Sequence[str]) -> str | None:
    """Return four bits, where layers are told apart best, or the first format."""
    for key in formats:
        if key.partition("/")[0] == "int4":
            return key
    return formats[0] if formats else None


def read(project: Readings, criterion: Criterion, key: str | None) -> Reading | None:
    """Return a criterion in a format; one without formats has the same in all.

    Args:
        project: A `Project`, or its reading half.
        criterion: What to read.
        key: Scheme key.

    Returns:
        None where there is nothing in this format.
    """
    measure, quantity, part = criterion.measure, criterion.quantity, criterion.part
    run = project.latest_run(measure)
    keys = [k for q, p, k in project.columns(measure) if (q, p) == (quantity, part)]
    if run is None or not keys or (key not in keys and None not in keys):
        return None
    own = key if key in keys else None
    entry = explain_quantity(quantity)
    unit = entry.unit if entry else ""
    if quantity in _OF_THE_LOSS or quantity in _OF_THE_OUTPUT:
        unit = run.unit
    return Reading(
        criterion,
        own,
        unit,
        project.values(measure, own, quantity, part),
        project.stderrs(measure, own, quantity, part),
        run.samples,
        run.state,
    )


def parse_criteria(text: str, known: Sequence[Criterion]) -> tuple[Criterion, ...]:
    """Return the criteria named `measure` or `measure.quantity[.part]`, by commas.

    Args:
        text: Such as "predicted_error,hessian.trace".
        known: What there is.

    Raises:
        AnalysisError: a name is none of them, or there is no name.
    """
    named = {criterion.key: criterion for criterion in known}
    short = {criterion.measure: criterion for criterion in reversed(known)}
    short |= {criterion.measure: criterion for criterion in headlines(known)}
    found = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        criterion = named.get(name) or short.get(name)
        if criterion is None:
            raise AnalysisError(
                "The project holds no such number of its layers.",
                value=name,
                allowed=", ".join(named) or "none was measured yet",
            )
        found.append(criterion)
    if not found:
        raise AnalysisError(
            "No number of the layers is named.", value=text, allowed=", ".join(named)
        )
    return tuple(found)


def agreement(readings: Sequence[Reading]) -> Floats:
    """Return `[n, n]` rank correlations (Spearman) over the layers that both know."""
    needs = [reading.need for reading in readings]
    found = np.full((len(needs), len(needs)), np.nan)
    for i, first in enumerate(needs):
        for j in range(i, len(needs)):
            found[i, j] = found[j, i] = rank_correlation(first, needs[j])
    return found


def most_sensitive(
    readings: Sequence[Reading], most: int | None = None
) -> NDArray[np.int64]:
    """Return layers by the first criterion, the most sensitive first.

    Args:
        readings: Of as many layers each.
        most: How many to return; those that any criterion places highest.
    """
    if not readings:
        return np.zeros(0, dtype=np.int64)
    places = np.stack([reading.ranks() for reading in readings])
    best = np.where(np.isnan(places), np.inf, places).min(0)
    first = np.where(np.isnan(places[0]), np.inf, places[0])
    kept = np.lexsort((first, best))[: len(best) if most is None else most]
    kept = kept[np.isfinite(best[kept])]
    found: NDArray[np.int64] = kept[np.argsort(first[kept], kind="stable")]
    return found


def side_by_side(
    names: Sequence[str], readings: Sequence[Reading], layers: NDArray[np.int64]
) -> tuple[tuple[str, ...], tuple[list[Any], ...]]:
    """Return a table of layers: value, standard error and rank by each criterion.

    Args:
        names: Of all layers.
        readings: What is laid side by side.
        layers: The rows.

    Returns:
        Titles with units, and the columns.
    """
    titles, columns = ["layer"], [[names[layer] for layer in layers]]
    for reading in readings:
        unit = f" [{reading.unit}]" if reading.unit else ""
        title = reading.title
        titles += [f"{title}{unit}", f"standard error of {title}", f"rank by {title}"]
        columns += [
            reading.values[layers].tolist(),
            reading.stderrs[layers].tolist(),
            [int(rank) if rank == rank else rank for rank in reading.ranks()[layers]],
        ]
    return tuple(titles), tuple(columns)
