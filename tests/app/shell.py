"""A whole window without a worker process, for tests of its shell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtWidgets import QMessageBox

from analysis.project import Project
from app.jobs import JobRunner
from app.main_window import MainWindow
from app.session import Session
from app.settings import Settings
from app.theme import theme
from tests.app.helpers import FakeClient


@contextmanager
def shell(
    qtbot, folder: Path, project: Project | None = None, size=(1280, 800)
) -> Iterator[MainWindow]:
    """Show a window on a project, or on the start page; close it at the end."""
    settings = Settings(folder / "settings.ini")
    session = Session(settings, runner=JobRunner(FakeClient()))
    window = MainWindow(settings, session)
    window.commander.ask.unsaved = lambda _: QMessageBox.StandardButton.Discard
    qtbot.addWidget(window)
    window.resize(*size)
    window.show()
    if project is not None:
        session.context.set_project(project)
    try:
        yield window
    finally:
        window.close()
        theme().set_mode("system")
