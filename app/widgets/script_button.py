"""A button that copies what a form asks for as a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton, QWidget

if TYPE_CHECKING:
    from analysis.script import Script


class ScriptButton(QPushButton):
    """Copies Python lines and command line; says so in place of its text.

    Args:
        make: Returns the script of what the form says now, None for no project.
        parent: Owner.
    """

    def __init__(
        self, make: Callable[[], Script | None], parent: QWidget | None = None
    ) -> None:
        """Build the button."""
        super().__init__("&Copy as script", parent)
        self._make = make
        self.setAutoDefault(False)
        self.setToolTip("Copy the Python lines and the command line that do the same")
        self.clicked.connect(self.copy)

    @Slot()
    def copy(self) -> None:
        """Put the script on the clipboard."""
        script = self._make()
        if script is not None:
            QGuiApplication.clipboard().setText(script.text)
            self.setText("&Copied")

    def renew(self, is_ready: bool) -> None:
        """Offer to copy again, after the form has changed.

        Args:
            is_ready: Whether the form can be carried out.
        """
        self.setText("&Copy as script")
        self.setEnabled(is_ready)
