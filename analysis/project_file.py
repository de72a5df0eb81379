"""The files of one project: lock, HDF5 file and journal, as one thing."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import datetime
from errno import ENOSPC
from pathlib import Path

from analysis.errors import AnalysisError
from analysis.journal import Journal, Record, read_journal
from analysis.lock import FileLock
from analysis.replace import remove_leftovers
from analysis.store import Changes, Header, ResultStore, Stored

SUFFIX = ".qscope"
"""How names of projects end."""


def now() -> str:
    """Return the time, ISO 8601 with time zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def refuse_foreign(path: Path) -> None:
    """Refuse to replace a file that is no project, whatever was asked for.

    A file whose name says that it is a project may be replaced, damaged or not.

    Raises:
        AnalysisError: a model, data or anything else would be lost.
    """
    if not path.is_file() or path.suffix.lower() == SUFFIX:
        return
    try:
        ResultStore(path).read_header()
    except AnalysisError as error:
        raise AnalysisError(
            "The file to replace is not a Quantscope project.",
            value=path,
            allowed=f"a project, or a name that ends in {SUFFIX}",
            hint="Choose another name.",
        ) from error


class ProjectFile:
    """Where a project is kept.

    Make one with `open` or `create`.

    Attributes:
        store: The HDF5 file.
        read_only: Why the file cannot be written, empty when it can.
        records: What a journal holds that the HDF5 file does not.
        notice: A sentence for the user, empty when all was in order.
    """

    def __init__(self, store: ResultStore, header: Header) -> None:
        self.store = store
        self.header = header
        self.read_only = ""
        self.records: tuple[Record, ...] = ()
        self.notice = ""
        self._lock: FileLock | None = None
        self._journal: Journal | None = None

    @property
    def path(self) -> Path:
        """The HDF5 file."""
        return self.store.path

    @classmethod
    def open(cls, path: Path) -> tuple[ProjectFile, Stored]:
        """Return the files of a project and what the HDF5 file holds.

        Where another process has the project open, or the folder cannot be
        written, `read_only` says so.

        Raises:
            AnalysisError: missing, not a project, damaged, or of a newer version.
        """
        store = ResultStore(path)
        lock, reason = _take_lock(path) if path.is_file() else (None, "")
        try:
            stored = store.read()
            file = cls(store, stored.header)
            file._lock, file.read_only = lock, reason
            file._take_journal()
        except BaseException:
            store.close()
            if lock is not None:
                lock.release()
            raise
        return file, stored

    def _take_journal(self) -> None:
        """Read the journal and, when the project is ours, continue it."""
        path, keep = _journal_path(self.path), 0
        found = read_journal(path)
        if found.owner == self.header.owner:
            self.records, keep = found.records, found.size
        elif found.owner and found.owner.partition(":")[0] != self.header.uuid:
            self.notice = f"{path.name} belongs to another project file."
            self.read_only = self.read_only or (
                f"{path.name} belongs to another project file and would be "
                "overwritten; move it away"
            )
        if not self.read_only:
            remove_leftovers(self.path)
            self._journal = Journal(path, self.header.owner, keep)

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> ProjectFile:
        """Return the files of a project that does not exist yet.

        Nothing is written before the first commit.

        Args:
            path: The HDF5 file to be.
            overwrite: Whether an existing file may be replaced.

        Raises:
            AnalysisError: the file exists, or is no project that could be replaced;
                another process has it open, or the folder cannot be written.
        """
        if path.exists() and not overwrite:
            raise AnalysisError(
                "A file of this name exists already.",
                value=path,
                hint="Choose another name, or ask for it to be replaced.",
            )
        refuse_foreign(path)
        lock, reason = _take_lock(path)
        if lock is None:
            raise AnalysisError(
                "The project cannot be written here.", value=path, hint=f"{reason}."
            )
        time = now()
        header = Header(uuid.uuid4().hex, -1, time, time)
        file = cls(ResultStore(path), header)
        file._lock = lock
        return file

    def need_writable(self) -> None:
        """Refuse to go on with a project that cannot be written.

        Raises:
            AnalysisError: it is read-only; why, and what to do.
        """
        if self.read_only:
            raise AnalysisError(
                "The project is open read-only.",
                value=self.path,
                hint=f"{self.read_only}.",
            )

    def append(self, record: Record) -> None:
        """Keep a record in the journal.

        Raises:
            AnalysisError: the journal cannot be written; the record is kept in
                memory and written with the next one.
        """
        if self._journal is not None:
            self._journal.append(record)

    def exists(self) -> bool:
        """Return whether the HDF5 file is there and is this project."""
        return self.header.generation >= 0 and self.path.exists()

    def is_as_written(self) -> bool:
        """Return whether the HDF5 file is there and has our last commit."""
        try:
            return self.store.read_header() == self.header
        except AnalysisError:
            return False

    def delete(self) -> None:
        """Let go of the files and delete them."""
        self.close()
        self.path.unlink(missing_ok=True)

    def commit(self, changes: Changes, base: ProjectFile | None) -> None:
        """Write changes to the HDF5 file and begin an empty journal.

        Args:
            changes: What differs from `base`.
            base: The project to start from: this one, the one it is a copy of, or
                None for an empty one.

        Raises:
            AnalysisError: the file cannot be written and is as it was.
        """
        header = dataclasses.replace(
            self.header, generation=self.header.generation + 1, saved=now()
        )
        self.store.commit(header, changes, None if base is None else base.store)
        self.header = header
        # The journal belongs to an older generation from here on, so a crash
        # before it is gone does no harm.
        path = _journal_path(self.path)
        if self._journal is not None:
            self._journal.close()
        path.unlink(missing_ok=True)
        self._journal = Journal(path, header.owner)

    def close(self, *, keep_journal: bool = False) -> None:
        """Let go of the files.

        Args:
            keep_journal: Leave the journal for the next `open`, because it holds
                what the HDF5 file does not.
        """
        if self._journal is not None:
            self._journal.close(remove=not keep_journal)
            self._journal = None
        self.store.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _journal_path(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def _take_lock(path: Path) -> tuple[FileLock | None, str]:
    """Return the lock of a project file, or None and the reason."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        if lock.acquire():
            return lock, ""
    except OSError as error:
        reason = f"The folder cannot be written ({error.strerror})"
        advice = "Free some space" if error.errno == ENOSPC else "Allow writing to it"
        return None, f"{reason}. {advice}, or work on a copy elsewhere"
    return None, (
        f"The project is open in {lock.holder()}. Close it there, or work on a copy"
    )
