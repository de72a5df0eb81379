"""The assignment as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from analysis.export.base import Subject, finished, write_whole
from analysis.method import Update

COLUMNS = (
    "name",
    "kind",
    "shape",
    "parameters",
    "weight_scheme",
    "input_scheme",
    "locked",
    "bits_per_weight",
    "size_bytes",
    "predicted_error",
    "predicted_error_stderr",
    "predicted_error_unit",
)


@dataclass(frozen=True)
class CsvTable:
    """One row per layer, then one per quantized site.

    Sizes include scales and zero points. An empty scheme keeps the stored float;
    an empty error was not computed for the layer's scheme.
    """

    key: ClassVar[str] = "csv"
    title: ClassVar[str] = "Table (CSV)"
    suffix: ClassVar[str] = ".csv"

    def run(self, subject: Subject, path: Path) -> Iterator[Update]:
        """Write the table to `path`."""
        layers = subject.assignment.layers
        yield Update(0, max(1, len(layers)), note="collecting layers")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(subject))
        write_whole(path, text.getvalue())
        yield finished(layers, path)


def rows(subject: Subject) -> Iterator[tuple[object, ...]]:
    """Yield the cells of every row, in the order of `COLUMNS`."""
    assignment = subject.assignment
    palette = [None if s is None else s.key for s in assignment.palette]
    errors = {key: _errors(subject, key) for key in palette if key is not None}
    bits = assignment.weight_bits()
    exact = ("0", "0")
    for index, layer in enumerate(assignment.layers):
        key = palette[assignment.weight[index]]
        value, stderr = exact if key is None else errors[key][index]
        yield (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.shape)),
            layer.parameters,
            key or "",
            palette[assignment.input[index]] or "",
            int(assignment.locked[index]),
            f"{bits[index] / max(1, layer.parameters):.6g}",
            math.ceil(bits[index] / 8),
            value,
            stderr,
            subject.unit,
        )
    for site, scheme in sorted(assignment.sites.items()):
        yield (site, "site", "", "", "", scheme.key, 0, "", "", "", "", "")


def _errors(subject: Subject, key: str) -> list[tuple[str, str]]:
    """Return (value, stderr) of every layer under scheme `key`, "" where missing."""
    if subject.errors is None:
        return [("", "")] * len(subject.assignment.layers)
    columns = (subject.errors(key, "value"), subject.errors(key, "stderr"))
    return [
        (_cell(value), _cell(stderr)) for value, stderr in zip(*columns, strict=True)
    ]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
