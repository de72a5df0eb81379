"""Keeps what is open safe: autosave, a draft for unnamed work, watched files."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from analysis.errors import AnalysisError
from app.context import AppContext
from app.errors import Problem
from app.recovery import Recovery
from app.settings import Settings
from app.watch import FileWatch, model_files


class Guard(QObject):
    """Protects the project of a context against the death of this process.

    Signals:
        problem: A `Problem` to show.
        fileReplaced: `Path` of a file that another program changed, and what it
            is: "project" or "model".

    Attributes:
        recovery: The notes of this window and of those that died.
    """

    problem = Signal(object)
    fileReplaced = Signal(object, object)  # noqa: N815 - Qt signal naming

    def __init__(
        self, context: AppContext, settings: Settings, parent: QObject | None = None
    ) -> None:
        """Watch over nothing yet."""
        super().__init__(parent)
        self._context = context
        self.recovery = Recovery(settings.sessions_folder)
        self._may_draft = True
        self._watch = FileWatch(self)
        self._watch.changed.connect(self._on_file)
        self._autosave = QTimer(self)
        self._autosave.timeout.connect(self.autosave)
        context.dirtyChanged.connect(self._draft)
        context.runsChanged.connect(self._draft)

    def set_interval(self, seconds: int) -> None:
        """Keep edits as often as this [s]."""
        self._autosave.setInterval(1000 * seconds)

    def begin(self) -> None:
        """Protect the project that was opened, or saved under another name."""
        project = self._context.project
        if project is None:
            return
        self._may_draft = True
        self._autosave.start()
        path = project.file_path
        if path is None or project.read_only:
            self.recovery.forget()
        else:
            self._note(path, project.info.name, is_draft=project.is_draft)
        own = () if project.path is None else (project.path,)
        self._watch.watch((*own, *model_files(project.info.source)))

    def end(self) -> None:
        """The project was closed as it should be."""
        self._autosave.stop()
        self._watch.watch(())
        self.recovery.forget()

    def _note(self, path: Path, name: str, *, is_draft: bool) -> None:
        try:
            self.recovery.note(path, name, is_draft=is_draft)
        except OSError as error:
            self.problem.emit(Problem.of(error))

    @Slot()
    def autosave(self) -> None:
        """Keep edits where a crash cannot reach them."""
        project = self._context.project
        if project is not None:
            try:
                project.checkpoint()
            except AnalysisError as error:
                self.problem.emit(Problem.of(error))

    @Slot()
    def _draft(self) -> None:
        """Give a project without a name a draft, once there is something to lose."""
        project = self._context.project
        if project is None or project.file_path is not None or not project.dirty:
            return
        if not self._may_draft:
            return
        try:
            path = self.recovery.draft_path()
            self.recovery.note(path, project.info.name, is_draft=True)
            project.begin_draft(path)
        except (AnalysisError, OSError) as error:
            # Said once; the work goes on without.
            self._may_draft = False
            self.recovery.forget()
            self._context.message.emit(
                f"A crash would leave nothing of this project: {error} "
                "Save it under a name."
            )

    @Slot(object)
    def _on_file(self, path: Path) -> None:
        """Tell of a file that another program changed; nothing is read silently."""
        project = self._context.project
        if project is None:
            return
        if path != project.path:
            self.fileReplaced.emit(path, "model")
        elif project.is_replaced:
            self.fileReplaced.emit(path, "project")
