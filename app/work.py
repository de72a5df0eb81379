"""What the worker does for the open project, and what comes of it."""

from __future__ import annotations

import glob
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from analysis.error_picture import MEASURE
from analysis.errors import AnalysisError
from analysis.jobs import (
    Recorder,
    analysis_of_run,
    earlier_runs,
    prediction_of_assigned,
)
from analysis.messages import (
    Analyze,
    DataRequest,
    Earlier,
    Evaluate,
    Found,
    Job,
    Search,
    Tried,
)
from analysis.project import Project
from analysis.requests import data_of_run
from app import next_step
from app.context import AppContext
from app.dialogs.analysis_request import EXAMPLE, SETTINGS_KEY, AnalysisRequest
from app.errors import Problem, told
from app.jobs import JobRunner
from app.remedies import ModelJob, remedied, remedies
from app.scripts import Scripts
from app.searches import Searching
from app.settings import Settings
from quant_core.scheme import Scheme

if TYPE_CHECKING:
    from app.dialogs.search import SearchRequest

EXAMPLE_PREFIX = "example:"


class Work(QObject):
    """Starts jobs on the project, and puts into it what they find.

    Signals:
        problem: A `Problem` to show.
    """

    problem = Signal(object)

    def __init__(
        self,
        context: AppContext,
        runner: JobRunner,
        scripts: Scripts,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        """Wait for the first job."""
        super().__init__(parent)
        self._context, self._runner = context, runner
        self._scripts, self._settings = scripts, settings
        self._job: Job | None = None
        self._recorder: Recorder | None = None
        self._search: Searching | None = None
        self._failed: tuple[ModelJob, str] | None = None
        runner.happened.connect(self._on_event)
        runner.ended.connect(self._on_ended)
        runner.failed.connect(self._on_failed)

    @property
    def has_example(self) -> bool:
        """Whether the model comes with data of its own."""
        project = self._context.project
        return project is not None and project.info.source.startswith(EXAMPLE_PREFIX)

    def analyse(self, request: AnalysisRequest) -> None:
        """Run measures."""
        job = replace(request.job, earlier=self._unfinished())
        self.start(job, "Analysis")

    def _unfinished(self) -> dict[str, Earlier]:
        """Return the runs that a job of equal settings goes on with."""
        project = self._context.project
        runs = {} if project is None else earlier_runs(project)
        return {k: e for k, e in runs.items() if e.run.status != "complete"}

    def evaluate(self) -> None:
        """Measure the present assignment on the data of the last analysis."""
        project = self._context.project
        if project is not None:
            with told(self.problem.emit):
                data = self._data_of(project)
                self.start(Evaluate(project.assignment, data), "Measurement")

    def _data_of(self, project: Project) -> DataRequest:
        """Return the data of the predicted error, so that both can be compared.

        Raises:
            AnalysisError: no data is known.
        """
        run = project.latest_run("predicted_error")
        data = None if run is None else data_of_run(run)
        if data is not None:
            return data
        asked = AnalysisRequest.from_saved(self._settings.get(SETTINGS_KEY, {}))
        source = asked.data or EXAMPLE
        if source == EXAMPLE and not self.has_example:
            raise AnalysisError(
                "No data is known to measure on.",
                hint="Run an analysis with calibration data first.",
            )
        return DataRequest(source, asked.samples, asked.seed, asked.max_length)

    def delete_run(self, run: int) -> None:
        """Delete a run with its results."""
        project = self._context.project
        if project is not None:
            with told(self.problem.emit):
                if self._recorder is not None:
                    raise AnalysisError(
                        "A job is running.", hint="Wait for its end, or cancel it."
                    )
                project.delete_run(run)

    def picture(self, layer: str, schemes: tuple[Scheme, ...], matrix: int = 0) -> None:
        """Make the pictures of a layer's rounding errors.

        Args:
            layer: Its name.
            schemes: One picture of each.
            matrix: Which of its stacked matrices.
        """
        # A name may hold what a pattern takes for a wildcard.
        params = {"layers": [glob.escape(layer)], "matrix": matrix}
        job = Analyze((MEASURE,), schemes, params={MEASURE: params})
        self.start(job, "Error picture")

    def predict_assigned(self) -> bool:
        """Predict what the assignment holds and no prediction covers; False if none."""
        project = self._context.project
        run = None if project is None else project.latest_run("predicted_error")
        if project is None or run is None:
            return False
        with told(self.problem.emit):
            job = prediction_of_assigned(project, run.id)
            if job is None:
                return False
            self.start(job, "Analysis")
        return True

    def search(self, request: SearchRequest) -> None:
        """Look for the best assignment within a budget."""
        project = self._context.project
        if project is None:
            return
        with told(self.problem.emit):
            project.target = request.target
            self._search = Searching.of(project, request, self._data_of)
            self.start(self._search.job, "Search")
            self._scripts.note(self._scripts.of_search(request))

    def start(self, job: Job, title: str) -> None:
        """Let the worker do a job on the project.

        Args:
            job: What to do.
            title: How it is called in the window.
        """
        project = self._context.project
        if project is None:
            return
        with told(self.problem.emit):
            if project.read_only and not isinstance(job, Search):
                raise AnalysisError(
                    "The project is open read-only.",
                    value=project.read_only,
                    hint="Save it under another name first.",
                )
            source = None if isinstance(job, Search) else project.info.source
            self._scripts.note(self._scripts.of_job(job))
            self._job, self._failed = job, None
            self._runner.start(job, title, source)

    @Slot(object)
    def _on_event(self, event: object) -> None:
        if isinstance(event, Found):
            self._apply_found(event)
            return
        if isinstance(event, Tried) and self._search is not None:
            self._search = replace(self._search, tried=event.refined)
        if self._context.project is not None and self._job is not None:
            if self._recorder is None:
                # Not before: loading the model may have told of other layers.
                self._recorder = Recorder(self._context.project, self._job)
            try:
                self._recorder.take(event)  # type: ignore[arg-type]
            except Exception as error:
                self.problem.emit(Problem.of(error))
                self._runner.cancel()

    def _apply_found(self, event: Found) -> None:
        """Put what a search found in place, as one undo step."""
        project = self._context.project
        if project is None or self._search is None:
            return
        found = self._search.found(project, event.result)
        hint = next_step.after_search(found, project)
        self._context.replace_assignment(found, self._search.title, hint)

    def _apply_tried(self) -> None:
        """Put the best of what was run in place, be it after a cancel or a crash."""
        project, search = self._context.project, self._search
        best = None if project is None or search is None else search.best(project)
        if best is not None and search is not None and search.tried is not None:
            self._context.replace_assignment(best, search.title)
            self._context.message.emit(f"{search.title}: {search.tried.describe()}")

    @Slot(object)
    def _on_ended(self, status: object) -> None:
        recorder, self._recorder = self._recorder, None
        with told(self.problem.emit):
            self._apply_tried()
        self._job = self._search = None
        if recorder is not None:
            known = {"complete": "complete", "cancelled": "cancelled"}
            with told(self.problem.emit):
                recorder.end(known.get(str(status), "failed"))  # type: ignore[arg-type]
        state = self._runner.state
        if state is None:
            return
        project = self._context.project
        if status == "cancelled":
            self._context.message.emit(f"{state.title} cancelled; results so far kept.")
        elif status == "complete" and state.title != "Search" and project is not None:
            notes = " ".join(state.warnings[:3]) or next_step.after(
                state.title, project
            )
            self._context.message.emit(f"{state.title} complete. {notes}".strip())

    @Slot(object)
    def _on_failed(self, problem: Problem) -> None:
        state = self._runner.state
        if isinstance(self._job, Analyze | Evaluate) and state is not None:
            self._failed = self._job, state.title
            problem = replace(problem, remedies=remedies(self._job, problem))
        self.problem.emit(problem)

    @Slot(object)
    def try_again(self, remedy: object) -> None:
        """Start the job that failed once more, with what a `Remedy` changes."""
        if self._failed is None or self._context.project is None:
            return
        job, title = self._failed
        changed = remedied(job, str(remedy))
        if isinstance(changed, Analyze):
            # What was finished before the failure is not done twice.
            earlier = earlier_runs(self._context.project)
            changed = replace(changed, earlier=earlier)
        self.start(changed, title)

    def resume(self, run: int) -> None:
        """Go on with a run that was cancelled or interrupted, as it was begun."""
        project = self._context.project
        if project is not None:
            with told(self.problem.emit):
                self.start(analysis_of_run(project, run), "Analysis")
