"""Conditions every test runs under: fixed seeds, no display, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator

# Before the first import of Qt, torch or transformers: they read these only once.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "2")
_HOME = tempfile.TemporaryDirectory(prefix="quantscope-tests-")
for _name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = os.path.join(_HOME.name, _name.lower())

import numpy as np  # noqa: E402
import pytest  # noqa: E402

collect_ignore = ["benchmarks"]

GRACE_SECONDS = 3.0
"""How long a thread or process may take to end after its test."""


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)
    # Tests of the window do without torch, and importing it takes seconds.
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def _threads() -> set[threading.Thread]:
    # The monitor of tqdm is one daemon for the whole process, started by the first
    # progress bar of a library.
    return {t for t in threading.enumerate() if type(t).__name__ != "TMonitor"}


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves a thread or a process of ours running."""
    threads, processes = _threads(), set(multiprocessing.active_children())
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        left = [
            *(_threads() - threads),
            *(set(multiprocessing.active_children()) - processes),
        ]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    assert not left, f"left running: {left}"


@pytest.fixture(autouse=True)
def qt_world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Tests of the window get fresh settings and leave no timer ticking."""
    if "qapp" not in request.fixturenames:
        yield
        return
    from PySide6.QtCore import QCoreApplication, QEvent, QSettings, QTimer
    from shiboken6 import isValid

    settings = str(tmp_path_factory.mktemp("settings"))
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, settings)

    started: weakref.WeakSet[QTimer] = weakref.WeakSet()
    start = QTimer.start

    def recorded(timer: QTimer, *args: int) -> None:
        started.add(timer)
        start(timer, *args)

    monkeypatch.setattr(QTimer, "start", recorded)
    yield
    # Widgets were closed by pytest-qt; their deletion is still in the queue.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    left = [t for t in started if isValid(t) and t.isActive()]
    for timer in left:
        timer.stop()
    names = [f"{t.objectName() or type(t).__name__} of {t.parent()!r}" for t in left]
    assert not left, f"timers left running: {names}"
