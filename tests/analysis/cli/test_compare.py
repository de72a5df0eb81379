"""`quantscope show --compare`: measures side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from analysis.project import Project
from tests.compared import compared, layers_info

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Return a project file that four measures have judged."""
    path = tmp_path / "judged.qscope"
    with compared(6) as project:
        project.save(path)
    return path


def test_every_measure_is_told_by_the_number_that_ranks_best(
    ask: Ask, judged: Path
) -> None:
    code, told = ask("show", judged, "--compare")
    assert code == 0
    assert [c["key"] for c in told["criteria"]] == [
        "predicted_error.error",
        "measured_error.error",
        "hessian.hawq_v2",
        "weights.sqnr",
    ]
    assert {c["format"] for c in told["criteria"]} == {"int4"}
    first = told["rows"][0]
    assert first["layer"] == "block.0"
    assert first["ranks"] == [1, 1, 2, 1]
    assert first["values"][0] == pytest.approx(0.2)
    assert first["stderrs"][0] == pytest.approx(0.02)
    assert told["spearman"][0][2] == pytest.approx(1 - 36 / 210)


def test_measures_format_and_layers_can_be_chosen(ask: Ask, judged: Path) -> None:
    words = ("--compare", "hessian.trace,predicted_error", "--format", "int2")
    _, told = ask("show", judged, *words, "--layer", "block.[12]")
    assert [c["format"] for c in told["criteria"]] == [None, "int2"]
    # The order is that of the first measure, the rank that among all layers.
    assert [(r["layer"], r["ranks"]) for r in told["rows"]] == [
        ("block.1", [1, 2]),
        ("block.2", [4, 3]),
    ]


def test_csv_has_a_title_of_its_own_for_every_column(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(judged), "--compare", "--csv"]) == 0
    text = capsys.readouterr().out
    head = next(csv.reader(io.StringIO(text)))
    assert len(set(head)) == len(head) == 1 + 3 * 4
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["rank by Predicted error, int4"] for row in rows] == list("123456")
    assert float(rows[0]["Predicted error, int4 [nats]"]) == pytest.approx(0.2)


def test_the_table_ends_with_the_agreement(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(judged), "--compare", "hessian,predicted_error"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "hessian.hawq_v2", "predicted_error.error"]
    assert lines[1].startswith("block.1")
    assert "(1)" in lines[1]
    assert lines[-2].split() == ["hessian.hawq_v2", "1", "0.829"]


def test_nothing_measured_is_no_mistake(
    tmp_path: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.qscope"
    with Project.create(layers_info(2)) as project:
        project.save(path)
    assert ask("show", path, "--compare")[1]["rows"] == []
    assert main(["show", str(path), "--compare"]) == 0
    assert "no measure has numbers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--compare", "fisher"), "no such number"),
        (("--compare", "--format", "int7"), "No result is in this format"),
        (("--compare", "--layer", "head"), "No result belongs to this layer"),
    ],
)
def test_what_is_not_there_is_named(
    judged: Path,
    words: tuple[str, ...],
    what: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["show", str(judged), *words]) == 2
    assert what in capsys.readouterr().err
