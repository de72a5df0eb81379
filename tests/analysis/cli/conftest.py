"""A small analysed project, and commands asked for their JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main

MODEL = "example:digits-vit"
ANALYZE = ["analyze", MODEL, "--data", "example", "--samples", "4", "--formats"]


@pytest.fixture(scope="package")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "m.qscope"
    words = [*ANALYZE, "int3,int4,int8", "-o", str(path), "--quiet"]
    assert main([*words, "--measures", "weights,predicted_error"]) == 0
    return path


@pytest.fixture
def project(analysed: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copy(analysed, tmp_path / "m.qscope"))


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Run a command with --json; return its exit code and object."""

    def run(*words: str | Path) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        assert err == ""
        return code, json.loads(out)

    return run
