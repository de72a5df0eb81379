"""Freed memory stays with a process whose work is to run networks.

By default glibc maps every large block anew and unmaps it when it is freed, and gives
the free end of its heap back. A job frees and asks for the same activations over and
over, and pays for each of their pages: the kernel clears it and maps it at its first
use. On the bundled examples that is a tenth to a quarter of a job's time.

`mallopt(3)` describes the two thresholds, and PyTorch's performance tuning guide
("Switch memory allocator") why operators gain from memory that is kept. The peak does
not grow: what is kept is what the next activations are put into.

A library must not decide how its host uses memory, so nothing here runs on import. The
command line, the worker process of the window and the processes of `--workers` call
`keep_freed_memory`; a script that is all analysis may do so too.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... in malloc.h
_LARGEST_INT = 2**31 - 1
_LIMITS = (_LARGEST_INT, 32 << 20)
"""Largest block that the heap serves, the first of these glibc takes (old: 32 MiB)."""


def keep_freed_memory() -> bool:
    """Let the C library reuse freed memory instead of handing it to the system.

    Calling it again changes nothing. Whoever has set one of the variables `MALLOC_...`
    or `GLIBC_TUNABLES` in the environment has chosen already and is left alone.

    Returns:
        Whether memory is kept from now on; False without glibc.
    """
    libc = _glibc()
    chosen = any(n == "GLIBC_TUNABLES" or n.startswith("MALLOC_") for n in os.environ)
    if libc is None or chosen:
        return False
    kept = libc.mallopt(_TRIM_THRESHOLD, _LARGEST_INT)
    return bool(kept) and any(libc.mallopt(_MMAP_THRESHOLD, n) for n in _LIMITS)


def give_back_memory() -> None:
    """Hand what is free now to the system; for a process that waits for a job."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
