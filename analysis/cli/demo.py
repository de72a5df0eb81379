"""Do the whole job on a bundled example: analyse, search, evaluate, export.

Every step is an ordinary command and is shown as such. With a display the window
opens on the result; without one, or with --headless, it is rendered to a picture.
Files of an earlier demo in the folder are replaced.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.cli import analyze, evaluate, export, search
from analysis.cli.codes import DONE, FAILED
from analysis.cli.display import display_missing
from analysis.cli.options import Command, new_parser
from analysis.cli.terminal import Terminal
from analysis.errors import AnalysisError

MODEL = "example:digits-vit"
NAME = "digits-vit"
FOLDER = "quantscope-demo"
BUDGET = "bits<=4"
RENDER_SECONDS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--headless", action="store_true", help="open no window, render it to a PNG"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default=FOLDER, help=f"default {FOLDER}"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Do the job; return the exit code of the first step that fails."""
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    project = folder / f"{NAME}.qscope"
    files = [project, *(folder / f"{NAME}{suffix}" for suffix in (".json", ".csv"))]
    documents: dict[str, object] = {}
    for name, command, words in steps(project, files[1:]):
        terminal.note(f"\n$ quantscope {name} {shlex.join(words)}")
        code, document = perform(name, command, words, terminal)
        if code:
            return code
        documents[name] = document
    headless = args.headless or display_missing() is not None
    if headless:
        try:
            files += picture(project, folder / f"{NAME}.png", terminal)
        except AnalysisError as error:
            terminal.fail(error)
            return FAILED
    terminal.result({"files": [str(path) for path in files], "steps": documents})
    terminal.note("")
    terminal.say("\n".join(f"wrote {path}" for path in files))
    return DONE if headless else open_window(project)


def steps(
    project: Path, exports: Sequence[Path]
) -> list[tuple[str, Command, list[str]]]:
    """Return name, module and arguments of every step."""
    measures = "weights,activations,predicted_error"
    options = ["--data", "example", "--measures", measures, "--overwrite"]
    found: list[tuple[str, Command, list[str]]] = [
        ("analyze", analyze, [MODEL, *options, "-o", str(project)]),
        ("search", search, [str(project), "--budget", BUDGET]),
        ("evaluate", evaluate, [str(project), "--assignment", BUDGET]),
    ]
    for path in exports:
        words = ["--assignment", BUDGET, "--to", path.suffix[1:]]
        words += ["-o", str(path), "--overwrite"]
        found.append(("export", export, [str(project), *words]))
    return found


def perform(
    name: str, command: Command, words: list[str], terminal: Terminal
) -> tuple[int, Mapping[str, object]]:
    """Run one command; return its exit code and its JSON object."""
    parser = new_parser(f"quantscope {name}", command.__doc__ or "")
    command.add_arguments(parser)
    # With --json the demo prints one object of its own.
    out = io.StringIO() if terminal.json else terminal.out
    inner = Terminal(terminal.json, terminal.quiet, out, terminal.err)
    return command.run(parser.parse_args(words), inner), inner.document


def picture(project: Path, path: Path, terminal: Terminal) -> list[Path]:
    """Render the window on the project; return the files written.

    The program that draws runs by itself: this package knows no Qt.

    Raises:
        AnalysisError: the window could not be drawn; what it said.
    """
    if importlib.util.find_spec("PySide6") is None:
        terminal.warn("The window is not rendered: PySide6 is not installed.")
        return []
    done = subprocess.run(
        [sys.executable, "-m", "app.render", str(project), str(path)],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=RENDER_SECONDS,
        check=False,
    )
    if done.returncode or not path.is_file():
        said = done.stderr.strip().splitlines()
        raise AnalysisError(
            "The window could not be rendered; everything else is done.",
            value=said[-1] if said else f"exit code {done.returncode}",
            hint="`quantscope doctor` tells what is missing.",
        )
    return [path]


def open_window(project: Path) -> int:
    """Open the window on the project in a process of its own; wait for its end.

    This process has loaded torch, which the window does without.
    """
    command = [sys.executable, "-m", "app.entry", str(project)]
    return subprocess.run(command, check=False).returncode
