"""One writer per project file.

The lock is an open lock file beside the project, `NAME.qscope.lock`, held through
the operating system: it goes with the process that holds it, however that ends, so
a crash leaves nothing to clean up by hand. The file holds the number of the process,
for the message that others are shown.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

_RETRIES = 5


class FileLock:
    """A lock that may be held by one object of one process at a time.

    Args:
        path: The lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; return whether it is ours now.

        Raises:
            OSError: the folder cannot be written.
        """
        for _ in range(_RETRIES):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _lock(handle):
                os.close(handle)
                return False
            # The holder before us may have deleted the file between our open and
            # our lock; then another process can lock a new one.
            if _is_same(handle, self.path):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()} {socket.gethostname()}".encode())
                self._handle = handle
                return True
            os.close(handle)
        return False

    def holder(self) -> str:
        """Return who holds the lock ("process 4711 on host"), for a message."""
        try:
            number, _, host = self.path.read_text().strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            return "another process"
        return (
            f"process {number} on {host}" if number.isdecimal() else "another process"
        )

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        if sys.platform == "win32":
            os.close(handle)
            handle = -1
        with contextlib.suppress(OSError):
            self.path.unlink()
        if handle >= 0:
            os.close(handle)


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """Byte that is locked: beyond the text, which others may then read."""

    def _lock(handle: int) -> bool:
        os.lseek(handle, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
