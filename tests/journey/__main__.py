"""The whole job on a real encoder, in a real window, with real mouse and key events.

    xvfb-run -s "-screen 0 1600x1000x24" python -m tests.journey FOLDER

Opens MiniLM, analyses, sorts, filters, selects, assigns by key, locks, searches,
compares, verifies, exports, undoes, closes and opens again; each step is checked, and
photographed into FOLDER. Needs an X server and `xdotool`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

LIMIT_S = 60.0
TICK_MS = 40

Wish = Callable[[], object]
Step = tuple[Wish, float]


def main() -> int:
    """Run all steps; return 0 when each did what it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where pictures and files go")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    args = parser.parse_args()
    missing = [name for name in ("xdotool",) if shutil.which(name) is None]
    if missing or not os.environ.get("DISPLAY"):
        sys.stderr.write("The journey needs an X server (DISPLAY) and xdotool.\n")
        return 2
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    args.folder.mkdir(parents=True, exist_ok=True)
    from tests.journey.steps import Journey

    with tempfile.TemporaryDirectory() as scratch:
        return Runner(Journey(args.folder, Path(scratch), args.theme)).run()


class Runner:
    """Advances the steps of a journey from a timer, dialogs' own loops included."""

    def __init__(self, journey: object) -> None:
        """Prepare; `run` starts."""
        self._journey = journey
        self._wish: Wish = lambda: True
        self._deadline = 0.0
        self._failed = False

    def run(self) -> int:
        """Run the event loop until the last step."""
        from PySide6.QtCore import QTimer

        journey = self._journey
        self._steps: Iterator[Step] = journey.steps()  # type: ignore[attr-defined]
        timer = QTimer()
        timer.timeout.connect(self._tick)
        self._deadline = time.monotonic() + LIMIT_S
        timer.start(TICK_MS)
        self._app = journey.app  # type: ignore[attr-defined]
        self._app.exec()
        timer.stop()
        journey.close()  # type: ignore[attr-defined]
        return 1 if self._failed else 0

    def _tick(self) -> None:
        try:
            if self._wish():
                self._wish, limit = next(self._steps)
                self._deadline = time.monotonic() + limit
            elif time.monotonic() > self._deadline:
                raise TimeoutError("the step before this did not take effect")
        except StopIteration:
            self._app.exit()
        except Exception:
            # A slot has nobody to raise to.
            traceback.print_exc()
            self._journey.photograph("failed")  # type: ignore[attr-defined]
            self._failed = True
            self._wish = lambda: False
            self._deadline = float("inf")
            # Dialogs run loops of their own, which `exit` does not end.
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
