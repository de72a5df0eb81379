"""Keeping a project: what is in memory, in the journal and in the file."""

from __future__ import annotations

import contextlib
import operator
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from analysis.assignments import Assignments
from analysis.errors import AnalysisError
from analysis.journal import Record
from analysis.layout import (
    Tree,
    json_text,
    model_from,
    model_tree,
    run_from,
    run_tree,
    tree_of,
    tree_record,
)
from analysis.model import ModelInfo
from analysis.project_file import ProjectFile
from analysis.results import ResultTable
from analysis.runs import Runs
from analysis.scores import Scores
from analysis.store import Changes


class Persistent(Scores):
    """The half of `Project` that opens and saves it.

    Attributes:
        info: The model.
        recovered: Whether edits that a crashed process had not saved are back.
        notices: Sentences for the user about what was found while opening.
        is_draft: Whether the file is only a safeguard that nobody gave a name to:
            `path` is then None, and `save` needs one.

    Args:
        info: The model.
    """

    def __init__(self, info: ModelInfo) -> None:
        index = {layer.name: i for i, layer in enumerate(info.layers)}
        super().__init__(Runs(index, self._stored_array))
        self.info = info
        self.recovered = False
        self.notices: tuple[str, ...] = ()
        self._plans = Assignments(info)
        self._file: ProjectFile | None = None
        self.is_draft = False
        self._is_dirty = False
        self._pending = False
        # What closing would not lose, and what a crash would not.
        self._saved = self._safe = self._plans.documents()

    def _stored_array(self, run: int, name: str) -> NDArray[Any] | None:
        return None if self._file is None else self._file.store.array(run, name)

    def window(
        self, name: str, run: int, rows: slice, columns: slice
    ) -> NDArray[Any] | None:
        """Return a part of a kept 2-D array without reading the rest of it.

        Args:
            name: As in `Update.arrays`.
            run: The run that has it.
            rows: Which rows.
            columns: Which columns.

        Raises:
            AnalysisError: the file is gone or damaged.
        """
        fresh = self._runs.fresh(run).get(name)
        if fresh is not None or self._file is None:
            return None if fresh is None else fresh[rows, columns]
        return self._file.store.window(run, name, rows, columns)

    def shape_of(self, name: str, run: int) -> tuple[int, ...] | None:
        """Return the shape of a kept array, None when there is none.

        Raises:
            AnalysisError: the file is gone or damaged.
        """
        fresh = self._runs.fresh(run).get(name)
        if fresh is not None or self._file is None:
            return None if fresh is None else fresh.shape
        return self._file.store.shape(run, name)

    @classmethod
    def create(
        cls, info: ModelInfo, path: Path | str | None = None, *, overwrite: bool = False
    ) -> Self:
        """Return a new project, written to `path` at once when one is given.

        Raises:
            AnalysisError: the file exists (unless `overwrite`), another process has
                it open, or it cannot be written.
        """
        project = cls(info)
        if path is not None:
            project.save(path, overwrite=overwrite)
        return project

    def begin_draft(self, path: Path) -> None:
        """Keep a project that has no name yet in a file, in case the process dies.

        Results and `checkpoint`s go there as to any project file. `save` under a
        name and `close` delete it.

        Raises:
            AnalysisError: it cannot be written; the project stays in memory.
        """
        assert self._file is None
        file = ProjectFile.create(path, overwrite=False)
        try:
            file.commit(self._changes(everything=True, document=True), None)
        except BaseException:
            file.close()
            raise
        self._file, self.is_draft = file, True
        self._committed(document=True)

    @classmethod
    def open(cls, path: Path | str, *, draft: bool = False) -> Self:
        """Return the project of a file, with what a crashed process left behind.

        A project that another process has open comes read-only (`read_only`).

        Args:
            path: The project file.
            draft: Whether it is one that `begin_draft` made.

        Raises:
            AnalysisError: there is no such file, or it is no project, damaged, or
                of another version.
        """
        file, stored = ProjectFile.open(Path(path).absolute())
        try:
            project = cls(model_from(stored.model))
            project._file = file
            for run, tree in stored.runs.items():
                info, rows = run_from(tree)
                table = ResultTable(project._runs.layers)
                table.add(rows)
                project._runs.put(info, table, stored.array_names[run])
            project._plans.set_tree(stored.document)
            # Nobody agreed to anything in a draft yet.
            project._saved = () if draft else project._plans.documents()
            measured = Tree(items={"scores": stored.evaluations}).json("scores")
            project._measured = dict(measured)
            project._recover(file)
            project.is_draft = draft
            project._is_dirty = project._is_dirty or draft
            project._safe = project._plans.documents()
        except BaseException:
            file.close(keep_journal=True)
            raise
        return project

    def _recover(self, file: ProjectFile) -> None:
        """Take over the journal of a process that died, or that still writes."""
        checkpoint: Record | None = None
        for record in file.records:
            if record.kind == "checkpoint":
                checkpoint = record if record.data else None
            else:
                self._play(record)
        if checkpoint is not None and not file.read_only:
            self._plans.set_tree(tree_of(checkpoint))
            self.recovered = self._is_dirty = True
        self.notices = (file.notice,) if file.notice else ()
        if file.read_only:
            return
        self._runs.interrupt()
        if self._has_news():
            try:
                self._commit()
            except AnalysisError as error:
                self.notices += (str(error),)

    @property
    def path(self) -> Path | None:
        """The project file, None before the first save."""
        return None if self.is_draft else self.file_path

    @property
    def file_path(self) -> Path | None:
        """The file that is written to, a draft's too; None when there is none."""
        return None if self._file is None else self._file.path

    @property
    def is_replaced(self) -> bool:
        """Whether the file on disk is no longer the one this project wrote."""
        file = self._file
        return file is not None and not self.is_draft and not file.is_as_written()

    @property
    def read_only(self) -> str:
        """Why the file cannot be written, empty when it can; edits stay in memory."""
        return "" if self._file is None else self._file.read_only

    @property
    def dirty(self) -> bool:
        """Whether something would be lost by closing without `save`."""
        return self._is_dirty or (self.path is None and bool(self.runs))

    def _set_dirty(self, dirty: bool) -> None:
        """Note whether there are unsaved edits; `Project` tells its listeners."""
        self._is_dirty = dirty

    def _note_edit(self) -> None:
        """Note whether an edit left, or led back to, what was saved last."""
        self._set_dirty(not _same(self._plans.documents(), self._saved))

    def save(self, path: Path | str | None = None, *, overwrite: bool = False) -> None:
        """Write everything, edits included.

        Args:
            path: Another file, which the project then belongs to; None saves in
                place.
            overwrite: Whether another existing file may be replaced.

        Raises:
            AnalysisError: no path is known, the file exists (name clash), another
                process has it open, or it cannot be written; nothing is lost.
        """
        target = self.path if path is None else Path(path).absolute()
        if target is None:
            raise AnalysisError("The project has no file yet.", hint="Give it a name.")
        old, news = self._file, self._has_news()
        if old is not None and target == old.path:
            old.need_writable()
            self._commit(document=True)
        else:
            new = ProjectFile.create(target, overwrite=overwrite)
            base = old if old is not None and old.exists() else None
            try:
                new.commit(self._changes(everything=base is None, document=True), base)
            except BaseException:
                new.close()
                raise
            self._file = new
            self._committed(document=True)
            if old is not None and self.is_draft:
                old.delete()
                self.is_draft = False
            elif old is not None:
                # A journal with results stays, but the edits left with the copy.
                with contextlib.suppress(AnalysisError):
                    old.append(Record("checkpoint"))
                old.close(keep_journal=news)
        self._saved = self._plans.documents()
        self._set_dirty(False)

    def _has_news(self) -> bool:
        """Return whether results are not in the HDF5 file yet."""
        return self._pending or bool(self._runs.changed or self._runs.deleted)

    def _changes(self, *, everything: bool, document: bool) -> Changes:
        chosen = {run.id for run in self.runs} if everything else self._runs.changed
        infos = [run for run in self.runs if run.id in chosen]
        return Changes(
            model_tree(self.info) if everything or self._pending else None,
            self._plans.tree() if everything or document else None,
            json_text(self._measured),
            {i.id: run_tree(i, self._runs.table(i.id).packed()) for i in infos},
            {i.id: self._runs.fresh(i.id) for i in infos},
            tuple(self._runs.deleted),
        )

    def _commit(self, *, document: bool = False) -> None:
        """Merge all results, and the edits when asked, into the file."""
        file = self._file
        if file is None:
            return
        # Somebody may have deleted the file while the project was open.
        base = file if file.exists() else None
        file.commit(self._changes(everything=base is None, document=document), base)
        self._committed(document=document)
        if not document:
            self.checkpoint()

    def _committed(self, *, document: bool) -> None:
        self._runs.committed()
        self._pending = False
        # With the file began an empty journal: what it held of edits is gone.
        if document:
            self._safe = self._plans.documents()
        else:
            self._safe = () if self.is_draft else self._saved

    def checkpoint(self) -> None:
        """Keep unsaved edits in the journal, for `open` after a crash.

        Call it now and then (every 30 s, say); it writes a few bytes per layer, and
        nothing when nothing was edited since. Edits undone since are taken out.

        Raises:
            AnalysisError: the journal cannot be written.
        """
        plans = self._plans.documents()
        if self._file is None or self._file.read_only or _same(plans, self._safe):
            return
        if self._is_dirty or self.is_draft:
            self._file.append(tree_record("checkpoint", self._plans.tree()))
        else:
            self._file.append(Record("checkpoint"))
        self._safe = plans

    def close(self) -> None:
        """Let go of the file; edits that were not saved are given up, a draft too."""
        if self._file is None:
            return
        if self.is_draft and not self.read_only:
            self._file.delete()
            self._file, self.is_draft = None, False
            return
        self._is_dirty = False
        if self._has_news() and not self.read_only:
            with contextlib.suppress(AnalysisError):
                self._commit()
        self._file.close(keep_journal=self._has_news())
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- records ----------------------------------------------------------------------

    def _need_writable(self) -> None:
        if self._file is not None:
            self._file.need_writable()

    def _play(self, record: Record) -> None:
        if record.kind == "measured":
            self._put_measured(record)
            self._pending = True
        else:
            self._runs.play(record)

    def _do(self, record: Record) -> None:
        self._play(record)
        if self._file is not None:
            self._file.append(record)


def _same(plans: tuple[object, ...], others: tuple[object, ...]) -> bool:
    """Return whether two `Assignments.documents` are of the same objects."""
    return len(plans) == len(others) and all(map(operator.is_, plans, others))
