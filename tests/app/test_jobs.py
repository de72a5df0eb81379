"""The job runner, its progress, and the panel that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QTimer

from analysis.errors import AnalysisError
from analysis.messages import (
    Analyze,
    DataRequest,
    Died,
    Ended,
    Failed,
    Finished,
    Opened,
    Progress,
    Started,
)
from analysis.method import Row, Update
from app.context import AppContext
from app.jobs import JobRunner, merged
from app.progress import Clock, JobState
from app.views.jobs import JobStrip, JobsView
from tests.app.helpers import FakeClient, analysed, model_info

JOB = Analyze(("weights",), data=DataRequest("example"))
OPENED = Opened(model_info(6), can_run=True, task="kl")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def runner(qapp, client) -> Iterator[JobRunner]:
    runner = JobRunner(client)
    yield runner
    runner.close()


def ticking(runner: JobRunner) -> bool:
    return any(timer.isActive() for timer in runner.findChildren(QTimer))


def test_opening_a_model(runner, client, qtbot):
    runner.open("tests:tiny", "tiny")
    assert runner.state.text == "Opening tiny…"
    assert runner.is_opening
    assert not runner.is_busy
    with qtbot.waitSignal(runner.opened) as caught:
        client.say(OPENED)
    assert caught.args == [OPENED]
    assert runner.state is None
    qtbot.waitUntil(lambda: not ticking(runner))


def test_a_job_waits_for_its_model(runner, client, qtbot):
    runner.start(JOB, "Analysis", "tests:tiny")
    assert client.asked == [("open", "tests:tiny")]
    assert runner.is_busy
    with qtbot.waitSignal(runner.opened):
        client.say(OPENED)
    assert client.asked[1:] == [("start", JOB)]
    assert runner.state.status == "running"


def test_a_loaded_model_is_not_loaded_again(runner, client, qtbot):
    client.source = "tests:tiny"
    runner.start(JOB, "Analysis", "tests:tiny")
    assert client.asked == [("start", JOB)]


def test_a_model_that_changed_on_disk_is_loaded_anew(runner, client, qtbot, tmp_path):
    file = tmp_path / "m.safetensors"
    file.write_bytes(b"one")
    source = str(file)
    runner.open(source, "m")
    client.say(OPENED)
    qtbot.waitUntil(lambda: not runner.is_opening)
    for content, opens in ((b"one", 1), (b"other", 2), (None, 3)):
        if content is None:
            file.unlink()
        elif content != file.read_bytes():
            file.write_bytes(content)
        runner.start(JOB, "Analysis", source)
        assert client.asked.count(("open", source)) == opens
        if opens > 1:
            client.say(OPENED)
        client.say(Finished("complete"))
        qtbot.waitUntil(lambda: not runner.is_busy)


def test_a_model_that_could_not_be_opened_is_tried_again(runner, client, qtbot):
    runner.open("tests:tiny", "tiny")
    client.say(Failed({"what": "There is no such file."}, opening=True))
    qtbot.waitUntil(lambda: not runner.is_opening)
    runner.start(JOB, "Analysis", "tests:tiny")
    assert client.asked == [("open", "tests:tiny")] * 2
    client.say(OPENED)
    qtbot.waitUntil(lambda: client.asked[-1] == ("start", JOB))


def test_a_job_from_start_to_end(runner, client, qtbot):
    client.source = "tests:tiny"
    seen, ends = [], []
    runner.happened.connect(seen.append)
    runner.ended.connect(ends.append)
    runner.start(JOB, "Analysis", "tests:tiny")
    rows = [Row(f"layers.0.{i}", None, float(i)) for i in range(3)]
    client.say(
        Started("weights", {}),
        Progress("weights", Update(1, 4, "first", (rows[0],))),
        Progress(
            "weights", Update(2, 4, "second", (rows[1], rows[2]), warnings=("w",))
        ),
    )
    qtbot.waitUntil(lambda: len(seen) == 2)
    assert seen[1].update.rows == tuple(rows)
    assert runner.state.share == 0.5
    assert runner.state.note == "second"
    assert runner.state.warnings == ("w",)
    client.say(Ended("weights"), Finished("complete"))
    qtbot.waitUntil(lambda: ends == ["complete"])
    assert not runner.is_busy
    assert runner.state.text == "Analysis: complete"
    qtbot.waitUntil(lambda: not ticking(runner))


def test_a_thousand_updates_arrive_as_a_few(runner, client, qtbot):
    client.source = "tests:tiny"
    seen, states = [], []
    runner.happened.connect(seen.append)
    runner.stateChanged.connect(states.append)
    runner.start(JOB, "Analysis", "tests:tiny")
    client.say(Started("weights", {}))
    for number in range(1000):
        row = Row(f"layer{number}", None, float(number))
        client.say(Progress("weights", Update(number, 1000, str(number), (row,))))
    client.say(Finished("complete"))
    with qtbot.waitSignal(runner.ended):
        pass
    updates = [event.update for event in seen if isinstance(event, Progress)]
    assert len(updates) == 1
    assert [row.value for row in updates[0].rows] == [float(n) for n in range(1000)]
    assert len(states) < 10


def test_merging_keeps_measures_and_arrays_apart():
    one = Progress("a", Update(1, 2, arrays={"x": 1}, samples=4))
    two = Progress("a", Update(2, 2, arrays={"x": 2, "y": 3}, samples=2))
    other = Progress("b", Update(1, 1))
    result = merged([one, two, Ended("a"), other, other])
    assert [type(m).__name__ for m in result] == ["Progress", "Ended", "Progress"]
    assert result[0].update.arrays == {"x": 2, "y": 3}
    assert result[0].update.samples == 4


def test_cancel_is_accepted_at_once(runner, client, qtbot):
    client.source = "tests:tiny"
    runner.start(JOB, "Analysis", "tests:tiny")
    runner.cancel()
    assert client.asked[-1] == ("cancel",)
    assert runner.state.text == "Analysis: stopping…"
    with qtbot.waitSignal(runner.ended) as caught:
        client.say(Finished("cancelled"))
    assert caught.args == ["cancelled"]


@pytest.mark.parametrize(
    "message",
    [
        Failed({"what": "No such data.", "value": "x", "allowed": "y", "hint": "z"}),
        Died(-9, {"what": "No such data.", "value": "x", "allowed": "y", "hint": "z"}),
    ],
    ids=["failed", "died"],
)
def test_failures_are_told_in_four_parts(runner, client, qtbot, message):
    client.source = "tests:tiny"
    problems = []
    runner.failed.connect(problems.append)
    runner.start(JOB, "Analysis", "tests:tiny")
    with qtbot.waitSignal(runner.ended) as caught:
        client.say(message)
    assert caught.args == ["failed"]
    (problem,) = problems
    assert problem.what == "No such data."
    assert (problem.value, problem.allowed, problem.hint) == ("x", "y", "z")


def test_a_model_that_cannot_be_opened_ends_the_waiting_job(runner, client, qtbot):
    runner.start(JOB, "Analysis", "tests:tiny")
    with qtbot.waitSignal(runner.ended) as caught:
        client.say(Failed({"what": "No."}, opening=True))
    assert caught.args == ["failed"]
    assert not runner.is_opening


def test_another_model_while_one_is_loading(runner, client, qtbot):
    opened = []
    runner.opened.connect(opened.append)
    runner.open("tests:first", "first")
    runner.open("tests:second", "second")
    assert runner.source == "tests:second"
    assert client.asked == [("open", "tests:first"), ("cancel",)]
    client.say(Finished("cancelled"))
    qtbot.waitUntil(lambda: len(client.asked) == 3)
    assert client.asked[2] == ("open", "tests:second")
    client.say(OPENED)
    qtbot.waitUntil(lambda: opened == [OPENED])


def test_loading_can_be_cancelled(runner, client, qtbot):
    runner.start(JOB, "Analysis", "tests:tiny")
    runner.cancel()
    with qtbot.waitSignal(runner.ended) as caught:
        client.say(OPENED)
    assert caught.args == ["cancelled"]
    assert ("start", JOB) not in client.asked


def test_one_job_at_a_time(runner, client):
    client.source = "tests:tiny"
    runner.start(JOB, "Analysis", "tests:tiny")
    with pytest.raises(AnalysisError, match="A job is running"):
        runner.start(JOB, "Analysis", "tests:tiny")
    with pytest.raises(AnalysisError, match="A job is running"):
        runner.open("tests:other", "other")


def test_closing_ends_the_job(runner, client, qtbot):
    client.source = "tests:tiny"
    runner.start(JOB, "Analysis", "tests:tiny")
    with qtbot.waitSignal(runner.ended):
        runner.close()
    assert client.is_closed
    assert not ticking(runner)


def test_time_left_comes_from_work_units():
    clock = Clock(0.0)
    assert clock.seconds_left(1, 100, 1.0) is None, "too early"
    assert clock.seconds_left(10, 100, 10.0) == pytest.approx(90, rel=0.01)
    # Nothing new for a while: the clock runs on.
    assert clock.seconds_left(10, 100, 15.0) == pytest.approx(85, rel=0.01)
    # The next measure counts from zero again.
    assert clock.seconds_left(0, 50, 16.0) is None


def test_time_left_follows_a_change_of_speed():
    clock = Clock(0.0)
    for second in range(1, 11):
        clock.seconds_left(second, 1000, float(second))
    for second in range(11, 41):
        left = clock.seconds_left(10 + 10 * (second - 10), 1000, float(second))
    assert left == pytest.approx((1000 - 310) / 10, rel=0.05)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (JobState("tiny", "opening"), "Opening tiny…"),
        (
            JobState("Analysis", "running", "layers.3", 1, 2, 95.0),
            "Analysis, layers.3, about 2 min left",
        ),
        (JobState("Search", "failed"), "Search: failed"),
    ],
)
def test_state_in_words(state, text):
    assert state.text == text


def test_the_strip_shows_progress_and_cancels(runner, client, qtbot):
    client.source = "tests:tiny"
    strip = JobStrip(runner)
    qtbot.addWidget(strip)
    assert strip.isHidden()
    runner.start(JOB, "Analysis", "tests:tiny")
    assert not strip.isHidden()
    assert (strip.bar.minimum(), strip.bar.maximum()) == (0, 0), "busy without a share"
    client.say(Started("weights", {}), Progress("weights", Update(1, 4)))
    qtbot.waitUntil(lambda: strip.bar.value() == 250)
    strip.cancel.click()
    assert not strip.cancel.isEnabled()
    client.say(Finished("cancelled"))
    qtbot.waitUntil(strip.isHidden)


def test_runs_are_listed_newest_first(runner, qtbot):
    context = AppContext()
    view = JobsView(context, runner)
    qtbot.addWidget(view)
    view.show()
    assert view._stack.currentIndex() == 1
    project = analysed(6)
    context.set_project(project)
    names = [view.runs.topLevelItem(i).text(0) for i in range(2)]
    assert names == ["Predicted error", "Weight statistics and noise"]
    run = project.begin_run("weights", total=10)
    project.apply(run, Update(4, 10, warnings=("layers.0.query holds NaN.",)))
    project.end_run(run, "cancelled")
    qtbot.waitUntil(lambda: view.runs.topLevelItemCount() == 3)
    item = view.runs.topLevelItem(0)
    assert item.text(1) == "cancelled at 40 %"
    assert item.text(6) == "layers.0.query holds NaN."
    context.set_project(None)
