"""Show the results of a measure: layer, format, value and its standard error.

Without --measure: the predicted error, or the latest run before there is one.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import io
from typing import TYPE_CHECKING

from analysis.assignments import CURRENT
from analysis.cli.codes import DONE
from analysis.cli.compare import show_comparison
from analysis.cli.projects import cost_of, opened, predicted, schemes_of, told
from analysis.cli.quality import show_quality
from analysis.cli.terminal import Terminal, number, table
from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.method import Row
    from analysis.project import Project, RunInfo


PARTS = ("weight", "input", "output", "model")

ERRORS = ("error", "all_but_one", "cumulative", "at_target")
"""Quantities in the unit of the task."""
HEADLINE = ("error", "sqnr", "kurtosis")
"""Quantities shown when none is asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("project", metavar="P.qscope")
    parser.add_argument("--measure", metavar="M", help="such as predicted_error")
    parser.add_argument(
        "--layer", metavar="NAME", help="only this layer; * matches anything"
    )
    parser.add_argument("--format", metavar="F", help="only this format")
    parser.add_argument(
        "--quantity",
        metavar="Q",
        help="which number of the measure (sqnr, kurtosis ...)",
    )
    parser.add_argument(
        "--part", choices=PARTS, help="what was looked at; default: the first there is"
    )
    parser.add_argument(
        "--compare",
        metavar="M[.Q],N[.Q]",
        nargs="?",
        const="",
        help="instead, several measures side by side, with the rank of every layer and "
        "the rank correlation between them; default: all, each by what ranks best",
    )
    parser.add_argument("--csv", action="store_true", help="print comma-separated rows")
    parser.add_argument(
        "--quality",
        action="store_true",
        help="instead, how well each measure stands for the measured error of this "
        "model: rank correlation, calibration, cost",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the rows."""
    with opened(args.project, terminal) as project:
        if args.quality:
            show_quality(project, terminal, as_csv=args.csv)
            return DONE
        if args.compare is not None:
            show_comparison(
                project,
                terminal,
                names=args.compare,
                key=args.format,
                layer=args.layer,
                as_csv=args.csv,
            )
            return DONE
        measure = choose_measure(project, args.measure)
        if measure is None:
            _empty(project, terminal)
            return DONE
        info = project.latest_run(measure)
        assert info is not None
        rows = project.rows(measure)
        quantity, part = choose_view(rows, args)
        chosen = [row for row in rows if (row.quantity, row.part) == (quantity, part)]
        chosen = narrow(project, chosen, args)
        unit = unit_of(info, quantity)
        terminal.result(document(measure, unit, info.samples, chosen))
        if args.csv:
            terminal.say(as_csv(chosen, unit, info.samples))
            return DONE
        terminal.say(as_table(chosen))
        others = {(row.quantity, row.part) for row in rows}
        terminal.say(f"\n{measure}: {quantity} of {part}{_of_unit(unit)}")
        terminal.say(_origin(info))
        if len(others) > 1:
            quantities, parts = (sorted(set(x)) for x in zip(*others, strict=True))
            terminal.note(f"--quantity can be {', '.join(quantities)}")
            terminal.note(f"--part can be {', '.join(parts)}")
        _assignments(project, terminal)
    return DONE


def choose_measure(project: Project, name: str | None) -> str | None:
    """Return the measure to show, None when the project has no results.

    Raises:
        AnalysisError: the measure asked for is unknown or was never run.
    """
    from analysis.measures import NAMES

    ran = list(dict.fromkeys(run.measure for run in project.runs))
    if name is None:
        if "predicted_error" in ran:
            return "predicted_error"
        return ran[-1] if ran else None
    if name in ran:
        return name
    raise AnalysisError(
        "The project holds no results of this measure."
        if name in NAMES
        else "There is no such measure.",
        value=name,
        allowed=", ".join(ran) or "none was run yet",
        hint=f"Run `quantscope analyze MODEL --measures {name} -o {project.path} "
        "--resume`."
        if name in NAMES
        else None,
    )


def choose_view(rows: list[Row], args: argparse.Namespace) -> tuple[str, str]:
    """Return the (quantity, part) to show.

    Raises:
        AnalysisError: there are no rows of what was asked for.
    """
    seen = list(dict.fromkeys((row.quantity, row.part) for row in rows))
    seen.sort(key=lambda x: HEADLINE.index(x[0]) if x[0] in HEADLINE else len(HEADLINE))
    for quantity, part in seen:
        if args.quantity in (None, quantity) and args.part in (None, part):
            return quantity, part
    if not seen:
        return args.quantity or "error", args.part or "weight"
    raise AnalysisError(
        "The measure has no such results.",
        value=" of ".join(x for x in (args.quantity, args.part) if x),
        allowed=", ".join(f"{quantity} of {part}" for quantity, part in seen),
    )


def narrow(project: Project, rows: list[Row], args: argparse.Namespace) -> list[Row]:
    """Return the rows of the layers and the format asked for.

    Raises:
        QuantError: there is no such layer, or no result in that format.
    """
    if args.layer is not None:
        pattern = args.layer
        found = [row for row in rows if fnmatch.fnmatchcase(row.target, pattern)]
        found = found or [row for row in rows if row.target == pattern]
        if not found:
            if not set(pattern) & set("*?["):
                project.assignment.index_of(pattern)  # says which names are close
            raise AnalysisError("No result belongs to this layer.", value=pattern)
        rows = found
    if args.format is not None:
        formats = dict.fromkeys(row.format or "none" for row in rows)
        rows = [row for row in rows if (row.format or "none") == args.format]
        if not rows:
            raise AnalysisError(
                "No result is in this format.",
                value=args.format,
                allowed=", ".join(formats),
            )
    return rows


def unit_of(info: RunInfo, quantity: str) -> str:
    """Return the unit of one quantity of a run; "" for pure numbers."""
    if quantity.endswith("sqnr"):
        return "dB"
    return info.unit if quantity in ERRORS else ""


def document(
    measure: str, unit: str, samples: int, rows: list[Row]
) -> dict[str, object]:
    """Return what --json prints."""
    return {
        "measure": measure,
        "unit": unit,
        "samples": samples,
        "rows": [
            {
                "layer": row.target,
                "format": row.format,
                "value": row.value,
                "stderr": row.stderr,
            }
            for row in rows
        ],
    }


def as_csv(rows: list[Row], unit: str, samples: int) -> str:
    """Return the rows as comma-separated text with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("layer", "format", "value", "stderr", "unit", "samples"))
    for row in rows:
        stderr = "" if row.stderr != row.stderr else repr(row.stderr)
        writer.writerow(
            (row.target, row.format or "", repr(row.value), stderr, unit, samples)
        )
    return text.getvalue().rstrip("\n")


def as_table(rows: list[Row]) -> str:
    """Return the rows as aligned columns."""
    cells = [
        (row.target, row.format or "-", number(row.value), number(row.stderr, 2))
        for row in rows
    ]
    return table(("layer", "format", ">value", ">stderr"), cells)


def _of_unit(unit: str) -> str:
    return f" [{unit}]" if unit else ""


def _origin(info: RunInfo) -> str:
    # A run on data that failed or was stopped may have got to none of them.
    samples = f"{info.samples} samples" if info.data_source else "no samples needed"
    source = f" of {info.data_source}" if info.data_source else ""
    return f"{samples}{source}, seed {info.seed}, run {info.status}"


def _empty(project: Project, terminal: Terminal) -> None:
    terminal.result({"measure": None, "unit": "", "samples": 0, "rows": []})
    terminal.say(
        f"{project.info.name}: {len(project.info.layers)} layers, no results yet. "
        "Run `quantscope analyze`."
    )


def _assignments(project: Project, terminal: Terminal) -> None:
    """Tell the assignments of the project, the current one first."""
    plans = {CURRENT: project.assignment, **project.assignments}
    for name, assignment in plans.items():
        terminal.note(
            f"assignment {name}: {cost_of(assignment)}; "
            f"predicted error {told(predicted(project, assignment))}; "
            f"{schemes_of(assignment)}"
        )
