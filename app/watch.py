"""Notices when other programs change the files that are open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal, Slot

SETTLE_MS = 500
"""Programs write in pieces; only a file that rests is looked at."""
MODEL_PATTERNS = ("config.json", "*.safetensors", "*.safetensors.index.json")
_LIMIT = 256

Stamp = tuple[int, int] | None


def model_files(source: str) -> tuple[Path, ...]:
    """Return the files a model is read from; none for examples and callables."""
    path = Path(source)
    if path.is_file():
        return (path,)
    if not path.is_dir():
        return ()
    found = [file for pattern in MODEL_PATTERNS for file in path.glob(pattern)]
    return tuple(sorted(found)[:_LIMIT])


class FileWatch(QObject):
    """Watches files; tells of each change once it has settled.

    Signals:
        changed: The `Path` of a file that differs in time or size from before, or
            is gone.
    """

    changed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Watch nothing yet."""
        super().__init__(parent)
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(self._on_change)
        self._stamps: dict[Path, Stamp] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._look)

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these files in place of the earlier ones."""
        self._timer.stop()
        if known := self._watcher.files():
            self._watcher.removePaths(known)
        self._stamps = {path: stamp(path) for path in paths}
        self._rewatch()

    @Slot(str)
    def _on_change(self, _path: str) -> None:
        self._timer.start()

    @Slot()
    def _look(self) -> None:
        before, self._stamps = self._stamps, {p: stamp(p) for p in self._stamps}
        # A file that was replaced by another of its name is watched no longer.
        self._rewatch()
        for path, now in self._stamps.items():
            if now != before[path]:
                self.changed.emit(path)

    def _rewatch(self) -> None:
        watched = set(self._watcher.files())
        wanted = [str(p) for p, now in self._stamps.items() if now is not None]
        if missing := [path for path in wanted if path not in watched]:
            self._watcher.addPaths(missing)


def stamp(path: Path) -> Stamp:
    """Return time [ns] and size [bytes] of a file, None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
