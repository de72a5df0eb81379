"""Typed access to what the window remembers between sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PySide6.QtCore import QByteArray, QSettings, QStandardPaths

from app.theme import MODES, Mode
from app.widgets.format import DIGITS

RECENT_LIMIT = 10
DIGITS_RANGE = range(2, 7)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Recent:
    """A model or project opened before.

    Attributes:
        source: Absolute path, `example:NAME` or `package.module:callable`.
        digest: Digest of the model, "" when not known.
    """

    source: str
    digest: str = ""

    @property
    def is_file(self) -> bool:
        """Whether the source names something on disk."""
        return ":" not in self.source or Path(self.source).is_absolute()

    @property
    def is_missing(self) -> bool:
        """Whether it was on disk and is there no longer."""
        return self.is_file and not Path(self.source).exists()

    @property
    def title(self) -> str:
        """Last part of the path, or the source itself."""
        return Path(self.source).name if self.is_file else self.source


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the settings dialog changes.

    Attributes:
        mode: Light, dark, or as the system says.
        autosave_seconds: Time between two saves of changed work [s].
        threads: Threads of the worker process; 0 leaves one core to the window.
        shortcuts: Own keys by command, as portable text; none for a command
            without a key. Commands that are not here have the keys of the table.
        digits: Significant digits of results.
    """

    mode: Mode = "system"
    autosave_seconds: int = 30
    threads: int = 0
    shortcuts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    digits: int = DIGITS


class Settings:
    """Reads and writes one INI file.

    INI files return text for everything after a restart, so lists and numbers are
    kept as JSON and checked when read; a damaged entry counts as absent.

    Args:
        path: The file; None for the place the system has for it.

    Attributes:
        data_folder: Where files of the window lie.
        sessions_folder: Where windows note what they have open (`app.recovery`).
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open the file; it is written when something changes."""
        ini = QSettings.Format.IniFormat
        if path is None:
            scope = QSettings.Scope.UserScope
            self._store = QSettings(ini, scope, "quantscope", "quantscope")
            place = QStandardPaths.StandardLocation.GenericDataLocation
            data = Path(QStandardPaths.writableLocation(place)) / "quantscope"
        else:
            self._store = QSettings(str(path), ini)
            data = path.parent
        self.data_folder = data
        self.sessions_folder = data / "sessions"

    def forget_all(self) -> None:
        """Return to a first start."""
        self._store.clear()

    def sync(self) -> None:
        """Write now."""
        self._store.sync()

    def get(self, key: str, default: _T) -> _T:
        """Return a value of the type of `default`, or `default`."""
        text = self._store.value(key, "", type=str)
        if not isinstance(text, str) or not text:
            return default
        try:
            value = json.loads(text)
        except ValueError:
            return default
        if isinstance(default, float) and isinstance(value, int):
            return type(default)(value)
        return value if type(value) is type(default) else default

    def set(self, key: str, value: Any) -> None:
        """Keep a bool, number, text, list or dict."""
        self._store.setValue(key, json.dumps(value))

    def bytes(self, key: str) -> QByteArray:
        """Return what Qt saved of a window or header; empty when absent."""
        text = self._store.value(key, "", type=str)
        return QByteArray.fromBase64(str(text).encode("ascii", "ignore"))

    def set_bytes(self, key: str, value: QByteArray) -> None:
        """Keep what Qt saves of a window or header."""
        self._store.setValue(key, bytes(value.toBase64().data()).decode("ascii"))

    def remove(self, key: str) -> None:
        """Forget one entry."""
        self._store.remove(key)

    @property
    def mode(self) -> Mode:
        """Light, dark, or as the system says."""
        value = self.get("theme", "system")
        return next((mode for mode in MODES if mode == value), "system")

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self.set("theme", mode)

    @property
    def preferences(self) -> Preferences:
        """What the settings dialog changes; impossible numbers count as absent."""
        default = Preferences()
        seconds = self.get("autosave/seconds", default.autosave_seconds)
        threads = self.get("worker/threads", default.threads)
        digits = self.get("numbers/digits", default.digits)
        kept: dict[str, Any] = self.get("shortcuts", {})
        return Preferences(
            self.mode,
            seconds if seconds > 0 else default.autosave_seconds,
            max(threads, 0),
            {k: tuple(map(str, v)) for k, v in kept.items() if isinstance(v, list)},
            digits if digits in DIGITS_RANGE else default.digits,
        )

    @preferences.setter
    def preferences(self, chosen: Preferences) -> None:
        self.mode = chosen.mode
        self.set("autosave/seconds", chosen.autosave_seconds)
        self.set("worker/threads", chosen.threads)
        self.set("numbers/digits", chosen.digits)
        self.set("shortcuts", {k: list(v) for k, v in chosen.shortcuts.items()})

    @property
    def recent(self) -> tuple[Recent, ...]:
        """Models and projects opened before, the latest first."""
        entries: list[Any] = self.get("recent", [])
        return tuple(
            Recent(str(entry["source"]), str(entry.get("digest", "")))
            for entry in entries
            if isinstance(entry, dict) and entry.get("source")
        )[:RECENT_LIMIT]

    def add_recent(self, source: str, digest: str = "") -> None:
        """Put a source on top of the recent ones."""
        kept = [r for r in self.recent if r.source != source]
        self._write_recent([Recent(source, digest), *kept])

    def clear_recent(self) -> None:
        """Forget the recent ones."""
        self._write_recent([])

    def _write_recent(self, entries: list[Recent]) -> None:
        self.set(
            "recent",
            [{"source": r.source, "digest": r.digest} for r in entries[:RECENT_LIMIT]],
        )
