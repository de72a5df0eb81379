"""Bad input and accidents: one paragraph, the right exit code, nothing lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from analysis.cli import main

MODEL = "example:digits-vit"

Ask = Callable[..., tuple[int, Any]]

MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown command": (["serch"], "no such command"),
    "unknown option": (["layers", MODEL, "--colour"], "Unrecognized arguments"),
    "missing argument": (["layers"], "required: MODEL"),
    "missing model": (["layers", "nowhere"], "There is no such file"),
    "model without a name": (["layers", ""], "No model was named. Given: ''."),
    "folder as project": (["show", "."], "A folder was given in place of a project"),
    "missing project": (["show", "nowhere.qscope"], "nowhere.qscope"),
    "unknown measure": (
        ["analyze", MODEL, "-o", "NEW", "--measures", "guess"],
        "no such measure",
    ),
    "unknown format": (["analyze", MODEL, "-o", "NEW", "--formats", "int99"], "int99"),
    "parameter out of range": (
        ["analyze", MODEL, "-o", "NEW", "--predicted_error.probes", "0"],
        "out of range",
    ),
    "parameter of another measure": (
        ["analyze", MODEL, "-o", "NEW", "--measures", "weights"]
        + ["--predicted_error.probes", "2"],
        "not run",
    ),
    "parameter that is no number": (
        ["analyze", MODEL, "-o", "NEW", "--predicted_error.precision", "nan"],
        "out of range. Given: nan",
    ),
    "seed that no generator takes": (
        ["analyze", MODEL, "-o", "NEW", "--data", "example", "--seed", str(2**63)],
        f"whole number from 0 to {2**63 - 1}",
    ),
    "model without layers": (
        ["analyze", "VECTORS", "-o", "NEW"],
        "no layer that could be quantized",
    ),
    "unknown device": (
        ["analyze", MODEL, "-o", "NEW", "--device", "abacus"],
        "device cannot be used",
    ),
    "unknown task": (["analyze", MODEL, "-o", "NEW", "--task", "joy"], "joy"),
    "project exists": (["analyze", MODEL, "-o", "P"], "exists already"),
    "no folder": (["analyze", MODEL, "-o", "nowhere/p.qscope"], "does not exist"),
    "name of a folder": (["analyze", MODEL, "-o", "."], "this is a folder"),
    "scheme that fits no layer": (
        ["analyze", MODEL, "-o", "NEW", "--formats", "int8,int4/group(7)"],
        "int4/group(7) fits no layer of the model: Group size 7",
    ),
    "ranges of inputs per group": (
        ["analyze", MODEL, "-o", "NEW", "--input-formats", "uint8/group(8)"],
        "Write uint8/tensor or uint8/token",
    ),
    "refused before the project is replaced": (
        ["analyze", MODEL, "-o", "P", "--overwrite", "--measures", "measured_error"],
        "needs calibration data",
    ),
    "model as output": (
        ["analyze", "VECTORS", "-o", "VECTORS", "--overwrite"],
        "not a Quantscope project",
    ),
    "project as export": (
        ["export", "P", "--to", "json", "-o", "P", "--overwrite"],
        "one that the project is made of",
    ),
    "project as report": (
        ["report", "P", "-o", "P", "--overwrite"],
        "one that the project is made of",
    ),
    "name of two lines": (
        ["search", "P", "--budget", "bits<=8", "--name", "a\nb"],
        r"Given: 'a\nb'. Allowed: one line.",
    ),
    "reserved name": (
        ["search", "P", "--budget", "bits<=8", "--name", "current"],
        "stands for the assignment being edited",
    ),
    "another model": (
        ["analyze", "example:digits-cnn", "-o", "P", "--resume"],
        "made for another model",
    ),
    "no budget": (["search", "P"], "needs a budget"),
    "unreadable budget": (["search", "P", "--budget", "bits=4"], "bits<=4"),
    "impossible budget": (
        ["search", "P", "--budget", "bits<=0.1"],
        "smallest possible",
    ),
    "unknown target": (
        ["search", "P", "--budget", "bits<=4", "--target", "abacus"],
        "no such target",
    ),
    "unreadable lock": (
        ["search", "P", "--budget", "bits<=4", "--lock", "classifier"],
        "cannot be read",
    ),
    "lock of an unknown layer": (
        ["search", "P", "--budget", "bits<=4", "--lock", "classifer=int8"],
        "Did you mean classifier",
    ),
    "option of another search": (
        ["search", "P", "--budget", "bits<=4", "--method", "front"]
        + ["--exact.seconds", "3"],
        "another search",
    ),
    "measure that was not run": (
        ["show", "P", "--measure", "activations"],
        "no results of this measure",
    ),
    "layer without results": (["show", "P", "--layer", "classifer"], "Did you mean"),
    "quantity that is not there": (["show", "P", "--quantity", "joy"], "joy"),
    "no name to compare": (
        ["show", "P", "--compare", ","],
        "Given: ,. Allowed: weights.",
    ),
    "objective that is no measure": (
        ["search", "P", "--budget", "bits<=4", "--objective", "joy"],
        "holds no such number of its layers. Given: joy. Allowed: a measure with",
    ),
    "objective of a measure that was not run": (
        ["search", "P", "--budget", "bits<=4", "--objective", "hessian.hawq_v2"],
        "Run the measure hessian first.",
    ),
    "data that no search looks at": (
        ["search", "P", "--budget", "bits<=4", "--max-length", "9"],
        "about running candidates. Given: --max-length. Add --verify",
    ),
    "unknown assignment": (
        ["evaluate", "P", "--assignment", "nothing"],
        "no assignment of that name",
    ),
    "empty name": (["evaluate", "P", "--assignment", ""], "Given: ''."),
    "assignment nested without end": (
        ["evaluate", "P", "--assignment", "DEEP"],
        "The assignment file is not JSON",
    ),
    "costs nested without end": (
        ["search", "P", "--budget", "ms<=3", "--cost-table", "ms=DEEP"],
        "The cost table is not JSON",
    ),
    "missing data": (["evaluate", "P", "--data", "nowhere.npz"], "nowhere.npz"),
    "unknown exporter": (
        ["export", "P", "--to", "abacus", "-o", "NEW"],
        "no such export format",
    ),
    "unknown method": (["methods", "abacus"], "nothing of that name"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_paragraph_and_exit_code_2(
    mistake: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.read_bytes()
    words, message = MISTAKES[mistake]
    places = {"P": str(project), "NEW": str(tmp_path / "new.qscope")}
    if "VECTORS" in words:
        places["VECTORS"] = str(tmp_path / "vectors.safetensors")
        save_file({"norm.weight": torch.ones(4)}, places["VECTORS"])
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    words = [places.get(word, word).replace("DEEP", str(deep)) for word in words]

    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    *notes, paragraph = err.splitlines()
    assert paragraph.startswith("quantscope: ")
    assert message in paragraph
    assert "Traceback" not in err

    assert main([*words, "--json"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert set(json.loads(out)["error"]) == {"what", "value", "allowed", "hint"}

    assert project.read_bytes() == before
    assert not (tmp_path / "new.qscope").exists()


def test_a_full_disk_loses_nothing(
    ask: Ask, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        code, told = ask("search", project, "--budget", "bits<=4")
    assert code == 2
    assert "space" in json.dumps(told["error"])
    assert project.read_bytes() == before
    assert ask("show", project)[0] == 0


def test_an_unforeseen_error_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("analysis.load.load", broken)
    assert main(["layers", MODEL]) == 1
    assert "Unexpected ZeroDivisionError: oh" in capsys.readouterr().err


def test_memory_running_out_is_told_as_such(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 TiB")

    monkeypatch.setattr("analysis.load.load", greedy)
    assert main(["layers", MODEL]) == 1
    assert "Memory ran out" in capsys.readouterr().err
