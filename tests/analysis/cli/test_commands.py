"""Commands from the outside: what they print, keep and return."""

from __future__ import annotations

import codecs
import csv
import io
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from analysis.cli import COMMANDS, main
from analysis.cli.analyze import Report
from analysis.cli.show import unit_of
from analysis.cli.terminal import Terminal
from analysis.jobs import Progress
from analysis.method import Update
from analysis.project import Project
from analysis.runs import RunInfo
from tests.budget import assert_within

ROOT = Path(__file__).parents[3]
MODEL = "example:digits-vit"
ANALYZE = ["analyze", MODEL, "--data", "example", "--samples", "4", "--formats"]


Ask = Callable[..., tuple[int, Any]]


# -- layers ------------------------------------------------------------------------


def sparse_checkpoint(path: Path, layers: int = 32) -> None:
    """Make a safetensors file of 10 GB that takes no room on the disk."""
    each = 10_000_000_000 // layers // 4096 * 4096
    header = {
        f"layers.{i}.weight": {
            "dtype": "BF16",
            "shape": [each // 2 // 2048, 2048],
            "data_offsets": [i * each, (i + 1) * each],
        }
        for i in range(layers)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + layers * each)


def test_layers_of_a_huge_checkpoint_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    sparse_checkpoint(path)
    code = (
        "import sys, time; start = time.process_time()\n"
        "from app.entry import main\n"
        f"assert main(['layers', {str(path)!r}, '--json']) == 0\n"
        "heavy = {'torch', 'PySide6', 'h5py'} & set(sys.modules)\n"
        "print(json.dumps([time.process_time() - start, sorted(heavy)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    listing, facts = map(json.loads, done.stdout.splitlines())
    seconds, heavy = facts
    assert len(listing["rows"]) == 32
    assert set(listing["rows"][0]) == {"layer", "kind", "shape", "parameters"}
    assert heavy == []
    assert_within(0.1, [seconds])


def test_layers_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", MODEL]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "kind", "shape", "parameters", "stored"]
    assert lines[-1] == "digits-vit: 26 layers, 197,504 parameters"
    assert "kept in float" in err


# -- analyze -----------------------------------------------------------------------


def test_analyze_tells_its_runs(ask: Ask, tmp_path: Path) -> None:
    words = [*ANALYZE, "int4", "-o", tmp_path / "p.qscope"]
    code, told = ask(*words, "--measures", "weights")
    assert code == 0
    assert told["complete"]
    (run,) = told["runs"]
    assert (run["measure"], run["status"], run["unit"]) == ("weights", "complete", "dB")
    assert run["rows"] > 26


def test_options_of_measures_reach_them(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "p.qscope"
    words = [*ANALYZE, "int4", "-o", path, "--measures", "predicted_error"]
    code, _ = ask(*words, "--predicted_error.probes", "2")
    assert code == 0
    with Project.open(path) as project:
        (run,) = project.runs
        assert run.params["probes"] == 2
        assert run.params["schemes"] == ["int4"]


def test_resume_adds_what_is_missing(ask: Ask, project: Path) -> None:
    words = ["analyze", MODEL, "-o", project, "--resume", "--data", "example"]
    code, told = ask(*words, "--measures", "weights,activations", "--samples", "4")
    assert code == 0
    with Project.open(project) as found:
        ran = [run.measure for run in found.runs]
    # `weights` was complete with these settings.
    assert sorted(ran) == ["activations", "predicted_error", "weights"]
    assert {run["status"] for run in told["runs"]} == {"complete"}


def test_resume_goes_on_with_the_same_samples_and_task(
    ask: Ask, tmp_path: Path
) -> None:
    path = tmp_path / "p.qscope"
    words = ["analyze", MODEL, "-o", path, "--measures", "predicted_error"]
    more = ["--data", "example", "--samples", "6", "--task", "mse", "--formats", "int8"]
    assert ask(*words, *more)[0] == 0
    assert ask(*words, "--resume")[0] == 0
    with Project.open(path) as project:
        (run,) = project.runs
    assert (run.task, run.samples, run.params["samples"]) == ("mse", 6, 6)


def test_a_warning_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(Terminal())
    for measure in ("activations", "predicted_error"):
        report.take(Progress(measure, Update(1, 2, warnings=("few samples",))))
    report.take(Progress("predicted_error", Update(2, 2, warnings=("one more",))))
    err = capsys.readouterr().err
    assert err.count("few samples") == 1
    assert "warning: one more" in err


def test_data_without_a_network_are_told_as_unused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"fc.weight": torch.randn(8, 8)}, tmp_path / "m.safetensors")
    words = ["analyze", str(tmp_path / "m.safetensors"), "-o", str(tmp_path / "p")]
    assert main([*words, "--data", "random", "--formats", "int8"]) == 0
    out, err = capsys.readouterr()
    assert "weights (complete)" in out
    assert "--data is not used" in err


def test_weights_drawn_at_random_are_told(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8}
    config = transformers.BertConfig(
        **sizes, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    file = tmp_path / "bert" / "config.json"
    file.write_text(file.read_text().replace('_layers": 1', '_layers": 2'))
    words = ["analyze", str(tmp_path / "bert"), "--formats", "int8"]
    assert main([*words, "-o", str(tmp_path / "p"), "--quiet"]) == 0
    assert "warning: Parameters that are not in the" in capsys.readouterr().err
    _, told = ask(*words, "-o", tmp_path / "q")
    assert "drawn at random: encoder.layer.1." in told["model"]["notes"][0]


def test_ctrl_c_keeps_partial_results(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.qscope"
    take, seen = Report.take, []

    def take_and_press(report: Report, event: Any) -> None:
        take(report, event)
        if isinstance(event, Progress):
            seen.extend(event.update.rows)
        if len(seen) == 5:
            signal.raise_signal(signal.SIGINT)

    words = [*ANALYZE, "int4,int8", "-o", path, "--measures", "measured_error"]
    with monkeypatch.context() as patch:
        patch.setattr(Report, "take", take_and_press)
        code, told = ask(*words)
    assert code == 130
    assert not told["complete"]
    assert told["runs"][0]["status"] == "cancelled"
    assert told["runs"][0]["rows"] == 5

    code, told = ask(*words, "--resume")
    assert code == 0
    (run,) = told["runs"]
    assert (run["status"], run["rows"]) == ("complete", 2 * 26)
    with Project.open(path) as project:
        assert len(project.runs) == 1
        kept = {(r.target, r.format): r.value for r in project.rows("measured_error")}
    assert all(kept[row.target, row.format] == row.value for row in seen)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "p.qscope"
    words = [*ANALYZE, "int4,int8", "-o", str(path), "--measures", "measured_error"]
    words[words.index("4")] = "300"
    with subprocess.Popen(
        [sys.executable, "-m", "analysis", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        try:
            for line in running.stderr:
                if line.startswith("measured_error"):
                    break
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130, said
    assert "--resume continues" in said
    assert "Traceback" not in said
    with Project.open(path) as project:
        assert project.runs[0].status == "cancelled"


def test_analyze_without_data_judges_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "p.qscope"
    assert main(["analyze", MODEL, "-o", str(path), "--formats", "int4"]) == 0
    out, err = capsys.readouterr()
    assert "weights (complete)" in out
    assert "Without --data" in err
    assert "weights: done" in err


# -- search ------------------------------------------------------------------------


def test_search_keeps_and_applies_its_result(ask: Ask, project: Path) -> None:
    code, told = ask("search", project, "--budget", "bits<=4", "--name", "best")
    assert code == 0
    (found,) = told["assignments"]
    assert found["name"] == "best"
    assert 3 < found["totals"]["average_bits"] <= 4
    assert found["predicted"]["value"] > 0
    assert found["predicted"]["unit"] == "nats"
    with Project.open(project) as opened:
        best = opened.assignments["best"]
        assert best.digest == opened.assignment.digest
        assert best.provenance["search"] == "exact"
        assert best.provenance["budget"] == "bits<=4"


def test_search_does_not_take_a_name_twice(ask: Ask, project: Path) -> None:
    words = ["search", project, "--budget", "bits<=4"]
    names = [ask(*words)[1]["assignments"][0]["name"] for _ in range(2)]
    assert names == ["bits<=4", "bits<=4 (2)"]
    code, told = ask(*words, "--name", "bits<=4")
    assert code == 2
    assert "exists already" in told["error"]["what"]
    code, _ = ask(*words, "--name", "bits<=4", "--overwrite")
    assert code == 0


def test_locked_layers_keep_their_format(ask: Ask, project: Path) -> None:
    locks = ["--lock", "classifier=float", "--lock", "vit.layers.0.*=int8"]
    code, _ = ask("search", project, "--budget", "bits<=6", *locks)
    assert code == 0
    with Project.open(project) as opened:
        plan = opened.assignment
        assert plan.scheme_of(plan.index_of("classifier")) is None
        for index, layer in enumerate(plan.layers):
            if layer.name.startswith("vit.layers.0."):
                scheme = plan.scheme_of(index)
                assert scheme is not None
                assert scheme.key == "int8"
                assert plan.locked[index]


def test_target_limits_the_formats(ask: Ask, project: Path) -> None:
    words = ["--budget", "bits<=20", "--target", "int8-symmetric"]
    code, _ = ask("search", project, *words)
    assert code == 0
    with Project.open(project) as opened:
        used = {s.key for s in opened.assignment.used() if s is not None}
    assert used == {"int8"}


def test_the_whole_front(ask: Ask, project: Path) -> None:
    words = ["search", project, "--method", "front", "--points", "5"]
    code, told = ask(*words)
    assert code == 0
    found = told["assignments"]
    bits = [a["totals"]["average_bits"] for a in found]
    errors = [a["predicted"]["value"] for a in found]
    assert len(found) == 5
    assert bits == sorted(bits)
    assert errors[0] > errors[-1]
    assert len({a["name"] for a in found}) == 5


def test_rules_a_cost_table_and_another_measure(
    ask: Ask, project: Path, tmp_path: Path
) -> None:
    with Project.open(project) as opened:
        names = [layer.name for layer in opened.info.layers]
        formats = ["float", *opened.formats("predicted_error")]
    file = tmp_path / "phone.csv"
    lines = [
        f"{name},{key},{1 + (key == 'float')}" for name in names for key in formats
    ]
    file.write_text("layer,format,cost\n" + "\n".join(lines))
    words = ["--budget", f"bits<=7,phone<={len(names) + 1}", "--cost-table"]
    words += [f"phone={file}", "--at-least", "first|last=8", "--at-most", "mlp=4"]
    words += ["--objective", "predicted_error,weights.sqnr*0.5"]
    code, told = ask("search", project, *words, "--method", "genetic")
    assert code == 0
    assert told["reconstruction"].startswith("The authors' search")
    assert told["result"]["uniform"]["objective"] >= told["result"]["objective"]
    with Project.open(project) as opened:
        plan = opened.assignment
        for index, name in enumerate(names):
            scheme = plan.scheme_of(index)
            if index in (0, len(names) - 1):
                assert scheme is None or scheme.bits >= 8
            elif "mlp" in name:
                assert scheme is not None
                assert scheme.bits <= 4
        assert plan.provenance["measure"] == "predicted_error,weights.sqnr*0.5"
        assert plan.provenance["params"]["seed"] == 0
        assert plan.provenance["costs"]["phone"]["path"] == str(file)


def test_the_uniform_result_is_shown_beside(ask: Ask, project: Path) -> None:
    code, told = ask("search", project, "--budget", "bits<=4.5")
    assert code == 0
    uniform = told["result"]["uniform"]
    assert uniform["objective"] > told["result"]["objective"]
    assert told["result"]["proven"]
    assert told["reconstruction"] == ""


def test_uniform_that_is_as_good_is_not_called_worse(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(project), "--budget", "size<=1GB"]) == 0
    assert "float for all has the same error at 790.0 kB" in capsys.readouterr().out


# -- show --------------------------------------------------------------------------


def test_show_has_the_shape_of_the_design(ask: Ask, project: Path) -> None:
    code, told = ask("show", project)
    assert code == 0
    assert set(told) == {"measure", "unit", "samples", "rows"}
    assert (told["measure"], told["unit"], told["samples"]) == (
        "predicted_error",
        "nats",
        4,
    )
    assert len(told["rows"]) == 26 * 3
    assert set(told["rows"][0]) == {"layer", "format", "value", "stderr"}


def test_show_narrows_down(ask: Ask, project: Path) -> None:
    _, told = ask("show", project, "--layer", "classifier", "--format", "int4")
    assert [row["layer"] for row in told["rows"]] == ["classifier"]
    _, told = ask("show", project, "--measure", "weights", "--quantity", "kurtosis")
    assert told["unit"] == ""
    assert {row["format"] for row in told["rows"]} == {None}
    _, told = ask("show", project, "--measure", "weights")
    assert told["unit"] == "dB"


def test_show_as_csv_and_json_agree(
    ask: Ask, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = ask("show", project)
    assert main(["show", str(project), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(r["value"]) for r in rows] == [r["value"] for r in told["rows"]]
    assert {r["unit"] for r in rows} == {"nats"}


def test_show_for_people(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(project)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["layer", "format", "value", "stderr"]
    assert "predicted_error: error of weight [nats]" in out
    assert "4 samples of example" in out
    assert "assignment current: 32.00 bits per weight" in err


def test_a_run_that_came_to_no_sample_is_not_said_to_need_none(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Project.open(project) as opened:
        run = opened.begin_run("activations", data_source="mine.npz")
        opened.end_run(run, "failed")
    assert main(["show", str(project), "--measure", "activations"]) == 0
    assert "0 samples of mine.npz, seed 0, run failed" in capsys.readouterr().out


def test_show_quality_says_which_measure_to_trust(
    ask: Ask, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(project), "--quality"]) == 0
    assert "No measured error of weights" in capsys.readouterr().err
    words = [*ANALYZE, "int4", "-o", str(project), "--resume", "--quiet"]
    assert main([*words, "--measures", "measured_error"]) == 0
    code, told = ask("show", project, "--quality")
    assert code == 0
    assert (told["judge"], told["samples"]) == ("measured_error", 4)
    rows = {(row["measure"], row["quantity"]): row for row in told["rows"]}
    predicted = rows["predicted_error", "error"]
    assert predicted["spearman"] > 0.8
    assert 0.3 < predicted["ratio"] < 3
    assert predicted["forwards"] > 0
    assert rows["weights", "sqnr"]["ratio"] is None
    assert told["rows"][0] == max(told["rows"], key=lambda r: r["median_per_format"])
    capsys.readouterr()
    assert main(["show", str(project), "--quality", "--csv"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith("spearman int4")
    assert len(lines) == len(told["rows"])
    assert main(["show", str(project), "--quality"]) == 0
    assert "predicted/measured" in capsys.readouterr().out


# -- evaluate and export -----------------------------------------------------------


def test_evaluate_puts_prediction_beside_measurement(ask: Ask, project: Path) -> None:
    code, told = ask("evaluate", project, "--assignment", "int8")
    assert code == 0
    assert set(told) == {"assignment", "totals", "predicted", "measured"}
    assert told["assignment"] == "int8"
    predicted, measured = told["predicted"], told["measured"]
    assert predicted["unit"] == measured["unit"] == "nats"
    assert measured["samples"] == 4
    assert 0.2 < predicted["value"] / measured["value"] < 5
    assert {"value", "stderr", "state", "metrics"} <= set(measured)
    with Project.open(project) as opened:
        last = opened.last_measured
    assert last is not None
    assert last["value"] == measured["value"]


def test_exported_json_is_read_back(ask: Ask, project: Path, tmp_path: Path) -> None:
    ask("search", project, "--budget", "bits<=4", "--name", "best")
    file = tmp_path / "a.json"
    words = ["export", project, "--to", "json", "-o", file]
    code, told = ask(*words, "--assignment", "best")
    assert code == 0
    assert told["file"] == str(file)
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["provenance"]["budget"] == "bits<=4"
    _, by_name = ask("evaluate", project, "--assignment", "best")
    _, by_file = ask("evaluate", project, "--assignment", file)
    assert by_file["assignment"] == "a"
    assert by_file["measured"]["value"] == by_name["measured"]["value"]


def test_an_assignment_with_a_byte_order_mark_is_read(
    ask: Ask, project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    assert ask("export", project, "--to", "json", "-o", file)[0] == 0
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    code, told = ask("evaluate", project, "--assignment", file)
    assert (code, told["assignment"]) == (0, "a")


def test_layers_that_a_file_leaves_out_are_told(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    export = ["export", str(project), "--to", "json"]
    assert main([*export, "-o", str(whole), "--assignment", "int4"]) == 0
    assert "leaves out" not in capsys.readouterr().err
    document = json.loads(whole.read_text())
    names = list(document["layers"])
    again = [*export, "-o", str(tmp_path / "again.json"), "--overwrite"]
    for number, told in ((1, names[1]), (3, f"{names[1]} and 2 more")):
        kept = {n: document["layers"][n] for n in names[:1] + names[1 + number :]}
        part.write_text(json.dumps(document | {"layers": kept}))
        assert main([*again, "--assignment", str(part)]) == 0
        said = f"part.json leaves out {number} of {len(names)} layers, which stay float"
        assert f"{said}: {told}\n" in capsys.readouterr().err
    assert main([*again, "--assignment", str(whole)]) == 0
    assert "leaves out" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["layer", "site"])
def test_inputs_per_channel_are_refused_by_name(
    ask: Ask, project: Path, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "a.json"
    assert ask("export", project, "--to", "json", "-o", file)[0] == 0
    document = json.loads(file.read_text())
    name = list(document["layers"])[2]
    scheme = {"format": "int8", "granularity": "channel"}
    if place == "layer":
        document["layers"][name]["input"] = scheme
    else:
        document["sites"] = {name: scheme}
    file.write_text(json.dumps(document))
    # A model that is not there: it is not even looked for.
    words = ["evaluate", project, "--assignment", file, "--model", tmp_path / "none"]
    code, told = ask(*words)
    where = f"{name}, input" if place == "layer" else f"site {name}"
    assert code == 2
    assert told["error"]["what"] == (
        f"{where}: Activations have one range per tensor or per token."
    )
    assert "int8/token" in told["error"]["hint"]


def test_export_does_not_replace_a_file(
    ask: Ask, project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("mine")
    words = ["export", project, "--to", "csv", "-o", file]
    code, told = ask(*words)
    assert code == 2
    assert told["error"]["what"] == "The file to write exists already."
    assert file.read_text() == "mine"
    assert ask(*words, "--overwrite")[0] == 0
    assert file.read_text().startswith("name,kind")


# -- the rest ----------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_page(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: quantscope {command}")
    assert "--json" in out


def test_general_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command} " in out for command in COMMANDS)
    assert main([]) == 2


def test_methods_lists_every_family(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = ask("methods")
    assert code == 0
    assert set(told) == {"measures", "searches", "formats", "targets", "exporters"}
    assert "int4" in [entry["key"] for entry in told["formats"]]
    parameter = told["measures"][0]["parameters"][0]
    assert (parameter["name"], parameter["term"]) == ("bins", "Histogram bins")
    assert main(["methods", "weights"]) == 0
    said = capsys.readouterr().out
    assert "--weights.bins  (Histogram bins)" in said
    assert "Unit dB: Ten times the decimal logarithm" in said
    assert main(["methods", "predicted_error"]) == 0
    out = capsys.readouterr().out
    assert "--predicted_error.probes" in out


def test_doctor_knows_this_installation(ask: Ask) -> None:
    code, told = ask("doctor")
    assert code == 0
    assert told["missing"] == []
    assert told["packages"]["torch"]
    assert told["devices"][0] == "cpu"
    assert told["display"] is False


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        ("error", "nats"),
        ("cumulative", "nats"),
        ("cumulative_sqnr", "dB"),
        ("local", ""),
        ("top1", ""),
    ],
)
def test_a_quantity_is_shown_in_its_own_unit(quantity: str, unit: str) -> None:
    run = RunInfo(1, "measured_error", unit="nats")
    assert unit_of(run, quantity) == unit
