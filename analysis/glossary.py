"""What every word in the window means: columns, axes, quantities, units, parameters.

The text is in `resources/glossary.toml`, which says how its keys are built. Tooltips,
form labels, the help pane and `quantscope methods` read it from here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal, cast

from analysis.errors import AnalysisError

Better = Literal["higher", "lower", "neither", ""]
KINDS = ("axis", "column", "parameter", "quantity", "term", "unit")
_BETTER: tuple[Better, ...] = ("higher", "lower", "neither", "")


@dataclass(frozen=True, slots=True)
class Entry:
    """One explained word.

    Attributes:
        key: `KIND.NAME`, such as "column.sqnr".
        term: How it is written in the window.
        definition: What it means, in whole sentences.
        unit: In which unit it is; "" without one.
        better: Which direction is better; "" where the question makes no sense.
        source: Where the definition is from: paper, year, equation.
    """

    key: str
    term: str
    definition: str
    unit: str = ""
    better: Better = ""
    source: str = ""

    @property
    def kind(self) -> str:
        """First part of the key."""
        return self.key.partition(".")[0]

    @property
    def facts(self) -> tuple[str, ...]:
        """Return unit, direction and source as sentences, where there are any."""
        found = []
        if self.unit:
            known = glossary().get(f"unit.{self.unit}")
            found.append(f"Unit: {known.term.lower() if known else self.unit}.")
        if self.better in ("higher", "lower"):
            found.append(f"{self.better.capitalize()} is better.")
        if self.source:
            found.append(f"Source: {self.source}.")
        return tuple(found)

    def text(self) -> str:
        """Return definition and facts as plain text, one paragraph."""
        return " ".join((self.definition, *self.facts))


def parse(text: str) -> Mapping[str, Entry]:
    """Return the entries of a glossary file by key, in the order of the file.

    Raises:
        AnalysisError: it is no TOML, an entry has a field too many or too few, is of
            an unknown kind, or has an unknown direction.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AnalysisError(
            "The glossary cannot be read.", value=str(error), allowed="TOML"
        ) from error
    return MappingProxyType({key: _entry(key, raw) for key, raw in document.items()})


@cache
def glossary() -> Mapping[str, Entry]:
    """Return every entry by its key."""
    file = resources.files("resources") / "glossary.toml"
    return parse(file.read_text(encoding="utf-8"))


def explain_axis(title: str) -> Entry | None:
    """Return the entry of an axis title; what follows a comma is left out."""
    return glossary().get(f"axis.{title.partition(',')[0].strip()}")


def explain_column(key: str) -> Entry | None:
    """Return the entry of a table column."""
    return glossary().get(f"column.{key}")


def explain_heading(text: str) -> Entry | None:
    """Return the entry of a heading of a small table; a unit behind it is left out."""
    name = text.partition(" [")[0].lower()
    return explain_column(name) or explain_axis(name)


def explain_parameter(name: str, method: str = "") -> Entry | None:
    """Return the entry of a parameter: of this method, or of the name alone."""
    known = glossary()
    return known.get(f"parameter.{method}.{name}") or known.get(f"parameter.{name}")


def explain_quantity(name: str) -> Entry | None:
    """Return the entry of a number that measures report."""
    return glossary().get(f"quantity.{name}")


def explain_unit(unit: str) -> Entry | None:
    """Return the entry of a unit; "nats per sample" is explained by "nats"."""
    return glossary().get(f"unit.{unit}") or glossary().get(
        f"unit.{unit.partition(' per ')[0]}"
    )


def _entry(key: str, raw: object) -> Entry:
    names = {f.name for f in fields(Entry)} - {"key"}
    parts = cast("dict[str, str]", raw) if isinstance(raw, dict) else {}
    if not {"term", "definition"} <= set(parts) <= names:
        raise AnalysisError(
            f"The glossary entry {key} has the wrong fields.",
            value=", ".join(parts) or str(raw),
            allowed="term and definition; unit, better and source where they apply",
        )
    if key.partition(".")[0] not in KINDS:
        raise AnalysisError(
            "A glossary entry is of an unknown kind.",
            value=key,
            allowed=", ".join(f"{kind}.NAME" for kind in KINDS),
        )
    entry = Entry(key, **parts)  # type: ignore[arg-type]
    if entry.better not in _BETTER:
        raise AnalysisError(
            f"The glossary entry {key} has an unknown direction.",
            value=entry.better,
            allowed="higher, lower, neither, or nothing",
        )
    return entry
