"""What happened, with level and time: log records, messages and warnings of jobs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import shiboken6
from PySide6.QtCore import QObject, Signal, Slot

if TYPE_CHECKING:
    from app.progress import JobState

LIMIT = 5000
"""Messages kept; beyond it the oldest tenth goes at once, not one by one."""
LEVELS: tuple[tuple[int, str], ...] = (
    (logging.INFO, "Info"),
    (logging.WARNING, "Warning"),
    (logging.ERROR, "Error"),
)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One message.

    Attributes:
        time: Seconds since the epoch.
        level: As in `logging`.
        source: Module or job it came from.
        text: What happened; several lines for a traceback.
    """

    time: float
    level: int
    source: str
    text: str

    @property
    def level_text(self) -> str:
        """The level as a word."""
        below = [text for level, text in LEVELS if level <= self.level]
        return below[-1] if below else "Debug"

    def line(self) -> str:
        """Return it as a line of a log file."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))
        return f"{when} {self.level_text.upper()} {self.source}: {self.text}"


class _Handler(logging.Handler):
    """Passes records on; they may come from any thread."""

    def __init__(self, book: Logbook) -> None:
        super().__init__(logging.INFO)
        self._book = book

    def emit(self, record: logging.LogRecord) -> None:
        # Python may log after Qt has taken the window apart.
        if shiboken6.isValid(self._book):
            text = self.format(record)
            entry = LogEntry(record.created, record.levelno, record.name, text)
            self._book.received.emit(entry)


class Logbook(QObject):
    """The messages of one session, the latest last.

    Attributes:
        entries: What is kept.

    Signals:
        received: A `LogEntry` from any thread; it is kept in the main one.
        added: One entry more, at the end.
        shortened: Entries were removed.
    """

    received = Signal(object)
    added = Signal(object)
    shortened = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Start empty; `install` makes it listen to `logging`."""
        super().__init__(parent)
        self.entries: list[LogEntry] = []
        self._handler = _Handler(self)
        self._warned: tuple[str, ...] = ()
        self.received.connect(self._keep)

    def install(self) -> None:
        """Listen to the records of this process."""
        logging.getLogger().addHandler(self._handler)

    def uninstall(self) -> None:
        """Stop listening."""
        logging.getLogger().removeHandler(self._handler)

    def add(self, level: int, source: str, text: str) -> None:
        """Keep a message of this moment."""
        self._keep(LogEntry(time.time(), level, source, text))

    @Slot(object)
    def add_message(self, text: object) -> None:
        """Keep a sentence of the status bar."""
        self.add(logging.INFO, "window", str(text))

    @Slot(object)
    def add_job(self, state: JobState | None) -> None:
        """Keep what a job warns of, each sentence once."""
        if state is None:
            return
        for text in state.warnings:
            if text not in self._warned:
                self.add(logging.WARNING, state.title, text)
        self._warned = state.warnings

    def clear(self) -> None:
        """Forget all messages."""
        self.entries.clear()
        self.shortened.emit()

    @Slot(object)
    def _keep(self, entry: LogEntry) -> None:
        self.entries.append(entry)
        if len(self.entries) > LIMIT:
            del self.entries[: LIMIT // 10]
            self.shortened.emit()
        else:
            self.added.emit(entry)
