"""Tables of latency, energy or another cost, measured elsewhere, from a file."""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.search.problem import Floats
from quant_core.errors import QuantError
from quant_core.scheme import parse_scheme

LAYOUT = (
    "a .csv file with the columns layer, format, cost (and input, if the format of "
    "the input matters), or a .json file with a list of such records or with "
    '{"layer": {"format": cost}}'
)
FLOAT = "float"

Key = tuple[str, str, str | None]


@dataclass(frozen=True)
class CostFile:
    """What some layers cost in some formats.

    Attributes:
        path: Where it was read.
        digest: SHA-256 of the file.
        cost: Cost by (layer, scheme key or "float", scheme key of the input or None
            for any input).
    """

    path: str
    digest: str
    cost: Mapping[Key, float]

    def amounts(
        self,
        names: Sequence[str],
        options: Sequence[str],
        inputs: Sequence[Sequence[str]],
    ) -> Floats:
        """Return `[R, P]` costs, inf for what the file does not list.

        Args:
            names: Of the R layers and sites. One that the file lists in no format at
                all costs nothing.
            options: Keys of the P schemes of weights.
            inputs: `[R][P]` keys of the schemes of inputs.

        Raises:
            AnalysisError: the file lists a layer that does not exist.
        """
        listed = {key[0] for key in self.cost}
        unknown = sorted(listed - set(names))
        if unknown:
            close = difflib.get_close_matches(unknown[0], names, n=3)
            raise AnalysisError(
                f"The cost table {self.path} lists a layer that the model lacks.",
                value=unknown[0],
                allowed="the layer names that `quantscope layers` lists",
                hint=f"Did you mean {' or '.join(close)}?" if close else None,
            )
        out = np.zeros((len(names), len(options)))
        for row, name in enumerate(names):
            if name not in listed:
                continue
            for column, option in enumerate(options):
                exact = self.cost.get((name, option, inputs[row][column]))
                any_input = self.cost.get((name, option, None), math.inf)
                out[row, column] = any_input if exact is None else exact
        return out


def read_costs(path: str | Path) -> CostFile:
    """Return the cost table in a file.

    Args:
        path: A file as described in `LAYOUT`.

    Raises:
        AnalysisError: it cannot be read, lacks a column, or holds an unknown format,
            a cost that is not a number of zero or more, or one case twice; the
            message names the record.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AnalysisError(
            f"The cost table cannot be read: {error}.", value=file, allowed=LAYOUT
        ) from error
    records = _from_json(text, file) if file.suffix == ".json" else _from_csv(text)
    costs: dict[Key, float] = {}
    for where, record in records:
        key, cost = _checked(record, f"{file}, {where}")
        if key in costs:
            raise AnalysisError(
                "The cost table lists one case twice.",
                value=f"{file}, {where}: {key[0]} in {key[1]}",
            )
        costs[key] = cost
    if not costs:
        raise AnalysisError("The cost table is empty.", value=file, allowed=LAYOUT)
    return CostFile(str(file), hashlib.sha256(raw).hexdigest(), costs)


def _from_csv(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    for record in reader:
        yield f"line {reader.line_num}", record


def _from_json(text: str, file: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnalysisError(
            f"The cost table is not JSON: {error}.", value=file
        ) from error
    if isinstance(data, dict) and all(isinstance(v, dict) for v in data.values()):
        data = [
            {"layer": layer, "format": name, "cost": cost}
            for layer, costs in data.items()
            for name, cost in costs.items()
        ]
    if not isinstance(data, list) or not all(isinstance(x, dict) for x in data):
        raise AnalysisError(
            "The cost table has another layout.", value=file, allowed=LAYOUT
        )
    return ((f"record {number}", x) for number, x in enumerate(data, start=1))


def _checked(record: Mapping[str, Any], where: str) -> tuple[Key, float]:
    missing = [c for c in ("layer", "format", "cost") if record.get(c) in (None, "")]
    if missing:
        raise AnalysisError(
            f"A record of the cost table lacks {' and '.join(missing)}.",
            value=where,
            allowed=LAYOUT,
        )
    try:
        cost = float(record["cost"])
    except (TypeError, ValueError):
        cost = math.nan
    if not (cost >= 0 and math.isfinite(cost)):
        raise AnalysisError(
            "A cost is not a number of zero or more.",
            value=f"{where}: {record['cost']}",
        )
    own = record.get("input")
    key = _key(record["format"], where)
    return (str(record["layer"]), key, _key(own, where) if own else None), cost


def _key(text: object, where: str) -> str:
    """Return the key of a scheme as the tool writes it."""
    try:
        return FLOAT if str(text) == FLOAT else parse_scheme(str(text)).key
    except QuantError as error:
        raise error.within(where) from None
