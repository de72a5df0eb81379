"""The `quantscope` script: commands, the window, and mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app import entry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, bool]]:
    """Pretend that there is a display; return the windows opened on it."""
    import app.__main__

    opened: list[tuple[str | None, bool]] = []

    def main(path: str | None, fresh: bool) -> int:
        opened.append((path, fresh))
        return 0

    monkeypatch.setattr(app.__main__, "main", main)
    monkeypatch.setattr(entry, "display_missing", lambda: None)
    return opened


def test_without_arguments_the_window_opens(
    windows: list[tuple[str | None, bool]],
) -> None:
    assert entry.main([]) == 0
    assert entry.main(["--fresh"]) == 0
    assert windows == [(None, False), (None, True)]


@pytest.mark.parametrize("source", ["example:digits-vit", "package.module:make", "."])
def test_a_model_opens_in_the_window(
    source: str, windows: list[tuple[str | None, bool]]
) -> None:
    assert entry.main([source]) == 0
    assert windows == [(source, False)]


def test_a_command_runs_without_window(
    windows: list[tuple[str | None, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["layers", "example:digits-vit", "--json"]) == 0
    assert entry.main(["--version"]) == 0
    assert entry.main(["--help"]) == 0
    assert windows == []
    assert "usage: quantscope" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serach"], "Did you mean `quantscope search`?"),
        (["nowhere.qscope"], "no such file or folder"),
        (["--colour"], "Unrecognized arguments"),
        (["a", "b"], "Unrecognized arguments"),
    ],
)
def test_mistakes(
    words: list[str],
    message: str,
    windows: list[tuple[str | None, bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert entry.main(words) == 2
    assert message in capsys.readouterr().err
    assert windows == []


def test_without_a_display_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([]) == 2
    err = capsys.readouterr().err
    assert "needs a display" in err
    assert "quantscope demo --headless" in err


def test_the_script_imports_nothing_heavy() -> None:
    code = (
        "import sys, app.entry\n"
        "print({'torch', 'PySide6', 'h5py', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_ctrl_c_during_the_imports_leaves_no_trace() -> None:
    code = (
        "import sys\n"
        "class Press:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'analysis.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Press())\n"
        "import app.entry\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
