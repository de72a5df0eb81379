"""Replacing a file so that it is always either the old or the new one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from analysis.journal import disk_error

MARGIN = 1 << 20
"""Free space asked for beyond what is known to be written [bytes]."""


@contextlib.contextmanager
def replacing(target: Path, base: Path | None, more: int) -> Iterator[Path]:
    """Yield a path to write to; the file there then takes the name of `target`.

    Args:
        target: The file to replace or make.
        base: The file whose contents will be copied; None when there is none.
        more: Bytes that will be written besides.

    Yields:
        The path, in the folder of `target`.

    Raises:
        AnalysisError: the disk is full or the folder cannot be written; `target`
            is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        size = more + (0 if base is None else base.stat().st_size)
        # HDF5 fails hard on a full disk, so do not begin what would not fit.
        if shutil.disk_usage(target.parent).free < size + MARGIN:
            raise OSError(f"No space left for {size / 1e6:.0f} MB")
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except (OSError, RuntimeError) as error:
        # HDF5 reports some failed writes as RuntimeError.
        raise disk_error(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(path: Path) -> None:
    """Delete unfinished copies that killed processes left beside a file."""
    for leftover in path.parent.iterdir():
        name = leftover.name
        if name.startswith(f".{path.name}.") and name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _sync(path: Path) -> None:
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
