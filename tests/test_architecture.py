"""Rules of the house that no single package can check for itself."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.export import EXPORTERS
from analysis.measures import NAMES, measures
from analysis.method import describe_params
from analysis.search import SEARCHES

ROOT = Path(__file__).parents[1]

LIGHT = (
    "quant_core.assignment",
    "quant_core.cost",
    "quant_core.errors",
    "quant_core.formats",
    "quant_core.scheme",
    "quant_core.sites",
    "quant_core.targets",
    "quant_core.ties",
    "analysis.diagnosis",
    "analysis.errors",
    "analysis.method",
    "analysis.model",
    "analysis.prediction",
    "analysis.project",
    "analysis.quality",
    "analysis.store",
    "analysis.worker",
    "analysis.export",
    "analysis.report",
    "analysis.script",
    "analysis.search.budget",
    "analysis.search.exact",
    "analysis.search.front",
    "analysis.search.problem",
)
"""Modules the window and the quick commands import: torch would cost them seconds."""

METHODS = [*measures().values(), *SEARCHES]


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def app_modules() -> list[str]:
    package = importlib.import_module("app")
    found = pkgutil.walk_packages(package.__path__, "app.")
    return sorted(info.name for info in found if not info.name.endswith("__main__"))


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c;c()",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_light_modules_do_not_import_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {[*LIGHT, *app_modules()]!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n"
        "        print(name)\n"
        "        break\n"
    )
    assert python(code) == "", "this module imports torch"


def test_measures_are_named_in_order() -> None:
    assert tuple(measures()) == NAMES


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.key)
def test_every_method_is_documented(method: type) -> None:
    assert dataclasses.is_dataclass(method)
    assert method.__dataclass_params__.frozen
    text = method.__doc__ or ""
    # A dataclass without a docstring gets its signature for one.
    assert not text.startswith(f"{method.__name__}(")
    first, _, rest = text.strip().partition("\n")
    assert first.endswith("."), "the first line is the sentence shown in lists"
    assert len(rest.split()) > 10, "the rest is the text of the help pane"
    for name in ("key", "title", "version"):
        assert getattr(method, name)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.key)
def test_every_parameter_is_documented(method: type) -> None:
    for info in describe_params(method):
        assert info.doc, info.name


@pytest.mark.parametrize("family", [METHODS, EXPORTERS], ids=["methods", "exporters"])
def test_keys_are_unique(family: list[type]) -> None:
    keys = [method.key for method in family]
    assert len(set(keys)) == len(keys)
