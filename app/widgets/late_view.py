"""A panel that renews what it shows only while it can be seen."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

STREAM_MS = 200
"""How long to wait for more results before showing them again."""


class LateView(QWidget):
    """Renews itself in a turn of its own, so that several changes cost one renewal.

    Args:
        parent: Owner.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Begin out of date."""
        super().__init__(parent)
        self._is_stale = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._catch_up)

    def renew(self) -> None:
        """Show what is true now."""
        raise NotImplementedError

    @Slot()
    def _on_any(self, *_: object) -> None:
        self._is_stale = True
        if self.isVisible():
            self._timer.start(0)

    @Slot()
    def _on_results(self, *_: object) -> None:
        self._is_stale = True
        if self.isVisible() and not self._timer.isActive():
            self._timer.start(STREAM_MS)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt naming
        """Catch up with what changed while hidden."""
        super().showEvent(event)
        self._catch_up()

    @Slot()
    def _catch_up(self) -> None:
        if self._is_stale and self.isVisible():
            self._is_stale = False
            self.renew()
