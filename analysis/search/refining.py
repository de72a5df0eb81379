"""Searches over a project that run the network, and what they propose, signed."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.messages import DataRequest, Progress, Refine, Tried
from analysis.method import Update
from analysis.search import needs_probes, solve
from analysis.search.asked import Asked, Keep, Refinement, Rival
from analysis.search.budget import Budget
from analysis.search.cost_file import read_costs
from analysis.search.exact import Exact
from analysis.search.objective import Objective, objectives_of
from analysis.search.of_project import asked_by, signed, table_for
from analysis.search.probe_table import with_probes
from analysis.search.problem import MEASURE, CostTable
from analysis.search.rules import Rule
from analysis.search.setup import Setup
from analysis.search.table import table_from_project
from analysis.search.trial import Refined

if TYPE_CHECKING:
    from analysis.data.batch import Data
    from analysis.model import LoadedModel
    from analysis.project import Project
    from quant_core.assignment import Assignment

Proposals = Generator[Update | Refined, None, None]


def refine_job(
    project: Project,
    setup: Setup,
    budget: str,
    data: DataRequest,
    *,
    method: str = "exact",
    params: Mapping[str, Any] | None = None,
    plan: Refinement | None = None,
    keep: Keep | None = None,
    batch_size: int = 0,
    base: Assignment | None = None,
    rivals: Mapping[str, int] | None = None,
) -> Refine:
    """Return the description of a search that runs the network.

    Args:
        project: Must hold a run of the measure of the objective.
        setup: Objective, rules and cost tables.
        budget: The limits; "" for none, with `keep`.
        data: What candidates are run on.
        method: Key of the search whose result is run first.
        params: Its parameters.
        plan: How much to run.
        keep: What of the task may be lost at most.
        batch_size: Samples per forward call; 0 for the usual number.
        base: Assignment that tells locks and what is kept; the current one if None.
        rivals: Runs of further measures whose proposals are run as well, by
            objective; None for all that the project has.

    Raises:
        AnalysisError: an objective that is no error, neither budget nor `keep`, or
            as `table_for`.
    """
    if any(term.quantity != "error" for term in setup.objective.terms) or (
        len(setup.objective.terms) > 1
    ):
        raise AnalysisError(
            "What runs are compared with must be an error in their own unit.",
            value=str(setup.objective),
            allowed=f"{MEASURE} or measured_error",
            hint="Search by other objectives without running candidates.",
        )
    if not budget and keep is None:
        raise AnalysisError(
            "Nothing says how small the model is to be.",
            hint="Give a budget (bits<=4), or what is to be kept (top1=0.5%).",
        )
    base = project.assignment if base is None else base
    table = _table(project, setup, method, base)
    plan = plan or Refinement()
    asked = Asked(table, budget, base, method, params or {}, plan, keep)
    if keep is None:
        asked = replace(asked, rivals=_rivals(project, setup, asked, rivals))
    return Refine(asked, data, batch_size)


def _rivals(
    project: Project, setup: Setup, asked: Asked, runs: Mapping[str, int] | None
) -> tuple[Rival, ...]:
    """Return what the search finds by other measures, where it finds anything."""
    if Budget.parse(asked.budget, asked.table.costs).limit("error") is not None:
        return ()  # a limit in the unit of another measure
    if runs is None:
        runs = {}
        for text in objectives_of(project):
            found = project.latest_run(Objective.parse(text).terms[0].measure)
            if found is not None and text != str(setup.objective):
                runs[text] = found.id
    made = []
    for text, run in runs.items():
        objective = Objective.parse(text)
        known = {objective.terms[0].measure: run}
        other = replace(setup, objective=objective, runs=known)
        try:
            table = table_from_project(project, other, asked.base)
            best = solve(table, asked.budget, Exact.key, {})
        except AnalysisError:
            continue  # it was not measured for all that is to be chosen
        choice = asked.table.choice_of(table.assign(asked.base, best.choice))
        if choice is not None:
            made.append(Rival(text, run, choice))
    return tuple(made)


def _table(project: Project, setup: Setup, method: str, base: Assignment) -> CostTable:
    """Return the costs, with projections wherever there are any."""
    table = table_for(project, setup, method, base)
    if needs_probes(method) or str(setup.objective) != MEASURE:
        return table
    try:
        return with_probes(project, setup, table, base)
    except AnalysisError:
        return table  # they were too large to be kept; additive costs do


def proposed(project: Project, setup: Setup, job: Refine, found: Refined) -> Assignment:
    """Return the best assignment that was run, signed.

    Args:
        project: Whose measures were searched over.
        setup: Objective, rules and cost tables.
        job: What was asked for.
        found: What it came to; of a search that was stopped, so far.
    """
    asked = job.asked
    best = found.best
    made = signed(
        project, best.assignment, setup, asked.method, asked.budget, asked.params
    )
    plan = asdict(asked.plan)
    return made.with_provenance(
        **made.provenance,
        refine={
            **plan,
            "rivals": {rival.objective: rival.run for rival in asked.rivals},
            "keep": None if asked.keep is None else str(asked.keep),
            "data": asdict(job.data),
            "data_digest": found.data,
            "batch_size": job.batch_size,
            "evaluations": found.evaluations,
            "passes": found.passes,
            "origin": best.origin,
        },
    )


def refine_assignment(
    model: LoadedModel,
    data: Data,
    project: Project,
    budget: str = "",
    *,
    keep: str | None = None,
    method: str = "exact",
    params: Mapping[str, Any] | None = None,
    plan: Mapping[str, int] | None = None,
    objective: str = MEASURE,
    inputs: bool = False,
    rules: Iterable[str] = (),
    costs: Mapping[str, str | Path] | None = None,
    batch_size: int = 0,
    request: DataRequest | None = None,
) -> Proposals:
    """Search, run the best candidates, learn from them, and search again.

    Yields updates and, after each run of a whole assignment, what it has come to; the
    proposed assignment (`best.assignment`) is signed and its measured error recorded
    in the project. Closed early, the last one stands.

    Args:
        model: The opened model.
        data: What candidates are run on.
        project: Must hold a run of the measure of the objective.
        budget: Limits such as "bits<=4"; may be "" with `keep`.
        keep: What of the task may be lost at most, such as "top1=0.5%": the smallest
            model that keeps it is then found by bisection along the front.
        method: Key of the search whose result is run first.
        params: Its parameters.
        plan: Parameters of `Refinement`: how much to run.
        objective: "predicted_error" or "measured_error".
        inputs: Whether the formats of input activations are chosen as well.
        rules: Floors, ceilings and fixed formats.
        costs: Cost tables by the name that the budget uses.
        batch_size: Samples per forward call; 0 for the usual number.
        request: How the data were asked for, kept with the result.

    Raises:
        AnalysisError: as `refine_job`, or the network cannot run.
    """
    setup = Setup(
        Objective.parse(objective),
        inputs,
        tuple(Rule.read(rule) for rule in rules),
        {name: read_costs(path) for name, path in (costs or {}).items()},
    )
    job = refine_job(
        project,
        setup,
        budget,
        request or DataRequest(data.source, len(data)),
        method=method,
        params=params,
        plan=Refinement(**(plan or {})),
        keep=None if keep is None else Keep.parse(keep),
        batch_size=batch_size,
    )
    yield from run_job(project, setup, job, model, data)


def run_job(
    project: Project, setup: Setup, job: Refine, model: LoadedModel, data: Data
) -> Proposals:
    """Yield what `refine_assignment` does for a job that is described.

    Raises:
        AnalysisError: the network cannot run, or the project cannot be written.
    """
    from analysis.jobs import recorded

    with closing(recorded(project, job, model, data)) as events:
        for event in events:
            if isinstance(event, Progress):
                yield event.update
            elif isinstance(event, Tried):
                found = event.refined
                made = proposed(project, setup, job, found)
                trials = list(found.trials)
                trials[found.at] = replace(found.best, assignment=made)
                yield replace(found, trials=tuple(trials))


def job_of(project: Project, found: Assignment) -> tuple[Setup, Refine]:
    """Return what was asked of the search that made an assignment.

    Raises:
        AnalysisError: it did not run the network, or a cost table, a run or the target
            is no longer what it was.
    """
    method, budget = asked_by(project, found)
    kept = found.provenance.get("refine")
    if kept is None:
        raise AnalysisError("The search that made this assignment ran nothing.")
    setup = Setup.from_json(found.provenance)
    # Older searches anchored predictions nowhere else, and took the least error.
    plan = {"anchors": 0, "caution": 0.0} | {
        field.name: kept[field.name]
        for field in fields(Refinement)
        if field.name in kept
    }
    job = refine_job(
        project,
        setup,
        budget,
        DataRequest(**kept["data"]),
        method=method,
        params=found.provenance.get("params", {}),
        plan=Refinement(**plan),
        keep=None if kept["keep"] is None else Keep.parse(kept["keep"]),
        batch_size=kept["batch_size"],
        base=found,
        rivals=kept["rivals"],
    )
    return setup, job


def rerun_refined(
    model: LoadedModel, data: Data, project: Project, found: Assignment
) -> Proposals:
    """Yield what the search that made an assignment does when it is run again.

    On the same machine, with as many threads, it comes to the same to the bit.

    Args:
        model: The opened model.
        data: The same samples.
        project: The project it was made in.
        found: An assignment that such a search made.

    Raises:
        AnalysisError: as `job_of`, or the data are others.
    """
    setup, job = job_of(project, found)
    digest = found.provenance["refine"]["data_digest"]
    if digest not in ("", data.digest):
        raise AnalysisError(
            "The data are not those that candidates were run on.", value=data.source
        )
    yield from run_job(project, setup, job, model, data)
