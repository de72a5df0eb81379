"""Undo commands. An edit is kept as the assignment before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QUndoCommand

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment


class EditAssignment(QUndoCommand):
    """One edit of the assignment: bits, locks, or the whole of it.

    Assignments are immutable and share the arrays an edit does not touch, so the
    two ends of an edit cost two bytes per layer and undoing one is a swap.

    Args:
        project: Where the edit was made.
        before: The assignment it started from.
        after: The assignment it led to, already in place.
        text: What the undo menu says ("Set 30 layers to int4").
    """

    def __init__(
        self, project: Project, before: Assignment, after: Assignment, text: str
    ) -> None:
        """Keep both ends."""
        super().__init__(text)
        self._project = project
        self._before = before
        self._after = after
        self._done = True

    def redo(self) -> None:
        """Put the later assignment in place; nothing to do when pushed."""
        if not self._done:
            self._project.set_assignment(self._after)
        self._done = True

    def undo(self) -> None:
        """Put the earlier assignment back."""
        self._project.set_assignment(self._before)
        self._done = False
