"""Long work in the window's own thread, a little in each turn of the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from PySide6.QtCore import QObject, QTimer

from quant_core.errors import QuantError

Result = TypeVar("Result")
Steps = Generator[None, None, Result]

SLICE_SECONDS = 0.03
"""Work of one turn; a step that takes longer is not cut short."""


class Turns(QObject, Generic[Result]):
    """Runs the steps of one piece of work; starting another gives up the first.

    What is quick is done before `start` returns, so that small models never show a
    state in between.

    Args:
        done: Called with the result; `seconds` is the processor time it took.
        failed: Called with what the work raised for a person to read.
        parent: Owner.
    """

    def __init__(
        self,
        done: Callable[[Result], None],
        failed: Callable[[QuantError], None],
        parent: QObject | None = None,
    ) -> None:
        """Start idle."""
        super().__init__(parent)
        self._done, self._failed = done, failed
        self._steps: Steps[Result] | None = None
        self.seconds = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.advance)

    @property
    def is_busy(self) -> bool:
        """Whether something is left to do."""
        return self._steps is not None

    def start(self, steps: Steps[Result]) -> None:
        """Begin other work, and do what one turn has time for."""
        self.stop()
        self._steps, self.seconds = steps, 0.0
        self.advance()

    def stop(self) -> None:
        """Give up what is left."""
        self._timer.stop()
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def advance(self) -> None:
        """Do the work of one turn.

        Processor time counts: other programs make no work long.
        """
        steps, begun, before = self._steps, time.thread_time(), self.seconds
        # Stays so when the work is done, or a step fails.
        self._steps = None
        self._timer.stop()
        if steps is None:
            return
        try:
            spent = 0.0
            while not spent or spent < SLICE_SECONDS:
                next(steps)
                spent = time.thread_time() - begun
                self.seconds = before + spent
        except StopIteration as end:
            self.seconds = before + time.thread_time() - begun
            self._done(end.value)
        except QuantError as error:
            self._failed(error)
        else:
            self._steps = steps
            self._timer.start()
