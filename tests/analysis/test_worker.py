from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.jobs import (
    Analyze,
    DataRequest,
    Ended,
    Evaluate,
    Found,
    Progress,
    Recorder,
    Search,
    Started,
    Traced,
)
from analysis.method import Row, Update
from analysis.project import Project
from analysis.search.problem import CostTable
from analysis.worker import (
    Died,
    Failed,
    Finished,
    Message,
    Opened,
    WorkerClient,
    meaning,
)
from analysis.worker_process import explained
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Layer
from tests.analysis.test_project import model

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
LIMIT = 300.0
JOB = Search(
    "exact",
    CostTable(
        (Layer("a", "a.weight", "linear", (2, 2), "float32"),),
        (None, Scheme("int4")),
        np.array([[0.0, 1.0]]),
        np.array([[128.0, 16.0]]),
    ),
    "bits<=8",
)


def collect(
    client: WorkerClient, until: Callable[[Message], bool] | None = None
) -> list[Message]:
    """Return messages up to the end of the job, or the first that fits."""
    deadline, messages = time.monotonic() + LIMIT, []
    last = until or (lambda m: isinstance(m, Finished | Failed | Died))
    while time.monotonic() < deadline:
        for message in client.poll():
            messages.append(message)
            if last(message):
                return messages
        time.sleep(0.005)
    raise AssertionError(f"no end within {LIMIT} s: {messages}")


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[WorkerClient]:
    client = WorkerClient(getattr(request, "param", None))
    yield client
    client.close()
    assert not client.alive


# -- processes that behave as real ones sometimes do -----------------------------------


def working(pipe: Connection) -> None:
    """Send updates without end; a cancel is answered."""
    pipe.recv()
    asked = threading.Event()

    def listen() -> None:
        while pipe.recv()[0] != "cancel":
            pass
        asked.set()

    threading.Thread(target=listen, daemon=True).start()
    pipe.send(Started("weights", {"unit": "dB"}))
    for number in range(10**9):
        if asked.is_set():
            pipe.send(Finished("cancelled"))
            return
        row = Row(f"block.0.{'qkv'[number % 3]}_proj", "int4", float(number))
        pipe.send(Progress("weights", Update(number, 0, rows=(row,))))
        time.sleep(0.001)


def deaf(pipe: Connection) -> None:
    """Begin, then neither work nor listen."""
    pipe.recv()
    pipe.send(Progress("weights", Update(1, 2)))
    while True:
        time.sleep(1)


def leaving(pipe: Connection) -> None:
    pipe.recv()
    pipe.send(Progress("weights", Update(1, 2)))
    os._exit(7)


def crashing(pipe: Connection) -> None:
    pipe.recv()
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def torn(pipe: Connection) -> None:
    """Die in the middle of a message."""
    pipe.recv()
    pipe.send(Progress("weights", Update(1, 2)))
    os.write(pipe.fileno(), b"\x00\x00\x10\x00half")
    os.kill(os.getpid(), signal.SIGKILL)


def flooding(pipe: Connection) -> None:
    """Send more than a pipe holds, then exit at once."""
    pipe.recv()
    for number in range(300):
        big = {"weights/x": np.full(20_000, number)}
        pipe.send(Progress("weights", Update(number, 300, arrays=big)))
    pipe.send(Finished("complete"))


# -- cancelling and dying --------------------------------------------------------------


@pytest.mark.parametrize("client", [working], indirect=True)
def test_cancel_is_answered(client: WorkerClient) -> None:
    client.start(JOB)
    assert client.busy
    with pytest.raises(AnalysisError, match="job is running"):
        client.start(JOB)
    with pytest.raises(AnalysisError, match="job is running"):
        client.open("example:digits-vit")
    collect(client, lambda m: isinstance(m, Progress))
    client.cancel()
    client.cancel()
    assert collect(client)[-1] == Finished("cancelled")
    assert not client.busy


@pytest.mark.parametrize("client", [deaf], indirect=True)
def test_a_job_that_does_not_answer_is_killed(
    client: WorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.worker.GRACE_SECONDS", 0.2)
    client.start(JOB)
    collect(client, lambda m: isinstance(m, Progress))
    start = time.monotonic()
    client.cancel()
    assert collect(client) == [Finished("cancelled")]
    assert time.monotonic() - start > 0.15
    assert not client.busy
    assert not client.alive
    assert client.poll() == []


@posix
@pytest.mark.parametrize("client", [working], indirect=True)
def test_killed_worker_is_explained_and_results_stay(
    client: WorkerClient, tmp_path: Path
) -> None:
    project = Project.create(model(), tmp_path / "p.qscope")
    job = Analyze(("weights",))
    recorder = Recorder(project, job)
    client.start(JOB)
    before = collect(client, lambda m: isinstance(m, Progress))
    process = client._process
    assert process is not None
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    messages = before + collect(client)
    died = messages.pop()
    assert isinstance(died, Died)
    assert died.exit_code == -signal.SIGKILL
    assert "out of memory" in str(died.error["what"])
    assert died.error["value"] == "SIGKILL"
    for message in messages:
        assert isinstance(message, Started | Progress)
        recorder.take(message)
    recorder.end("failed")
    project.close()
    with Project.open(tmp_path / "p.qscope") as again:
        assert again.runs[0].status == "failed"
        assert len(again.rows("weights")) == min(3, len(messages) - 1)


@posix
@pytest.mark.parametrize(
    ("client", "code", "what"),
    [
        (leaving, 7, "ended by itself"),
        (crashing, -11, "crashed inside a native library"),
        (torn, -9, "was killed"),
    ],
    indirect=["client"],
)
def test_other_deaths_are_told(client: WorkerClient, code: int, what: str) -> None:
    client.start(JOB)
    died = collect(client)[-1]
    assert isinstance(died, Died)
    assert died.exit_code == code
    assert what in str(died.error["what"])
    assert "kept" in str(died.error["hint"])
    assert not client.busy


@pytest.mark.parametrize("client", [flooding], indirect=True)
def test_nothing_that_was_sent_is_lost(client: WorkerClient) -> None:
    client.start(JOB)
    messages = collect(client)
    assert messages[-1] == Finished("complete")
    updates = [m.update for m in messages if isinstance(m, Progress)]
    assert [u.done for u in updates] == list(range(300))
    died = collect(client)[-1]
    assert isinstance(died, Died)


@pytest.mark.parametrize("client", [deaf], indirect=True)
def test_closing_ends_a_busy_process_at_once(
    client: WorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.worker.GRACE_SECONDS", 1e9)
    client.start(JOB)
    collect(client, lambda m: isinstance(m, Progress))
    client.close()
    assert not client.alive
    assert not client.busy


def test_windows_and_odd_exit_codes_are_told() -> None:
    assert "out of memory" in meaning(0xC0000017).what
    assert "ended by itself" in meaning(None).what
    assert meaning(-63).value == "exit code -63"


def test_errors_are_told_in_four_parts() -> None:
    mine, details = explained(AnalysisError("Bad.", value=3, allowed="4", hint="Do."))
    assert mine == {"what": "Bad.", "value": "3", "allowed": "4", "hint": "Do."}
    assert details == ""
    told, details = explained(RuntimeError("can't allocate memory: 8 GB\nmore"))
    assert told["what"] == "Memory ran out."
    assert told["value"] == "RuntimeError: can't allocate memory: 8 GB"
    assert "RuntimeError" in details
    told, _ = explained(ZeroDivisionError())
    assert "unexpectedly" in str(told["what"])


# -- the real process ------------------------------------------------------------------


def test_client_does_not_import_torch() -> None:
    import subprocess

    code = "import sys, analysis.worker, analysis.jobs; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.slow
def test_real_worker_from_opening_to_evaluation(
    client: WorkerClient, tmp_path: Path
) -> None:
    with pytest.raises(AnalysisError, match="No model is open"):
        client.start(Analyze())
    # A search needs no model; it finds the process ready.
    client.start(JOB)
    found, finished = collect(client)
    assert isinstance(found, Found)
    assert finished == Finished("complete")

    client.open("example:nothing")
    (failed,) = collect(client)
    assert isinstance(failed, Failed)
    assert failed.opening
    assert failed.error["value"] is not None
    assert failed.details == ""

    client.open("example:digits-cnn")
    (opened,) = collect(client, lambda m: isinstance(m, Opened))
    assert isinstance(opened, Opened)
    assert opened.can_run
    assert client.source == "example:digits-cnn"
    project = Project.create(opened.info, tmp_path / "p.qscope")
    data = DataRequest("example", samples=8)
    schemes = (Scheme("int4"), Scheme("int8"))

    run(client, project, Analyze(None, schemes, data=data))
    assert [r.status for r in project.runs] == ["complete"] * 3
    assert project.totals.bops > 0
    project.set_weight(np.arange(len(project.info.layers)), Scheme("int4"))
    assert project.prediction is not None
    assert project.prediction.value > 0
    run(client, project, Evaluate(project.assignment, data))
    assert project.measured is not None

    # A mistake of the user is told; the worker stays.
    client.start(Analyze(("weights",), schemes, data=DataRequest("missing.npz")))
    failed = collect(client)[-1]
    assert isinstance(failed, Failed)
    assert not failed.opening
    assert client.alive

    # A dead process comes back with the next job, its model opened again.
    assert client._process is not None
    client._process.kill()
    assert isinstance(collect(client)[-1], Died)
    client.start(Analyze(("weights",), schemes, seed=1))
    messages = collect(client)
    assert isinstance(messages[0], Opened)
    assert messages[-1] == Finished("complete")
    project.close()


def run(client: WorkerClient, project: Project, job: Any) -> None:
    """Do a job over there and record it here."""
    recorder = Recorder(project, job)
    client.start(job)
    *events, last = collect(client)
    assert last == Finished("complete"), last
    for event in events:
        assert isinstance(event, Traced | Started | Progress | Ended)
        recorder.take(event)
    recorder.end("failed")


def test_assignments_travel(tmp_path: Path) -> None:
    import pickle

    info = model()
    plan = Assignment.float(info.layers, info.name, info.digest)
    plan = plan.with_weight([1], Scheme("int4")).with_locked([2], True)
    there = pickle.loads(pickle.dumps(Evaluate(plan, DataRequest("example"))))
    assert there.assignment.digest == plan.digest
    assert there.assignment.diff(plan).tolist() == []
