"""Keeps the stray prints of compiled code out of standard output."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what compiled code prints to standard error for the time being.

    HiGHS 1.12, which scipy 1.17 carries, prints a debugging line that no option turns
    off (ERGO-Code/HiGHS issue 2783). Standard output belongs to the answer: with
    `--json` it must be one object.
    """
    if os.name != "posix":
        yield
        return
    try:
        kept = os.dup(1)
    except OSError:  # no standard output, nothing to keep clean
        yield
        return
    # The C library has a buffer of its own, which must be emptied on the right side.
    flush = ctypes.CDLL(None).fflush
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        flush(None)
        os.dup2(2, 1)
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
