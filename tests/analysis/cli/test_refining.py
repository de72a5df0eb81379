"""Searches that run the network, from the command line and from a script."""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.cli import refining
from analysis.errors import AnalysisError
from analysis.messages import DataRequest
from analysis.method import Update
from analysis.project import Project
from analysis.script import Runs, search_script
from analysis.search.of_project import rerun
from analysis.search.trial import Refined

Ask = Callable[..., tuple[int, Any]]

QUICK = ["--refine.candidates", "2", "--refine.rounds", "2"]
MODEL = "example:digits-vit"


def test_refining_is_kept_signed_and_done_again(ask: Ask, project: Path) -> None:
    words = ["search", project, "--budget", "bits<=4.5"]
    code, told = ask(*words, "--refine", *QUICK, "--name", "mine")
    assert code == 0
    refined = told["refined"]
    values = [trial["measured"] for trial in refined["trials"]]
    assert refined["measured"]["value"] == min(values)
    assert refined["trials"][0]["origin"] == "exact"
    assert all(trial["bits"] <= 4.5 for trial in refined["trials"])
    with Project.open(project) as kept:
        assignment = kept.assignments["mine"]
        assert kept.assignment.digest == assignment.digest
        score = kept.measured_of(assignment)
        assert score is not None
        assert score["value"] == min(values)
        origin = assignment.provenance
        assert (origin["search"], origin["budget"]) == ("exact", "bits<=4.5")
        assert origin["refine"]["data"]["source"] == "example"
        with pytest.raises(AnalysisError, match="ran the network"):
            rerun(kept, assignment)
    code, told = ask("search", project, "--rerun", "mine")
    assert (code, told) == (0, {"assignment": "mine", "same": True})


def test_what_other_measures_propose_is_run_as_well(ask: Ask, project: Path) -> None:
    words = ["search", project, "--budget", "bits<=3.6"]
    more = ["--refine.rounds", "2", "--refine.singles", "0", "--name", "mine"]
    code, told = ask(*words, "--refine", *more)
    assert code == 0
    trials = {trial["origin"]: trial for trial in told["refined"]["trials"]}
    assert "weights.sqnr" in trials
    best = told["refined"]["measured"]["value"]
    assert best <= trials["weights.sqnr"]["measured"]
    objective = ["--objective", "weights.sqnr"]
    assert ask(*words, *objective, "--name", "other")[0] == 0
    with Project.open(project) as kept:
        rivals = kept.assignments["mine"].provenance["refine"]["rivals"]
        assert rivals["weights.sqnr"] == kept.latest_run("weights").id
        score = kept.measured_of(kept.assignments["other"])
        assert score is not None
        assert score["value"] == trials["weights.sqnr"]["measured"]
    assert ask("search", project, "--rerun", "mine")[1]["same"]


def test_verifying_runs_each_candidate_once(ask: Ask, project: Path) -> None:
    words = ["search", project, "--budget", "bits<=4.5", "--verify"]
    code, told = ask(*words, "--refine.candidates", "3")
    assert code == 0
    assert 1 <= told["refined"]["evaluations"] <= 3
    assert told["assignments"][0]["name"] == "bits<=4.5"


def test_the_smallest_model_that_keeps_a_metric(ask: Ask, project: Path) -> None:
    code, told = ask("search", project, "--keep", "error=0.01")
    assert code == 0
    assert told["refined"]["met"]
    assert told["refined"]["measured"]["value"] <= 0.01
    assert told["assignments"][0]["name"] == "keep error=0.01"
    worse = [t for t in told["refined"]["trials"] if t["measured"] > 0.01]
    bits = told["assignments"][0]["totals"]["average_bits"]
    assert all(trial["bits"] < bits for trial in worse)


def test_the_script_does_the_same(ask: Ask, project: Path, tmp_path: Path) -> None:
    model = analysis.load_model(MODEL)
    data = analysis.load_data("example", model, samples=4)
    plan = {"candidates": 2, "rounds": 1, "singles": 0}
    with Project.open(project) as kept:
        steps = list(
            analysis.refine_assignment(model, data, kept, "bits<=4.5", plan=plan)
        )
        assert isinstance(steps[0], Update)
        last = [step for step in steps if isinstance(step, Refined)][-1]
        found = last.best.assignment
        assert found.provenance["refine"]["evaluations"] == 2
        kept.save()
    words = ["search", project, "--budget", "bits<=4.5", "--verify", "--name", "cli"]
    assert ask(*words, "--refine.candidates", "2")[0] == 0
    with Project.open(project) as kept:
        assert kept.assignments["cli"].digest == found.digest


def test_ctrl_c_keeps_the_best_so_far(
    ask: Ask, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = refining.run_job

    def pressed(*given: Any) -> Any:
        for step in real(*given):
            yield step
            if isinstance(step, Refined) and len(step.trials) == 2:
                signal.raise_signal(signal.SIGINT)

    words = ["search", project, "--budget", "bits<=4.5", "--refine"]
    with monkeypatch.context() as patch:
        patch.setattr(refining, "run_job", pressed)
        code, told = ask(*words)
    assert code == 130
    assert told["refined"]["evaluations"] in (2, 3)
    with Project.open(project) as kept:
        assert "bits<=4.5" in kept.assignments


def test_a_search_without_runs_is_done_again(ask: Ask, project: Path) -> None:
    assert ask("search", project, "--budget", "bits<=4.5")[0] == 0
    code, told = ask("search", project, "--rerun", "bits<=4.5")
    assert (code, told["same"]) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep", "top1"], "cannot be read"),
        (["--keep", "f1=1%"], "does not measure"),
        (["--budget", "bits<=5", "--refine.rounds", "2"], "about running candidates"),
        (
            ["--budget", "bits<=5", "--refine", "--objective", "weights.sqnr"],
            "error in their own unit",
        ),
        (["--refine"], "needs a budget"),
        (["--rerun", "int4"], "not made by a search"),
    ],
)
def test_mistakes(ask: Ask, project: Path, words: list[str], message: str) -> None:
    code, told = ask("search", project, *words)
    assert code == 2
    assert message in told["error"]["what"]


@pytest.mark.parametrize(("how", "keep"), [("verify", ""), ("keep", "error=0.01")])
def test_copied_scripts_do_the_same(
    ask: Ask, project: Path, tmp_path: Path, how: str, keep: str
) -> None:
    other = Path(shutil.copy(project, tmp_path / "other.qscope"))
    data = DataRequest("example", 4)
    runs = Runs(MODEL, data, how, keep, {"candidates": 2})
    budget = "" if keep else "bits<=4.5"
    script = search_script(str(project), budget, runs=runs)
    exec(compile(script.python, "script.py", "exec"), {})
    words = shlex.split(search_script(str(other), budget, runs=runs).command)[1:]
    assert ask(*words)[0] == 0
    with Project.open(project) as first, Project.open(other) as second:
        assert first.assignment.digest == second.assignment.digest
        assert first.assignment.provenance["refine"]["data"]["source"] == "example"
