"""Searching over what a project has measured, and signing what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.method import describe_params
from analysis.network_blocks import BLOCK_ERROR
from analysis.search import counts_blocks, method_of, needs_probes, solve
from analysis.search.block_table import block_run, with_blocks
from analysis.search.cost_file import read_costs
from analysis.search.objective import Objective
from analysis.search.probe_table import with_probes
from analysis.search.problem import MEASURE, CostTable, SearchMethod, SearchResult
from analysis.search.rules import Rule
from analysis.search.setup import Setup
from analysis.search.table import table_from_project
from analysis.version import tool_version

if TYPE_CHECKING:
    from analysis.project import Project, RunInfo
    from quant_core.assignment import Assignment


def search(
    project: Project,
    budget: str,
    *,
    method: str = "exact",
    params: Mapping[str, Any] | None = None,
    objective: str = MEASURE,
    inputs: bool = False,
    rules: Iterable[str] = (),
    costs: Mapping[str, str | Path] | None = None,
) -> Assignment:
    """Return the assignment of least error within a budget.

    Locks, ties and the target of the project are kept. The project itself is not
    changed; `project.set_assignment` takes the result over.

    Args:
        project: Must hold a run of the measures of the objective.
        budget: Limits such as "bits<=4" or "compression>=8, bops<=0.5x".
        method: Key of a search in `SEARCHES`.
        params: Its parameters.
        objective: What is minimised: "predicted_error", "weights.sqnr", or several
            with weights ("predicted_error,weights.sqnr*0.1").
        inputs: Whether the formats of input activations are chosen as well.
        rules: Floors, ceilings and fixed formats, such as
            "at_least embeddings.*=8", "at_most kind:conv=6" or "fix last=int8".
        costs: Files with a cost for every layer and format, by the name that the
            budget uses ("latency<=3.2").

    Raises:
        AnalysisError: no results to search over, an unknown method, or a budget
            that cannot be read or met (with the nearest one that can).
    """
    setup = Setup(
        Objective.parse(objective),
        inputs,
        tuple(Rule.read(rule) for rule in rules),
        {name: read_costs(path) for name, path in (costs or {}).items()},
    )
    return run(project, setup, budget, method, params or {})[0]


def run(
    project: Project,
    setup: Setup,
    budget: str,
    method: str,
    params: Mapping[str, Any],
    base: Assignment | None = None,
) -> tuple[Assignment, SearchResult]:
    """Return what a search finds for a setup, signed, and how good it is.

    Args:
        project: Must hold a run of the measures of the objective.
        setup: Objective, rules and cost tables.
        budget: The limits.
        method: Key of a search in `SEARCHES`.
        params: Its parameters.
        base: Assignment that tells locks and what is kept; the current one if None.

    Raises:
        AnalysisError: as `search`.
    """
    base = project.assignment if base is None else base
    table = table_for(project, setup, method, base)
    found = solve(table, budget, method, params)
    assignment = table.assign(base, found.choice)
    return signed(project, assignment, setup, method, budget, params), found


def table_for(
    project: Project, setup: Setup, method: str, base: Assignment | None = None
) -> CostTable:
    """Return the costs that a search reads; projections only where it uses them.

    Args:
        project: Must hold a run of the measures of the objective.
        setup: Objective, rules and cost tables.
        method: Key of a search in `SEARCHES`.
        base: Assignment that tells locks and what is kept; the current one if None.

    Raises:
        AnalysisError: as `table_from_project` and `with_probes`.
    """
    table = table_from_project(project, setup, base)
    if needs_probes(method):
        return with_probes(project, setup, table, base)
    return with_blocks(project, setup, table) if counts_blocks(method) else table


def rerun(project: Project, found: Assignment) -> Assignment:
    """Return what the search that made an assignment finds now.

    With the same runs of the measures, the same target and the same cost tables it is
    the same assignment to the bit.

    Args:
        project: The project it was made in.
        found: An assignment that a search made.

    Raises:
        AnalysisError: it was not made by a search under a budget, or a cost table, a
            run or the target is no longer what it was.
    """
    origin = found.provenance
    method, budget = asked_by(project, found)
    if "refine" in origin:
        raise AnalysisError(
            "The search that made this assignment ran the network.",
            hint="`quantscope search --rerun` opens model and data and does so again, "
            "and so does `rerun_refined` of analysis.search.refining.",
        )
    setup = Setup.from_json(origin)
    return run(project, setup, budget, method, origin.get("params", {}), found)[0]


def asked_by(project: Project, found: Assignment) -> tuple[str, str]:
    """Return method and budget of the search that made an assignment.

    Raises:
        AnalysisError: it was not made by a search under a budget, or the target is no
            longer what it was.
    """
    origin = found.provenance
    method, budget = origin.get("search"), origin.get("budget")
    if not (isinstance(method, str) and isinstance(budget, str)):
        raise AnalysisError(
            "This assignment was not made by a search under a budget.",
            value=", ".join(f"{k}={v}" for k, v in origin.items()) or "no origin",
        )
    if origin.get("target", project.target) != project.target:
        raise AnalysisError(
            "The search was made for another target.",
            value=origin["target"],
            allowed=project.target,
            hint="Choose that target again first.",
        )
    return method, budget


def signed(
    project: Project,
    assignment: Assignment,
    setup: Setup,
    method: str,
    budget: str | None,
    params: Mapping[str, Any],
) -> Assignment:
    """Return an assignment with its origin written down, enough to search again.

    Args:
        project: Whose measures were searched over.
        assignment: What was found.
        setup: Objective, rules and cost tables.
        method: Key of the search.
        budget: The limits, None for a point of the whole front.
        params: Parameters of the search, its seed among them.
    """
    measures = [term.measure for term in setup.objective.terms]
    if counts_blocks(method) and block_run(project, setup) is not None:
        measures.append(BLOCK_ERROR)
    runs = {
        measure: info
        for measure in measures
        if (info := _run(project, measure, setup)) is not None
    }
    first = next(iter(runs.values()), None)
    kind = method_of(method)
    return assignment.with_provenance(
        search=method,
        search_version=kind.version,
        budget=budget,
        params=_all_params(kind, params),
        target=project.target,
        samples=None if first is None else first.samples,
        tool_version=tool_version(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **replace(setup, runs={name: info.id for name, info in runs.items()}).to_json(),
    )


def _run(project: Project, measure: str, setup: Setup) -> RunInfo | None:
    """Return the run of a measure that a search reads."""
    wanted = setup.runs.get(measure)
    if wanted is None:
        return project.latest_run(measure)
    return next((info for info in project.runs if info.id == wanted), None)


def _all_params(method: type[SearchMethod], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter: a default that changes later must not change a rerun."""
    defaults = {info.name: info.default for info in describe_params(method)}
    return {**defaults, **given}
