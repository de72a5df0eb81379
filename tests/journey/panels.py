"""Photographs every panel, for people to look at.

    python -m tests.journey.panels FOLDER [--layers 0 1 36 60000] [--size 1280x800]
                                   [--theme light dark] [--project FILE] [--panels KEY]
    python -m tests.journey.panels FOLDER --grid

Writes the window, and its panels side by side on one sheet, for made-up projects of
the numbers of layers asked for, or for a project file. The scale is that of Qt:
QT_SCALE_FACTOR=2 doubles it. `--grid` does it for every size of `SIZES`, at 100 % and
200 %, light and dark, with 0, 1, 36 and 60,000 layers. Not a test: what is looked for
is clipped text, panels without a first step, colours that cannot be read, wrong units.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEventLoop, QRect, QTimer  # noqa: E402
from PySide6.QtGui import QColor, QPainter, QPixmap  # noqa: E402
from PySide6.QtWidgets import QApplication  # noqa: E402

from analysis.method import Row, Update  # noqa: E402
from analysis.project import Project  # noqa: E402
from app.jobs import JobRunner  # noqa: E402
from app.main_window import MainWindow  # noqa: E402
from app.models.compare import BASELINE  # noqa: E402
from app.render import parse_size  # noqa: E402
from app.session import Session  # noqa: E402
from app.settings import Settings  # noqa: E402
from app.theme import theme  # noqa: E402
from quant_core.scheme import Scheme  # noqa: E402
from tests.app.helpers import FakeClient, analysed  # noqa: E402
from tests.app.panel_projects import add_distribution, distribution  # noqa: E402

SETTLE_MS = 300
"""Time for delayed layouts and plots [ms]."""
SIZES = ("1280x800", "1920x1200")
SCALES = (1, 2)
LAYERS = (0, 1, 36, 60_000)
SHEET, GAP = 1560, 8
"""Side of a sheet, and what lies between its pictures [logical pixels, pixels]."""


def settle() -> None:
    """Let the event loop run for `SETTLE_MS`."""
    loop = QEventLoop()
    QTimer.singleShot(SETTLE_MS, loop.quit)
    loop.exec()


def made_up(layers: int) -> Project:
    """Return a project with something to see in every panel."""
    project = analysed(layers)
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(64) % 21 == 0, 8.0, 1.0)[:, None]
    for layer in project.info.layers[:1]:
        x = rng.normal(size=(64, 256)) * spread
        run = project.runs[0]
        project.resume_run(run.id)
        arrays = distribution(run.measure, layer.name, x, axis=0)
        rows = [Row(y.name, None, 1.0, quantity="absmax") for y in project.info.layers]
        project.apply(run.id, Update(1.0, 1.0, rows=tuple(rows), arrays=arrays))
        project.end_run(run.id)
        add_distribution(project, "activations", layer.name, x, axis=0)
    return project


def edit(window: MainWindow) -> None:
    """Make a baseline and two edits after it."""
    context, project = window.context, window.context.project
    assert project is not None
    everything = np.arange(len(project.info.layers))
    if len(everything):
        context.set_weight(everything, Scheme("int4"))
        project.keep_assignment(BASELINE)
        context.set_weight(everything[::3], Scheme("int8"))
        context.set_locked(everything[-1:], True)
        context.selection.set([0])


def sheets(pictures: list[QPixmap]) -> list[QPixmap]:
    """Return pictures in rows on as many sheets as it takes, pixel by pixel."""
    side = SHEET * pictures[0].devicePixelRatio()
    places, x, y, height, sheet = [], 0, 0, 0, 0
    for picture in pictures:
        if x + picture.width() > side:
            x, y, height = 0, y + height + GAP, 0
        if y + picture.height() > side:
            x, y, height, sheet = 0, 0, 0, sheet + 1
        places.append((sheet, x, y))
        x, height = x + picture.width() + GAP, max(height, picture.height())
    found = [QPixmap(int(side), int(side)) for _ in range(sheet + 1)]
    for page in found:
        page.fill(QColor("gray"))
    for picture, (sheet, left, top) in zip(pictures, places, strict=True):
        painter = QPainter(found[sheet])
        painter.drawPixmap(QRect(left, top, *picture.size().toTuple()), picture)
        painter.end()
    return found


def photograph(
    project: Project | None, folder: Path, name: str, args: argparse.Namespace
) -> None:
    """Write a picture of the window and a sheet of its panels per theme."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(Path(scratch) / "settings.ini")
        window = MainWindow(settings, Session(settings, runner=JobRunner(FakeClient())))
        window.resize(*parse_size(args.size))
        window.show()
        if project is not None:
            window.session.context.set_project(project)
            edit(window)
        try:
            for mode in args.theme:
                theme().set_mode(mode)
                if project is not None:
                    window.desk.arrange()
                settle()
                window.grab().save(str(folder / f"{name}-{mode}-window.png"))
                if project is None:
                    continue
                pictures = []
                for key in args.panels or window.desk.docks:
                    window.desk.show(key)
                    settle()
                    pictures.append(window.desk.docks[key].grab())
                for number, page in enumerate(sheets(pictures), start=1):
                    page.save(str(folder / f"{name}-{mode}-panels-{number}.png"))
        finally:
            window.session.close_project()
            window.close()
            window.deleteLater()
            settle()
            theme().set_mode("system")


def grid(folder: Path) -> None:
    """Write the pictures of every size and scale; Qt takes the scale from outside."""
    layers = map(str, LAYERS)
    command = [sys.executable, "-m", "tests.journey.panels"]
    options = ["--layers", *layers, "--size"]
    for size in SIZES:
        for scale in SCALES:
            place = folder / f"{size}-{scale}00"
            subprocess.run(
                [*command, str(place), *options, size],
                check=True,
                env=os.environ | {"QT_SCALE_FACTOR": str(scale)},
            )


def main() -> int:
    """Write the pictures asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--layers", type=int, nargs="*", default=[0, 1, 36])
    parser.add_argument("--theme", nargs="*", default=["light", "dark"])
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--panels", nargs="*", default=[])
    parser.add_argument("--grid", action="store_true", help="all sizes and scales")
    parser.add_argument("--project", type=Path, help="a project file instead")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.grid:
        grid(args.folder)
        return 0
    _app = QApplication(["quantscope"])
    if args.project:
        photograph(Project.open(args.project), args.folder, args.project.stem, args)
        return 0
    photograph(None, args.folder, "start", args)
    for layers in args.layers:
        photograph(made_up(layers), args.folder, f"{layers}-layers", args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
