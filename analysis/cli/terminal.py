"""What the command line writes: tables, notes, errors, JSON and a progress bar.

Results go to standard output, everything said about the work to standard error,
so `quantscope show P.qscope --csv > rows.csv` holds rows only.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from quant_core.errors import QuantError

BAR_WIDTH = 24
REDRAW_SECONDS = 0.1
LINE_SECONDS = 10.0
"""Shortest time between two progress lines when no terminal is watching."""


def plain(value: object) -> object:
    """Return `value` as JSON knows it: NaN and infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def number(value: float, digits: int = 4) -> str:
    """Return a number for a table; "-" when there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def with_error(value: float, stderr: float) -> str:
    """Return "0.00123 ± 0.00004", the error bar left out when it is not known."""
    if math.isnan(stderr):
        return number(value)
    return f"{number(value)} ± {number(stderr, 2)}"


def size(count: float) -> str:
    """Return a number of bytes as people read it ("11.3 MB", decimal units)."""
    if abs(count) < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if abs(count) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def duration(seconds: float) -> str:
    """Return a time as "0:07", "12:30" or "1:02:03"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns; a header that starts with ">" aligns to the right."""
    right = [h.startswith(">") for h in header]
    lines = [[h.removeprefix(">") for h in header], *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


@dataclass
class Terminal:
    """Where one command writes.

    Attributes:
        json: Print one JSON object and nothing else.
        quiet: Say nothing about progress.
        out: Results.
        err: Notes, warnings, errors, progress.
        document: The last result, for commands made of others.
    """

    json: bool = False
    quiet: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    document: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for stream in (self.out, self.err):
            # A console without "±" in its character set shows "?" instead.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")

    @property
    def silent(self) -> bool:
        """Whether nothing may be said besides the result."""
        return self.json or self.quiet

    def say(self, text: str = "") -> None:
        """Print a result for people; nothing with --json."""
        if not self.json:
            self.out.write(text + "\n")
            # In a log that takes both streams, lines must come in order.
            self.out.flush()

    def note(self, text: str) -> None:
        """Print a sentence about the work; nothing with --json or --quiet."""
        if not self.silent:
            self.err.write(text + "\n")

    def warn(self, text: str) -> None:
        """Print a warning on standard error; nothing with --json (kept there)."""
        if not self.json:
            self.err.write(self._paragraph(f"warning: {text}") + "\n")

    def result(self, document: Mapping[str, object]) -> None:
        """Keep the result and, with --json, print it."""
        self.document = document
        if self.json:
            self.dump(document)

    def dump(self, document: Mapping[str, object]) -> None:
        """Print a JSON object."""
        text = json.dumps(plain(document), ensure_ascii=False, allow_nan=False)
        self.out.write(text + "\n")

    def fail(self, error: QuantError) -> None:
        """Print an error: one paragraph, or one JSON object."""
        if self.json:
            self.dump({"error": error.as_dict()})
        else:
            self.err.write(self._paragraph(f"quantscope: {error}") + "\n")

    def _paragraph(self, text: str) -> str:
        if not self.err.isatty():
            return text
        width = shutil.get_terminal_size().columns
        # Paths and layer names must stay whole: they are copied from here.
        return textwrap.fill(
            text, max(40, width), break_long_words=False, break_on_hyphens=False
        )


class Progress:
    """A progress bar on a terminal, plain lines elsewhere, nothing when silent.

    Args:
        terminal: Where to draw.
        title: Said before the percentage ("predicted_error").
    """

    def __init__(self, terminal: Terminal, title: str) -> None:
        self._err = terminal.err
        self._silent = terminal.silent
        self._live = not self._silent and self._err.isatty()
        self._title = title
        self._start = time.monotonic()
        self._drawn = -math.inf
        self._width = 0
        self._share = 0.0

    def update(self, done: float, total: float, note: str = "") -> None:
        """Show that `done` of `total` work units are finished."""
        now = time.monotonic()
        self._share = min(1.0, done / total) if total > 0 else 0.0
        pause = REDRAW_SECONDS if self._live else LINE_SECONDS
        if self._silent or (now - self._drawn < pause):
            return
        self._drawn = now
        percent = f"{100 * self._share:3.0f} %"
        left = self._time_left(now - self._start)
        if self._live:
            filled = round(BAR_WIDTH * self._share)
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            self._draw(f"{self._title} [{bar}] {percent} {left}  {note}")
        else:
            tail = "".join(f", {part}" for part in (left, note) if part)
            self._err.write(f"{self._title}: {percent.strip()}{tail}\n")
            self._err.flush()

    def clear(self) -> None:
        """Remove the bar, for a line to be written in its place."""
        if self._live:
            self._draw("")
            self._err.write("\r")
            self._drawn = -math.inf

    def close(self, outcome: str = "") -> None:
        """Remove the bar and say how it ended ("done, 64 samples")."""
        if self._silent:
            return
        self.clear()
        seconds = duration(time.monotonic() - self._start)
        self._err.write(f"{self._title}: {outcome} ({seconds})\n")
        self._err.flush()

    def _time_left(self, elapsed: float) -> str:
        # The first moments hold imports and warm-up: an estimate would mislead.
        if self._share < 0.01 or elapsed < 1:
            return ""
        return f"{duration(elapsed * (1 / self._share - 1))} left"

    def _draw(self, text: str) -> None:
        room = shutil.get_terminal_size().columns - 1
        shown = text[:room]
        self._err.write("\r" + shown.ljust(min(room, self._width)))
        self._err.flush()
        self._width = len(shown)
