"""Names of layers in less room than they need."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetricsF

MARK = "…"
_LEFT, _RIGHT = Qt.TextElideMode.ElideLeft, Qt.TextElideMode.ElideRight
_MIDDLE = Qt.TextElideMode.ElideMiddle


def shorten_path(metrics: QFontMetricsF, name: str, room: float) -> str:
    """Return a module path in a room [pixels], its last number kept.

    The layers of a network differ in the number of their block and in what follows
    it: what comes before goes first, then the middle of the longest words behind.
    """
    if metrics.horizontalAdvance(name) <= room:
        return name
    words = name.split(".")
    last = max((i for i, word in enumerate(words) if word.isdigit()), default=-1)
    if last < 0:
        return metrics.elidedText(name, _LEFT, room)
    # Words go whole: half a number would be that of another block.
    for first in range(1, last + 1):
        tail = MARK + ".".join(words[first:])
        if metrics.horizontalAdvance(tail) <= room:
            return tail
    head, rest = f"{MARK}{words[last]}.", words[last + 1 :]
    if not rest:
        return metrics.elidedText(head, _RIGHT, room)
    left = room - metrics.horizontalAdvance(head + "." * (len(rest) - 1))
    if left < len(rest) * metrics.horizontalAdvance("mm" + MARK):
        for first in range(1, len(rest)):
            tail = f"{MARK}{words[last]}{MARK}{'.'.join(rest[first:])}"
            if metrics.horizontalAdvance(tail) <= room:
                return tail
        return metrics.elidedText(head + rest[-1], _RIGHT, room)
    return head + ".".join(_fitted(metrics, rest, left))


def _fitted(metrics: QFontMetricsF, words: list[str], room: float) -> list[str]:
    """Return words of at most `room` together; the short ones stay whole."""
    widths = [metrics.horizontalAdvance(word) for word in words]
    share, waiting = room / len(words), sorted(widths)
    while waiting and waiting[0] <= share:
        room -= waiting.pop(0)
        share = room / len(waiting) if waiting else room
    return [
        word if width <= share else metrics.elidedText(word, _MIDDLE, share)
        for word, width in zip(words, widths, strict=True)
    ]
