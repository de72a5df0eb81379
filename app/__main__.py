"""Starts the window: `python -m app [PATH] [--fresh]`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from analysis.version import tool_version
from app.errors import ExceptionHook
from app.main_window import MainWindow
from app.settings import Settings


def main(path: str | None = None, fresh: bool = False) -> int:
    """Show the window until it is closed.

    Args:
        path: A model or project to open, or None for the start page.
        fresh: Forget all settings first.

    Returns:
        The exit code of the process.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        app = QApplication(["quantscope"])
    app.setApplicationName("Quantscope")
    app.setApplicationVersion(tool_version())
    app.setDesktopFileName("quantscope")
    # Python sees Ctrl-C only between two of its own steps, and Qt makes none.
    signal.signal(signal.SIGINT, lambda *_: app.quit())
    pulse = QTimer()
    pulse.start(500)
    pulse.timeout.connect(_nothing)
    hook = ExceptionHook()
    hook.install()
    settings = Settings()
    if fresh:
        settings.forget_all()
    window = MainWindow(settings, furnished=False)

    def begin() -> None:
        window.notices.offer_lost()
        if path is not None:
            window.open_soon(path)

    window.ready.connect(begin)
    window.show()
    try:
        return app.exec()
    finally:
        hook.uninstall()
        pulse.stop()
        window.furnish()
        window.session.shut_down()


def _nothing() -> None:
    """Give Python a turn."""


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app")
    parser.add_argument("path", nargs="?", help="a model or project")
    parser.add_argument("--fresh", action="store_true", help="forget all settings")
    return parser.parse_args(words)


if __name__ == "__main__":
    arguments = _parse(sys.argv[1:])
    sys.exit(main(arguments.path, arguments.fresh))
