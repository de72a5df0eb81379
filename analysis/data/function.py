"""A Python callable as calibration data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from analysis.data.batch import Data
from analysis.data.request import Found, Request
from analysis.errors import AnalysisError
from analysis.load import factory


def is_target(source: str) -> bool:
    """Tell whether a source has the form `package.module:callable`."""
    return factory.LOADER.accepts(source)


def read_callable(request: Request) -> Found:
    """Return what a callable makes.

    It is called with `(model, samples, seed)` when it takes three arguments, else
    with none, and returns a tensor, a tuple of them, a dict by keyword (perhaps with
    `labels`), or `Data`. Its code runs, as with any Python import.
    """
    target = factory.find_target(request.source)
    wanted = (request.model, request.samples, request.seed)
    arguments = wanted if _takes(target, len(wanted)) else ()
    made: Any = factory.call_target(request.source, *arguments)
    if isinstance(made, Data):
        return Found(made.kwargs, made.args, made.labels, made.warnings)
    if isinstance(made, Mapping):
        return Found(dict(made))
    if isinstance(made, (tuple, list)):
        return Found({}, tuple(made))
    if hasattr(made, "shape"):
        return Found({"": made})
    raise AnalysisError(
        "The callable did not return data.",
        value=f"{request.source} -> {type(made).__name__}",
        allowed="a tensor or array, a tuple of them, or a dict by keyword",
    )


def _takes(target: Any, count: int) -> bool:
    try:
        inspect.signature(target).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True
