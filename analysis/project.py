"""Project: the truth about a model, its results and its assignments.

Scripts, the command line and the window all work on a `Project`; whoever wants to
know of changes connects to its signals. It knows no Qt and no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, ParamSpec

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from analysis.assignments import Indices
from analysis.errors import AnalysisError
from analysis.journal import Record
from analysis.method import Update
from analysis.model import ModelInfo, refuse_other_layers
from analysis.persistence import Persistent
from analysis.prediction import Prediction
from analysis.project_file import now
from analysis.runs import RunInfo
from analysis.scores import score
from quant_core.assignment import Assignment, Totals
from quant_core.scheme import Scheme
from quant_core.targets import get_target

__all__ = ["Project", "RunInfo"]

EndStatus = Literal["complete", "cancelled", "failed", "interrupted"]

P = ParamSpec("P")


class Project(Persistent):
    """A model with its runs, the assignment being edited and the kept ones.

    Results are safe at once: each update goes to a journal beside the file, and a
    run that ends is merged into the file. Edits of assignments make the project
    `dirty` until `save`. One process writes a project; others that open it get it
    read-only, with everything finished so far.

    Make one with `create` or `open`.

    Attributes:
        info: The model.
        recovered: Whether edits that a crashed process had not saved are back.
        notices: Sentences for the user about what was found while opening.

    Signals:
        layers_reset: The layer table is another one.
        rows_added: A measure has new rows or arrays (its key).
        runs_changed: A run began, ended or was deleted.
        assignment_changed: Layers whose scheme or lock changed, or whose choices
            did (sorted indices).
        assignments_changed: Kept assignments or measured scores changed.
        starred_changed: Layers whose bookmark changed (sorted indices).
        dirty_changed: Whether unsaved edits exist now.
    """

    layers_reset = Signal()
    rows_added = Signal(str)
    runs_changed = Signal()
    assignment_changed = Signal(object)
    assignments_changed = Signal()
    starred_changed = Signal(object)
    dirty_changed = Signal(bool)

    def _set_dirty(self, dirty: bool) -> None:
        before = self._is_dirty
        super()._set_dirty(dirty)
        if before != dirty:
            self.dirty_changed.emit(self.dirty)

    # -- model -----------------------------------------------------------------------

    def check_model(self, info: ModelInfo) -> None:
        """Refuse a model that is not the one of the project.

        Raises:
            AnalysisError: its weights differ (by digest).
        """
        if info.digest != self.info.digest:
            raise AnalysisError(
                "The project was made for another model.",
                value=f"{info.name} ({info.digest[:12]})",
                allowed=f"{self.info.name} ({self.info.digest[:12]})",
                hint="Open the model of the project, or start a new project.",
            )

    def update_model(self, info: ModelInfo) -> None:
        """Take over what more is known of the same model (sites, operations, ties).

        Raises:
            AnalysisError: another model, or other layers.
        """
        self.check_model(info)
        if info == self.info:
            return
        refuse_other_layers(info, self.info)
        self._plans.adopt(info)
        if not self._is_dirty:
            self._saved = self._plans.documents()
        self.info = info
        self._pending = True
        self.layers_reset.emit()

    def set_ties(self, ties: Iterable[Iterable[int]]) -> None:
        """Change which layers must share a precision.

        Raises:
            AnalysisError: an index is no layer, or is in two groups.
        """
        groups = tuple(tuple(sorted(map(int, group))) for group in ties)
        flat = [index for group in groups for index in group]
        layers = range(len(self.info.layers))
        if len(set(flat)) != len(flat) or not set(flat) <= set(layers):
            raise AnalysisError(
                "A layer can be in one tie only, and must exist.",
                allowed=f"indices 0 to {len(layers) - 1}, each once",
            )
        self.update_model(dataclasses.replace(self.info, ties=groups))

    @property
    def ties(self) -> tuple[tuple[int, ...], ...]:
        """Layers that change together: the ties of the model, then of the target."""
        return self._plans.ties

    @property
    def tie_groups(self) -> NDArray[np.int64]:
        """Group number per layer: equal where model or target tie layers (a copy)."""
        return self._plans.tie_groups

    @property
    def starred(self) -> NDArray[np.bool_]:
        """Which layers are bookmarked, `[layers]`, read-only."""
        return self._plans.starred

    def set_starred(self, indices: Indices, starred: bool) -> NDArray[np.int64]:
        """Bookmark layers or forget their bookmarks; return those that changed.

        Raises:
            AnalysisError: an index is no layer.
        """
        changed = self._plans.set_starred(indices, starred)
        if len(changed):
            self._note_edit()
            self.starred_changed.emit(changed)
        return changed

    # -- runs ------------------------------------------------------------------------

    def begin_run(self, measure: str, **meta: Any) -> int:
        """Begin a run and return its number.

        Args:
            measure: Key of the measure.
            **meta: Fields of `RunInfo`: unit, better, samples, seed, params, task,
                data_source, data_digest, state, total.

        Raises:
            AnalysisError: the project is read-only, or a field is unknown.
        """
        self._need_writable()
        record = self._runs.begin_record(measure, now(), meta)
        self._do(record)
        self.runs_changed.emit()
        return int(record.data["id"])

    def resume_run(self, run: int) -> None:
        """Set an ended run running again; its rows and arrays stay.

        Raises:
            AnalysisError: the project is read-only, or there is no such run.
        """
        self._need_writable()
        self._do(Record("status", {"run": run, "status": "running"}))
        self.runs_changed.emit()

    def apply(self, run: int, update: Update) -> None:
        """Take over an update of a running run, and keep it in the journal.

        Raises:
            AnalysisError: the run does not run; an array cannot be kept; or the
                disk is full, and then the update is kept in memory all the same.
        """
        record = self._runs.rows_record(run, update)
        try:
            self._do(record)
        finally:
            if update.rows or update.arrays:
                self.rows_added.emit(self._runs.info(run).measure)

    def end_run(self, run: int, status: EndStatus = "complete") -> None:
        """End a run and merge its results into the file.

        Raises:
            AnalysisError: there is no such run, or the file cannot be written; the
                results then stay in memory and in the journal.
        """
        try:
            self._do(Record("status", {"run": run, "status": status}))
            self._commit()
        finally:
            self.runs_changed.emit()

    def delete_run(self, run: int) -> None:
        """Delete a run with its rows and arrays.

        Raises:
            AnalysisError: the project is read-only, or there is no such run.
        """
        self._need_writable()
        self._do(Record("delete", {"run": run}))
        self.runs_changed.emit()

    # -- the assignment ----------------------------------------------------------------

    @property
    def assignment(self) -> Assignment:
        """The assignment being edited; it never changes, another takes its place."""
        return self._plans.current

    def set_assignment(self, assignment: Assignment) -> NDArray[np.int64]:
        """Replace the assignment and return the layers that differ.

        Raises:
            AnalysisError: it belongs to another model.
        """
        return self._edited(self._plans.replace, assignment)

    def set_weight(
        self, indices: Indices, scheme: Scheme | None, *, ties: bool = True
    ) -> NDArray[np.int64]:
        """Give layers a weight scheme and return the layers that changed.

        Locked layers stay as they are, and so do layers tied to a locked one.

        Args:
            indices: Layers.
            scheme: None keeps the stored float.
            ties: Whether tied layers change along.

        Raises:
            AnalysisError: an index is no layer.
            QuantError: the group size of the scheme does not fit a layer.
        """
        return self._edited(self._plans.set_weight, indices, scheme, ties)

    def set_input(
        self, indices: Indices, scheme: Scheme | None, *, ties: bool = True
    ) -> NDArray[np.int64]:
        """Give the inputs of layers a scheme, like `set_weight`."""
        return self._edited(self._plans.set_input, indices, scheme, ties)

    def set_locked(self, indices: Indices, locked: bool) -> NDArray[np.int64]:
        """Lock or unlock layers and return those that changed."""
        return self._edited(self._plans.set_locked, indices, locked)

    def _edited(
        self, edit: Callable[P, NDArray[np.int64]], *args: P.args, **kwargs: P.kwargs
    ) -> NDArray[np.int64]:
        before = self.assignment
        changed = edit(*args, **kwargs)
        if len(changed) or self.assignment.digest != before.digest:
            self._note_edit()
            self.assignment_changed.emit(changed)
        return changed

    @property
    def target(self) -> str:
        """Name of the deployment target that choices are checked against."""
        return self._plans.target

    @target.setter
    def target(self, name: str) -> None:
        if name != self._plans.target:
            self._plans.set_target(name)
            self._note_edit()
            self.assignment_changed.emit(np.arange(len(self.info.layers)))

    def refused(self, scheme: Scheme | None, index: int) -> str | None:
        """Return why the target cannot run a layer's weights so, or None if it can."""
        layer = self.info.layers[index]
        return get_target(self.target).refuses(scheme, layer, "weight")

    # -- kept assignments --------------------------------------------------------------

    @property
    def assignments(self) -> dict[str, Assignment]:
        """The kept assignments by name (a copy)."""
        return dict(self._plans.kept)

    def find_assignment(self, name: str) -> Assignment:
        """Return a kept assignment.

        Raises:
            AnalysisError: there is none of this name.
        """
        return self._plans.get(name)

    def keep_assignment(self, name: str, *, overwrite: bool = False) -> None:
        """Keep the assignment being edited under a name.

        Raises:
            AnalysisError: the name is empty or taken (unless `overwrite`).
        """
        self.add_assignment(name, self.assignment, overwrite=overwrite)

    def add_assignment(
        self,
        name: str,
        assignment: Assignment,
        provenance: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Keep any assignment of this model under a name.

        Args:
            name: How to call it.
            assignment: Of this model.
            provenance: Where it came from; None keeps what the assignment says.
            overwrite: Whether an assignment of this name may be replaced.

        Raises:
            AnalysisError: another model, or the name is empty or taken.
        """
        if provenance is not None:
            assignment = assignment.with_provenance(**provenance)
        self._plans.keep(name, self._plans.ours(assignment), overwrite)
        self._note_edit()
        self.assignments_changed.emit()

    def delete_assignment(self, name: str) -> None:
        """Delete a kept assignment.

        Raises:
            AnalysisError: there is none of this name.
        """
        self._plans.get(name)
        del self._plans.kept[name]
        self._note_edit()
        self.assignments_changed.emit()

    # -- numbers of the assignment -----------------------------------------------------

    @property
    def totals(self) -> Totals:
        """Size, average bits and operations of the assignment being edited."""
        return self.assignment.totals()

    @property
    def prediction(self) -> Prediction | None:
        """Predicted error of the assignment being edited, None before a prediction."""
        return self.predict(self.assignment)

    @property
    def measured(self) -> dict[str, Any] | None:
        """Last measured score of exactly the assignment being edited, if any."""
        return self.measured_of(self.assignment)

    def record_measured(
        self,
        assignment: Assignment,
        value: float,
        stderr: float,
        unit: str,
        samples: int,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Keep the measured error of a whole assignment.

        Raises:
            AnalysisError: the project is read-only, or the disk is full (the score
                is then kept in memory).
        """
        self._need_writable()
        size = assignment.totals().bytes
        entry = score(value, stderr, unit, samples, metrics, now(), size)
        try:
            self._do(Record("measured", {"digest": assignment.digest, "score": entry}))
        finally:
            self.assignments_changed.emit()
