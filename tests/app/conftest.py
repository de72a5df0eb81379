"""Waits of window tests: patient, because they fail only when nothing happens."""

from collections.abc import Callable
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

PATIENCE = 30_000  # ms; a busy machine may stand still for seconds


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
