"""What every view is given: the project, the selection and the undo stack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtGui import QUndoGroup, QUndoStack

from app.commands import EditAssignment
from app.models.target_fits import TargetFits
from app.selection import Selection, as_indices
from app.widgets.format import count

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme

UNDO_LIMIT = 500
_SIGNALS = (
    "layers_reset",
    "rows_added",
    "runs_changed",
    "assignment_changed",
    "assignments_changed",
    "starred_changed",
    "dirty_changed",
)


@dataclass(frozen=True)
class _Aside:
    """A project that left the window for a while, with what it had there."""

    project: Project
    layers: NDArray[np.int64]
    current: int
    undo_stack: QUndoStack


class AppContext(QObject):
    """The project in the window, and the way views change it.

    The signals of the project are passed on once per turn of the event loop,
    however often they fired, so a burst of results costs one repaint.

    Signals:
        projectChanged: Another project, or none, or its layer list is new.
        assignmentChanged: Sorted array of the layers whose scheme or lock changed.
        rowsAdded: Key of the measure that has new rows or arrays.
        runsChanged: A run began or ended.
        assignmentsChanged: The kept assignments or measured scores changed.
        starredChanged: Bookmarks of layers changed.
        dirtyChanged: `project.dirty` may have changed.
        channelChosen: `(layer, channel)` that a person pointed at in a plot.
        message: A sentence for the status bar.

    Attributes:
        selection: The layers that are selected.
        undo_group: Offers the undo steps of the project in the window.
        undo_stack: These steps.
    """

    projectChanged = Signal()  # noqa: N815 - Qt signal naming
    assignmentChanged = Signal(object)  # noqa: N815
    rowsAdded = Signal(object)  # noqa: N815
    runsChanged = Signal()  # noqa: N815
    assignmentsChanged = Signal()  # noqa: N815
    starredChanged = Signal()  # noqa: N815
    dirtyChanged = Signal()  # noqa: N815
    channelChosen = Signal(object)  # noqa: N815
    message = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a project."""
        super().__init__(parent)
        self._project: Project | None = None
        self.selection = Selection(self)
        self._aside: _Aside | None = None
        self.undo_group = QUndoGroup(self)
        self.undo_stack = self._new_stack()
        self.undo_group.setActiveStack(self.undo_stack)
        self._layers: list[NDArray[np.int64]] = []
        self._measures: list[str] = []
        self._flags: set[str] = set()
        self._fits: TargetFits | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._flush)

    # -- project ---------------------------------------------------------------

    @property
    def project(self) -> Project | None:
        """The open project; None on the start page."""
        return self._project

    @property
    def aside(self) -> Project | None:
        """The project that was put aside and may come back."""
        return None if self._aside is None else self._aside.project

    def set_project(self, project: Project | None) -> None:
        """Show another project, or none; the old one is left to its owner."""
        if self._aside is not None:
            self._aside.undo_stack.deleteLater()
            self._aside = None
        if project is not self._project:
            self.undo_stack.deleteLater()
            self._show(project, self._new_stack())

    def put_aside(self) -> None:
        """Take the project off the window, until `bring_back` or another one."""
        project, chosen = self._project, self.selection
        if project is not None:
            self._aside = _Aside(
                project, chosen.layers, chosen.current, self.undo_stack
            )
            self._show(None, self._new_stack())

    def bring_back(self) -> None:
        """Show what was put aside as it was, undo steps included."""
        kept, self._aside = self._aside, None
        if kept is not None:
            self.undo_stack.deleteLater()
            self._show(kept.project, kept.undo_stack)
            self.selection.set(kept.layers, kept.current)

    def _new_stack(self) -> QUndoStack:
        stack = QUndoStack(self)
        stack.setUndoLimit(UNDO_LIMIT)
        self.undo_group.addStack(stack)
        return stack

    def _show(self, project: Project | None, undo_stack: QUndoStack) -> None:
        if self._project is not None:
            for name in _SIGNALS:
                slot = getattr(self, f"_on_{name}")
                getattr(self._project, name).disconnect(slot)
        self._timer.stop()
        self._layers, self._measures, self._flags = [], [], set()
        self._project = project
        self.undo_stack = undo_stack
        self.undo_group.setActiveStack(undo_stack)
        if project is not None:
            for name in _SIGNALS:
                getattr(project, name).connect(getattr(self, f"_on_{name}"))
        first = [] if project is None or not project.info.layers else [0]
        self.selection.restart(first)
        self.projectChanged.emit()
        self.selection.changed.emit()

    def _on_layers_reset(self) -> None:
        self._note("layers_reset")

    def _on_rows_added(self, measure: str) -> None:
        if measure not in self._measures:
            self._measures.append(measure)
        self._note("rows_added")

    def _on_runs_changed(self) -> None:
        self._note("runs_changed")

    def _on_assignment_changed(self, indices: object) -> None:
        self._layers.append(np.asarray(indices, dtype=np.int64).ravel())
        self._note("assignment_changed")

    def _on_assignments_changed(self) -> None:
        self._note("assignments_changed")

    def _on_starred_changed(self, _indices: object) -> None:
        self._note("starred_changed")

    def _on_dirty_changed(self, dirty: bool) -> None:
        self._note("dirty_changed")

    def _note(self, flag: str) -> None:
        self._flags.add(flag)
        self._timer.start()

    @Slot()
    def _flush(self) -> None:
        flags, layers, measures = self._flags, self._layers, self._measures
        self._flags, self._layers, self._measures = set(), [], []
        if "layers_reset" in flags:
            self.projectChanged.emit()
        if layers:
            changed = layers[0] if len(layers) == 1 else np.concatenate(layers)
            self.assignmentChanged.emit(as_indices(changed))
        for measure in measures:
            self.rowsAdded.emit(measure)
        if "runs_changed" in flags:
            self.runsChanged.emit()
        if "assignments_changed" in flags:
            self.assignmentsChanged.emit()
        if "starred_changed" in flags:
            self.starredChanged.emit()
        if "dirty_changed" in flags:
            if self._project is not None and not self._project.dirty:
                self.undo_stack.setClean()
            self.dirtyChanged.emit()

    def retell(self) -> None:
        """Let every view write anew what it shows: numbers look different now."""
        project = self._project
        if project is None:
            return
        self.assignmentChanged.emit(np.arange(len(project.info.layers)))
        for measure in dict.fromkeys(run.measure for run in project.runs):
            self.rowsAdded.emit(measure)
        self.runsChanged.emit()
        self.assignmentsChanged.emit()

    def choose_channel(self, layer: int, channel: int) -> None:
        """Mark an output channel of a layer in every plot that shows it."""
        self.channelChosen.emit((layer, channel))

    # -- edits -----------------------------------------------------------------

    def set_weight(
        self, indices: Iterable[int] | NDArray[np.integer], scheme: Scheme | None
    ) -> None:
        """Give layers a weight scheme, as one undo step.

        Locked layers are skipped and tied layers change together; the message
        says how many of each.
        """
        project = self._project
        if project is None:
            return
        asked = as_indices(indices)
        label = "float" if scheme is None else scheme.key
        fits = self.target_fits(project).mask(scheme)[asked]
        refused = int((~fits).sum())
        asked = asked[fits]
        before = project.assignment
        changed = np.asarray(project.set_weight(asked, scheme), dtype=np.int64)
        text = f"Set {count(len(changed), 'layer')} to {label}"
        self._push(before, text, len(changed))
        notes = [f"{text}." if len(changed) else f"Nothing to set to {label}."]
        unasked = np.ones(len(before), dtype=np.bool_)
        unasked[asked] = False
        tied = int(np.count_nonzero(unasked[changed]))
        if tied:
            notes.append(f"{count(tied, 'tied layer')} changed along.")
        held = _others(project.assignment, asked, scheme)
        if held:
            notes.append(f"{count(held, 'layer')} kept: locked, or tied to one.")
        if refused:
            notes.append(
                f"{count(refused, 'layer')} skipped: "
                f"the target {project.target} cannot run {label} there."
            )
        self.message.emit(" ".join(notes))

    def set_input(
        self, indices: Iterable[int] | NDArray[np.integer], scheme: Scheme | None
    ) -> None:
        """Give the inputs of layers a scheme, as one undo step.

        Locked layers are skipped and tied layers change together.
        """
        project = self._project
        if project is None:
            return
        before = project.assignment
        changed = len(project.set_input(as_indices(indices), scheme))
        label = "float" if scheme is None else scheme.key
        text = f"Set the input of {count(changed, 'layer')} to {label}"
        self._push(before, text, changed)
        self.message.emit(
            f"{text}." if changed else "Nothing changed: locked or equal."
        )

    def set_locked(
        self, indices: Iterable[int] | NDArray[np.integer], locked: bool
    ) -> None:
        """Lock or unlock layers, as one undo step."""
        project = self._project
        if project is None:
            return
        asked, before = as_indices(indices), project.assignment
        number = int(np.count_nonzero(before.locked[asked] != locked))
        if not number:
            return
        project.set_locked(asked, locked)
        verb, number_of = "Lock" if locked else "Unlock", count(number, "layer")
        self._push(before, f"{verb} {number_of}", number)
        self.message.emit(f"{verb}ed {number_of}.")

    def replace_assignment(
        self, assignment: Assignment, text: str, hint: str = ""
    ) -> None:
        """Put another assignment in place, as one undo step.

        Args:
            assignment: Of the same model.
            text: Name of the step.
            hint: What the message ends with.
        """
        project = self._project
        if project is None:
            return
        before = project.assignment
        changed = len(project.set_assignment(assignment))
        self._push(before, text, changed)
        told = f"{count(changed, 'layer')} changed" if changed else "nothing to change"
        self.message.emit(f"{text}: {told}. {hint}".rstrip())

    def take_over(
        self, source: Assignment, layers: NDArray[np.int64], name: str
    ) -> None:
        """Give layers the formats they have in another assignment, as one undo step.

        Locked layers are skipped and tied layers change along.

        Args:
            source: Of the same model.
            layers: Layer indices.
            name: What the source is called.
        """
        project = self._project
        if project is None:
            return
        before = project.assignment
        for entries, edit in (
            (source.weight, project.set_weight),
            (source.input, project.set_input),
        ):
            for entry in np.unique(entries[layers]).tolist():
                edit(layers[entries[layers] == entry], source.palette[entry])
        changed = len(before.diff(project.assignment))
        text = f"{count(changed, 'layer')} from {name}"
        self._push(before, f"Copy {text}", changed)
        self.message.emit(
            f"Copied {text}." if changed else f"Nothing to copy from {name}."
        )

    def refusal(self, scheme: Scheme | None, layers: NDArray[np.int64]) -> str | None:
        """Return why the target runs none of the layers in a scheme, None if some."""
        project = self._project
        if project is None or scheme is None or not len(layers):
            return None
        if self.target_fits(project).mask(scheme)[layers].any():
            return None
        return project.refused(scheme, int(layers[0]))

    def target_fits(self, project: Project) -> TargetFits:
        """Return what the target can run, for the present layer table."""
        if self._fits is None or not self._fits.is_for(project):
            self._fits = TargetFits(project)
        return self._fits

    def _push(self, before: Assignment, text: str, changed: int) -> None:
        project = self._project
        if project is not None and changed:
            self.undo_stack.push(
                EditAssignment(project, before, project.assignment, text)
            )

    # -- numbers ---------------------------------------------------------------

    def measure_table(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
        """Return predicted errors of all layers in all analysed weight formats.

        Returns:
            Values `[layers, formats]` and standard errors of the same shape, NaN
            where missing, and the scheme keys, in palette order.
        """
        if self._project is None:
            return np.zeros((0, 0)), np.zeros((0, 0)), ()
        project, layers = self._project, len(self._project.info.layers)
        keys = tuple(project.formats("predicted_error", "error", "weight"))
        values = np.full((layers, len(keys)), np.nan)
        stderrs = values.copy()
        for column, key in enumerate(keys):
            asked = ("predicted_error", key, "error", "weight")
            values[:, column] = project.values(*asked)
            stderrs[:, column] = project.stderrs(*asked)
        return values, stderrs, keys


def _others(
    assignment: Assignment, layers: NDArray[np.int64], scheme: Scheme | None
) -> int:
    """Return how many of the layers are in another scheme."""
    palette = assignment.palette
    entry = palette.index(scheme) if scheme in palette else -1
    return int(np.count_nonzero(assignment.weight[layers] != entry))
