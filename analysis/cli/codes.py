"""Exit codes of every command."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
"""Wrong usage or bad input."""
INTERRUPTED = 130
"""Ctrl-C; results so far are kept. By custom 128 and the number of the signal."""
