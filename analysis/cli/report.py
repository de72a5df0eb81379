"""Tell what looks wrong with an assignment, why, and what to try.

With -o everything is written as one HTML file that needs no network: model, totals,
findings, the layer table, predicted errors, the trade-off between size and error, and
the distributions of the worst layers. Nothing is run: what a rule lacks, it says.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.cli.codes import DONE
from analysis.cli.projects import (
    add_assignment_option,
    choose_assignment,
    cost_of,
    opened,
    predicted,
    told,
)
from analysis.cli.terminal import Terminal
from analysis.diagnosis import diagnose
from analysis.diagnosis.finding import finding_text
from analysis.export.base import check_free

if TYPE_CHECKING:
    from analysis.diagnosis import Diagnosis


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("project", metavar="P.qscope")
    parser.add_argument(
        "-o",
        "--output",
        metavar="F.html",
        help="write the whole report; default: print the findings only",
    )
    add_assignment_option(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file if it exists"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Judge, write, print."""
    if args.output is not None:
        check_free(Path(args.output), args.overwrite)
    with opened(args.project, terminal) as project:
        name, plan = choose_assignment(project, args.assignment, terminal)
        subject = f"assignment {name}"
        if args.output is None:
            found = diagnose(project, plan, subject)
        else:
            from analysis.report import write_report

            found = write_report(
                project,
                args.output,
                assignment=plan,
                name=name,
                overwrite=args.overwrite,
            )
        names = tuple(layer.name for layer in plan.layers)
        expected = predicted(project, plan)
        terminal.result(
            {
                "assignment": name,
                "file": args.output,
                "totals": plan.totals().to_json(),
                "predicted": expected,
                "measured": project.measured_of(plan),
                **found.to_json(names),
            }
        )
        terminal.say(f"{name}: {cost_of(plan)}; predicted error {told(expected)}")
        _say(found, names, terminal)
        if args.output is not None:
            terminal.note(f"wrote {args.output}")
    return DONE


def _say(found: Diagnosis, names: tuple[str, ...], terminal: Terminal) -> None:
    for finding in found.findings:
        terminal.say("\n" + finding_text(finding, names))
    if not found.findings:
        terminal.say("\nNothing was found.")
    for gap in found.unjudged:
        terminal.note(f"not judged: {gap.title}. {gap.needs}")
