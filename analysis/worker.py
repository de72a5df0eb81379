"""The worker process of the window: it keeps a model loaded and performs jobs.

The window talks to it through a `WorkerClient`, which needs no torch. Whatever
happens over there (an error, a crash, running out of memory) arrives as a message;
what was sent before stays with the project.

Cancel asks the generator to close after the update at hand; when it does not answer
within two seconds, the process is killed, and the next job starts a new one, which
opens the model again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from analysis.errors import AnalysisError
from analysis.messages import (
    Died,
    Failed,
    Finished,
    Job,
    Message,
    Opened,
    Search,
)
from analysis.worker_process import serve

__all__ = [
    "Died",
    "Failed",
    "Finished",
    "Message",
    "Opened",
    "WorkerClient",
    "meaning",
]

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    Pipe = Connection[Any, Any]

GRACE_SECONDS = 2.0
"""How long a cancelled job may take to close before its process is killed."""

POLL_SECONDS = 0.02
"""How long one `poll` takes messages at most."""

_SIGKILL = getattr(signal, "SIGKILL", 9)
# What a process leaves behind on Windows, which has no signals.
_WINDOWS_NO_MEMORY = 0xC0000017


class WorkerClient:
    """Starts, feeds and watches the worker process; use it from one thread.

    Args:
        target: What runs in the process; only tests need another.

    Attributes:
        threads: How many threads torch may use from the next request on; 0 leaves
            one core to the window.
    """

    def __init__(self, target: Callable[[Pipe], None] | None = None) -> None:
        self._target = target or serve
        self._process: SpawnProcess | None = None
        self._pipe: Pipe | None = None
        self._model: tuple[str, dict[str, Any]] | None = None
        self._waiting: Literal["", "open", "job"] = ""
        self._cancelled_at: float | None = None
        self._killed = False
        self.threads = 0
        self._told_threads = 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def busy(self) -> bool:
        """Whether the answer to `open` or the end of a job is still to come."""
        return bool(self._waiting)

    @property
    def source(self) -> str | None:
        """The model that is open, or will be when it is needed."""
        return None if self._model is None else self._model[0]

    def open(self, source: str, **options: Any) -> None:
        """Open a model; `Opened`, `Failed` or `Died` follows.

        Args:
            source: As in `analysis.load.load`.
            **options: Further arguments of `load` (`device`, `dtype`, `task`).

        Raises:
            AnalysisError: a job is running.
        """
        self._need_idle()
        self._model = source, options
        self._send("open", ("open", self._model))

    def start(self, job: Job) -> None:
        """Perform a job; its events and then `Finished`, `Failed` or `Died` follow.

        A process that died is started anew and opens the model again first.

        Raises:
            AnalysisError: a job is running, or no model was opened.
        """
        self._need_idle()
        if self._model is None and not isinstance(job, Search):
            raise AnalysisError("No model is open.", hint="Open a model first.")
        self._send("job", ("job", self._model, job))

    def cancel(self) -> None:
        """Ask the job to stop; its last message follows (`Finished`, as a rule)."""
        if self._waiting and self._cancelled_at is None and self._pipe is not None:
            self._cancelled_at = time.monotonic()
            with contextlib.suppress(OSError):
                self._pipe.send(("cancel",))

    def poll(self) -> list[Message]:
        """Return the messages that have come, oldest first; never waits.

        Call it every 50 ms or so. One call takes messages for a few milliseconds at
        most, so a window stays fluent; the rest is there at the next call.
        """
        messages: list[Message] = []
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:
            return messages
        # Asked before the pipe is emptied: what a dead process sent is all there.
        exited = not process.is_alive()
        deadline = time.monotonic() + POLL_SECONDS
        try:
            while pipe.poll():
                messages.append(self._noted(pipe.recv()))
                if time.monotonic() > deadline:
                    return messages
        except (EOFError, OSError, pickle.UnpicklingError):
            # The other end is gone, perhaps in the middle of a message.
            exited = True
        if exited:
            messages += self._buried(process, pipe)
        elif self._is_overdue():
            self._killed = True
            process.kill()
        return messages

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:
            return
        if not self._waiting:
            with contextlib.suppress(OSError):
                pipe.send(("close",))
            process.join(GRACE_SECONDS)
        # Nothing over there outlives the process, so there is nothing to restore.
        process.kill()
        self._put_away(process, pipe)

    def _need_idle(self) -> None:
        if self._waiting:
            raise AnalysisError(
                "A job is running.", hint="Wait for its end, or cancel it first."
            )

    def _send(self, waiting: Literal["open", "job"], request: tuple[Any, ...]) -> None:
        if not self.alive:
            self.close()
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=self._target, args=(theirs,), name="quantscope", daemon=True
            )
            self._process.start()
            theirs.close()
            self._told_threads = 0
        assert self._pipe is not None
        self._waiting = waiting
        # A process that is gone says so at the next poll.
        with contextlib.suppress(OSError):
            if self.threads != self._told_threads:
                self._pipe.send(("threads", self.threads))
                self._told_threads = self.threads
            self._pipe.send(request)

    def _noted(self, message: Message) -> Message:
        is_answer = isinstance(message, Opened) and self._waiting == "open"
        if is_answer or isinstance(message, Finished | Failed):
            self._waiting, self._cancelled_at = "", None
        return message

    def _is_overdue(self) -> bool:
        asked = self._cancelled_at
        late = asked is not None and time.monotonic() - asked > GRACE_SECONDS
        return late and not self._killed

    def _buried(self, process: SpawnProcess, pipe: Pipe) -> list[Message]:
        """Put a dead process away and return what is to be said of it."""
        process.join()
        code, killed, waited = process.exitcode, self._killed, self._waiting
        self._put_away(process, pipe)
        if killed:
            return [Finished("cancelled")] if waited else []
        return [Died(code, meaning(code).as_dict(), _is_out_of_memory(code))]

    def _put_away(self, process: SpawnProcess, pipe: Pipe) -> None:
        process.join()
        process.close()
        pipe.close()
        self._process = self._pipe = None
        self._waiting, self._cancelled_at, self._killed = "", None, False


def _is_out_of_memory(exit_code: int | None) -> bool:
    """Return whether a process ended as it does when the system lacks memory."""
    code = exit_code or 0
    return -code == _SIGKILL or code & 0xFFFFFFFF == _WINDOWS_NO_MEMORY


def meaning(exit_code: int | None) -> AnalysisError:
    """Return what an exit code of the worker says, and what to do."""
    kept = "Everything finished so far is kept"
    smaller = f"{kept}. Use fewer samples, a smaller batch or a smaller model."
    code = exit_code or 0
    if _is_out_of_memory(exit_code):
        return AnalysisError(
            "The worker process was killed, most likely because the machine ran out "
            "of memory.",
            value=_told(exit_code),
            hint=smaller,
        )
    if code < 0:
        return AnalysisError(
            "The worker process crashed inside a native library.",
            value=_told(exit_code),
            hint=f"{kept}. Start the job again; if it crashes there again, leave out "
            "the measure at work.",
        )
    return AnalysisError(
        "The worker process ended by itself.",
        value=_told(exit_code),
        hint=f"{kept}. Start the job again.",
    )


def _told(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
