"""What an exporter is given, what it offers, and how its file reaches the disk."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.method import Update

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

ErrorLookup = Callable[[str, str], NDArray[np.float64]]


@dataclass(frozen=True)
class Subject:
    """What is exported: an assignment and what is known about it.

    Attributes:
        assignment: Schemes of layers and sites.
        name: Its name in the project; "" when it has none.
        errors: Returns the predicted errors of all layers `[L]` for
            (format key, "value" or "stderr"), NaN where not analysed.
        unit: Unit of those errors; "" before they were computed.
        notes: Facts added to the provenance (measure, samples ...).
    """

    assignment: Assignment
    name: str = ""
    errors: ErrorLookup | None = None
    unit: str = ""
    notes: Mapping[str, object] = field(default_factory=dict)


class Exporter(Protocol):
    """A frozen dataclass whose `run` writes one file."""

    key: ClassVar[str]
    title: ClassVar[str]
    suffix: ClassVar[str]

    def run(self, subject: Subject, path: Path) -> Iterator[Update]:
        """Write `subject` to `path`, yielding updates until done."""
        ...


def find_exporter(key: str) -> type[Exporter]:
    """Return the exporter called `key`.

    Raises:
        AnalysisError: there is none.
    """
    from analysis.export import EXPORTERS

    for exporter in EXPORTERS:
        if exporter.key == key:
            return exporter
    raise AnalysisError(
        "There is no such export format.",
        value=key,
        allowed=", ".join(e.key for e in EXPORTERS),
        hint="`quantscope methods` describes them.",
    )


def subject_of(project: Project, assignment: Assignment, name: str = "") -> Subject:
    """Return what exporters need to know of an assignment of `project`."""
    run = project.latest_run("predicted_error")
    if run is None:
        return Subject(assignment, name)

    def errors(scheme: str, what: str) -> NDArray[np.float64]:
        lookup = project.values if what == "value" else project.stderrs
        return np.asarray(lookup("predicted_error", format=scheme))

    notes = {"measure": run.measure, "samples": run.samples, "task": run.task}
    return Subject(assignment, name, errors, run.unit, notes)


def export(
    project: Project,
    assignment: Assignment,
    key: str,
    path: str | Path,
    *,
    name: str = "",
    overwrite: bool = False,
) -> Path:
    """Write an assignment of a project with the exporter called `key`.

    Args:
        project: Where the assignment and the results come from.
        assignment: What to write.
        key: "json", "csv" ...
        path: File to write.
        name: Name of the assignment, for the file's own record.
        overwrite: Replace an existing file.

    Returns:
        The path written.

    Raises:
        AnalysisError: unknown exporter, or the file exists or cannot be written.
    """
    target = Path(path)
    exporter = find_exporter(key)()
    check_free(target, overwrite, project)
    for _ in exporter.run(subject_of(project, assignment, name), target):
        pass
    return target


def check_free(path: Path, overwrite: bool, project: Project | None = None) -> None:
    """Refuse to write over a file that nobody asked to replace.

    Args:
        path: The file to be.
        overwrite: Whether an existing file may be replaced.
        project: Its own file, its model and its data are never replaced.

    Raises:
        AnalysisError: `path` is a folder, or a file and not to be replaced, or in
            a folder that does not exist.
    """
    if path.is_dir():
        raise AnalysisError(
            "The file to write is a folder.", value=path, hint="Name a file in it."
        )
    if path.is_file() and not overwrite:
        raise AnalysisError(
            "The file to write exists already.",
            value=path,
            hint="Choose another name, or allow replacing it with --overwrite.",
        )
    if project is not None and path.is_file():
        for read in _files_of(project):
            if read.is_file() and path.samefile(read):
                raise AnalysisError(
                    "The file to write is one that the project is made of.",
                    value=path,
                    hint="Choose another name.",
                )
    if not path.parent.is_dir():
        raise AnalysisError(
            "The folder of the file to write does not exist.",
            value=path.parent,
            hint="Create it first.",
        )


def _files_of(project: Project) -> set[Path]:
    """Return the file of a project and those that its results were made from."""
    own = set() if project.file_path is None else {project.file_path}
    sources = {project.info.source, *(run.data_source for run in project.runs)}
    return own | {Path(source) for source in sources if source}


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is either complete or as it was before.

    The text goes to a temporary neighbour that is synced and renamed. What is not
    a regular file (`/dev/stdout`, a pipe) is written directly: renaming would
    replace the device.

    Raises:
        AnalysisError: the disk is full, or the file cannot be written.
    """
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            return
        _replace(path, text)
    except OSError as error:
        full = "Free some space or choose" if error.errno == errno.ENOSPC else "Choose"
        raise AnalysisError(
            f"The file could not be written: {error.strerror or error}.",
            value=path,
            hint=f"Nothing was changed. {full} another place.",
        ) from error


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only the owner may read.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def finished(rows: Sequence[object], path: Path) -> Update:
    """Return the last update of an exporter that wrote `rows` to `path`."""
    count = float(max(1, len(rows)))
    return Update(count, count, note=f"wrote {path.name}")
