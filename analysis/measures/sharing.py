"""One measure shared out among worker processes, its parts put together again.

A measure that can be shared out (`shareable`) does the share that `context.shard`
names: rows of different shares are different rows, arrays named KEY/batch/... add up,
and every other array is the same in all of them. So the whole is the shares added up.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, zip_longest
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analysis.data.batch import Data
from analysis.errors import AnalysisError
from analysis.heap import keep_freed_memory
from analysis.load import load
from analysis.measures.context import MeasureContext
from analysis.method import Measure, Row, Update
from analysis.worker import meaning
from analysis.worker_process import explained

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    Pipe = Connection[Any, Any]


@dataclass(frozen=True)
class _Share:
    """What a process is told to do.

    Attributes:
        measure: The measure.
        source: Of the model; every process opens it again.
        digest: Of the model, so that nobody measures another one.
        data: The samples, as `torch.save` writes them.
        settings: Further fields of the context.
        task: What "error" means.
        threads: How many threads torch may use.
    """

    measure: Measure
    source: str
    digest: str
    data: bytes
    settings: dict[str, Any]
    task: Any
    threads: int


def shared(measure: Measure, context: MeasureContext, workers: int) -> Iterator[Update]:
    """Run a measure in several processes; closing it early ends them.

    The numbers are those of one process with as many threads as each of these has:
    every measurement is made as a whole in one of them.

    Args:
        measure: One that is `shareable`.
        context: Its model must be one that `load` can open again.
        workers: How many processes; each holds the model.

    Yields:
        Updates, rows in an order that does not depend on which process is faster.

    Raises:
        AnalysisError: a process fails or dies, or the model cannot be opened again.
    """
    shares = [_share(measure, context, number, workers) for number in range(workers)]
    spawn = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    pipes: list[Pipe] = []
    try:
        for share in shares:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(theirs, share), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield from _Merged(measure.key, processes, pipes).updates()
    finally:
        # Nothing over there outlives its process, so there is nothing to restore.
        for process, pipe in zip(processes, pipes, strict=True):
            process.kill()
            process.join()
            process.close()
            pipe.close()


def _share(
    measure: Measure, context: MeasureContext, number: int, workers: int
) -> _Share:
    data = context.data
    assert data is not None
    stored = io.BytesIO()
    torch.save((data.args, dict(data.kwargs), data.labels), stored)
    prefix = f"{measure.key}/"
    settings: dict[str, Any] = {
        "schemes": context.schemes,
        "input_schemes": context.input_schemes,
        "device": context.device,
        "seed": context.seed,
        "batch_size": context.batch_size,
        "done": dict(context.done),
        "arrays": {
            name: np.asarray(context.arrays[name])
            for name in context.arrays
            if name.startswith(prefix)
        },
        "shard": (number, workers),
    }
    info = context.model.info
    threads = max(1, torch.get_num_threads() // workers)
    return _Share(
        measure,
        info.source,
        info.digest,
        stored.getvalue(),
        settings,
        context.task,
        threads,
    )


def _work(pipe: Pipe, share: _Share) -> None:
    """Do a share and send its updates, then None; the main function of a process."""
    # Ctrl-C in the terminal reaches all processes; the first one decides.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    try:
        for update in share.measure.run(_context(share)):
            pipe.send(update)
        pipe.send(None)
    except Exception as error:
        pipe.send(explained(error)[0])


def _context(share: _Share) -> MeasureContext:
    torch.set_num_threads(share.threads)
    model = load(share.source, device=share.settings["device"])
    if model.info.digest != share.digest:
        raise AnalysisError(
            "The model was changed since it was opened, or not opened by `load`: "
            "other processes cannot open it.",
            value=share.source,
            hint="Measure it in one process.",
        )
    model.task = share.task
    args, kwargs, labels = torch.load(io.BytesIO(share.data), weights_only=True)
    return MeasureContext(model, Data(args, kwargs, labels), **share.settings)


@dataclass
class _Merged:
    """Puts the updates of all processes together.

    Attributes:
        key: Of the measure.
        processes: Who works.
        pipes: Where their updates come from.
    """

    key: str
    processes: list[SpawnProcess]
    pipes: list[Pipe]
    _latest: dict[int, Update] = field(default_factory=dict)
    _rows: list[deque[Update]] = field(default_factory=list)
    _arrays: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def updates(self) -> Iterator[Update]:
        """Yield updates until all processes are through."""
        self._rows = [deque() for _ in self.pipes]
        at_work = dict(enumerate(self.pipes))
        while at_work:
            ready = wait(list(at_work.values()))
            for number in [n for n, pipe in at_work.items() if pipe in ready]:
                update = self._received(number)
                if update is None:
                    del at_work[number]
                else:
                    yield self._taken(number, update)
                yield from self._in_turn(set(at_work))
        yield self._progress(Update(0, 0))

    def _received(self, number: int) -> Update | None:
        """Return the next update of a process, None when it is through."""
        try:
            message = self.pipes[number].recv()
        except (EOFError, OSError):
            self.processes[number].join()
            raise meaning(self.processes[number].exitcode) from None
        if isinstance(message, Mapping):
            raise AnalysisError(
                message["what"] or "",
                value=message["value"],
                allowed=message["allowed"],
                hint=message["hint"],
            )
        assert message is None or isinstance(message, Update)
        return message

    def _taken(self, number: int, update: Update) -> Update:
        """Return progress, news and whole arrays; keep the rows for their turn."""
        self._latest[number] = update
        if update.rows:
            self._rows[number].append(update)
        whole = {}
        for name, array in update.arrays.items():
            if name.startswith(f"{self.key}/batch/"):
                parts = self._arrays.setdefault(name, [])
                parts.append(array)
                if len(parts) == len(self.pipes):
                    whole[name] = np.sum(self._arrays.pop(name), axis=0)
            elif number == 0:
                whole[name] = array
        warnings = tuple(w for w in update.warnings if w not in self._told)
        self._told |= set(warnings)
        return replace(self._progress(update), rows=(), arrays=whole, warnings=warnings)

    def _in_turn(self, at_work: set[int]) -> Iterator[Update]:
        """Yield rows in rounds, an update of every process in each.

        Steps are dealt out in turn, so rounds bring them in their own order.
        """
        while any(self._rows) and all(self._rows[number] for number in at_work):
            dealt = [
                _by_step(waiting.popleft().rows) for waiting in self._rows if waiting
            ]
            rounds = zip_longest(*dealt, fillvalue=())
            rows = chain.from_iterable(chain.from_iterable(rounds))
            yield self._progress(Update(0, 0, rows=tuple(rows)))

    def _progress(self, update: Update) -> Update:
        """Return an update with the work of all processes together."""
        known = self._latest.values()
        return replace(
            update,
            done=sum(one.done for one in known),
            total=sum(one.total for one in known),
            samples=max((one.samples for one in known), default=0),
        )


def _by_step(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Return the rows of each step apart."""
    steps = groupby(rows, lambda row: (row.target, row.format, row.part))
    return [tuple(step) for _, step in steps]
