"""One session: opening, saving, analysing, searching, measuring, exporting.

It knows no widgets and asks nothing; what goes wrong is told by `problem`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal, Slot

from analysis.error_picture import MEASURE
from analysis.errors import AnalysisError
from analysis.export.base import export
from analysis.jobs import (
    Recorder,
    analysis_of_run,
    earlier_runs,
    prediction_of_assigned,
)
from analysis.load import factory, load, torch_export
from analysis.messages import (
    Analyze,
    DataRequest,
    Earlier,
    Evaluate,
    Found,
    Job,
    Opened,
    Search,
    Tried,
)
from analysis.model import ModelInfo
from analysis.project import Project
from analysis.report import write_report
from analysis.requests import analysis_like
from app import next_step
from app.context import AppContext
from app.dialogs.analysis_request import EXAMPLE, SETTINGS_KEY, AnalysisRequest
from app.errors import Problem
from app.guard import Guard
from app.jobs import JobRunner
from app.recovery import Lost
from app.remedies import ModelJob, remedied, remedies
from app.scripts import Scripts
from app.searches import Searching
from app.settings import Settings
from app.widgets.format import count, set_digits
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Site

if TYPE_CHECKING:
    from app.dialogs.search import SearchRequest

PROJECT_SUFFIX = ".qscope"
EXAMPLE_PREFIX = "example:"
UNREADABLE = (factory.LOADER, torch_export.LOADER)
"""Kinds of models whose layers are not known before the whole is loaded."""


class Session(QObject):
    """Owns the context and the worker, and does what commands ask for.

    Signals:
        problem: A `Problem` to show.
        openingChanged: What is being opened before there is a table; "" when done.
    """

    problem = Signal(object)
    openingChanged = Signal(object)  # noqa: N815 - Qt signal naming

    def __init__(
        self,
        settings: Settings,
        parent: QObject | None = None,
        runner: JobRunner | None = None,
    ) -> None:
        """Start with nothing open."""
        super().__init__(parent)
        self.settings = settings
        self.context = AppContext(self)
        self.scripts = Scripts(self.context)
        self.runner = runner or JobRunner(parent=self)
        self._source = ""
        self._can_run: dict[str, bool] = {}
        self._job: Job | None = None
        self._recorder: Recorder | None = None
        self._search: Searching | None = None
        self.guard = Guard(self.context, settings, self)
        self.guard.problem.connect(self.problem)
        self._failed: tuple[ModelJob, str] | None = None
        self.runner.opened.connect(self._on_opened)
        self.runner.happened.connect(self._on_event)
        self.runner.ended.connect(self._on_ended)
        self.runner.failed.connect(self._on_failed)
        self.apply_preferences()

    def apply_preferences(self) -> None:
        """Save as often, compute and show numbers as the settings say."""
        preferences = self.settings.preferences
        set_digits(preferences.digits)
        self.guard.set_interval(preferences.autosave_seconds)
        self.runner.set_threads(preferences.threads)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn errors into `problem`."""
        try:
            yield
        except Exception as error:
            self.problem.emit(Problem.of(error))

    @property
    def runs_model(self) -> bool:
        """Whether the network can be run, as far as is known."""
        project = self.context.project
        if project is None:
            return False
        source = project.info.source
        return self._can_run.get(source, not source.endswith(".safetensors"))

    @property
    def has_example(self) -> bool:
        """Whether the model comes with data of its own."""
        project = self.context.project
        return project is not None and project.info.source.startswith(EXAMPLE_PREFIX)

    # -- opening ---------------------------------------------------------------

    def open(self, source: str) -> None:
        """Open a model or a project; the present one is closed."""
        with self._telling():
            if self.runner.is_busy:
                raise AnalysisError(
                    "A job is running.", hint="Wait for its end, or cancel it first."
                )
            path = Path(source).expanduser()
            if path.suffix == PROJECT_SUFFIX:
                self.open_now(path)
            else:
                self._open_model(_absolute(source))

    def open_now(self, path: Path) -> None:
        """Open a project file.

        Raises:
            AnalysisError: it cannot be read.
        """
        project = Project.open(path)
        self._adopt(project)
        self.settings.add_recent(str(path.absolute()), project.info.digest)
        self._say_opened(project, path.name)

    def _say_opened(self, project: Project, name: str) -> None:
        notes = list(project.notices)
        if project.recovered:
            notes.append("Unsaved edits of a session that ended early are back.")
        if project.read_only:
            notes.append(f"Read-only: {project.read_only}.")
        self.context.message.emit(" ".join(notes) or f"Opened {name}.")

    def recover(self, entry: Lost) -> None:
        """Open what a session that died had open; its draft is ours from now on."""
        with self._telling():
            if self.runner.is_busy:
                raise AnalysisError(
                    "A job is running.", hint="Wait for its end, or cancel it first."
                )
            project = Project.open(Path(entry.path), draft=entry.is_draft)
            self._adopt(project)
            self.guard.recovery.done(entry)
            self._say_opened(project, entry.title)

    def _open_model(self, source: str) -> None:
        self._source = source
        if any(loader.accepts(source) for loader in UNREADABLE):
            self.close_project()
            self.openingChanged.emit(f"Opening {source}…")
        else:
            info = load(source, headers_only=True).info
            self._adopt(Project.create(info))
            self._remember(info)
        self.runner.open(source, _title(source))

    def _adopt(self, project: Project) -> None:
        """Show a project in place of the present one."""
        old = self.context.project
        self.openingChanged.emit("")
        self.context.set_project(project)
        if old is not None:
            old.close()
        self.guard.begin()

    def _remember(self, info: ModelInfo) -> None:
        self.settings.add_recent(self._source, info.digest)
        layers = count(len(info.layers), "layer")
        weights = count(info.parameters, "weight")
        notes = " ".join(info.notes)
        self.context.message.emit(f"{info.name}: {layers}, {weights}. {notes}".strip())

    @Slot(object)
    def _on_opened(self, opened: Opened) -> None:
        """Take over what the worker knows better than the headers did."""
        info, project = opened.info, self.context.project
        self._can_run[info.source] = opened.can_run
        with self._telling():
            if project is None:
                self._adopt(Project.create(info))
                self._remember(info)
            elif info.digest == project.info.digest and _same_layers(
                info, project.info
            ):
                ties = project.info.ties if project.path else info.ties
                sites = info.sites or project.info.sites
                project.update_model(_with_macs(info, project.info, ties, sites))
            elif project.path is None and not project.runs:
                self._adopt_layers(info, project)
            else:
                # What waits for this model is meant for another one.
                self.runner.give_up()
                project.check_model(info)
        self.context.runsChanged.emit()

    def _adopt_layers(self, info: ModelInfo, known: Project) -> None:
        """Show the layers the network tells instead of those of the headers.

        Headers tell names and shapes in the order of the file; which operations use
        them, and in which order, only the network tells. Edits made meanwhile and
        the selection go over by name.
        """
        project = Project.create(info)
        edited = known.assignment.to_json()
        names = {layer.name for layer in info.layers}
        edited["layers"] = {n: x for n, x in edited["layers"].items() if n in names}
        if info.digest == known.info.digest and known.dirty:
            project.set_assignment(
                Assignment.from_json(edited, info.layers, info.digest)
            )
        index = {layer.name: i for i, layer in enumerate(info.layers)}
        starred = [known.info.layers[i].name for i in np.flatnonzero(known.starred)]
        project.set_starred([index[n] for n in starred if n in index], True)
        selection = self.context.selection
        # The first layer of the file need not be the first of the network.
        chosen = () if selection.is_first else selection.layers
        before = [known.info.layers[i].name for i in chosen]
        self._adopt(project)
        if before:
            selection.set([index[n] for n in before if n in index])

    def close_project(self) -> None:
        """Return to the start page; unsaved work is given up."""
        if self.runner.is_busy:
            self.runner.close()
        project = self.context.project
        self.context.set_project(None)
        if project is not None:
            project.close()
        self.guard.end()

    # -- saving ----------------------------------------------------------------

    def save(self, path: Path | None) -> None:
        """Save in place, or to a path whose replacing was agreed to."""
        project = self.context.project
        if project is None:
            return
        with self._telling():
            project.save(path, overwrite=path is not None)
            if project.path is not None:
                self.settings.add_recent(str(project.path), project.info.digest)
                self.context.message.emit(f"Saved {project.path.name}.")
            self.guard.begin()
        self.context.dirtyChanged.emit()

    def keep(self, name: str) -> None:
        """Keep the present assignment under a name; one of that name is replaced."""
        project = self.context.project
        if project is not None:
            with self._telling():
                project.keep_assignment(name, overwrite=True)
                self.context.message.emit(f"Kept as {name}.")

    def export(self, key: str, path: Path) -> None:
        """Write the present assignment; an existing file is replaced."""
        project = self.context.project
        if project is None:
            return
        with self._telling():
            export(project, project.assignment, key, path, overwrite=True)
            self.scripts.note(self.scripts.of_export(key, path))
            self.context.message.emit(f"Wrote {path}.")

    def report(self, path: Path) -> None:
        """Write the report on the present assignment; a file there is replaced."""
        project = self.context.project
        if project is None:
            return
        with self._telling():
            write_report(project, path, overwrite=True)
            self.scripts.note(self.scripts.of_report(path))
            self.context.message.emit(f"Wrote {path}.")

    # -- jobs ------------------------------------------------------------------

    def analyse(self, request: AnalysisRequest) -> None:
        """Run measures."""
        job = replace(request.job, earlier=self._unfinished())
        self._start(job, "Analysis")

    def _unfinished(self) -> dict[str, Earlier]:
        """Return the runs that a job of equal settings goes on with."""
        project = self.context.project
        runs = {} if project is None else earlier_runs(project)
        return {k: e for k, e in runs.items() if e.run.status != "complete"}

    def evaluate(self) -> None:
        """Measure the present assignment on the data of the last analysis."""
        project = self.context.project
        if project is not None:
            with self._telling():
                data = self._data_of(project)
                self._start(Evaluate(project.assignment, data), "Measurement")

    def _data_of(self, project: Project) -> DataRequest:
        """Return the data of the predicted error, so that both can be compared.

        Raises:
            AnalysisError: no data is known.
        """
        run = project.latest_run("predicted_error")
        data = None if run is None else analysis_like(run).data
        if data is not None:
            return data
        asked = AnalysisRequest.from_saved(self.settings.get(SETTINGS_KEY, {}))
        source = asked.data or EXAMPLE
        if source == EXAMPLE and not self.has_example:
            raise AnalysisError(
                "No data is known to measure on.",
                hint="Run an analysis with calibration data first.",
            )
        return DataRequest(source, asked.samples, asked.seed, asked.max_length)

    def delete_run(self, run: int) -> None:
        """Delete a run with its results."""
        project = self.context.project
        if project is not None:
            with self._telling():
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
        self._start(job, "Error picture")

    def predict_assigned(self) -> bool:
        """Predict what the assignment holds and no prediction covers; False if none."""
        project = self.context.project
        run = None if project is None else project.latest_run("predicted_error")
        if project is None or run is None:
            return False
        with self._telling():
            job = prediction_of_assigned(project, run.id)
            if job is None:
                return False
            self._start(job, "Analysis")
        return True

    def search(self, request: SearchRequest) -> None:
        """Look for the best assignment within a budget."""
        project = self.context.project
        if project is None:
            return
        with self._telling():
            project.target = request.target
            self._search = Searching.of(project, request, self._data_of)
            self._start(self._search.job, "Search")
            self.scripts.note(self.scripts.of_search(request))

    def _start(self, job: Job, title: str) -> None:
        project = self.context.project
        if project is None:
            return
        with self._telling():
            if project.read_only and not isinstance(job, Search):
                raise AnalysisError(
                    "The project is open read-only.",
                    value=project.read_only,
                    hint="Save it under another name first.",
                )
            source = None if isinstance(job, Search) else project.info.source
            self.scripts.note(self.scripts.of_job(job))
            self._job, self._failed = job, None
            self.runner.start(job, title, source)

    @Slot(object)
    def _on_event(self, event: object) -> None:
        if isinstance(event, Found):
            self._apply_found(event)
            return
        if isinstance(event, Tried) and self._search is not None:
            self._search = replace(self._search, tried=event.refined)
        if self.context.project is not None and self._job is not None:
            if self._recorder is None:
                # Not before: loading the model may have told of other layers.
                self._recorder = Recorder(self.context.project, self._job)
            try:
                self._recorder.take(event)  # type: ignore[arg-type]
            except Exception as error:
                self.problem.emit(Problem.of(error))
                self.runner.cancel()

    def _apply_found(self, event: Found) -> None:
        """Put what a search found in place, as one undo step."""
        project = self.context.project
        if project is None or self._search is None:
            return
        found = self._search.found(project, event.result)
        hint = next_step.after_search(found, project)
        self.context.replace_assignment(found, self._search.title, hint)

    def _apply_tried(self) -> None:
        """Put the best of what was run in place, be it after a cancel or a crash."""
        project, search = self.context.project, self._search
        best = None if project is None or search is None else search.best(project)
        if best is not None and search is not None and search.tried is not None:
            self.context.replace_assignment(best, search.title)
            self.context.message.emit(f"{search.title}: {search.tried.describe()}")

    @Slot(object)
    def _on_ended(self, status: object) -> None:
        recorder, self._recorder = self._recorder, None
        with self._telling():
            self._apply_tried()
        self._job = self._search = None
        if recorder is not None:
            known = {"complete": "complete", "cancelled": "cancelled"}
            with self._telling():
                recorder.end(known.get(str(status), "failed"))  # type: ignore[arg-type]
        state = self.runner.state
        if state is None:
            return
        project = self.context.project
        if status == "cancelled":
            self.context.message.emit(f"{state.title} cancelled; results so far kept.")
        elif status == "complete" and state.title != "Search" and project is not None:
            notes = " ".join(state.warnings[:3]) or next_step.after(
                state.title, project
            )
            self.context.message.emit(f"{state.title} complete. {notes}".strip())

    @Slot(object)
    def _on_failed(self, problem: Problem) -> None:
        self.openingChanged.emit("")
        state = self.runner.state
        if isinstance(self._job, Analyze | Evaluate) and state is not None:
            self._failed = self._job, state.title
            problem = replace(problem, remedies=remedies(self._job, problem))
        self.problem.emit(problem)

    @Slot(object)
    def try_again(self, remedy: object) -> None:
        """Start the job that failed once more, with what a `Remedy` changes."""
        if self._failed is None or self.context.project is None:
            return
        job, title = self._failed
        changed = remedied(job, str(remedy))
        if isinstance(changed, Analyze):
            # What was finished before the failure is not done twice.
            earlier = earlier_runs(self.context.project)
            changed = replace(changed, earlier=earlier)
        self._start(changed, title)

    def resume(self, run: int) -> None:
        """Go on with a run that was cancelled or interrupted, as it was begun."""
        project = self.context.project
        if project is not None:
            with self._telling():
                self._start(analysis_of_run(project, run), "Analysis")

    def shut_down(self) -> None:
        """End the worker and let go of the project."""
        self.runner.close()
        self.close_project()


def _absolute(source: str) -> str:
    """Return a path as absolute; other kinds of sources as they are."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def _title(source: str) -> str:
    return Path(source).name if Path(source).exists() else source


def _same_layers(first: ModelInfo, second: ModelInfo) -> bool:
    return [x.name for x in first.layers] == [x.name for x in second.layers]


def _with_macs(
    info: ModelInfo,
    known: ModelInfo,
    ties: tuple[tuple[int, ...], ...],
    sites: tuple[Site, ...],
) -> ModelInfo:
    """Return `info` with what a trace or the user added to the known description."""
    layers = tuple(
        replace(new, macs=new.macs or old.macs)
        for new, old in zip(info.layers, known.layers, strict=True)
    )
    return replace(info, layers=layers, ties=ties, sites=sites)
