"""Running a job under a progress bar, until it ends or Ctrl-C is pressed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

from analysis.cli.interrupt import Interrupt

T = TypeVar("T")


def drive(job: Generator[T, None, None], take: Callable[[T], None]) -> bool:
    """Give every update of a job to `take`; return whether it came to its end.

    On Ctrl-C the job is closed after the update at hand, which restores the model;
    what was taken stays.
    """
    with Interrupt() as interrupt, closing(job):
        for update in job:
            take(update)
            if interrupt.asked:
                return False
    # A signal during the last stretch comes too late to keep anything from it.
    return True
