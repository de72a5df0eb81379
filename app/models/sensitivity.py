"""What the sensitivity panel shows: criteria of the same layers, chosen and ordered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.comparison import (
    Criterion,
    Reading,
    criteria,
    formats_of,
    headlines,
    most_sensitive,
    read,
    usual_format,
)
from analysis.project import Project
from analysis.quality import Quality, measure_quality
from app.widgets.format import with_error

MOST = 6
"""Criteria side by side at most: more would leave no room for bars."""
USUAL = 5
"""Criteria side by side until a person chooses others."""
TOP = 40
"""Layers shown unless all are asked for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for.

    Attributes:
        criteria: Chosen ones; None for the one that stands for each measure.
        format: Scheme key; "" for the first that there is.
        is_log: Whether axes are logarithmic.
        is_all: Whether all layers are shown.
        is_network: Whether layers are in the order of the network.
    """

    criteria: tuple[Criterion, ...] | None = None
    format: str = ""
    is_log: bool = True
    is_all: bool = False
    is_network: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The numbers behind every picture of the panel.

    Attributes:
        project: Where they are from.
        names: Of all layers.
        known: Criteria that could be chosen.
        formats: Scheme keys that could be chosen.
        format: The one that is.
        readings: What is laid side by side; empty while nothing is measured.
        missing: Titles of chosen criteria that have no number in the format.
        layers: Layers shown, in the order of their rows.
        is_log: Whether axes are logarithmic.
    """

    project: Project
    names: Sequence[str]
    known: tuple[Criterion, ...]
    formats: tuple[str, ...]
    format: str
    readings: tuple[Reading, ...]
    missing: tuple[str, ...]
    layers: NDArray[np.int64]
    is_log: bool

    def rows_of(self, layers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows, sorted, of those layers that are shown."""
        return np.flatnonzero(np.isin(self.layers, layers)).astype(np.int64)

    @property
    def left_out(self) -> int:
        """How many layers are not shown."""
        return len(self.names) - len(self.layers)

    def describe(self, layer: int) -> str:
        """Return what all criteria say of a layer, with its rank."""
        parts = [self.names[layer]]
        for reading in self.readings:
            value, stderr = float(reading.values[layer]), float(reading.stderrs[layer])
            if math.isnan(value):
                continue
            rank = int(reading.ranks()[layer])
            unit = f" {reading.unit}" if reading.unit else ""
            told = with_error(value, stderr)
            parts.append(f"{reading.title} {told}{unit} (rank {rank:,})")
        return "  ·  ".join(parts)


def scene_of(project: Project, wish: Wish) -> Scene:
    """Return what is to be shown."""
    known = criteria(project)
    wanted = wish.criteria
    if wanted is None:
        wanted = headlines(known)[:USUAL] or known[:1]
    chosen = tuple(c for c in wanted if c in known)[:MOST] or known[:1]
    formats = formats_of(project, chosen)
    key = wish.format if wish.format in formats else usual_format(formats)
    readings, missing = [], []
    for criterion in chosen:
        reading = read(project, criterion, key)
        if reading is None:
            missing.append(criterion.title)
        else:
            readings.append(reading)
    layers = most_sensitive(readings, None if wish.is_all else TOP)
    return Scene(
        project,
        [layer.name for layer in project.info.layers],
        known,
        formats,
        key or "",
        tuple(readings),
        tuple(missing),
        np.sort(layers) if wish.is_network else layers,
        wish.is_log,
    )


def judged(project: Project) -> tuple[Quality, ...]:
    """Return measures that can be compared with the measured error, best first."""
    found = [q for q in measure_quality(project) if not math.isnan(q.rank)]
    return tuple(sorted(found, key=lambda q: -q.rank))


def errors_shown(reading: Reading) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends of the error bars of a reading, NaN for none."""
    return reading.values - reading.stderrs, reading.values + reading.stderrs
