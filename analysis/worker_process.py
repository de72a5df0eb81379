"""Inside the worker process: holds the model and performs jobs."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.heap import give_back_memory, keep_freed_memory
from analysis.messages import (
    Analyze,
    DataRequest,
    Evaluate,
    Failed,
    Finished,
    Message,
    Opened,
    Search,
)
from analysis.perform import perform
from quant_core.errors import QuantError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from analysis.data.batch import Data
    from analysis.model import LoadedModel


def serve(pipe: Connection[Any, Any]) -> None:
    """Answer requests until told to close; the main function of the process."""
    # Ctrl-C in the terminal reaches all processes; the window decides what it means.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # When memory runs out, Linux should end this process, not the window.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    keep_freed_memory()
    _Server(pipe).run()


class _Server:
    """Holds the model and performs one request at a time.

    A second thread reads the pipe, so that a cancel is seen while a job computes.
    """

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe
        self._requests: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._cancel = threading.Event()
        self._model: LoadedModel | None = None
        self._data: tuple[DataRequest | None, Data | None] = (None, None)
        self._threads = 0

    def run(self) -> None:
        """Answer requests, one after the other."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._requests.get())[0] != "close":
            answer: Message
            opening = request[0] == "open"
            try:
                answer = self._open(request[1]) if opening else self._perform(request)
            except Exception as error:
                answer = Failed(*explained(error), opening, is_out_of_memory(error))
            give_back_memory()
            try:
                self._pipe.send(answer)
            except OSError:
                return  # nobody listens any more

    def _listen(self) -> None:
        """Queue requests; a cancel overtakes them."""
        while True:
            try:
                request = self._pipe.recv()
            except (EOFError, OSError):
                # The window is gone: stop at once, whatever is being computed.
                os._exit(0)
            if request[0] == "cancel":
                self._cancel.set()
                continue
            if request[0] == "threads":
                self._threads = request[1]
                continue
            if request[0] != "close":
                self._cancel.clear()
            self._requests.put(request)

    def _open(self, model: tuple[str, dict[str, Any]]) -> Opened:
        from analysis.load import load

        self._model, self._data = None, (None, None)
        source, options = model
        self._model = loaded = load(source, **options)
        if loaded.module is not None:
            use_threads(self._threads)
        task = "" if loaded.task is None else loaded.task.key
        return Opened(loaded.info, loaded.module is not None, task)

    def _perform(self, request: tuple[Any, ...]) -> Finished:
        _, model, job = request
        data = None
        if not isinstance(job, Search):
            if self._model is None:
                self._pipe.send(self._open(model))
            use_threads(self._threads)
            data = self._data_for(job)
        with contextlib.closing(perform(job, self._model, data)) as events:
            for event in events:
                self._pipe.send(event)
                if self._cancel.is_set():
                    return Finished("cancelled")
        return Finished("complete")

    def _data_for(self, job: Analyze | Evaluate) -> Data | None:
        """Return the data of a job, kept for the next one."""
        from analysis.data import load_data

        assert self._model is not None
        wanted = job.data
        if wanted is not None and wanted != self._data[0]:
            data = load_data(
                wanted.source,
                self._model,
                samples=wanted.samples,
                seed=wanted.seed,
                max_length=wanted.max_length,
            )
            self._data = wanted, data
        return None if wanted is None else self._data[1]


def use_threads(number: int) -> None:
    """Let torch use a number of threads; with 0, leave one core to the window."""
    import torch

    if number:
        torch.set_num_threads(number)
        return
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    torch.set_num_threads(max(1, cores - 1))


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out.

    torch has a class for it on a GPU only; its CPU allocator raises a RuntimeError.
    """
    if isinstance(error, QuantError):
        return isinstance(error.__cause__, MemoryError)
    text = f"{type(error).__name__}: {error}".lower()
    return "memory" in text or "can't allocate" in text


def explained(error: Exception) -> tuple[dict[str, str | None], str]:
    """Return an error in four parts, and the traceback unless the user erred."""
    if isinstance(error, QuantError):
        return error.as_dict(), ""
    details = "".join(traceback.format_exception(error))
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        told = AnalysisError(
            "Memory ran out.",
            value=text.splitlines()[0],
            hint="Everything finished so far is kept. Use fewer samples, a smaller "
            "batch or a smaller model.",
        )
    else:
        told = AnalysisError(
            "The job failed unexpectedly.",
            value=text.splitlines()[0],
            hint="Everything finished so far is kept. The traceback is in the report.",
        )
    return told.as_dict(), details
