"""The version written into files and printed by the command line."""

from __future__ import annotations


def tool_version() -> str:
    """Return the installed version of Quantscope; "unknown" when not installed."""
    # It takes longer to import than a window with a start page takes to build.
    from importlib import metadata

    try:
        return metadata.version("quantscope")
    except metadata.PackageNotFoundError:
        return "unknown"
