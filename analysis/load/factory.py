"""Loader of Python factories: `package.module:callable`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError
from analysis.load.base import Loader, Options
from analysis.load.inputs import Inputs
from analysis.model import LoadedModel

_SOURCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _accepts(source: str) -> bool:
    return bool(_SOURCE.fullmatch(source)) and not source.startswith("example:")


def _open(source: str, options: Options) -> LoadedModel:
    """Call the factory: its code runs, as with any Python import."""
    from torch import nn

    from analysis.load.network import open_network

    made = call_target(source)
    example: Any = None
    if isinstance(made, tuple) and len(made) == 2:
        made, example = made
    if not isinstance(made, nn.Module):
        raise AnalysisError(
            "The factory did not return a network.",
            value=f"{source} -> {type(made).__name__}",
            allowed="a torch.nn.Module, or (module, example_inputs)",
        )
    return open_network(
        made, source, source.rpartition(":")[2], options, _arguments(example)
    )


def _arguments(example: Any) -> Inputs | None:
    """Return example inputs as `(args, kwargs)`."""
    if example is None:
        return None
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (tuple, list)):
        return tuple(example), {}
    return (example,), {}


def call_target(source: str, *args: Any) -> Any:
    """Import `package.module`, call `callable` of it with `args`, return the result.

    Raises:
        AnalysisError: the module or the callable is missing, or it failed.
    """
    target = find_target(source)
    try:
        inspect.signature(target).bind(*args)
    except TypeError as error:
        raise AnalysisError(
            f"The callable does not take these arguments: {error}.",
            value=source,
            allowed=f"a callable of {len(args)} arguments",
        ) from error
    except ValueError:
        pass  # builtins without a signature; the call will tell
    try:
        return target(*args)
    except AnalysisError:
        raise
    except Exception as error:
        raise AnalysisError(
            f"The callable failed: {type(error).__name__}: {error}.", value=source
        ) from error


def find_target(source: str) -> Any:
    """Import `package.module` and return `callable` of it.

    The current folder is looked in first, as `python -m` does.

    Raises:
        AnalysisError: the module or the callable is missing.
    """
    module_name, _, attribute = source.partition(":")
    target = _import(source, module_name)
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = [n for n in vars(target) if not n.startswith("_")]
            raise AnalysisError(
                f"The module has no {part}.",
                value=source,
                allowed=", ".join(sorted(names)[:20]),
            )
        target = getattr(target, part)
    if not callable(target):
        raise AnalysisError(
            "The name does not belong to something that can be called.",
            value=source,
            allowed="a function or class of the module",
        )
    return target


def _import(source: str, module_name: str) -> Any:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        raise AnalysisError(
            f"The module cannot be imported: {type(error).__name__}: {error}.",
            value=source,
            allowed="package.module:callable, importable from the current folder",
        ) from error
    finally:
        if added:
            sys.path.remove(here)


LOADER = Loader("factory", "package.module:callable", _accepts, _open)
