"""What a window had open when its process died, and drafts of unnamed projects.

Every window keeps a note of its own, `<id>.json`, in one folder, with a lock that the
operating system drops when the process ends, however it ends. A note without a
holder of its lock is a crash; the next window offers to open what it names.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from analysis.lock import FileLock

_NOTE = ".json"
_DRAFT = ".draft.qscope"


@dataclass(frozen=True, slots=True)
class Lost:
    """A session whose process died.

    Attributes:
        id: Name of its note.
        path: The project file that was open.
        name: Name of the model.
        is_draft: Whether the project had no name yet, so that the file is ours.
        opened: When the project was opened, ISO 8601.
        skipped: Whether the user was asked before and put it off.
    """

    id: str
    path: str
    name: str
    is_draft: bool
    opened: str
    skipped: bool = False

    @property
    def title(self) -> str:
        """One line: which project, and when."""
        name = f"{self.name} (never saved)" if self.is_draft else Path(self.path).name
        return f"{name}, opened {self.opened.replace('T', ' ')[:16]}"


class Recovery:
    """The note of one window, and the notes that dead ones left.

    Args:
        folder: Where notes and drafts are; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._id = uuid.uuid4().hex
        self._lock: FileLock | None = None

    def draft_path(self) -> Path:
        """Return a file for a project without a name, which no other window uses.

        Raises:
            OSError: the folder cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{uuid.uuid4().hex}{_DRAFT}"

    def note(self, path: Path, name: str, *, is_draft: bool) -> None:
        """Write down what is open, in place of what was.

        Args:
            path: The project file; a draft is noted before it is made, so that a
                crash in between leaves nothing unknown behind.
            name: Name of the model.
            is_draft: Whether nobody gave the project a name yet.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            lock = FileLock(self._file(self._id, ".lock"))
            if lock.acquire():
                self._lock = lock
        opened = datetime.now().astimezone().isoformat(timespec="seconds")
        self._write(Lost(self._id, str(path), name, is_draft, opened))

    def forget(self) -> None:
        """Take the note back: the project was closed as it should be."""
        with contextlib.suppress(OSError):
            self._file(self._id, _NOTE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def lost(self) -> tuple[Lost, ...]:
        """Return the sessions that died, the latest first; those put off too."""
        found = []
        for path in sorted(self._folder.glob(f"*{_NOTE}")):
            entry = _read(path)
            if entry is None or entry.id == self._id or not self._is_dead(entry.id):
                continue
            if Path(entry.path).exists():
                found.append(entry)
            else:
                path.unlink(missing_ok=True)
        return tuple(sorted(found, key=lambda entry: entry.opened, reverse=True))

    def skip(self, entry: Lost) -> None:
        """Do not ask about a session again by ourselves."""
        self._write(Lost(**(asdict(entry) | {"skipped": True})))

    def done(self, entry: Lost) -> None:
        """Forget a session: what it named was opened, or is of no use."""
        self._file(entry.id, _NOTE).unlink(missing_ok=True)

    def discard(self, entry: Lost) -> None:
        """Forget a session, and delete the draft it left; named files stay."""
        if entry.is_draft:
            draft = Path(entry.path)
            for path in self._folder.glob(f"{draft.name}*"):
                path.unlink(missing_ok=True)
        self.done(entry)

    def _file(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}{suffix}"

    def _is_dead(self, name: str) -> bool:
        """Return whether no process holds the lock of a note."""
        lock = FileLock(self._file(name, ".lock"))
        try:
            if not lock.acquire():
                return False
        except OSError:
            return False
        lock.release()
        return True

    def _write(self, entry: Lost) -> None:
        path = self._file(entry.id, _NOTE)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(entry)), encoding="utf-8")
        temporary.replace(path)


def _read(path: Path) -> Lost | None:
    """Return what a note says; None for a damaged one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        entry = Lost(**data)
        texts = (entry.id, entry.path, entry.name, entry.opened)
    except (OSError, ValueError, TypeError):
        return None
    known = all(isinstance(text, str) for text in texts) and entry.id == path.stem
    return entry if known else None
