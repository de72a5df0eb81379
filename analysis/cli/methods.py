"""List measures, searches, formats, targets and exporters, with their parameters.

A parameter of a measure is the option --MEASURE.PARAMETER of `quantscope analyze`, one
of a search the option --SEARCH.PARAMETER of `quantscope search`.
"""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Iterable, Sequence

from analysis.cli.codes import DONE
from analysis.cli.options import default_text, help_text
from analysis.cli.terminal import Terminal, table
from analysis.errors import AnalysisError
from analysis.glossary import explain_parameter, explain_unit
from analysis.method import ParamInfo, describe_params
from quant_core.targets import Rule

SINGULAR = {
    "measures": "measure",
    "searches": "search",
    "formats": "format",
    "targets": "target",
    "exporters": "exporter",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="tell everything about one of them"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the lists, or one entry in full."""
    document = catalogue()
    if args.name is not None:
        document = _only(document, args.name)
    terminal.result(document)
    for family, entries in document.items():
        terminal.say(f"{family}:" if args.name is None else SINGULAR[family])
        terminal.say(_listing(entries, full=args.name is not None))
        terminal.say()
    return DONE


def catalogue() -> dict[str, list[dict[str, object]]]:
    """Return every family with its entries, as in the JSON output."""
    from analysis.export import EXPORTERS
    from analysis.measures import measures
    from analysis.search import SEARCHES
    from quant_core.formats import FORMATS
    from quant_core.targets import TARGETS

    return {
        "measures": [describe(cls) for cls in measures().values()],
        "searches": [describe(cls) for cls in SEARCHES],
        "formats": [
            {
                "key": item.name,
                "title": _format_title(item.bits, item.affine, item.scaled),
                "bits": item.bits,
                "signed": item.signed,
                "affine": item.affine,
                "minimum": item.grid_min,
                "maximum": item.grid_max,
            }
            for item in FORMATS.values()
        ],
        "targets": [
            {
                "key": key,
                "title": target.title,
                "weights": _runs(target.weights),
                "inputs": _runs(target.inputs),
                "ties": list(target.tie_kinds),
            }
            for key, target in TARGETS.items()
        ],
        "exporters": [describe(cls) for cls in EXPORTERS],
    }


def describe(method: type) -> dict[str, object]:
    """Return key, title, unit, help and parameters of a method class."""
    text = inspect.cleandoc(method.__doc__ or "")
    key: str = method.key  # type: ignore[attr-defined]
    return {
        "key": key,
        "title": method.title,  # type: ignore[attr-defined]
        "unit": getattr(method, "unit", ""),
        "help": text,
        "reconstruction": getattr(method, "reconstruction", ""),
        "parameters": [_parameter(info, key) for info in describe_params(method)],
    }


def _parameter(info: ParamInfo, method: str) -> dict[str, object]:
    entry = explain_parameter(info.name, method)
    return {
        "name": info.name,
        "term": entry.term if entry else "",
        "type": getattr(info.type, "__name__", str(info.type)),
        "default": default_text(info),
        "unit": info.unit,
        "minimum": info.minimum,
        "maximum": info.maximum,
        "choices": None if info.choices is None else list(info.choices),
        "help": help_text(info).replace("%%", "%"),
    }


def _format_title(bits: float, affine: bool, scaled: bool) -> str:
    if not scaled:
        return f"{bits:g} bits, stored without a scale"
    return f"{bits:g} bits{', zero point' if affine else ''}"


def _runs(rules: Sequence[Rule]) -> list[dict[str, object]]:
    return [
        {
            "formats": list(rule.formats),
            "granularities": list(rule.granularities),
            "group_sizes": list(rule.group_sizes),
            "kinds": None if rule.kinds is None else sorted(rule.kinds),
        }
        for rule in rules
    ]


def _only(
    document: dict[str, list[dict[str, object]]], name: str
) -> dict[str, list[dict[str, object]]]:
    found = {
        family: [entry for entry in entries if entry["key"] == name]
        for family, entries in document.items()
    }
    found = {family: entries for family, entries in found.items() if entries}
    if not found:
        keys = [str(e["key"]) for entries in document.values() for e in entries]
        raise AnalysisError(
            "There is nothing of that name.", value=name, allowed=", ".join(keys)
        )
    return found


def _listing(entries: Iterable[dict[str, object]], *, full: bool) -> str:
    if not full:
        rows = [(f"  {e['key']}", _sentence(e)) for e in entries]
        return table(("  name", ""), rows).partition("\n")[2]
    lines = []
    for entry in entries:
        lines += [f"{entry['key']}: {entry['title']}", "", str(entry.get("help", ""))]
        if entry.get("reconstruction"):
            note = f"reconstruction: {entry['reconstruction']}"
            lines += ["", textwrap.fill(note, 88)]
        unit = explain_unit(str(entry.get("unit", "")))
        if unit is not None:
            lines.append("\n" + textwrap.fill(f"Unit {entry['unit']}: {unit.text()}"))
        parameters = entry.get("parameters")
        assert parameters is None or isinstance(parameters, list)
        for info in parameters or []:
            lines.append(f"\n--{entry['key']}.{info['name']}  ({info['term']})")
            lines.append(textwrap.indent(textwrap.fill(info["help"], 76), "    "))
    return "\n".join(lines).rstrip()


def _sentence(entry: dict[str, object]) -> str:
    text = str(entry.get("help") or entry["title"])
    return text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")
