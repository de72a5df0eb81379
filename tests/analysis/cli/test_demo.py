from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.cli import demo, main
from analysis.errors import AnalysisError
from analysis.project import Project


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "picture", lambda *_: [])


@pytest.mark.usefixtures("no_picture")
def test_the_whole_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--headless", "-o", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    for name in ("digits-vit.qscope", "digits-vit.json", "digits-vit.csv"):
        assert (tmp_path / name).is_file()
        assert f"wrote {tmp_path / name}" in out
    shown = [line.split()[2] for line in err.splitlines() if line.startswith("$")]
    assert shown == ["analyze", "search", "evaluate", "export", "export"]
    with Project.open(tmp_path / "digits-vit.qscope") as project:
        assert project.totals.average_bits <= 4
        assert project.measured is not None

    # A second demo replaces the first, and --json prints one object.
    assert main(["demo", "--headless", "-o", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"]["evaluate"]["measured"]["samples"] == 64
    assert len(told["files"]) == 3


def test_without_a_display_no_window_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(_: Path) -> int:
        raise AssertionError("a window without a display")

    monkeypatch.setattr(demo, "steps", lambda *_: [])
    monkeypatch.setattr(demo, "picture", lambda *_: [])
    monkeypatch.setattr(demo, "open_window", opened)
    assert main(["demo", "-o", str(tmp_path)]) == 0


def test_with_a_display_the_window_opens_on_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def window(path: Path) -> int:
        opened.append(path)
        return 0

    monkeypatch.setattr(demo, "steps", lambda *_: [])
    monkeypatch.setattr(demo, "display_missing", lambda: None)
    monkeypatch.setattr(demo, "open_window", window)
    assert main(["demo", "-o", str(tmp_path)]) == 0
    assert opened == [tmp_path / "digits-vit.qscope"]


def test_a_failed_step_ends_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "perform", lambda *_: (130, {}))
    assert main(["demo", "-o", str(tmp_path)]) == 130


def test_a_failed_picture_is_a_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> list[Path]:
        raise AnalysisError("The window could not be rendered.")

    monkeypatch.setattr(demo, "steps", lambda *_: [])
    monkeypatch.setattr(demo, "picture", broken)
    assert main(["demo", "-o", str(tmp_path)]) == 1
    assert "could not be rendered" in capsys.readouterr().err


@pytest.mark.slow
def test_the_window_is_rendered(tmp_path: Path) -> None:
    assert main(["demo", "--quiet", "-o", str(tmp_path)]) == 0
    picture = (tmp_path / "digits-vit.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
