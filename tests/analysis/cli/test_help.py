"""`quantscope help`: the pages of the help pane, in the terminal and as one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from analysis.handbook import page, topics

Ask = Callable[..., tuple[int, Any]]


def test_topics_pages_and_the_file(ask: Ask, tmp_path: Path) -> None:
    code, told = ask("help")
    assert (code, told["topics"]) == (0, dict(topics()))
    code, told = ask("help", "measure:hessian")
    assert (code, told["page"]) == (0, page("measure:hessian"))
    path = tmp_path / "handbook.html"
    code, told = ask("help", "--html", path)
    assert (code, told["file"]) == (0, str(path))
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    code, told = ask("help", "--html", path)
    assert code == 2
    code, told = ask("help", "measure:magic")
    assert code == 2
    assert "There is no such page" in str(told)


def test_topics_are_listed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(topics()))
    assert any(line.startswith("panel:layers ") for line in lines)
