"""Searching over what a project has measured, and signing what was found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.search import SEARCHES
from analysis.search.budget import Budget
from analysis.search.problem import table_from_project
from analysis.version import tool_version

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment


def search(
    project: Project,
    budget: str,
    *,
    method: str = "exact",
    params: Mapping[str, Any] | None = None,
) -> Assignment:
    """Return the assignment of least predicted error within a budget.

    Locks, ties and the target of the project are kept. The project itself is not
    changed; `project.set_assignment` takes the result over.

    Args:
        project: Must hold a run of predicted error.
        budget: Limits such as "bits<=4" or "size<=12MB, bops<=0.5x".
        method: Key of a search in `SEARCHES`.
        params: Its parameters.

    Raises:
        AnalysisError: no results to search over, an unknown method, or a budget
            that cannot be read or met (with the smallest possible value).
    """
    for kind in SEARCHES:
        if kind.key == method:
            table = table_from_project(project)
            found = kind(**params or {}).run(table, Budget.parse(budget))
            assignment = table.assign(project.assignment, found.choice)
            return signed(project, assignment, method, budget)
    raise AnalysisError(
        "There is no such search.",
        value=method,
        allowed=", ".join(kind.key for kind in SEARCHES),
    )


def signed(
    project: Project, assignment: Assignment, method: str, budget: str | None
) -> Assignment:
    """Return an assignment with its origin written down.

    Args:
        project: Whose predicted error was searched over.
        assignment: What was found.
        method: Key of the search.
        budget: The limits, None for a point of the whole front.
    """
    run = project.latest_run("predicted_error")
    return assignment.with_provenance(
        measure="predicted_error",
        search=method,
        budget=budget,
        target=project.target,
        samples=None if run is None else run.samples,
        tool_version=tool_version(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
