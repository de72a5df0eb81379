"""The version written into files and printed by the command line."""

from __future__ import annotations

from importlib import metadata


def tool_version() -> str:
    """Return the installed version of Quantscope; "unknown" when not installed."""
    try:
        return metadata.version("quantscope")
    except metadata.PackageNotFoundError:
        return "unknown"
