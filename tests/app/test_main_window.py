"""The window as a whole: opening, editing, saving, drops, themes, torch-free."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QPixmap
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QMessageBox,
    QWidget,
)

from analysis.errors import AnalysisError
from analysis.messages import (
    Ended,
    Finished,
    Found,
    Opened,
    Progress,
    Started,
    Tried,
)
from analysis.method import Row, Update
from analysis.project import Project
from analysis.search.problem import SearchResult
from analysis.search.trial import Refined, Score, Trial
from app.dialogs.analysis_request import AnalysisRequest
from app.dialogs.search import SearchRequest
from app.drops import refusal
from app.errors import ErrorDialog, ExceptionHook, Problem
from app.jobs import JobRunner
from app.main_window import MainWindow
from app.models.layer_columns import KEYS
from app.next_step import CHOOSE, RUN
from app.render import View, render
from app.session import Session
from app.settings import Settings
from app.theme import theme
from quant_core.scheme import Scheme
from tests.app.helpers import FakeClient, analysed, model_info
from tests.app.shell import shell

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def system_theme(qapp) -> Iterator[None]:
    yield
    theme().set_mode("system")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def window(qtbot, tmp_path, client) -> Iterator[MainWindow]:
    settings = Settings(tmp_path / "settings.ini")
    session = Session(settings, runner=JobRunner(client))
    window = MainWindow(settings, session)
    window.problems = []
    session.problem.disconnect(window.show_problem)
    session.problem.connect(window.problems.append)
    window.commander.ask.unsaved = lambda _: QMessageBox.StandardButton.Discard
    qtbot.addWidget(window)
    window.resize(1280, 800)
    window.show()
    yield window
    window.close()


@pytest.fixture
def project_file(tmp_path) -> Path:
    path = tmp_path / "tiny.qscope"
    with analysed(36) as project:
        project.save(path)
    return path


def run(window: MainWindow, key: str) -> None:
    action = window.actions_[key]
    assert action.isEnabled(), key
    action.trigger()


def test_starts_with_the_start_page(window):
    assert window.start.isVisible()
    assert not any(dock.isVisible() for dock in window.desk.docks.values())
    assert window.windowTitle() == "Quantscope"
    assert not window.actions_["analyse"].isEnabled()


HEAVY = ("pyqtgraph", "h5py", "psygnal", "analysis.project", "app.session")


def test_the_start_page_is_on_the_screen_before_anything_heavy(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import app.__main__\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from app.main_window import MainWindow\n"
        "from app.settings import Settings\n"
        "class Window(MainWindow):\n"
        "    def paintEvent(self, event):\n"
        "        super().paintEvent(event)\n"
        f"        print(sorted(set({HEAVY!r}) & set(sys.modules)), flush=True)\n"
        "    def furnish(self, session=None):\n"
        "        QApplication.exit()\n"
        "qt = QApplication(['quantscope'])\n"
        "settings = Settings(Path(sys.argv[1]))\n"
        "window = Window(settings, furnished=False)\n"
        "window.show()\n"
        "qt.exec()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "settings.ini")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert set(done.stdout.split("\n")) == {"[]", ""}, done.stderr


def test_what_is_behind_the_start_page_comes_by_itself(
    window, qtbot, client, tmp_path, project_file
):
    settings = Settings(tmp_path / "late.ini")
    late = MainWindow(settings, furnished=False)
    qtbot.addWidget(late)
    late.resize(1280, 800)
    assert not late.actions_["analyse"].isEnabled()
    with qtbot.waitSignal(late.ready):
        late.show()
    assert late.session.settings is settings
    assert late.start.isVisible()

    def menus(of: MainWindow) -> list[list[str]]:
        found = [action.menu() for action in of.menuBar().actions()]
        return [[action.text() for action in menu.actions()] for menu in found]

    assert menus(late) == menus(window)
    late.session.open(str(project_file))
    assert late.layers.model.rowCount() == 36
    assert late.close()


def test_a_window_can_be_closed_before_it_is_furnished(qtbot, tmp_path):
    late = MainWindow(Settings(tmp_path / "late.ini"), furnished=False)
    qtbot.addWidget(late)
    with qtbot.waitSignal(late.closed):
        assert late.close()


def test_a_project_fills_the_panels(window, project_file):
    window.session.open(str(project_file))
    assert window.problems == []
    assert not window.start.isVisible()
    assert window.layers.model.rowCount() == 36
    assert window.windowTitle().startswith("tiny.qscope")
    assert window.totals.bits.text == "32.00 0 of 36 layers"
    assert window.totals.bytes.text == "1.03 MB 1.000 × as stored"
    assert "0 nats per sample, 32 samples" in window.totals.predicted.text
    assert window.settings.recent[0].source == str(project_file)
    assert window.actions_["search"].isEnabled()


@pytest.mark.parametrize("layers", [0, 1, 36])
def test_every_panel_can_be_shown(window, qtbot, layers):
    window.session._adopt(analysed(layers))
    for key in window.desk.docks:
        window.desk.show(key)
        qtbot.waitUntil(lambda key=key: window.desk.docks[key].isVisible())
    assert not window.grab().isNull()
    window.desk.arrange(is_wide=True)
    assert not window.grab().isNull()


def test_digit_keys_edit_and_totals_follow_at_once(window, qtbot, project_file):
    window.session.open(str(project_file))
    run(window, "select_all")
    with qtbot.waitSignal(window.context.assignmentChanged):
        qtbot.keyClick(window.layers.table, Qt.Key.Key_4)
    assert window.totals.bits.text.endswith("36 of 36 layers")
    assert float(window.totals.bits.text.split()[0]) < 5
    four_bits = window.totals.predicted.text
    assert window.isWindowModified()
    window.context.undo_stack.undo()
    qtbot.waitUntil(lambda: window.totals.bits.text == "32.00 0 of 36 layers")
    window.context.undo_stack.redo()
    qtbot.waitUntil(lambda: window.totals.predicted.text == four_bits)


def test_digits_typed_into_the_filter_stay_there(window, qtbot, project_file):
    window.session.open(str(project_file))
    line = window.layers.filter.line
    line.setFocus()
    qtbot.keyClicks(line, "bits<8")
    assert line.text() == "bits<8"
    assert window.context.undo_stack.count() == 0


def test_lock_key_turns_round(window, project_file):
    window.session.open(str(project_file))
    window.context.selection.set([3, 4])
    run(window, "lock")
    assert window.context.project.assignment.locked[[3, 4]].all()
    run(window, "lock")
    assert not window.context.project.assignment.locked.any()


def test_tied_layers_can_be_selected(window, project_file):
    window.session.open(str(project_file))
    window.context.selection.set([1, 3])
    run(window, "select_tied")
    assert window.context.selection.layers.tolist() == [0, 1, 2, 3]
    run(window, "clear_selection")
    assert not window.actions_["bits_4"].isEnabled()
    run(window, "next")
    assert window.context.selection.layers.tolist() == [0]


def test_saving_and_the_modified_mark(window, qtbot, project_file, tmp_path):
    window.session.open(str(project_file))
    window.context.set_weight([3], Scheme("int4"))
    qtbot.waitUntil(window.isWindowModified)
    run(window, "save")
    qtbot.waitUntil(lambda: not window.isWindowModified())
    window.context.set_weight([4], Scheme("int4"))
    qtbot.waitUntil(window.isWindowModified)
    window.undo.trigger()
    qtbot.waitUntil(lambda: not window.isWindowModified())
    assert window.context.undo_stack.isClean()
    copy = tmp_path / "copy.qscope"
    window.commander.ask.project_path = lambda _: copy
    run(window, "save_as")
    assert window.context.project.path == copy
    run(window, "close")
    with Project.open(copy) as again:
        assert again.assignment.scheme_of(3) == Scheme("int4")


def test_closing_asks_only_about_unsaved_work(window, project_file):
    asked = []
    button = QMessageBox.StandardButton

    def answer(name: str) -> QMessageBox.StandardButton:
        asked.append(name)
        return button.Cancel

    window.session.open(str(project_file))
    window.commander.ask.unsaved = answer
    run(window, "close")
    assert asked == []
    window.session.open(str(project_file))
    window.context.set_weight([3], Scheme("int4"))
    run(window, "close")
    assert asked == ["tiny.qscope"]
    assert window.context.project is not None
    assert not window.close()
    window.commander.ask.unsaved = lambda _: button.Discard
    run(window, "close")
    assert window.context.project is None
    assert window.start.isVisible()


def test_a_model_without_layers_known_ahead_opens_through_the_worker(
    window, client, qtbot
):
    window.session.open("tests.app.helpers:model_info")
    assert window.start._busy.full == "Opening tests.app.helpers:model_info…"
    client.say(Opened(model_info(12), can_run=True, task="kl"))
    qtbot.waitUntil(lambda: window.layers.model.rowCount() == 12)
    assert window.start._busy.full == ""
    assert window.settings.recent[0].source == "tests.app.helpers:model_info"
    assert not window.isWindowModified()


def test_an_analysis_streams_into_the_table(window, client, qtbot):
    window.session.open("tests.app.helpers:model_info")
    info = model_info(6)
    client.say(Opened(info, can_run=True, task="kl"))
    qtbot.waitUntil(lambda: window.layers.model.rowCount() == 6)
    client.source = info.source
    window.commander.ask.analysis = lambda *_: AnalysisRequest(measures=("weights",))
    run(window, "analyse")
    assert client.asked[-1][1].measures == ("weights",)
    assert window.actions_["cancel"].isEnabled()
    assert not window.actions_["analyse"].isEnabled()
    rows = tuple(Row(x.name, "int4", 20.0, quantity="sqnr") for x in info.layers[:4])
    client.say(
        Started("weights", {"unit": "dB", "better": "higher"}),
        Progress("weights", Update(4, 6, "layers.0.up", rows)),
    )
    qtbot.waitUntil(lambda: window.layers.model.text(0, "sqnr") == "20.0")
    assert window.layers.model.text(5, "sqnr") == "–"
    run(window, "cancel")
    client.say(Finished("cancelled"))
    qtbot.waitUntil(lambda: not window.actions_["cancel"].isEnabled())
    project = window.context.project
    assert project.latest_run("weights").status == "cancelled"
    assert np.isfinite(project.values("weights", "int4", "sqnr")).sum() == 4
    assert project.dirty


def test_an_analysis_begins_with_the_data_of_the_last(window, project_file):
    asked = []
    window.commander.ask.analysis = lambda *given: asked.append(given[-1])
    window.session._adopt(Project.create(model_info(6)))
    run(window, "analyse")
    window.session.open(str(project_file))
    last = window.context.project.latest_run("predicted_error")
    run(window, "analyse")
    none, first = asked
    assert none is None
    assert first.data == last.data_source != ""
    assert (first.seed, first.measures) == (last.seed, AnalysisRequest().measures)


def test_the_next_step_is_told_to_those_who_have_not_begun(
    window, client, qtbot, project_file
):
    window.session.open(str(project_file))
    client.source = "tests:tiny"
    window.context.set_weight(range(36), None)
    window.commander.ask.analysis = lambda *_: AnalysisRequest(measures=("weights",))
    for hint in (CHOOSE, ""):
        run(window, "analyse")
        client.say(Finished("complete"))
        qtbot.waitUntil(lambda: not window.session.runner.is_busy)
        assert window.toast.notice == f"Analysis complete. {hint}".strip()
        window.context.set_weight([3], Scheme("int4"))


def test_totals_are_back_when_a_project_is_opened_again(window, project_file):
    for _ in range(2):
        window.session.open(str(project_file))
        assert window._totals_bar.isVisible()
        run(window, "close")
        assert not window._totals_bar.isVisible()


def test_measuring_without_known_data_says_what_to_do(window, project_file):
    window.session._adopt(Project.create(model_info(6)))
    run(window, "evaluate")
    assert "No data is known" in window.problems[-1].report()


def test_the_worst_layer_is_one_that_makes_an_error(window, qtbot, project_file):
    window.session.open(str(project_file))
    window.context.set_weight([7], Scheme("int8"))
    data = window.layers.model.layers
    qtbot.waitUntil(lambda: not data.is_reference[7])
    window.show_worst_layer()
    assert window.context.selection.current in (6, 7, 8)
    window.show_layer("layers.2.up")
    assert window.context.selection.current == 16
    with pytest.raises(AnalysisError, match=r"Did you mean layers\.2\.up"):
        window.show_layer("layers.2.upp")


def test_a_search_is_one_undo_step(window, client, qtbot, project_file):
    window.session.open(str(project_file))
    window.commander.ask.search = lambda *_: SearchRequest(
        "bits<=5", "any", "genetic", {"seed": 3}
    )
    run(window, "search")
    job = client.asked[-1][1]
    assert (job.key, job.budget, job.params) == ("genetic", "bits<=5", {"seed": 3})
    keys = [None if s is None else s.key for s in job.table.palette]
    choice = np.full(36, keys.index("int4"), dtype=np.int16)
    client.say(Found(SearchResult(choice, 1.0, 2.0, 0.0, True)), Finished("complete"))
    qtbot.waitUntil(lambda: window.context.undo_stack.count() == 1)
    assert window.context.undo_stack.undoText() == "Search bits<=5"
    assert window.toast.notice == f"Search bits<=5: 36 layers changed. {RUN}"
    origin = window.context.project.assignment.provenance
    assert (origin["budget"], origin["search"]) == ("bits<=5", "genetic")
    assert origin["params"]["seed"] == 3


@pytest.mark.parametrize("status", ["complete", "cancelled"])
def test_the_best_that_was_run_is_kept_even_after_a_cancel(
    window, client, qtbot, project_file, status
):
    window.session.open(str(project_file))
    client.source = "tests:tiny"
    window.commander.ask.search = lambda *_: SearchRequest(
        "bits<=5", "any", runs="refine", plan={"rounds": 2}
    )
    run(window, "search")
    job = client.asked[-1][1]
    assert (job.asked.budget, job.asked.plan.rounds) == ("bits<=5", 2)
    assert job.data.source == "example"
    trials: tuple[Trial, ...] = ()
    client.say(Started("evaluation", {"unit": "nats per sample", "samples": 32}))
    for scheme, value in (("int4", 0.3), ("int3", 0.2), ("int8", 0.4)):
        plan = job.asked.base.with_weight(range(36), Scheme(scheme))
        choice = job.asked.table.choice_of(plan)
        score = Score(value, 0.01, {}, 32)
        trials = (*trials, Trial(plan, choice, 0.1, score, scheme))
        values = [trial.score.value for trial in trials]
        refined = Refined(trials, values.index(min(values)), len(trials), data="d")
        client.say(Tried(refined))
    client.say(Finished(status))
    qtbot.waitUntil(lambda: window.context.undo_stack.count() == 1)
    project = window.context.project
    assert project.assignment.scheme_of(0) == Scheme("int3")
    assert [score["value"] for score in project.measured_scores] == [0.3, 0.2, 0.4]
    origin = project.assignment.provenance
    assert origin["refine"]["evaluations"] == 3
    assert window.context.undo_stack.undoText() == "Search bits<=5"


def test_a_measurement_is_shown_until_the_next_edit(
    window, client, qtbot, project_file
):
    window.session.open(str(project_file))
    client.source = "tests:tiny"
    window.context.set_weight([3], Scheme("int4"))
    run(window, "evaluate")
    job = client.asked[-1][1]
    assert job.data.source == "example"
    row = Row("", None, 0.0123, 0.0004, "error", "model")
    client.say(
        Started("evaluation", {"unit": "nats per sample", "samples": 32}),
        Progress("evaluation", Update(1, 1, rows=(row,))),
        Ended("evaluation"),
        Finished("complete"),
    )
    shown = window.totals.measured
    qtbot.waitUntil(lambda: shown.text.startswith("0.0123 ± 0.0004 "))
    assert "nats per sample, 32 samples" in shown.text
    expected = window.totals.predicted.text.partition(" nats")[0]
    qtbot.waitUntil(lambda: "complete" in window.toast.notice)
    assert window.toast.notice == (
        f"Measurement complete. 0.0123 ± 0.0004 nats per sample; predicted {expected}."
    )
    window.context.set_weight([9], Scheme("int2"))
    qtbot.waitUntil(lambda: "another assignment" in shown.text)


def test_exports(window, project_file, tmp_path):
    window.session.open(str(project_file))
    window.context.set_weight([3], Scheme("int4"))
    for key, name in (("json", "plan.json"), ("csv", "plan.csv")):
        window.commander.ask.export_path = lambda _, k=key, n=name: (k, tmp_path / n)
        run(window, "export")
    assert window.problems == []
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["layers"]["layers.0.output"]["weight"]["format"] == "int4"
    assert "layers.0.output" in (tmp_path / "plan.csv").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.qscope", "no such|There is no"),
        ("gone.safetensors", "There is no such file"),
        ("broken.qscope", "project"),
        ("model.bin", "pickle|code"),
    ],
)
def test_bad_files_are_told_and_nothing_is_lost(
    window, qtbot, project_file, tmp_path, name, message
):
    window.session.open(str(project_file))
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"nonsense")
    window.session.open(str(tmp_path / name))
    (problem,) = window.problems
    assert any(m in problem.report() for m in message.split("|"))
    assert window.layers.model.rowCount() == 36
    assert window.context.project.path == project_file


def test_a_project_opened_again_is_not_held_by_ourselves(window, project_file):
    window.session.open(str(project_file))
    window.context.set_weight([0], Scheme("int2"))
    before = window.context.project
    window.session.open(str(project_file))
    project = window.context.project
    assert project is not before
    assert project.read_only == ""
    assert not project.dirty
    assert window.toast.notice == f"Opened {project_file.name}."
    window.context.set_weight([0], Scheme("int2"))
    project_file.write_bytes(b"no longer a project")
    window.session.open(str(project_file))
    assert window.context.project is project
    assert len(window.problems) == 1


def test_a_dropped_file_opens_after_the_drop(window, qtbot, project_file):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(project_file))])
    actions, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    keys = Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(5, 5), actions, data, buttons, keys)
    window.dragEnterEvent(enter)
    assert enter.isAccepted()
    assert window.start._invitation.text() == "Open tiny.qscope"
    window.dropEvent(QDropEvent(QPointF(5, 5), actions, data, buttons, keys))
    assert window.context.project is None, "not inside the drop"
    qtbot.waitUntil(lambda: window.context.project is not None)


def test_what_cannot_be_dropped_says_why(window, tmp_path):
    pickle = tmp_path / "model.pt"
    pickle.touch()
    assert "pickle" in refusal(str(pickle), 1)
    assert "one" in refusal(str(pickle), 2)
    assert "Only files" in refusal("", 1)
    assert "no such file" in refusal(str(tmp_path / "gone"), 1)
    assert refusal(str(tmp_path), 1) == ""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(pickle))])
    keys = Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(
        QPoint(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, keys
    )
    window.dragEnterEvent(enter)
    assert not enter.isAccepted()


def test_theme_is_chosen_and_remembered(window):
    run(window, "theme_dark")
    assert theme().is_dark
    assert window.settings.mode == "dark"
    run(window, "theme_system")
    assert not theme().is_dark


def test_layout_is_remembered(window, qtbot, tmp_path, project_file):
    window.session.open(str(project_file))
    window.desk.docks["trade_off"].close()
    window.close()
    again = MainWindow(
        Settings(tmp_path / "settings.ini"),
        Session(Settings(tmp_path / "settings.ini"), runner=JobRunner(FakeClient())),
    )
    qtbot.addWidget(again)
    again.show()
    again.session.open(str(project_file))
    assert again.desk.docks["heatmap"].isVisible()
    assert not again.desk.docks["trade_off"].isVisible()
    run(again, "layout_reset")
    assert not again.desk.docks["trade_off"].isHidden()
    again.close()


def test_every_control_has_a_name(window, project_file):
    window.session.open(str(project_file))
    kinds = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractItemView)
    nameless = []
    for widget in window.findChildren(QWidget):
        if not isinstance(widget, kinds) or widget.objectName().startswith("qt_"):
            continue
        if widget.isHidden():
            continue
        inner = isinstance(
            widget.parent(),
            QComboBox | QAbstractSpinBox | QLineEdit | QAbstractItemView,
        )
        text = (
            getattr(widget, "text", str)()
            if isinstance(widget, QAbstractButton)
            else ""
        )
        if not inner and not text and not widget.accessibleName():
            popup = widget.window() is not window
            if not popup:
                nameless.append(f"{type(widget).__name__} in {widget.parent()}")
    assert nameless == []


def test_an_uncaught_error_becomes_a_dialog(qapp, qtbot, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    hook = ExceptionHook()
    hook.install()
    with qtbot.waitSignal(hook.raised):
        sys.excepthook(ValueError, ValueError("broken"), None)
    qtbot.waitUntil(lambda: hook._dialog is not None)
    dialog = hook._dialog
    assert "went wrong" in dialog.text()
    assert "ValueError: broken" in dialog.informativeText()
    sys.excepthook(ValueError, ValueError("again"), None)
    qapp.processEvents()
    assert hook._dialog is dialog, "one dialog at a time"
    dialog.button(QMessageBox.StandardButton.Ok).click()
    hook.uninstall()
    assert hook._dialog is None


def test_error_dialog_has_four_parts_and_can_be_copied(qtbot, qapp):
    problem = Problem("It failed.", "x", "y", "Do z.", "Traceback")
    dialog = ErrorDialog(problem)
    qtbot.addWidget(dialog)
    assert dialog.text() == "It failed."
    for part in ("Given: x", "Allowed: y", "Do z."):
        assert part in dialog.informativeText()
    assert dialog.detailedText() == "Traceback"
    dialog._copy()
    assert qapp.clipboard().text() == problem.report()


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "not enough memory"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied"),
        (KeyError("x"), "went wrong"),
    ],
)
def test_other_errors_get_four_parts_too(error, what):
    problem = Problem.of(error)
    assert what in problem.what
    assert problem.hint


def test_the_window_does_without_torch():
    code = (
        "import sys\n"
        "import app.__main__, app.render\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from app.main_window import MainWindow\n"
        "from app.settings import Settings\n"
        "from tests.app.helpers import analysed\n"
        "app = QApplication(['x', '-platform', 'offscreen'])\n"
        "window = MainWindow(Settings())\n"
        "window.session._adopt(analysed(12))\n"
        "window.show()\n"
        "window.grab()\n"
        "window.context.set_weight([0], None)\n"
        "bad = {'torch', 'transformers', 'sklearn'} & set(sys.modules)\n"
        "print(sorted(bad))\n"
        "window.session.shut_down()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_render_writes_a_picture(project_file, tmp_path):
    picture = tmp_path / "window.png"
    words = [str(project_file), str(picture), "--size", "900x600", "--theme", "dark"]
    words += ["--layout", "assign", "--show", "compare", "findings"]
    done = subprocess.run(
        [sys.executable, "-m", "app.render", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    words[3] = "huge"
    done = subprocess.run(
        [sys.executable, "-m", "app.render", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "WIDTHxHEIGHT" in done.stderr


def test_render_knows_its_panels(qapp, project_file, tmp_path):
    view = View("dark", panels=("nowhere",))
    with pytest.raises(AnalysisError, match="no panel of this name"):
        render(project_file, tmp_path / "window.png", 900, 600, view)
    theme().set_mode("system")


def test_render_waits_for_the_findings(qapp, project_file, tmp_path, monkeypatch):
    looking = []

    def grab(window: MainWindow) -> QPixmap:
        looking.append(window.findings.is_looking)
        return QWidget.grab(window)

    monkeypatch.setattr("app.render.SETTLE_MS", 1)
    monkeypatch.setattr(MainWindow, "grab", grab)
    view = View(panels=("findings",))
    render(project_file, tmp_path / "window.png", 900, 600, view)
    assert looking == [False]


def test_another_model_under_the_same_name_is_refused(
    window, client, qtbot, project_file
):
    window.session.open(str(project_file))
    window.session.work.evaluate()
    assert client.asked == [("open", "tests:tiny")]
    other = dataclasses.replace(model_info(36), digest="e" * 64)
    with qtbot.waitSignal(window.session.runner.ended) as caught:
        client.say(Opened(other, can_run=True, task="kl"))
    assert caught.args == ["failed"]
    assert "made for another model" in window.problems[0].what
    assert "cancelled" not in window.toast.notice, "nobody cancelled anything"
    assert len(client.asked) == 1, "nothing was measured on the wrong model"


def test_a_trace_keeps_the_undo_steps(window, qtbot, project_file):
    window.session.open(str(project_file))
    window.context.set_weight([3], Scheme("int4"))
    project = window.context.project
    layers = tuple(dataclasses.replace(x, macs=7) for x in project.info.layers)
    with qtbot.waitSignal(window.context.projectChanged):
        project.update_model(dataclasses.replace(project.info, layers=layers))
    window.context.undo_stack.undo()
    assert not project.assignment.weight.any()


def test_a_cancelled_analysis_goes_on(window, client, project_file):
    window.session.open(str(project_file))
    client.source = "tests:tiny"
    project = window.context.project
    run_id = project.begin_run("activations", total=10)
    project.end_run(run_id, "cancelled")
    window.session.work.analyse(AnalysisRequest())
    assert set(client.asked[-1][1].earlier) == {"activations"}


def test_layers_of_the_network_replace_those_of_the_headers(window, client, qtbot):
    info = model_info(12)
    sorted_layers = tuple(sorted(info.layers, key=lambda layer: layer.name))
    session = window.session
    session._adopt(
        Project.create(dataclasses.replace(info, layers=sorted_layers, ties=()))
    )
    place = [x.name for x in sorted_layers].index("layers.1.up")
    window.context.selection.set([place])
    window.context.set_weight([place], Scheme("int4"))
    session._on_opened(Opened(info, can_run=True, task="kl"))
    project = window.context.project
    assert project.info.layers == info.layers
    assert window.context.selection.layers.tolist() == [10]
    assert project.assignment.scheme_of(10) == Scheme("int4")


@pytest.mark.slow
def test_the_worker_gives_what_a_script_gets(window, qtbot):
    from analysis.jobs import analyze
    from analysis.load import load
    from analysis.worker import WorkerClient

    source, request = (
        "example:digits-cnn",
        AnalysisRequest(
            data="", measures=("weights",), formats=("int4",), input_formats=()
        ),
    )
    window.session.runner._client = WorkerClient()
    window.session.open(source)
    assert window.problems == []
    assert window.layers.model.rowCount() > 0, "the headers are read at once"
    with qtbot.waitSignal(window.session.runner.ended, timeout=120_000) as caught:
        window.session.work.analyse(request)
    assert window.problems == []
    assert caught.args == ["complete"]
    shown = window.context.project
    model = load(source)
    with Project.create(model.info) as project:
        for _ in analyze(
            model, None, ["weights"], project=project, schemes=request.schemes
        ):
            pass
        for quantity, key in (("sqnr", "int4"), ("kurtosis", None)):
            np.testing.assert_array_equal(
                shown.values("weights", key, quantity),
                project.values("weights", key, quantity),
            )


def test_booleans_keep_their_references(window, project_file):
    window.session.open(str(project_file))
    action = window.actions_["theme_dark"]
    before = sys.getrefcount(True)
    for _ in range(250):
        action.toggled.emit(True)
        window.layers.model.index(0, KEYS.index("error")).flags()
    assert abs(sys.getrefcount(True) - before) < 50


def test_a_model_without_layers_is_called_so_in_every_plot(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(0)) as window:
        window.commander.ask.model_file = lambda: ""
        for key in ("distribution", "channels", "error_map", "trade_off"):
            window.desk.show(key)
            panel = window.desk.docks[key].widget()
            qtbot.waitUntil(
                lambda panel=panel: panel._empty.title == "Nothing to quantize"
            )
            with qtbot.waitSignal(panel.actionRequested) as asked:
                panel._empty.actionTriggered.emit()
            assert asked.args == ["open"]
