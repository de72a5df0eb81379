"""The window's hold on the worker process: one job at a time, watched by a timer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from analysis.errors import AnalysisError
from analysis.messages import (
    Died,
    Event,
    Failed,
    Finished,
    Job,
    Message,
    Opened,
    Progress,
    Started,
)
from analysis.method import Update
from analysis.worker import WorkerClient
from app.errors import Problem
from app.progress import Clock, JobState, Status
from app.watch import Stamp, model_files, stamp

POLL_MS = 50


class JobRunner(QObject):
    """Opens models and performs jobs in the worker process.

    Messages are taken from the pipe every 50 ms and only while something is under
    way; updates of one measure that came together are merged into one.

    Signals:
        stateChanged: The `JobState` to show, None for nothing.
        opened: `Opened`, whenever the worker has loaded a model.
        happened: An event of the running job (`analysis.jobs.Event`).
        ended: How a job ended: "complete", "cancelled" or "failed".
        failed: A `Problem`; comes before `ended` when a job failed.
    """

    stateChanged = Signal(object)  # noqa: N815 - Qt signal naming
    opened = Signal(object)
    happened = Signal(object)
    ended = Signal(object)
    failed = Signal(object)

    def __init__(
        self, client: WorkerClient | None = None, parent: QObject | None = None
    ) -> None:
        """Start without a process; it comes with the first model or job."""
        super().__init__(parent)
        self._client = client or WorkerClient()
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._state: JobState | None = None
        self._clock = Clock(0.0)
        self._is_opening = False
        self._job: tuple[Job, str] | None = None
        self._is_waiting = False
        self._next = ""
        # What was asked for last, and its files as they were; None if it failed.
        self._read: tuple[str, dict[Path, Stamp] | None] = "", {}

    def set_threads(self, number: int) -> None:
        """Say how many threads the next job may use; 0 for all cores but one."""
        self._client.threads = number

    @property
    def state(self) -> JobState | None:
        """What is being done, or was done last."""
        return self._state

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits for its model."""
        return self._job is not None

    @property
    def is_opening(self) -> bool:
        """Whether a model is being loaded."""
        return self._is_opening

    @property
    def source(self) -> str | None:
        """The model that the worker has, is loading, or will load next."""
        return self._next or self._client.source

    # -- asking ----------------------------------------------------------------

    def open(self, source: str, title: str) -> None:
        """Load a model; `opened` or `failed` follows.

        A model still being loaded is given up for the new one.

        Raises:
            AnalysisError: a job is running.
        """
        if self.is_busy:
            raise AnalysisError(
                "A job is running.", hint="Wait for its end, or cancel it first."
            )
        self._show(JobState(title, "opening"))
        if self._is_opening:
            self._next = source
            self._client.cancel()
            return
        self._load(source)
        self._is_opening = True
        self._timer.start()

    def _load(self, source: str) -> None:
        self._read = source, {path: stamp(path) for path in model_files(source)}
        self._client.open(source)

    def _is_stale(self, source: str) -> bool:
        """Return whether a model could not be opened, or is another one by now.

        Tensors are read when they are needed: a job would take those of another model.
        """
        known, stamps = self._read
        changed = stamps is None or any(stamp(p) != was for p, was in stamps.items())
        return source == known and changed

    def _stop_opening(self) -> None:
        """Remember that a model was not opened, if one was to be."""
        if self._is_opening:
            self._is_opening, self._read = False, (self._read[0], None)

    def start(self, job: Job, title: str, source: str | None = None) -> None:
        """Perform a job, after loading its model if need be; `ended` follows.

        Args:
            job: What to do.
            title: What it is called in the window.
            source: The model it needs; None for a job without one.

        Raises:
            AnalysisError: a job is running.
        """
        if self.is_busy:
            raise AnalysisError(
                "A job is running.", hint="Wait for its end, or cancel it first."
            )
        if source is not None and (source != self.source or self._is_stale(source)):
            self.open(source, title)
        self._job = job, title
        self._is_waiting = self._is_opening
        if not self._is_waiting:
            self._begin()

    def _begin(self) -> None:
        """Hand the waiting job to the worker."""
        assert self._job is not None
        job, title = self._job
        self._is_waiting = False
        self._clock = Clock(time.monotonic())
        self._client.start(job)
        self._show(JobState(title, "running"))
        self._timer.start()

    @Slot()
    def cancel(self) -> None:
        """Stop the job, or the loading of a model; what is finished is kept."""
        if self._state is not None and (self._is_opening or self.is_busy):
            self._next = ""
            self._client.cancel()
            self._show(replace(self._state, status="cancelling", seconds_left=None))

    def give_up(self) -> None:
        """Drop the job that waits for its model, if any: it cannot be done."""
        if self._is_waiting:
            self._end("failed")

    def close(self) -> None:
        """End the worker process, with whatever it does."""
        self._timer.stop()
        self._client.close()
        self._is_opening, self._next = False, ""
        if self._job is not None:
            self._end("cancelled")

    # -- listening -------------------------------------------------------------

    @Slot()
    def _poll(self) -> None:
        for message in merged(self._client.poll()):
            self._take(message)
        if not self._is_opening and self._job is None:
            self._timer.stop()
        elif self._state is not None and self._state.status == "running":
            self._tick(self._state)

    def _take(self, message: Message) -> None:
        if self._next and isinstance(message, Opened | Finished | Failed | Died):
            # The model that nobody wants any more is out of the way.
            source, self._next = self._next, ""
            self._load(source)
            return
        match message:
            case Opened():
                self._is_opening = False
                if self._state is not None and self._state.status == "cancelling":
                    self._is_waiting = False
                    self._end("cancelled")
                    return
                self.opened.emit(message)
                if self._is_waiting:
                    self._begin()
                elif self._job is None:
                    self._show(None)
            case Finished(status):
                self._stop_opening()
                self._end(status)
            case Failed(error, details, _, memory):
                self._fail(error, details, memory)
            case Died(_, error, memory):
                self._fail(error, f"The worker process: {error['value']}", memory)
            case _:
                if self._job is not None:
                    self._note(message)
                    self.happened.emit(message)

    def _fail(
        self, error: Mapping[str, str | None], details: str, memory: bool
    ) -> None:
        """Tell what went wrong, and at which step."""
        self._stop_opening()
        state = self._state
        where = "" if state is None else f"{state.title}: {state.note}".rstrip(": ")
        problem = Problem.of_dict(dict(error), details, where=where, is_memory=memory)
        self.failed.emit(problem)
        self._end("failed")

    def _note(self, event: Event) -> None:
        """Take over what an event says of progress."""
        state = self._state
        if state is None or not isinstance(event, Progress | Started):
            return
        if isinstance(event, Started):
            self._clock = Clock(time.monotonic())
            self._show(replace(state, done=0.0, total=0.0, note=""))
            return
        update = event.update
        warnings = tuple(dict.fromkeys((*state.warnings, *update.warnings)))
        self._tick(
            replace(
                state,
                note=update.note,
                done=update.done,
                total=update.total,
                warnings=warnings,
            )
        )

    def _tick(self, state: JobState) -> None:
        """Show a running job with its time left."""
        left = None
        if state.status == "running":
            left = self._clock.seconds_left(state.done, state.total, time.monotonic())
        self._show(replace(state, seconds_left=left))

    def _end(self, status: Status) -> None:
        job, self._job, self._is_waiting = self._job, None, False
        state = self._state
        if state is not None:
            self._show(replace(state, status=status, seconds_left=None))
        if job is not None:
            self.ended.emit(status)

    def _show(self, state: JobState | None) -> None:
        if state != self._state:
            self._state = state
            self.stateChanged.emit(state)


def merged(messages: Iterable[Message]) -> list[Message]:
    """Return messages with neighbouring updates of one measure made one."""
    result: list[Message] = []
    for message in messages:
        last = result[-1] if result else None
        if (
            isinstance(message, Progress)
            and isinstance(last, Progress)
            and last.measure == message.measure
        ):
            both = _together(last.update, message.update)
            result[-1] = Progress(message.measure, both)
        else:
            result.append(message)
    return result


def _together(first: Update, second: Update) -> Update:
    return replace(
        second,
        rows=first.rows + second.rows,
        arrays={**first.arrays, **second.arrays},
        warnings=first.warnings + second.warnings,
        samples=max(first.samples, second.samples),
    )
