"""What a search form asks of the worker, and what comes of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.messages import DataRequest, Refine, Search
from analysis.search.asked import Keep
from analysis.search.of_project import signed, table_for
from analysis.search.refining import proposed, refine_job
from analysis.search.setup import Setup

if TYPE_CHECKING:
    from analysis.project import Project
    from analysis.search.problem import SearchResult
    from analysis.search.trial import Refined
    from app.dialogs.search import SearchRequest
    from quant_core.assignment import Assignment


@dataclass(frozen=True)
class Searching:
    """A search at work.

    Attributes:
        request: As the form says it.
        setup: Its objective, rules and tables, read.
        job: What the worker does.
        tried: What running candidates has come to; None before the first.
    """

    request: SearchRequest
    setup: Setup
    job: Search | Refine
    tried: Refined | None = None

    @classmethod
    def of(
        cls,
        project: Project,
        request: SearchRequest,
        data_of: Callable[[Project], DataRequest],
    ) -> Searching:
        """Return the search that a form asks for.

        Args:
            project: What is searched over.
            request: The form.
            data_of: Tells what candidates are run on.

        Raises:
            QuantError: what it needs was not measured, or no data are known.
        """
        setup = request.setup()
        job: Search | Refine
        if request.runs:
            job = refine_job(
                project,
                setup,
                request.budget,
                data_of(project),
                method=request.method,
                params=request.params,
                plan=request.refinement(),
                keep=Keep.parse(request.keep) if request.keep else None,
            )
        else:
            table = table_for(project, setup, request.method)
            job = Search(request.method, table, request.budget, request.params)
        return cls(request, setup, job)

    @property
    def title(self) -> str:
        """What the undo step is called."""
        return f"Search {self.request.title}"

    def found(self, project: Project, result: SearchResult) -> Assignment:
        """Return what a search without runs found, signed."""
        asked = self.request
        assert isinstance(self.job, Search)
        made = self.job.table.assign(project.assignment, result.choice)
        return signed(
            project, made, self.setup, asked.method, asked.budget, asked.params
        )

    def best(self, project: Project) -> Assignment | None:
        """Return the best of what was run, signed; None when nothing was."""
        if self.tried is None or not isinstance(self.job, Refine):
            return None
        return proposed(project, self.setup, self.job, self.tried)
