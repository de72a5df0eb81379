"""Finds names by some of their letters, best first; sixty thousand per keystroke.

A name matches when it holds the letters of the query in order. Letters at the start
of a word count most, then those that follow each other: "l12q" finds
`layers.12.query`. The score of a name is the best over all ways to place the letters,
found by dynamic programming over the letters of the query, for all names at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

START, NEXT, PLAIN = 8, 8, 1
"""Points of a letter at a word's start, right after the last one, and elsewhere."""

_NONE = -(1 << 14)
"""Score of a place where a letter cannot be; adding points never makes it positive."""
_LAST_CODE = (1 << 16) - 1


class Matcher:
    """Ranks a fixed list of names for one query after another.

    Args:
        names: The names, in the order they have without a query.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Lay the letters of all names side by side."""
        self._lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        codes = _codes(names, self._lengths)
        self._points = np.where(_word_starts(codes), START, PLAIN).astype(np.int8)
        self._letters = _codes([_lower(name) for name in names], self._lengths)
        self._query = ""
        self._rows = np.arange(len(names))
        self._best: NDArray[np.int16] | None = None

    def ranked(self, query: str) -> NDArray[np.int64]:
        """Return the names that match, best first; equal ones short names first.

        Typing on costs one step for the new letter, on the names that still match.

        Args:
            query: Letters in any case; blanks are left out. Empty for all names in
                their own order.
        """
        wanted = _lower("".join(query.split()))
        if not wanted:
            return np.arange(len(self._lengths))
        if self._best is None or not wanted.startswith(self._query):
            self._query, self._best = "", None
            self._rows = np.arange(len(self._lengths))
        for letter in wanted[len(self._query) :]:
            self._step(min(ord(letter), _LAST_CODE))
        self._query = wanted
        assert self._best is not None
        if not self._best.size:
            return self._rows
        score = self._best.max(axis=0)
        return self._rows[np.lexsort((self._lengths[self._rows], -score))]

    def _step(self, code: int) -> None:
        """Place one more letter, and drop the names that do not hold it."""
        rows, before = self._rows, self._best
        is_whole = len(rows) == len(self._lengths)
        letters = self._letters if is_whole else self._letters[:, rows]
        points = self._points if is_whole else self._points[:, rows]
        best = np.full(letters.shape, _NONE, dtype=np.int16)
        if before is None:
            best[:] = points
        elif len(best) > 1:
            # Anywhere behind the last letter, or right behind it.
            np.maximum.accumulate(before[:-1], axis=0, out=best[1:])
            np.maximum(best[1:], before[:-1] + np.int16(NEXT), out=best[1:])
            best[1:] += points[1:]
        best[letters != code] = _NONE
        matches = (best > 0).any(axis=0)
        if not matches.all():
            self._rows, best = rows[matches], best[:, matches]
        self._best = best


def _lower(text: str) -> str:
    """Return lower case, letter for letter: a few change their number otherwise."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text


def _codes(names: Sequence[str], lengths: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return the code points `[longest, names]`, 0 behind the end of a name."""
    longest = int(lengths.max()) if len(lengths) else 0
    flat = np.frombuffer("".join(names).encode("utf-32-le"), dtype="<u4")
    codes = np.zeros((longest, len(lengths)), dtype=np.uint16)
    row = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    place = np.arange(len(flat)) - np.repeat(ends - lengths, lengths)
    codes[place, row] = np.minimum(flat, _LAST_CODE)
    return codes


def _word_starts(codes: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return where words begin: after a sign, a change to digits, or a capital."""
    digit = (codes >= ord("0")) & (codes <= ord("9"))
    capital = (codes >= ord("A")) & (codes <= ord("Z"))
    small = (codes >= ord("a")) & (codes <= ord("z"))
    letter = capital | small | (codes > 127)
    starts = digit | letter
    starts[1:] &= ~(
        (letter[1:] & letter[:-1] & ~(capital[1:] & small[:-1]))
        | (digit[1:] & digit[:-1])
    )
    return starts
