"""One session: opening, saving and exporting; `Work` analyses and searches.

It knows no widgets and asks nothing; what goes wrong is told by `problem`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal, Slot

from analysis.errors import AnalysisError
from analysis.export.base import export
from analysis.load import factory, load, torch_export
from analysis.messages import Opened
from analysis.model import ModelInfo
from analysis.project import Project
from analysis.report import write_report
from app.context import AppContext
from app.errors import told
from app.guard import Guard
from app.jobs import JobRunner
from app.progress import JobState
from app.recovery import Lost
from app.scripts import Scripts
from app.settings import Settings
from app.widgets.format import count, set_digits
from app.work import Work
from quant_core.assignment import Assignment
from quant_core.sites import Site

PROJECT_SUFFIX = ".qscope"
UNREADABLE = (factory.LOADER, torch_export.LOADER)
"""Kinds of models whose layers are not known before the whole is loaded."""


class Session(QObject):
    """Owns the context and the worker, and does what commands ask for.

    Signals:
        problem: A `Problem` to show.
        openingChanged: What is being opened before there is a table; "" when done.

    Attributes:
        context: What the panels share.
        runner: The worker process.
        work: Its jobs.
        scripts: The same jobs as text.
        guard: Keeps edits safe.
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
        self.guard = Guard(self.context, settings, self)
        self.guard.problem.connect(self.problem)
        self.runner.opened.connect(self._on_opened)
        self.runner.stateChanged.connect(self._on_state)
        self.work = Work(self.context, self.runner, self.scripts, settings, self)
        self.work.problem.connect(self.problem)
        self.apply_preferences()

    def apply_preferences(self) -> None:
        """Save as often, compute and show numbers as the settings say."""
        preferences = self.settings.preferences
        set_digits(preferences.digits)
        self.guard.set_interval(preferences.autosave_seconds)
        self.runner.set_threads(preferences.threads)

    @property
    def runs_model(self) -> bool:
        """Whether the network can be run, as far as is known."""
        project = self.context.project
        if project is None:
            return False
        source = project.info.source
        return self._can_run.get(source, not source.endswith(".safetensors"))

    # -- opening ---------------------------------------------------------------

    def open(self, source: str) -> None:
        """Open a model or a project; the present one is closed."""
        with told(self.problem.emit):
            self._check_idle()
            path = Path(source).expanduser()
            if path.suffix == PROJECT_SUFFIX:
                self.open_now(path)
            else:
                self._open_model(_absolute(source))

    def _check_idle(self) -> None:
        if self.runner.is_busy:
            raise AnalysisError(
                "A job is running.", hint="Wait for its end, or cancel it first."
            )

    def open_now(self, path: Path) -> None:
        """Open a project file.

        Raises:
            AnalysisError: it cannot be read.
        """
        project = Project.open(path)
        held = self._present
        if held is not None and project.read_only and held.path == project.path:
            # It is we who hold the file. It can be read, so it can be let go.
            project.close()
            self.close_project()
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
        with told(self.problem.emit):
            self._check_idle()
            project = Project.open(Path(entry.path), draft=entry.is_draft)
            self._adopt(project)
            self.guard.recovery.done(entry)
            self._say_opened(project, entry.title)

    def _open_model(self, source: str) -> None:
        self._source = source
        if any(loader.accepts(source) for loader in UNREADABLE):
            self._put_aside()
            self.openingChanged.emit(f"Opening {source}…")
        else:
            info = load(source, headers_only=True).info
            self._adopt(Project.create(info))
            self._remember(info)
        self.runner.open(source, _title(source))

    @property
    def _present(self) -> Project | None:
        """The project in the window, or the one that waits for its return."""
        aside = self.context.aside
        return self.context.project if aside is None else aside

    def _put_aside(self) -> None:
        """Take the project off the window until another is known to open.

        It is not closed: its edits, its lock and the note for a crash stay.
        """
        self.guard.autosave()
        self.context.put_aside()

    @Slot(object)
    def _on_state(self, state: JobState | None) -> None:
        """Bring back what was put aside for a model that did not open."""
        if state is not None and state.status not in ("cancelled", "failed"):
            return
        self.openingChanged.emit("")
        self.context.bring_back()

    def _adopt(self, project: Project) -> None:
        """Show a project in place of the present one."""
        old = self._present
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
        with told(self.problem.emit):
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
        project = self._present
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
        with told(self.problem.emit):
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
            with told(self.problem.emit):
                project.keep_assignment(name, overwrite=True)
                self.context.message.emit(f"Kept as {name}.")

    def export(self, key: str, path: Path) -> None:
        """Write the present assignment; an existing file is replaced."""
        project = self.context.project
        if project is None:
            return
        with told(self.problem.emit):
            export(project, project.assignment, key, path, overwrite=True)
            self.scripts.note(self.scripts.of_export(key, path))
            self.context.message.emit(f"Wrote {path}.")

    def report(self, path: Path) -> None:
        """Write the report on the present assignment; a file there is replaced."""
        project = self.context.project
        if project is None:
            return
        with told(self.problem.emit):
            write_report(project, path, overwrite=True)
            self.scripts.note(self.scripts.of_report(path))
            self.context.message.emit(f"Wrote {path}.")

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
