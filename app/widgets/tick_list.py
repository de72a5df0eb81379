"""Several of a few choices, as a grid of boxes."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from app.widgets.tick_box import TickBox

ACROSS = 3


class TickList(QWidget):
    """Boxes of which any number may be ticked.

    Signals:
        changed: A box was ticked or cleared.

    Args:
        choices: Text of each box.
        parent: Owner.
    """

    changed = Signal()

    def __init__(self, choices: Sequence[str], parent: QWidget | None = None) -> None:
        """Make the boxes, none of them ticked."""
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        self.boxes = [TickBox(choice, self) for choice in choices]
        for number, box in enumerate(self.boxes):
            grid.addWidget(box, number // ACROSS, number % ACROSS)
            box.toggled.connect(self.changed)
        self.setFocusProxy(self.boxes[0])

    def set_title(self, title: str) -> None:
        """Say to a screen reader what the boxes belong to."""
        self.setAccessibleName(title)
        for box in self.boxes:
            box.setAccessibleName(f"{title}: {box.text()}")

    def chosen(self) -> list[str]:
        """Return the texts of the ticked boxes."""
        return [box.text() for box in self.boxes if box.isChecked()]

    def choose(self, chosen: Sequence[str]) -> None:
        """Tick these boxes and clear the others."""
        for box in self.boxes:
            box.setChecked(box.text() in chosen)
