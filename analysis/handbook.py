"""The pages of the help pane, as Markdown: panels, methods, formats and words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from importlib import resources

from analysis.described import Described, describe, measures_described
from analysis.glossary import KINDS, Entry, explain_parameter, explain_unit, glossary
from analysis.search import SEARCHES
from quant_core.formats import FORMATS, Format

GLOSSARY = "glossary"
_HEADINGS = {
    "axis": "Axes",
    "column": "Columns",
    "parameter": "Parameters",
    "quantity": "Statistics",
    "term": "Vocabulary",
    "unit": "Units",
}
_SPECIAL = re.compile(r"([\\*_<>|#~\[\]])")
_CODE = re.compile(r"(`[^`]*`)")


def topics() -> Iterator[tuple[str, str]]:
    """Yield key and title of every page, as a table of contents."""
    folder = resources.files("resources") / "help"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".md"):
            title = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            yield f"panel:{file.name.removesuffix('.md')}", f"Panel: {title}"
    for key, item in measures_described().items():
        yield f"measure:{key}", f"Measure: {item.title}"
    for search in SEARCHES:
        yield f"search:{search.key}", f"Search: {search.title}"
    for name in FORMATS:
        yield f"format:{name}", f"Format: {name}"
    yield GLOSSARY, "Glossary"


def page(topic: str) -> str | None:
    """Return the page of a topic as Markdown, or None when there is none.

    Args:
        topic: `panel:KEY`, `measure:KEY`, `search:KEY`, `format:NAME`, "glossary", or
            the key of a glossary entry such as "parameter.samples".
    """
    kind, _, key = topic.partition(":")
    if topic == GLOSSARY:
        return _glossary_page()
    if topic in glossary():
        return _entry_page(glossary()[topic])
    if kind == "panel":
        return _panel_page(key)
    if kind == "measure" and key in measures_described():
        return _method_page(measures_described()[key])
    if kind == "search":
        for search in SEARCHES:
            if search.key == key:
                return _method_page(describe(search))
    if kind == "format" and key in FORMATS:
        return _format_page(FORMATS[key])
    return None


def as_markdown(text: str) -> str:
    r"""Return a docstring so that only its layout counts, not its signs.

    Indented blocks stay formulas; elsewhere `*`, `_` and the like stand for themselves.

    >>> print(as_markdown("`a_b` * 2 < c_d"))
    `a_b` \* 2 \< c\_d
    >>> print(as_markdown("    a * b"))
        a * b
    """
    lines = []
    for line in text.splitlines():
        if not line.startswith("    "):
            parts = _CODE.split(line)
            parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
            line = "".join(parts)
        lines.append(line)
    return "\n".join(lines)


def _panel_page(key: str) -> str | None:
    file = resources.files("resources") / "help" / f"{key}.md"
    if not key.isidentifier() or not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    if key == "layers":
        columns = [e for e in glossary().values() if e.kind == "column"]
        text += "\n## Columns\n\n" + _listed(columns)
    return text


def _method_page(method: Described) -> str:
    text = f"# {as_markdown(method.title)}\n\n{as_markdown(method.help)}\n"
    unit = explain_unit(method.unit) if method.unit else None
    if unit is not None:
        text += f"\n**Unit:** {as_markdown(method.unit)}. {as_markdown(unit.text())}\n"
    if method.reconstruction:
        text += f"\n**Reconstruction:** {as_markdown(method.reconstruction)}\n"
    if method.parameters:
        text += "\n## Parameters\n"
    for info in method.parameters:
        entry = explain_parameter(info.name, method.key)
        term = f" – {as_markdown(entry.term)}" if entry else ""
        text += f"\n**`--{method.key}.{info.name}`**{term}: {as_markdown(info.doc)}\n"
    return text


def _format_page(item: Format) -> str:
    number = as_markdown(inspect.cleandoc(type(item).__doc__ or ""))
    facts = [
        f"**Storage:** {item.bits:g} bits a value, scales apart.",
        f"**Values:** {item.grid_min:g} to {item.grid_max:g}"
        + (", times the scale." if item.scaled else "; stored without a scale."),
    ]
    if item.affine:
        facts.append("**Zero point:** shifts the grid, for values that lean to a side.")
    return "\n\n".join((f"# {as_markdown(item.name)}", number, *facts)) + "\n"


def _entry_page(entry: Entry) -> str:
    parts = (entry.definition, *entry.facts)
    return "\n\n".join((f"# {as_markdown(entry.term)}", *map(as_markdown, parts)))


def _glossary_page() -> str:
    text = "# Glossary\n"
    for kind in sorted(KINDS, key=lambda kind: _HEADINGS[kind]):
        entries = [entry for entry in glossary().values() if entry.kind == kind]
        text += f"\n## {_HEADINGS[kind]}\n\n{_listed(entries)}"
    return text


def _listed(entries: Iterable[Entry]) -> str:
    ordered = sorted(entries, key=lambda entry: entry.term.lower())
    return "".join(
        f"**{as_markdown(entry.term)}:** {as_markdown(entry.text())}\n\n"
        for entry in ordered
    )
