"""Errors a person can act on: what, which value, what is allowed, what to do."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QMessageBox,
    QTextEdit,
    QWidget,
)

from quant_core.errors import QuantError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something to try, as a button of the error dialog.

    Attributes:
        key: What `Work.try_again` is told.
        text: On the button.
    """

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What happened, where, and what to do; the traceback is for a report.

    Attributes:
        what: What happened, one sentence.
        value: The value that was refused.
        allowed: What would be accepted.
        hint: What to do.
        details: The traceback.
        where: The step, layer or file at work; "" when it says nothing more.
        is_memory: Whether memory ran out, a normal accident of this work.
        remedies: What the dialog offers to try.
    """

    what: str
    value: str = ""
    allowed: str = ""
    hint: str = ""
    details: str = ""
    where: str = ""
    is_memory: bool = False
    remedies: tuple[Remedy, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """Return the parts of any exception; unexpected ones keep a traceback."""
        trace = "".join(traceback.format_exception(error))
        if isinstance(error, QuantError):
            return cls(
                error.what,
                error.value or "",
                error.allowed or "",
                error.hint or "",
                trace,
            )
        if isinstance(error, MemoryError):
            return cls(
                "There is not enough memory for this.",
                hint="Use fewer samples, or close other programs, and try again.",
                details=trace,
            )
        if isinstance(error, OSError):
            name = error.filename or ""
            reason = error.strerror or str(error)
            return cls(
                f"The file system refused: {reason}.",
                str(name),
                hint="Check the path, the permissions and the free space.",
                details=trace,
            )
        return cls(
            "Something in the program went wrong; your project is unchanged.",
            f"{type(error).__name__}: {error}",
            hint="Copy the report and send it to the developers.",
            details=trace,
        )

    @classmethod
    def of_dict(
        cls,
        parts: dict[str, str | None],
        details: str = "",
        *,
        where: str = "",
        is_memory: bool = False,
    ) -> Problem:
        """Return the parts of an error that came from another process."""
        return cls(
            parts.get("what") or "The analysis failed.",
            parts.get("value") or "",
            parts.get("allowed") or "",
            parts.get("hint") or "",
            details,
            where,
            is_memory,
        )

    def report(self) -> str:
        """Return all of it as plain text."""
        labelled = (
            ("", self.what),
            ("Where: ", self.where),
            ("Given: ", self.value),
            ("Allowed: ", self.allowed),
            ("What to do: ", self.hint),
            ("\n", self.details),
        )
        return "\n".join(f"{label}{text}" for label, text in labelled if text)


@contextmanager
def told(tell: Callable[[Problem], object]) -> Iterator[None]:
    """Hand what goes wrong inside the block to `tell`, and go on behind it."""
    try:
        yield
    except Exception as error:
        tell(Problem.of(error))


class ErrorDialog(QMessageBox):
    """Shows a `Problem` without stopping the rest of the window.

    Signals:
        remedyChosen: Key of the remedy whose button was pressed.
    """

    remedyChosen = Signal(object)  # noqa: N815 - Qt signal naming

    def __init__(self, problem: Problem, parent: QWidget | None = None) -> None:
        """Lay out the four parts; the traceback is behind *Show Details*."""
        super().__init__(parent)
        self.problem = problem
        self.setIcon(QMessageBox.Icon.Warning)
        self.setWindowTitle("Quantscope")
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setText(problem.what)
        parts = []
        if problem.where:
            parts.append(f"Where: {problem.where}")
        if problem.value:
            parts.append(f"Given: {problem.value}")
        if problem.allowed:
            parts.append(f"Allowed: {problem.allowed}")
        if problem.hint:
            parts.append(problem.hint)
        self.setInformativeText("\n\n".join(parts))
        if problem.details:
            self.setDetailedText(problem.details)
            if (details := self.findChild(QTextEdit)) is not None:
                details.setAccessibleName("Details")
        self._remedies = {
            self.addButton(remedy.text, QMessageBox.ButtonRole.AcceptRole): remedy.key
            for remedy in problem.remedies
        }
        self.addButton(
            QMessageBox.StandardButton.Close
            if problem.remedies
            else QMessageBox.StandardButton.Ok
        )
        self.buttonClicked.connect(self._on_button)
        copy = self.addButton("&Copy report", QMessageBox.ButtonRole.ActionRole)
        # A message box closes on any of its buttons unless they are taken over.
        copy.clicked.disconnect()
        copy.clicked.connect(self._copy)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setModal(False)

    @Slot(QAbstractButton)
    def _on_button(self, button: QAbstractButton) -> None:
        if button in self._remedies:
            self.remedyChosen.emit(self._remedies[button])

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.problem.report())


def show_problem(problem: Problem, parent: QWidget | None = None) -> ErrorDialog:
    """Log a problem and open its dialog, non-modal."""
    _log.warning("%s", problem.report())
    dialog = ErrorDialog(problem, parent)
    dialog.open() if parent is None else dialog.show()
    return dialog


class ExceptionHook(QObject):
    """Turns exceptions nobody caught into a dialog; at most one open at a time.

    Slots run inside Qt, where a raised exception has nowhere to go: it reaches
    `sys.excepthook`. Without this the window would seem to ignore the click.
    """

    raised = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Prepare; `install` takes effect."""
        super().__init__(parent)
        self._previous = sys.excepthook
        self._dialog: ErrorDialog | None = None
        # Queued: a dialog must not open in the middle of a paint event.
        self.raised.connect(self._show, Qt.ConnectionType.QueuedConnection)

    def install(self) -> None:
        """Become `sys.excepthook`."""
        self._previous = sys.excepthook
        sys.excepthook = self._hook

    def uninstall(self) -> None:
        """Give the earlier hook back."""
        if sys.excepthook == self._hook:
            sys.excepthook = self._previous

    def _hook(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        self._previous(kind, error, trace)
        self.raised.emit(Problem.of(error))

    @Slot(object)
    def _show(self, problem: Problem) -> None:
        if self._dialog is not None:
            return
        self._dialog = show_problem(problem, QApplication.activeWindow())
        self._dialog.finished.connect(self._closed)

    @Slot()
    def _closed(self) -> None:
        self._dialog = None
