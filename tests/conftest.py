"""Conditions every test runs under: fixed seeds, no display, nothing left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

# Before the first import of Qt, torch or transformers: they read these only once.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Threads of small networks mostly wait for each other, and where other programs run as
# well they wait for those: two took more than twice as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
_HOME = tempfile.TemporaryDirectory(prefix="quantscope-tests-")
for _name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = os.path.join(_HOME.name, _name.lower())

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from PySide6.QtCore import QObject

collect_ignore = ["benchmarks"]

GRACE_SECONDS = 30.0
"""How long a thread or process may take to end after its test."""

# Examples are the same in every run, and none fails because the machine is busy.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


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
def no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a thread or a process of ours running."""
    threads, processes = _threads(), set(multiprocessing.active_children())
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen.__init__

    def recorded(process: subprocess.Popen[bytes], *args: Any, **how: Any) -> None:
        start(process, *args, **how)
        started.append(process)

    monkeypatch.setattr(subprocess.Popen, "__init__", recorded)
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        children = set(multiprocessing.active_children()) - processes
        commands = [process for process in started if process.poll() is None]
        left = [*(_threads() - threads), *children, *(c.args for c in commands)]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for process in (*children, *commands):
        # The next test is not to suffer for this one, nor the end of the run.
        process.kill()
    for child in children:
        child.join()
    for command in commands:
        command.wait()
    assert not left, f"left running: {left}"


@pytest.fixture(autouse=True)
def qt_world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Tests of the window get fresh settings; no timer, thread or window stays."""
    if "qapp" not in request.fixturenames:
        yield
        return
    from PySide6.QtCore import (
        QCoreApplication,
        QEvent,
        QSettings,
        QThread,
        QThreadPool,
        QTimer,
    )
    from PySide6.QtWidgets import QApplication, QWidget
    from shiboken6 import isValid

    settings = str(tmp_path_factory.mktemp("settings"))
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, settings)

    started: weakref.WeakSet[QTimer | QThread] = weakref.WeakSet()

    def record(kind: type[QTimer] | type[QThread]) -> None:
        start = kind.start

        def recorded(thing: QTimer | QThread, *args: Any) -> None:
            started.add(thing)
            start(thing, *args)

        monkeypatch.setattr(kind, "start", recorded)

    def left() -> list[QObject]:
        # Widgets were closed by pytest-qt; their deletion is still in the queue.
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        alive = [thing for thing in started if isValid(thing)]
        return [
            *(t for t in alive if isinstance(t, QTimer) and t.isActive()),
            *(t for t in alive if isinstance(t, QThread) and t.isRunning()),
            *(w for w in QApplication.topLevelWidgets() if w.isVisible()),
        ]

    record(QTimer)
    record(QThread)
    yield
    pool = QThreadPool.globalInstance()
    assert pool.waitForDone(int(GRACE_SECONDS * 1000)), "a task of Qt's pool goes on"
    if left():
        # What only a cycle of references holds is not left behind.
        gc.collect()
    found = left()
    names = [f"{x.objectName() or type(x).__name__} of {x.parent()!r}" for x in found]
    for thing in found:
        # The next test is not to suffer for this one.
        if isinstance(thing, QTimer):
            thing.stop()
        elif isinstance(thing, QWidget):
            thing.close()
    assert not found, f"left behind: {names}"
