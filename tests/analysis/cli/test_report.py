"""`quantscope report` from the outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from analysis.diagnosis import RULES, diagnose
from analysis.project import Project
from quant_core.scheme import Scheme

Ask = Callable[..., tuple[int, Any]]


def test_json_holds_the_same_findings_as_the_library(
    project: Path, ask: Ask, tmp_path: Path
) -> None:
    path = tmp_path / "r.html"
    code, told = ask("report", project, "-o", path, "--assignment", "int3")
    assert code == 0
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert told["file"] == str(path)
    assert told["assignment"] == "int3"
    assert told["predicted"]["value"] > 0
    judged = {f["rule"] for f in told["findings"]}
    assert len(judged) + len(told["not_judged"]) + len(told["clear"]) == len(RULES)
    with Project.open(project) as opened:
        layers = range(len(opened.info.layers))
        plan = opened.assignment.with_weight(layers, Scheme("int3"))
        names = [layer.name for layer in opened.info.layers]
        found = diagnose(opened, plan).to_json(names)
    assert [f["title"] for f in told["findings"]] == [
        f["title"] for f in found["findings"]
    ]
    for finding in told["findings"]:
        assert {"rule", "title", "severity", "numbers", "reason", "advice"} <= set(
            finding
        )
        assert {"name", "value", "unit", "stderr"} == set(finding["numbers"][0])


def test_findings_are_printed_without_a_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(project), "--assignment", "int3"]) == 0
    out, err = capsys.readouterr()
    assert "warning: " in out
    assert "try: " in out
    assert "not judged: " in err


def test_mistakes_are_refused(
    project: Path, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "r.html"
    kept.write_text("mine")
    assert main(["report", str(project), "-o", str(kept)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    code, told = ask("report", project, "--assignment", "nothing")
    assert code == 2
    assert "no assignment of that name" in told["error"]["what"]
    assert main(["report", str(project), "-o", str(tmp_path / "no" / "r.html")]) == 2
