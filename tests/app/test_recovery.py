"""Crashes: of the window, of the worker, and files that change underneath."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QPushButton

from analysis.errors import AnalysisError
from analysis.messages import (
    Analyze,
    DataRequest,
    Died,
    Failed,
)
from analysis.method import Row, Update
from analysis.project import Project
from analysis.worker import WorkerClient
from app.dialogs.analysis_request import AnalysisRequest
from app.errors import ErrorDialog, Problem
from app.jobs import JobRunner
from app.main_window import MainWindow
from app.recovery import Recovery
from app.remedies import HALF_SAMPLES, SMALLER_BATCH, remedied, remedies
from app.session import Session
from app.settings import Settings
from quant_core.scheme import Scheme
from tests.analysis.test_project import crash
from tests.app.helpers import FakeClient, analysed, model_info
from tests.app.workers import streaming
from tests.killing import breeding

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def window(qtbot, tmp_path, client) -> Iterator[MainWindow]:
    yield from a_window(qtbot, tmp_path, JobRunner(client))


def a_window(qtbot, tmp_path: Path, runner: JobRunner) -> Iterator[MainWindow]:
    settings = Settings(tmp_path / "settings.ini")
    session = Session(settings, runner=runner)
    window = MainWindow(settings, session)
    window.problems = []
    session.problem.disconnect(window.show_problem)
    session.problem.connect(window.problems.append)
    window.commander.may_discard = lambda: True
    qtbot.addWidget(window)
    window.show()
    yield window
    window.close()


def lost(window: MainWindow) -> list:
    """What another window would offer now, were this one dead."""
    recovery = Recovery(window.settings.sessions_folder)
    recovery._is_dead = lambda name: True
    return list(recovery.lost())


def press(window: MainWindow, text: str) -> None:
    buttons = window.notices.bar.findChildren(QPushButton)
    shown = {b.text().replace("&", ""): b for b in buttons if b.isVisible()}
    shown[text].click()


# -- drafts ------------------------------------------------------------------------


def test_nothing_is_written_before_there_is_something_to_lose(window, qtbot):
    window.session._adopt(Project.create(model_info(6)))
    qtbot.wait(1)
    assert lost(window) == []
    assert not window.session.guard._draft()
    assert window.context.project.file_path is None


def test_the_first_edit_makes_a_draft_that_saving_takes_away(window, qtbot, tmp_path):
    project = Project.create(model_info(6))
    window.session._adopt(project)
    window.context.set_weight([0], Scheme("int4"))
    qtbot.waitUntil(lambda: project.is_draft)
    assert project.path is None
    assert project.dirty
    [entry] = lost(window)
    assert entry.is_draft
    assert Path(entry.path).exists()
    window.session.save(tmp_path / "named.qscope")
    assert not project.is_draft
    assert not Path(entry.path).exists()
    [entry] = lost(window)
    assert entry.path == str(tmp_path / "named.qscope")
    window.session.close_project()
    assert lost(window) == []
    assert list(window.settings.sessions_folder.iterdir()) == []


def test_closing_deletes_the_draft(window, qtbot):
    window.session._adopt(project := analysed(6))
    window.context.set_weight([0], Scheme("int4"))
    qtbot.waitUntil(lambda: project.is_draft)
    window.session.close_project()
    assert list(window.settings.sessions_folder.iterdir()) == []


def test_where_no_draft_can_be_written_the_work_goes_on(window, qtbot, tmp_path):
    window.settings.sessions_folder.write_text("in the way")
    said = []
    window.context.message.connect(said.append)
    window.session._adopt(project := Project.create(model_info(6)))
    window.context.set_weight([0], Scheme("int4"))
    qtbot.waitUntil(lambda: any("A crash would" in text for text in said))
    window.context.set_weight([1], Scheme("int4"))
    qtbot.wait(10)
    assert sum("A crash would" in text for text in said) == 1
    assert project.assignment.scheme_of(1) == Scheme("int4")
    window.session.close_project()
    assert window.problems == []


def test_a_checkpoint_is_written_once_per_change(tmp_path):
    path = tmp_path / "a.qscope"
    with Project.create(model_info(6), path) as project:
        project.set_weight([0], Scheme("int4"))
        project.checkpoint()
        size = Path(f"{path}.journal").stat().st_size
        project.checkpoint()
        assert Path(f"{path}.journal").stat().st_size == size
        project.set_weight([0], Scheme("int3"))
        project.checkpoint()
        assert Path(f"{path}.journal").stat().st_size > size


# -- what is offered ----------------------------------------------------------------


@pytest.fixture
def crashed(window) -> Path:
    """The draft of a session that died with an edit and a run."""
    folder = window.settings.sessions_folder
    dead = Recovery(folder)
    path = dead.draft_path()
    dead.note(path, "tiny", is_draft=True)
    project = analysed(6)
    project.begin_draft(path)
    project.set_weight([2], Scheme("int4"))
    project.checkpoint()
    dead._lock.release()
    crash(project)
    return path


def test_recovering_brings_back_edits_and_results(window, crashed):
    assert window.notices.offer_lost() == 1
    assert "tiny (never saved)" in window.notices.bar.notice.text
    assert window.notices.bar.isVisible()
    press(window, "Recover")
    project = window.context.project
    assert project.assignment.scheme_of(2) == Scheme("int4")
    assert len(project.runs) == 2
    assert project.is_draft
    assert project.dirty
    assert not window.notices.bar.isVisible()
    assert window.notices.offer_lost(again=True) == 0
    [entry] = lost(window)
    assert entry.path == str(crashed)
    assert window.problems == []


def test_what_is_put_off_is_not_asked_again_but_stays(window, crashed):
    window.notices.offer_lost()
    press(window, "Not now")
    assert window.notices.offer_lost() == 0
    assert crashed.exists()
    window.commander.do_recover()
    press(window, "Recover")
    assert len(window.context.project.runs) == 2


def test_discarding_deletes_the_draft(window, crashed):
    window.notices.offer_lost()
    press(window, "Discard for good")
    assert not crashed.exists()
    assert window.notices.offer_lost(again=True) == 0


def test_discarding_a_named_project_keeps_its_file(window, tmp_path):
    path = tmp_path / "named.qscope"
    Project.create(model_info(3), path).close()
    dead = Recovery(window.settings.sessions_folder)
    dead.note(path, "tiny", is_draft=False)
    dead._lock.release()
    window.notices.offer_lost()
    assert "named.qscope" in window.notices.bar.notice.text
    press(window, "Forget")
    assert path.exists()
    assert window.notices.offer_lost(again=True) == 0


def test_two_windows_do_not_offer_each_other(window, tmp_path):
    path = tmp_path / "named.qscope"
    Project.create(model_info(3), path).close()
    alive = Recovery(window.settings.sessions_folder)
    alive.note(path, "tiny", is_draft=False)
    assert window.notices.offer_lost(again=True) == 0
    alive.forget()


def test_damaged_notes_are_passed_over(window):
    folder = window.settings.sessions_folder
    folder.mkdir()
    (folder / "a.json").write_text("{")
    (folder / "b.json").write_text('{"id": "other"}')
    (folder / "c.json").write_text("[]")
    assert window.notices.offer_lost(again=True) == 0


# -- killed -------------------------------------------------------------------------

SITTER = """
import os
import app.main_window  # before the fork: it takes most of the time

def work(settings, acks):
    log = os.open(acks, os.O_WRONLY | os.O_CREAT)
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication
    from analysis.messages import Opened, Progress, Started
    from analysis.method import Row, Update
    from analysis.project import Project
    from app.jobs import JobRunner
    from app.main_window import MainWindow
    from app.session import Session
    from app.settings import Settings
    from analysis.messages import Analyze
    from pathlib import Path
    from quant_core.scheme import Scheme
    from tests.app.helpers import FakeClient, model_info
    app = QApplication(["quantscope"])
    settings = Settings(Path(settings))
    client = FakeClient()
    session = Session(settings, runner=JobRunner(client))
    window = MainWindow(settings, session)
    window.show()
    project = Project.create(model_info(36))
    session._adopt(project)
    client.source = project.info.source
    session.work.start(Analyze(("weights",)), "Analysis")
    client.say(Started("weights", {"unit": "dB"}))
    names = [layer.name for layer in project.info.layers]
    state = {"step": 0}
    def step():
        number = state["step"] = state["step"] + 1
        shown = project.rows("weights")
        if project.is_draft and shown:
            os.write(log, f"{int(shown[0].value)}\\n".encode())
        rows = tuple(Row(n, "int4", float(number)) for n in names)
        client.say(Progress("weights", Update(number, 0, rows=rows)))
        window.context.set_weight([number % 36], Scheme(f"int{2 + number % 7}"))
        session.guard.autosave()
    timer = QTimer()
    timer.timeout.connect(step)
    timer.start(5)
    app.exec()
"""


@posix
def test_a_killed_window_is_offered_again_with_all_it_showed(tmp_path):
    settings, acks = tmp_path / "settings.ini", tmp_path / "acks"
    dice = random.Random(0)
    with breeding(SITTER) as sitters:
        for _ in range(20):
            acks.unlink(missing_ok=True)
            sitters.start(settings, acks)
            sitters.wait_for(lambda: acks.exists() and acks.stat().st_size > 0)
            time.sleep(dice.uniform(0, 0.2))
            sitters.kill()
            shown = int(acks.read_text().split("\n")[-2])
            recovery = Recovery(tmp_path / "sessions")
            [entry] = recovery.lost()
            with Project.open(Path(entry.path), draft=True) as project:
                assert project.read_only == ""
                [run] = project.runs
                assert run.status == "interrupted"
                assert project.rows("weights")[0].value >= shown
                assert project.recovered
                assert any(project.assignment.scheme_of(i) for i in range(36))
            recovery.discard(entry)


@posix
def test_a_killed_worker_leaves_the_window_and_what_is_finished(
    qtbot, tmp_path, request
):
    client = WorkerClient(streaming)
    [window] = held(request, a_window(qtbot, tmp_path, JobRunner(client)))
    window.session._adopt(project := Project.create(model_info(6)))
    dice = random.Random(1)
    for number in range(20):
        window.session.work.analyse(AnalysisRequest(measures=("weights",)))
        qtbot.waitUntil(lambda n=number: len(project.runs) > n)
        qtbot.waitUntil(lambda: bool(project.rows("weights")))
        qtbot.wait(dice.randrange(1, 60))
        before = project.rows("weights")[0].value
        os.kill(client._process.pid, signal.SIGKILL)
        qtbot.waitUntil(lambda n=number: len(window.problems) > n)
        problem = window.problems[-1]
        assert "ran out of memory" in problem.what
        assert problem.where.startswith("Analysis")
        keys = [remedy.key for remedy in problem.remedies]
        assert keys == [SMALLER_BATCH, HALF_SAMPLES]
        assert project.runs[-1].status == "failed"
        assert project.rows("weights", project.runs[-1].id)[0].value >= before
        assert not window.session.runner.is_busy
        assert window.isVisible()
        # A cancelled or failed run of equal settings would be continued.
        project.delete_run(project.runs[-1].id)
        project.end_run(project.begin_run("other"))


def held(request, windows: Iterator[MainWindow]) -> list[MainWindow]:
    """Return a window that is closed when the test ends."""
    window = next(windows)
    request.addfinalizer(lambda: next(windows, None))
    return [window]


# -- remedies ------------------------------------------------------------------------

JOB = Analyze(("weights",), data=DataRequest("example", 64))


def test_want_of_memory_offers_less_at_a_time():
    problem = Problem("Memory ran out.", is_memory=True)
    batch, half = remedies(JOB, problem)
    assert (batch.text, half.text) == (
        "Use &batches of 8",
        "Use &half the samples (32)",
    )
    smaller = remedied(JOB, batch.key)
    assert smaller.batch_size == 8
    assert [remedied(smaller, batch.key).batch_size] == [4]
    assert remedied(JOB, half.key).data.samples == 32
    last = remedied(JOB, batch.key)
    for _ in range(3):
        last = remedied(last, batch.key)
    assert [r.key for r in remedies(last, problem)] == [HALF_SAMPLES]


def test_a_mistake_of_the_user_offers_nothing():
    assert remedies(JOB, Problem("No such format.", allowed="int4")) == ()
    assert remedies(JOB, Problem("It broke.", details="Traceback"))[0].key == "again"


def test_the_button_starts_the_job_again(window, client, qtbot):
    window.session._adopt(analysed(6))
    client.source = window.context.project.info.source
    window.session.work.analyse(AnalysisRequest(samples=64))
    client.say(Failed({"what": "Memory ran out."}, "Traceback", memory=True))
    qtbot.waitUntil(lambda: len(window.problems) == 1)
    dialog = ErrorDialog(window.problems[0], window)
    qtbot.addWidget(dialog)
    dialog.remedyChosen.connect(window.session.work.try_again)
    dialog.show()
    labels = {b.text(): b for b in dialog.buttons()}
    labels["Use &batches of 8"].click()
    job = client.asked[-1][1]
    assert job.batch_size == 8
    assert job.data.samples == 64
    assert "predicted_error" in job.earlier


def test_a_dead_worker_offers_to_go_on(window, client, qtbot):
    window.session._adopt(analysed(6))
    client.source = window.context.project.info.source
    window.session.work.analyse(AnalysisRequest())
    client.say(Died(-11, {"what": "The worker crashed.", "value": "SIGSEGV"}))
    qtbot.waitUntil(lambda: len(window.problems) == 1)
    assert [r.text for r in window.problems[0].remedies] == ["Go &on from here"]
    assert "SIGSEGV" in window.problems[0].report()


# -- files that change -----------------------------------------------------------------


def test_a_project_that_another_program_replaced(window, qtbot, tmp_path):
    path = tmp_path / "a.qscope"
    Project.create(model_info(6), path).close()
    window.session.open(str(path))
    project = window.context.project
    project.set_weight([0], Scheme("int4"))
    window.session.save(None)
    qtbot.wait(700)
    assert window.notices.bar.notice is None, "our own saving is no change"
    with analysed(6) as other:
        other.save(tmp_path / "b.qscope")
    os.replace(tmp_path / "b.qscope", path)
    qtbot.waitUntil(lambda: window.notices.bar.notice is not None)
    assert "Another program changed a.qscope" in window.notices.bar.notice.text
    press(window, "Reload")
    assert len(window.context.project.runs) == 2
    assert window.notices.bar.notice is None


def test_a_project_that_is_gone_can_be_saved_again(window, qtbot, tmp_path):
    path = tmp_path / "a.qscope"
    Project.create(model_info(6), path).close()
    window.session.open(str(path))
    path.unlink()
    qtbot.waitUntil(lambda: window.notices.bar.notice is not None)
    press(window, "Save")
    assert path.exists()


def test_a_model_file_that_changed(window, qtbot, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"1")
    info = model_info(6)
    object.__setattr__(info, "source", str(model))
    window.session._adopt(Project.create(info))
    opened = []
    window.session.open = opened.append
    model.write_bytes(b"22")
    qtbot.waitUntil(lambda: window.notices.bar.notice is not None)
    assert "belong to what was opened" in window.notices.bar.notice.text
    press(window, "Open the changed model")
    assert opened == [str(model)]


# -- the list of runs ---------------------------------------------------------------


def interrupted(project: Project) -> int:
    run = project.begin_run(
        "weights",
        params={"version": 1, "schemes": ["int4/group(32)/mse"], "samples": 32},
        data_source="example",
        seed=3,
    )
    project.apply(run, Update(1, 2, rows=(Row("layers.0.query", "int4", 1.0),)))
    project.end_run(run, "cancelled")
    return run


def test_a_cancelled_run_goes_on_as_it_was_begun(window, client):
    window.session._adopt(project := analysed(6))
    client.source = project.info.source
    number = interrupted(project)
    window.jobs._invalidate()
    window.jobs._refresh()
    window.jobs._actions["resume"].trigger()
    job = client.asked[-1][1]
    assert job.measures == ("weights",)
    assert job.schemes == (Scheme("int4", "group(32)", "mse"),)
    assert job.seed == 3
    assert job.data == DataRequest("example", 32, 3)
    assert job.earlier["weights"].run.id == number
    assert len(job.earlier["weights"].done) == 1


def test_running_again_begins_with_the_settings_of_the_run(window, client):
    window.session._adopt(project := analysed(6))
    client.source = project.info.source
    interrupted(project)
    window.jobs._refresh()
    firsts = []

    def analysis(runs_model, has_example, layers, first):
        assert layers == 6
        firsts.append(first)

    window.commander.ask.analysis = analysis
    window.jobs._actions["again"].trigger()
    [first] = firsts
    assert first.measures == ("weights",)
    assert first.formats == ("int4",)
    assert (first.granularity, first.range) == ("group(32)", "mse")
    assert (first.samples, first.seed) == (32, 3)


def test_deleting_a_run_asks_first(window):
    window.session._adopt(project := analysed(6))
    window.jobs._refresh()
    window.commander.ask.delete_run = lambda _: False
    window.jobs._actions["delete"].trigger()
    assert len(project.runs) == 2
    window.commander.ask.delete_run = lambda _: True
    window.jobs._actions["delete"].trigger()
    assert [run.measure for run in project.runs] == ["weights"]


def test_only_what_stopped_early_goes_on(window, qtbot):
    window.session._adopt(analysed(6))
    window.jobs._refresh()
    assert not window.jobs._actions["resume"].isEnabled()
    assert window.jobs._actions["again"].isEnabled()


def test_an_unknown_run_is_refused():
    from analysis.jobs import analysis_of_run

    with pytest.raises(AnalysisError, match="no such run"):
        analysis_of_run(analysed(6), 99)
