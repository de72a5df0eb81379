"""Window tests: patient, because waits fail only when nothing happens; alike."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.context import AppContext
from app.widgets.format import DIGITS, set_digits

PATIENCE = 120_000  # ms; a busy machine may stand still for seconds


class PatientBot(QtBot):  # type: ignore[misc]
    """A `QtBot` whose waits give up after `PATIENCE` unless told otherwise."""

    def waitUntil(
        self, callback: Callable[[], object], *, timeout: int = PATIENCE
    ) -> None:
        super().waitUntil(callback, timeout=timeout)

    def waitSignal(self, signal: Any, *, timeout: int = PATIENCE, **how: Any) -> Any:
        return super().waitSignal(signal, timeout=timeout, **how)


@pytest.fixture
def qtbot(qapp: object, request: pytest.FixtureRequest) -> QtBot:
    return PatientBot(request)


@pytest.fixture
def context(qapp: object) -> Iterator[AppContext]:
    """What panels share; its project is closed at the end."""
    context = AppContext()
    yield context
    context.set_project(None)


@pytest.fixture(autouse=True)
def usual_digits() -> Iterator[None]:
    """Numbers look the same in every test, whatever one of them set."""
    yield
    set_digits(DIGITS)
