"""Questions about a model, from a script: everything the window and the CLI do.

The names below are the library's front door. They are imported when first used,
because some of them import torch and others must not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.data import load_data
    from analysis.diagnosis import diagnose
    from analysis.export.base import export as export_assignment
    from analysis.jobs import analyze, evaluate
    from analysis.load import load as load_model
    from analysis.project import Project
    from analysis.quality import measure_quality
    from analysis.report import write_report
    from analysis.search.of_project import search as find_assignment
    from analysis.search.refining import refine_assignment

# `load`, `search` and `export` are folders here, hence the longer names.
_HOMES = {
    "Project": ("analysis.project", "Project"),
    "analyze": ("analysis.jobs", "analyze"),
    "diagnose": ("analysis.diagnosis", "diagnose"),
    "evaluate": ("analysis.jobs", "evaluate"),
    "export_assignment": ("analysis.export.base", "export"),
    "find_assignment": ("analysis.search.of_project", "search"),
    "load_data": ("analysis.data", "load_data"),
    "load_model": ("analysis.load", "load"),
    "measure_quality": ("analysis.quality", "measure_quality"),
    "refine_assignment": ("analysis.search.refining", "refine_assignment"),
    "write_report": ("analysis.report", "write_report"),
}

__all__ = [
    "Project",
    "analyze",
    "diagnose",
    "evaluate",
    "export_assignment",
    "find_assignment",
    "load_data",
    "load_model",
    "measure_quality",
    "refine_assignment",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
