"""Draws the window on a project into a picture, without a display.

python -m app.render PROJECT OUT.png [--size 1600x1000] [--theme light|dark]
                     [--layer NAME] [--layout explore|assign] [--show PANEL ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analysis.errors import AnalysisError

DEFAULT_SIZE = "1600x1000"
SETTLE_MS = 250
"""Time for streamed tables and plots to catch up [ms]."""
PATIENCE_S = 120
"""After this long something is wrong; judging a large project takes a few seconds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line of this module; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.render", description=__doc__)
    parser.add_argument("project", help="a project file (*.qscope)")
    parser.add_argument("picture", help="the PNG file to write")
    parser.add_argument("--size", default=DEFAULT_SIZE, help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument(
        "--layer",
        help="the layer to look at; default: the one with the largest predicted error",
    )
    parser.add_argument("--layout", choices=("explore", "assign"), default="explore")
    parser.add_argument(
        "--show", nargs="*", default=(), help="panels to bring forward, by key"
    )
    args = parser.parse_args(argv)
    try:
        width, height = parse_size(args.size)
        source, picture = Path(args.project), Path(args.picture)
        view = View(args.theme, args.layer, args.layout, tuple(args.show))
        render(source, picture, width, height, view)
    except AnalysisError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """Return the two numbers of "1600x1000".

    Raises:
        AnalysisError: it is not two whole numbers of at least 400.
    """
    width, _, height = text.lower().partition("x")
    if (
        not (width.isdecimal() and height.isdecimal())
        or min(int(width), int(height)) < 400
    ):
        raise AnalysisError(
            "The size of the picture cannot be read.",
            value=text,
            allowed="WIDTHxHEIGHT, each at least 400, such as 1600x1000",
        )
    return int(width), int(height)


@dataclass(frozen=True, slots=True)
class View:
    """What of a project a picture shows.

    Attributes:
        mode: Light or dark.
        layer: Name of the layer to look at; None for the one with the largest error.
        layout: Which of the ready layouts.
        panels: Keys of panels to bring forward.
    """

    mode: Literal["light", "dark"] = "light"
    layer: str | None = None
    layout: Literal["explore", "assign"] = "explore"
    panels: tuple[str, ...] = ()


EXPLORE = View()


def render(
    project: Path, picture: Path, width: int, height: int, view: View = EXPLORE
) -> None:
    """Write a picture of the window with all panels filled.

    Args:
        project: The project file; it is only read.
        picture: The PNG file to write.
        width: Width of the window [pixels].
        height: Height of the window [pixels].
        view: What it shows.

    Raises:
        AnalysisError: the project cannot be opened, has no such layer, the window no
            such panel, its panels do not come to rest, or the picture cannot be
            written.
    """
    # Read only once, at the first import of Qt.
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    import tempfile

    from PySide6.QtWidgets import QApplication

    from app.main_window import MainWindow
    from app.settings import Settings

    _app = QApplication.instance() or QApplication(["quantscope"])
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder) / "settings.ini")
        settings.mode = view.mode
        window = MainWindow(settings)
        window.resize(width, height)
        window.show()
        try:
            window.session.open_now(project)
            window.desk.arrange(view.layout, is_wide=True)
            _settle()
            for key in view.panels:
                if key not in window.desk.docks:
                    raise AnalysisError(
                        "There is no panel of this name.",
                        value=key,
                        allowed=", ".join(window.desk.docks),
                    )
                window.desk.show(key)
            # Now that the table has its size, it scrolls to where the layer is seen.
            if view.layer is None:
                window.show_worst_layer()
            else:
                window.show_layer(view.layer)
            _wait(lambda: not window.findings.is_looking)
            _settle()
            saved = window.grab().save(str(picture))
        finally:
            window.session.close_project()
            window.close()
            window.deleteLater()
    if not saved:
        raise AnalysisError(
            "The picture could not be written.",
            value=picture,
            hint="Check the folder and the free space.",
        )


def _settle() -> None:
    """Let the event loop run for `SETTLE_MS`."""
    from PySide6.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(SETTLE_MS, loop.quit)
    loop.exec()


def _wait(is_done: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds.

    Raises:
        AnalysisError: it does not hold after `PATIENCE_S`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not is_done():
        if time.monotonic() > deadline:
            raise AnalysisError(
                "The panels are still at work.",
                value=f"after {PATIENCE_S} s",
                hint="Show fewer panels, or render when the machine is less busy.",
            )
        _settle()


if __name__ == "__main__":
    sys.exit(main())
