"""Questions that can wait: crashed sessions, files that changed on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QToolBar

from app.widgets.notice_bar import Notice, NoticeBar

if TYPE_CHECKING:
    from app.main_window import MainWindow

_LOST = "lost/"
_LATER = ("skip", "&Not now")
_DRAFT_CHOICES = (("recover", "&Recover"), _LATER, ("discard", "&Discard for good"))
_NAMED_CHOICES = (("recover", "&Open it again"), _LATER, ("discard", "&Forget"))


class Notices(QObject):
    """Asks in a line above the panels, and does what is answered.

    Args:
        window: The window; its session is asked to open and recover.

    Attributes:
        bar: The line.
    """

    def __init__(self, window: MainWindow) -> None:
        """Build the line; it is hidden while there is nothing to ask."""
        super().__init__(window)
        self._window = window
        self._session = window.session
        self._guard = window.session.guard
        self._files: dict[str, Path] = {}
        self._tools = QToolBar("Notices", window)
        self._tools.setObjectName("notices")
        self._tools.setMovable(False)
        self._tools.toggleViewAction().setVisible(False)
        self.bar = NoticeBar(window)
        self._tools.addWidget(self.bar)
        window.addToolBarBreak()
        window.addToolBar(self._tools)
        self.bar.chosen.connect(self._on_chosen)
        self.bar.filled.connect(self.show)
        self.bar.emptied.connect(self.show)
        self._guard.fileReplaced.connect(self._on_file)
        window.context.projectChanged.connect(self._on_project)
        self.show()

    @Slot()
    def show(self) -> None:
        """Show the line when there is something to ask."""
        self._tools.setVisible(self.bar.notice is not None)

    def offer_lost(self, *, again: bool = False) -> int:
        """Ask about sessions that died; return how many there are.

        Args:
            again: Also about those that the user put off.
        """
        entries = self._guard.recovery.lost()
        asked = [entry for entry in entries if again or not entry.skipped]
        for entry in asked:
            text = f"Quantscope ended unexpectedly with {entry.title}."
            choices = _DRAFT_CHOICES if entry.is_draft else _NAMED_CHOICES
            self.bar.ask(Notice(f"{_LOST}{entry.id}", text, choices))
        return len(asked)

    @Slot(object, object)
    def _on_file(self, path: Path, what: str) -> None:
        self._files[what] = path
        if what == "model":
            text = (
                f"{path.name} changed on disk after the model was opened; the "
                "results belong to what was opened."
            )
            choices = (("open", "&Open the changed model"), ("ignore", "&Ignore"))
        elif path.exists():
            text = (
                f"Another program changed {path.name}. Saving keeps what is shown "
                "here and overwrites the other."
            )
            choices = (("open", "&Reload"), ("ignore", "&Keep mine"))
        else:
            text = f"{path.name} was moved or deleted. Saving writes it again."
            choices = (("save", "&Save"), ("ignore", "&Ignore"))
        self.bar.ask(Notice(what, text, choices))

    @Slot()
    def _on_project(self) -> None:
        """Questions about files belong to the project that was open."""
        for what in ("model", "project"):
            self.bar.withdraw(what)

    @Slot(object, object)
    def _on_chosen(self, key: str, choice: str) -> None:
        if key.startswith(_LOST):
            self._on_lost(key.removeprefix(_LOST), choice)
        elif choice == "save":
            self._window.commander.do_save()
        elif choice == "open":
            project = self._window.context.project
            path = self._files[key]
            is_model = key == "model" and project is not None
            source = project.info.source if is_model and project else str(path)
            self._window.commander.open(source)

    def _on_lost(self, name: str, choice: str) -> None:
        recovery = self._guard.recovery
        entry = next((e for e in recovery.lost() if e.id == name), None)
        if entry is None:
            return
        if choice == "skip":
            recovery.skip(entry)
        elif choice == "discard":
            recovery.discard(entry)
        elif self._window.commander.may_discard():
            self._session.recover(entry)
