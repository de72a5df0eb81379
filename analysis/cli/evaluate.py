"""Run the network with a whole assignment and compare it with the prediction.

Predicted and measured error come side by side, in the same unit. Without --data the
samples of the project's latest run are used again. The measured error is kept in the
project.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analysis import jobs
from analysis.cli.codes import DONE, INTERRUPTED
from analysis.cli.jobs import drive
from analysis.cli.projects import (
    add_assignment_option,
    choose_assignment,
    cost_of,
    opened,
    predicted,
    told,
)
from analysis.cli.sources import add_data_options, data_of, reopened
from analysis.cli.terminal import Progress, Terminal, number, table
from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.method import Update
    from analysis.project import Project
    from quant_core.assignment import Assignment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("project", metavar="P.qscope")
    add_assignment_option(parser)
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="where the model is now, if not where it was analysed",
    )
    add_data_options(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Evaluate, keep the score, show it."""
    with opened(args.project, terminal, write=True) as project:
        name, assignment = choose_assignment(project, args.assignment, terminal)
        request = data_of(args, project)
        if request is None:
            raise AnalysisError(
                "An evaluation needs data, and the project has not seen any.",
                hint="Give --data FILE, --data example, or --data random.",
            )
        model, data = reopened(args, terminal, project, request)
        bar = Progress(terminal, "evaluate")

        def take(update: Update) -> None:
            for warning in update.warnings:
                bar.clear()
                terminal.warn(warning)
            bar.update(update.done, update.total, update.note)

        job = jobs.evaluate(
            model,
            data,
            assignment,
            project=project,
            seed=request.seed,
            batch_size=args.batch_size,
        )
        complete = drive(job, take)
        bar.close("done" if complete else "interrupted")
        if not complete:
            terminal.fail(AnalysisError("Interrupted; nothing was measured."))
            return INTERRUPTED
        project.save()
        report(project, name, assignment, terminal)
    return DONE


def report(
    project: Project, name: str, assignment: Assignment, terminal: Terminal
) -> None:
    """Print predicted and measured error side by side."""
    measured = project.measured_of(assignment)
    assert measured is not None
    expected = predicted(project, assignment)
    terminal.result(
        {
            "assignment": name,
            "totals": assignment.totals().to_json(),
            "predicted": expected,
            "measured": measured,
        }
    )
    terminal.say(f"{name}: {cost_of(assignment)}")
    missing = project.predict(assignment)
    rows = [("predicted", told(expected), ""), ("measured", told(measured), "")]
    if missing is not None and missing.missing:
        rows[0] = (*rows[0][:2], _not_analysed(missing.missing))
    rows[1] = (*rows[1][:2], f"{measured['samples']} samples")
    terminal.say(table(("error", "value", ""), rows))
    metrics: dict[str, float] = measured["metrics"]
    for metric in (m for m in metrics if not m.endswith("_float")):
        before = metrics.get(f"{metric}_float", float("nan"))
        terminal.say(f"{metric}: {number(metrics[metric])} (float: {number(before)})")


def _not_analysed(count: int) -> str:
    return f"{count} layer{'s were' if count != 1 else ' was'} not analysed so"
