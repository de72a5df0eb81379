"""Scripts repeat their jobs: both texts are run and their results compared."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import jobs
from analysis.cli import main
from analysis.data import load_data
from analysis.load import load
from analysis.messages import Analyze, DataRequest
from analysis.project import Project
from analysis.script import (
    Script,
    analysis_script,
    evaluation_script,
    export_script,
    report_script,
    run_script,
    search_script,
)
from analysis.search.of_project import search
from quant_core.scheme import Scheme, parse_scheme

MODEL = "example:digits-vit"
DATA = DataRequest("example", samples=4, seed=3, max_length=17)
SCHEMES = (Scheme("int3"), parse_scheme("int8/group(32)"))
ODD = 'it\'s "odd"; $HOME *.qscope'
"""A name that a shell and Python must both be given in quotes."""

Way = Callable[[Script], None]


def by_python(script: Script) -> None:
    exec(compile(script.python, "script.py", "exec"), {})


def by_command(script: Script) -> None:
    program, *words = shlex.split(script.command)
    assert program == "quantscope"
    assert main([*words, "--quiet"]) == 0


def by_text(script: Script) -> None:
    """Run the whole text: the command above is a comment."""
    exec(compile(script.text, "script.py", "exec"), {})


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the jobs themselves made."""
    path = tmp_path_factory.mktemp("scripts") / ODD
    job = Analyze(
        measures=("weights", "predicted_error"),
        schemes=SCHEMES,
        input_schemes=(Scheme("int8", "tensor"),),
        params={"predicted_error": {"probes": 2}},
        data=DATA,
        seed=3,
    )
    model = load(MODEL)
    data = load_data("example", model, samples=4, seed=3, max_length=17)
    with Project.create(model.info, path) as project:
        for _ in jobs.recorded(project, job, model, data):
            pass
        project.save()
    return path


@pytest.fixture
def path(analysed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(analysed, tmp_path / ODD))


def same_runs(first: Path, second: Path, keys: tuple[str, ...]) -> None:
    with Project.open(first) as one, Project.open(second) as two:
        for key in keys:
            runs = one.latest_run(key), two.latest_run(key)
            assert runs[0] is not None
            assert runs[1] is not None
            for name in ("params", "seed", "unit", "data_digest", "task", "samples"):
                assert getattr(runs[0], name) == getattr(runs[1], name), name
            rows = one.rows(key), two.rows(key)
            assert len(rows[0]) == len(rows[1]) > 0
            values = [[row.value for row in found] for found in rows]
            np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("way", [by_python, by_command, by_text])
def test_an_analysis_is_repeated(way: Way, analysed: Path, tmp_path: Path) -> None:
    job = Analyze(
        measures=("weights", "predicted_error"),
        schemes=SCHEMES,
        input_schemes=(Scheme("int8", "tensor"),),
        params={"predicted_error": {"probes": 2}},
        data=DATA,
        seed=3,
    )
    copy = tmp_path / f"copy of {ODD}"
    way(analysis_script(MODEL, str(copy), job))
    same_runs(analysed, copy, ("weights", "predicted_error"))


@pytest.mark.parametrize("way", [by_python, by_command])
def test_an_analysis_without_data_is_repeated(way: Way, tmp_path: Path) -> None:
    copy = tmp_path / "m.qscope"
    job = Analyze(measures=("weights",), schemes=(Scheme("int4"),))
    way(analysis_script(MODEL, str(copy), job))
    with Project.open(copy) as project:
        assert project.formats("weights", "sqnr") == ("int4",)
        assert [run.status for run in project.runs] == ["complete"]


@pytest.mark.parametrize("way", [by_python, by_command])
@pytest.mark.parametrize("measure", ["weights", "predicted_error"])
def test_a_run_of_a_project_is_repeated(
    way: Way, measure: str, analysed: Path, tmp_path: Path
) -> None:
    with Project.open(analysed) as project:
        run = project.latest_run(measure)
        source = project.info.source
    assert run is not None
    copy = tmp_path / "again.qscope"
    way(run_script(source, str(copy), run))
    same_runs(analysed, copy, (measure,))


@pytest.mark.parametrize("way", [by_python, by_command])
def test_a_search_is_repeated(way: Way, path: Path) -> None:
    with Project.open(path) as project:
        expected = search(project, "bits<=5", method="exact")
    way(search_script(str(path), "bits<=5"))
    with Project.open(path) as project:
        assert project.assignment.digest == expected.digest
        assert project.assignment.weight.any()


@pytest.mark.parametrize("way", [by_python, by_command])
@pytest.mark.parametrize(
    "options",
    [
        {"method": "front", "objective": "predicted_error,weights.sqnr*0.1"},
        {"inputs": True},
        {"rules": ["at_least first=6", "at_most last=16", "fix kind:linear=int3"]},
    ],
    ids=["objective", "inputs", "rules"],
)
def test_a_search_with_choices_is_repeated(
    way: Way, options: dict[str, Any], path: Path
) -> None:
    with Project.open(path) as project:
        expected = search(project, "bits<=5", **options)
    way(search_script(str(path), "bits<=5", **options))
    with Project.open(path) as project:
        assert project.assignment.digest == expected.digest


@pytest.mark.parametrize("way", [by_python, by_command])
def test_a_search_with_a_cost_table_is_repeated(
    way: Way, path: Path, tmp_path: Path
) -> None:
    table = tmp_path / "time of day.csv"
    with Project.open(path) as project:
        keys = ("float", *(scheme.key for scheme in SCHEMES))
        rows = [
            f"{layer.name},{key},{1 + i % 3 + 4 * (key == 'float')}"
            for i, layer in enumerate(project.info.layers)
            for key in keys
        ]
        table.write_text("\n".join(["layer,format,cost", *rows]), encoding="utf-8")
        limits = f"bits<=20,latency<={2 * len(project.info.layers)}"
        costs = {"latency": str(table)}
        expected = search(project, limits, costs=costs)
        assert expected.digest != search(project, "bits<=20").digest
    way(search_script(str(path), limits, costs=costs))
    with Project.open(path) as project:
        assert project.assignment.digest == expected.digest


@pytest.mark.parametrize("way", [by_python, by_command])
@pytest.mark.parametrize("name", [None, "mine; rm -rf"])
def test_a_measurement_is_repeated(way: Way, name: str | None, path: Path) -> None:
    model = load(MODEL)
    data = load_data("example", model, samples=4, seed=3, max_length=17)
    with Project.open(path) as project:
        layers = range(len(project.info.layers))
        project.set_weight(layers, Scheme("int3"))
        if name is not None:
            project.keep_assignment(name)
            project.set_weight(layers, None)
        plan = project.assignment if name is None else project.find_assignment(name)
        updates = list(jobs.evaluate(model, data, plan, seed=3))
        project.save()
    expected = next(r.value for r in updates[-1].rows if r.quantity == "error")
    way(evaluation_script(MODEL, str(path), DATA, assignment=name))
    with Project.open(path) as project:
        measured = project.measured_of(plan)
        assert measured is not None
        assert measured["value"] == expected
        assert measured["samples"] == 4


@pytest.mark.parametrize("way", [by_python, by_command])
def test_an_export_is_repeated(way: Way, path: Path, tmp_path: Path) -> None:
    with Project.open(path) as project:
        project.set_weight([0], Scheme("int8"))
        expected = project.assignment.to_json()["layers"]
        project.save()
    output = tmp_path / "it's.json"
    way(export_script(str(path), "json", str(output)))
    assert json.loads(output.read_text())["layers"] == expected
    way(export_script(str(path), "json", str(output)))  # replaces


@pytest.mark.parametrize("way", [by_python, by_command])
@pytest.mark.parametrize("name", [None, "kept"])
def test_a_report_is_repeated(
    way: Way, name: str | None, path: Path, tmp_path: Path
) -> None:
    with Project.open(path) as project:
        project.set_weight([0], Scheme("int8"))
        project.keep_assignment("kept")
        project.save()
    output = tmp_path / "r.html"
    way(report_script(str(path), str(output), assignment=name))
    assert "1 int8" in output.read_text(encoding="utf-8")


def test_a_shell_reads_the_command_as_it_is_meant(path: Path) -> None:
    script = report_script(str(path), str(path.parent / "r.html"))
    shell = f'quantscope() {{ "{sys.executable}" -m analysis "$@"; }}\n{script.command}'
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, cwd=path.parent
    )
    assert done.returncode == 0, done.stderr
    assert (path.parent / "r.html").is_file()
