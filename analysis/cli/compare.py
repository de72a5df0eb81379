"""The table of `quantscope show --compare`: measures side by side, layer by layer."""

from __future__ import annotations

import csv
import fnmatch
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.cli.terminal import Terminal, number, table
from analysis.comparison import (
    Reading,
    agreement,
    criteria,
    formats_of,
    headlines,
    most_sensitive,
    parse_criteria,
    read,
    side_by_side,
    usual_format,
)
from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.project import Project


def show_comparison(
    project: Project,
    terminal: Terminal,
    *,
    names: str,
    key: str | None,
    layer: str | None,
    as_csv: bool,
) -> None:
    """Print value, standard error and rank of every layer by each criterion.

    Args:
        project: Holds the results.
        terminal: Where to print.
        names: Criteria by commas; "" for the one that stands for each measure.
        key: Scheme key; None for the usual one.
        layer: Only layers of this name; * matches anything.
        as_csv: Print comma-separated rows instead of a table.

    Raises:
        AnalysisError: the project has no such number, format or layer.
    """
    readings = _readings(project, names, key)
    every = [one.name for one in project.info.layers]
    layers = most_sensitive(readings)
    if layer is not None:
        kept = [i for i in layers.tolist() if fnmatch.fnmatchcase(every[i], layer)]
        if not kept:
            raise AnalysisError("No result belongs to this layer.", value=layer)
        layers = np.array(kept, dtype=np.int64)
    spearman = agreement(readings)
    terminal.result(_document(every, readings, layers, spearman))
    if not readings:
        terminal.say(f"{project.info.name}: no measure has numbers of its layers yet.")
    elif as_csv:
        terminal.say(_csv(every, readings, layers))
    else:
        terminal.say(_table(every, readings, layers))
        terminal.say(
            "\nAbove: value (rank among all layers, 1 is the most sensitive), rows in "
            "the order of the first measure. Below: Spearman over all layers.\n"
        )
        terminal.say(_agreement(readings, spearman))


def _readings(project: Project, names: str, key: str | None) -> list[Reading]:
    known = criteria(project)
    chosen = parse_criteria(names, known) if names else headlines(known)
    formats = formats_of(project, chosen)
    if key is not None and key not in formats:
        raise AnalysisError(
            "No result is in this format.",
            value=key,
            allowed=", ".join(formats) or "none has one",
        )
    key = key or usual_format(formats)
    found = (read(project, criterion, key) for criterion in chosen)
    return [reading for reading in found if reading is not None]


def _document(
    every: Sequence[str],
    readings: Sequence[Reading],
    layers: NDArray[np.int64],
    spearman: NDArray[np.float64],
) -> dict[str, object]:
    """Return the JSON object."""
    ranks = [reading.ranks() for reading in readings]
    return {
        "criteria": [
            {
                "key": reading.criterion.key,
                "title": reading.title,
                "format": reading.format,
                "unit": reading.unit,
                "samples": reading.samples,
            }
            for reading in readings
        ],
        "spearman": spearman.tolist(),
        "rows": [
            {
                "layer": every[layer],
                "values": [float(r.values[layer]) for r in readings],
                "stderrs": [float(r.stderrs[layer]) for r in readings],
                "ranks": [float(rank[layer]) for rank in ranks],
            }
            for layer in layers.tolist()
        ],
    }


def _csv(
    every: Sequence[str], readings: Sequence[Reading], layers: NDArray[np.int64]
) -> str:
    titles, columns = side_by_side(every, readings, layers)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    for row in zip(*columns, strict=True):
        writer.writerow("" if value != value else value for value in row)
    return text.getvalue().rstrip("\n")


def _table(
    every: Sequence[str], readings: Sequence[Reading], layers: NDArray[np.int64]
) -> str:
    ranks = [reading.ranks() for reading in readings]
    rows = []
    for layer in layers.tolist():
        cells = [every[layer]]
        for reading, rank in zip(readings, ranks, strict=True):
            value = float(reading.values[layer])
            place = "" if math.isnan(value) else f" ({rank[layer]:.0f})"
            cells.append(number(value) + place)
        rows.append(tuple(cells))
    titles = (f">{reading.criterion.key}" for reading in readings)
    return table(("layer", *titles), rows)


def _agreement(readings: Sequence[Reading], spearman: NDArray[np.float64]) -> str:
    keys = [reading.criterion.key for reading in readings]
    rows = [
        (key, *(number(float(value), 3) for value in row))
        for key, row in zip(keys, spearman, strict=True)
    ]
    return table(("Spearman", *(f">{key}" for key in keys)), rows)
