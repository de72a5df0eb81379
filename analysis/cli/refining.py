"""The part of `quantscope search` that runs the network."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis.cli.jobs import drive
from analysis.cli.options import add_method_options, method_params
from analysis.cli.sources import add_data_options, data_of, reopened
from analysis.cli.terminal import Progress, Terminal
from analysis.errors import AnalysisError
from analysis.method import Update
from analysis.search.asked import Keep, Refinement
from analysis.search.refining import (
    Proposals,
    job_of,
    refine_job,
    rerun_refined,
    run_job,
)
from analysis.search.trial import Refined

if TYPE_CHECKING:
    from analysis.project import Project
    from analysis.search.setup import Setup
    from quant_core.assignment import Assignment


_OF_RUNS = {
    "model": None,
    "data": None,
    "samples": None,
    "seed": None,
    "max_length": None,
    "device": "auto",
    "batch_size": 0,
}
"""Options that only matter when the network is run, with what unsaid ones hold."""


def add_refining(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a search run the network."""
    group = parser.add_argument_group("running candidates")
    how = group.add_mutually_exclusive_group()
    how.add_argument(
        "--verify",
        action="store_true",
        help="run the best candidates once and take the one of least measured error",
    )
    how.add_argument(
        "--refine",
        action="store_true",
        help="run the best candidates, correct the predictions by them, and go on",
    )
    how.add_argument(
        "--keep",
        metavar="METRIC=LOSS",
        help="find the smallest model that, as measured, loses at most so much: "
        "top1=0.5%%, perplexity=1%%, error=0.001; --budget may limit it further",
    )
    group.add_argument(
        "--rerun",
        metavar="A",
        help="do the search again that made an assignment of the project, and say "
        "whether it comes to the same",
    )
    group.add_argument(
        "--model",
        metavar="MODEL",
        help="where the model is now, if not where it was analysed",
    )
    add_method_options(parser, Refinement)
    add_data_options(parser)


def runs_network(args: argparse.Namespace) -> bool:
    """Return whether the options ask for candidates to be run."""
    return bool(args.verify or args.refine or args.keep is not None)


def check_refining(args: argparse.Namespace) -> None:
    """Refuse options of running candidates when nothing is to be run.

    Raises:
        AnalysisError: names the first of them.
    """
    given = [f"--{Refinement.key}.{name}" for name in method_params(args, Refinement)]
    given += [
        "--" + name.replace("_", "-")
        for name, unsaid in _OF_RUNS.items()
        if getattr(args, name) != unsaid
    ]
    if given and not runs_network(args):
        raise AnalysisError(
            "This option is about running candidates.",
            value=given[0],
            hint="Add --verify, --refine or --keep, or leave it out.",
        )


def refined(
    args: argparse.Namespace,
    terminal: Terminal,
    project: Project,
    setup: Setup,
    params: dict[str, Any],
) -> tuple[Refined | None, bool]:
    """Return what running candidates came to, and whether it came to its end.

    Raises:
        AnalysisError: no data are known, or as `refine_job` and the run.
    """
    request = data_of(args, project)
    if request is None:
        raise AnalysisError(
            "Running candidates needs data, and the project has not seen any.",
            hint="Give --data FILE, --data example, or --data random.",
        )
    plan = Refinement(**method_params(args, Refinement))
    if args.verify:
        plan = replace(plan, rounds=1, singles=0)
    job = refine_job(
        project,
        setup,
        args.budget or "",
        request,
        method=args.method,
        params=params,
        plan=plan,
        keep=None if args.keep is None else Keep.parse(args.keep),
        batch_size=args.batch_size,
    )
    model, data = reopened(args, terminal, project, request)
    return _driven(run_job(project, setup, job, model, data), terminal)


def again(
    args: argparse.Namespace,
    terminal: Terminal,
    project: Project,
    assignment: Assignment,
) -> tuple[Refined | None, bool]:
    """Return what the search that made an assignment comes to when done again.

    Raises:
        AnalysisError: as `rerun_refined`.
    """
    _, job = job_of(project, assignment)
    model, data = reopened(args, terminal, project, job.data)
    return _driven(rerun_refined(model, data, project, assignment), terminal)


def _driven(steps: Proposals, terminal: Terminal) -> tuple[Refined | None, bool]:
    bar = Progress(terminal, "search")
    last: Refined | None = None

    def take(step: Update | Refined) -> None:
        nonlocal last
        if isinstance(step, Refined):
            last = step
            return
        for warning in step.warnings:
            bar.clear()
            terminal.warn(warning)
        bar.update(step.done, step.total, step.note)

    complete = drive(steps, take)
    bar.close("done" if complete else "interrupted")
    return last, complete
