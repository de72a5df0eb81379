"""Jobs of the window as scripts: what *Copy as script* puts on the clipboard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.messages import Analyze, DataRequest, Evaluate
from analysis.requests import data_of_run
from analysis.script import (
    Runs,
    Script,
    analysis_script,
    evaluation_script,
    export_script,
    report_script,
    run_script,
    search_script,
)

if TYPE_CHECKING:
    from analysis.project import Project
    from app.context import AppContext
    from app.dialogs.analysis_request import AnalysisRequest
    from app.dialogs.search import SearchRequest

SUFFIX = ".qscope"


class Scripts:
    """Writes scripts for the project in the window, and remembers the last job.

    An analysis is repeated into a new project, so that nothing measured is lost; the
    other jobs work on the project file, which must be saved for them to see the
    assignment as it is in the window.

    Args:
        context: Names the project.
    """

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._last: tuple[Project, Script] | None = None

    @property
    def last(self) -> Script | None:
        """The script of the last job on this project, else of its newest run."""
        project = self._context.project
        if project is None:
            return None
        if self._last is not None and self._last[0] is project:
            return self._last[1]
        return self.of_run(project.runs[-1].id) if project.runs else None

    def note(self, script: Script | None) -> None:
        """Remember the script of a job that begins, None for jobs without one."""
        project = self._context.project
        if project is not None and script is not None:
            self._last = project, script

    def of_job(self, job: object) -> Script | None:
        """Return the script of a job, None for one that has none.

        A search does not tell its objective: see `of_search`.
        """
        project = self._context.project
        if project is None:
            return None
        source = project.info.source
        match job:
            case Analyze():
                return analysis_script(source, _copy_path(project), job)
            case Evaluate():
                path = _path(project)
                size = job.batch_size
                return evaluation_script(source, path, job.data, batch_size=size)
        return None

    def of_analysis(self, request: AnalysisRequest) -> Script | None:
        """Return the script of what an analysis form says."""
        return self.of_job(request.job)

    def of_search(self, request: SearchRequest) -> Script | None:
        """Return the script of what a search form says."""
        project = self._context.project
        if project is None:
            return None
        return search_script(
            _path(project),
            request.budget,
            target=request.target,
            method=request.method,
            params=request.params,
            objective=request.objective,
            inputs=request.inputs,
            rules=request.rules,
            costs=request.tables,
            runs=self._runs(project, request),
        )

    @staticmethod
    def _runs(project: Project, request: SearchRequest) -> Runs | None:
        """Return how a search runs candidates: on the data of the predicted error."""
        if not request.runs:
            return None
        run = project.latest_run("predicted_error")
        data = None if run is None else data_of_run(run)
        task = "auto" if run is None else run.task or "auto"
        return Runs(
            project.info.source,
            data or DataRequest("example"),
            request.runs,
            request.keep,
            dict(request.plan),
            task,
        )

    def of_run(self, run: int) -> Script | None:
        """Return the script that repeats a run of the project.

        Raises:
            AnalysisError: there is no such run, or it names an unknown scheme.
        """
        project = self._context.project
        if project is None:
            return None
        info = project.run_info(run)
        return run_script(project.info.source, _copy_path(project), info)

    def of_export(self, key: str, output: Path) -> Script | None:
        """Return the script of an export of the present assignment."""
        project = self._context.project
        if project is None:
            return None
        return export_script(_path(project), key, str(output))

    def of_report(self, output: Path) -> Script | None:
        """Return the script of a report on the present assignment."""
        project = self._context.project
        return None if project is None else report_script(_path(project), str(output))


def _path(project: Project) -> str:
    """Return the project file, or what a new one would be called."""
    if project.path is not None:
        return str(project.path)
    return re.sub(r"[^\w.-]+", "-", project.info.name) + SUFFIX


def _copy_path(project: Project) -> str:
    """Return the name of a new project beside the present one."""
    if project.path is None:
        return _path(project)
    return str(project.path.with_name(f"{project.path.stem}-again{SUFFIX}"))
