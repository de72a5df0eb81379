"""Processes to be killed: a source that forks one per line it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

FORKS = """
import os
import sys

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            work(*line.rstrip("\\n").split("\\t"))
        finally:
            os._exit(3)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Breeder:
    """Starts processes at once, as what they import is there already, and kills them.

    Args:
        process: It runs the definition of `work`, then `FORKS`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._told, self._said = process.stdin, process.stdout
        self._child = 0

    def start(self, *words: object) -> None:
        """Start a process that calls `work` with the words."""
        self._told.write("\t".join(map(str, words)) + "\n")
        self._told.flush()
        self._child = int(self._said.readline())

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for something the process does, as long as there is one to do it."""
        while not condition():
            os.kill(self._child, 0)
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill the process, which must be at work, and wait for its end."""
        os.kill(self._child, signal.SIGKILL)
        assert int(self._said.readline()) == signal.SIGKILL, "it ended by itself"


@contextlib.contextmanager
def breeding(work: str) -> Iterator[Breeder]:
    """Yield what starts processes that call `work`; none of them outlives the block.

    Args:
        work: Imports, and the definition of a function `work` of words.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", work + FORKS],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # One thread, as a fork copies no other; a group, to be ended as one.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        yield Breeder(process)
    finally:
        # Also after a failure, when a process may still write, and would for ever.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
