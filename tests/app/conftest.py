"""Window tests: patient, because waits fail only when nothing happens; alike."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.context import AppContext
from app.views.layer_table import LayerTableView
from app.widgets.format import DIGITS, set_digits
from tests.app.helpers import analysed

PATIENCE = 120_000  # ms; a busy machine may stand still for seconds


class PatientBot(QtBot):  # type: ignore[misc]
    """A `QtBot` whose waits give up after `PATIENCE` unless told otherwise.

    It holds on to its widgets. A closed window that nothing holds would be taken apart
    by the garbage collector, at any moment and in any order: plots whose axes are gone
    while their ranges still change end the process.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        self._held: list[QWidget] = []

    def addWidget(self, widget: QWidget, **how: Any) -> None:
        if widget.parent() is None:  # others Qt deletes with theirs
            self._held.append(widget)
        super().addWidget(widget, **how)

    def waitUntil(
        self, callback: Callable[[], object], *, timeout: int = PATIENCE
    ) -> None:
        super().waitUntil(callback, timeout=timeout)

    def waitSignal(self, signal: Any, *, timeout: int = PATIENCE, **how: Any) -> Any:
        return super().waitSignal(signal, timeout=timeout, **how)


@pytest.fixture
def qtbot(qapp: object, request: pytest.FixtureRequest) -> Iterator[QtBot]:
    bot = PatientBot(request)
    yield bot
    # pytest-qt has closed the widgets; Qt deletes them while they are still held.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def context(qapp: object) -> Iterator[AppContext]:
    """What panels share; its project is closed at the end."""
    context = AppContext()
    yield context
    context.set_project(None)


@pytest.fixture
def layers(qtbot: QtBot, context: AppContext) -> Iterator[LayerTableView]:
    """The layer table, shown with 36 analysed layers."""
    context.set_project(analysed(36))
    view = LayerTableView(context)
    qtbot.addWidget(view)
    view.resize(1200, 600)
    view.show()
    yield view
    view.close()


@pytest.fixture(autouse=True)
def usual_digits() -> Iterator[None]:
    """Numbers look the same in every test, whatever one of them set."""
    yield
    set_digits(DIGITS)
