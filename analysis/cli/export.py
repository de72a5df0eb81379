"""Write an assignment as a file for another tool.

- json: the whole assignment, for Quantscope and for scripts (schema published)
- csv: one row per layer, for a spreadsheet
"""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.cli.codes import DONE
from analysis.cli.projects import add_assignment_option, choose_assignment, opened
from analysis.cli.terminal import Terminal
from analysis.export import EXPORTERS
from analysis.export.base import check_free, export, find_exporter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("project", metavar="P.qscope")
    add_assignment_option(parser)
    keys = ", ".join(exporter.key for exporter in EXPORTERS)
    parser.add_argument("--to", metavar="TARGET", required=True, help=f"one of {keys}")
    parser.add_argument("-o", "--output", metavar="FILE", required=True)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file if it exists"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Write the file."""
    find_exporter(args.to)
    check_free(Path(args.output), args.overwrite)
    with opened(args.project, terminal) as project:
        name, assignment = choose_assignment(project, args.assignment, terminal)
        path = export(
            project,
            assignment,
            args.to,
            args.output,
            name=name,
            overwrite=args.overwrite,
        )
        terminal.result(
            {
                "assignment": name,
                "to": args.to,
                "file": str(path),
                "totals": assignment.totals().to_json(),
            }
        )
        terminal.note(f"wrote {path} ({name}, {len(assignment)} layers)")
    return DONE
