"""Copy as script, wherever the window offers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog
from pytestqt.qtbot import QtBot

from analysis.messages import DataRequest, Evaluate
from app.context import AppContext
from app.dialogs.analyse import AnalyseDialog
from app.dialogs.analysis_request import AnalysisRequest
from app.dialogs.search import SearchDialog, SearchRequest
from app.jobs import JobRunner
from app.scripts import Scripts
from app.session import Session
from app.settings import Settings
from app.views.jobs import JobsView
from app.widgets.script_button import ScriptButton
from tests.app.helpers import FakeClient, analysed


@pytest.fixture
def settings(qapp: object) -> Settings:
    return Settings()


@pytest.fixture
def context(qtbot: QtBot) -> AppContext:
    context = AppContext()
    context.set_project(analysed(6))
    return context


def clipboard() -> str:
    return QGuiApplication.clipboard().text()


def test_every_job_has_its_script(context: AppContext) -> None:
    scripts, project = Scripts(context), context.project
    assert project is not None
    made = {
        "analyze": scripts.of_analysis(AnalysisRequest()),
        "evaluate": scripts.of_job(Evaluate(project.assignment, DataRequest("random"))),
        "search": scripts.of_search(SearchRequest("bits<=4", "any")),
        "export": scripts.of_export("json", Path("a b.json")),
        "report": scripts.of_report(Path("r.html")),
    }
    for command, script in made.items():
        assert script is not None
        assert script.command.startswith(f"quantscope {command} ")
        compile(script.python, command, "exec")
    assert scripts.of_job("a picture") is None


def test_what_a_form_asks_for_is_what_is_copied(
    qtbot: QtBot, context: AppContext, settings: Settings
) -> None:
    scripts = Scripts(context)
    request = AnalysisRequest(data="random", samples=7, formats=("int4",))
    dialog: QDialog = AnalyseDialog(settings, first=request, script=scripts.of_analysis)
    qtbot.addWidget(dialog)
    dialog.findChild(ScriptButton).click()
    assert "--data random --samples 7" in clipboard()
    assert "--formats int4 " in clipboard()
    dialog = SearchDialog(settings, "vllm-like", script=scripts.of_search)
    qtbot.addWidget(dialog)
    dialog.findChild(ScriptButton).click()
    assert "--budget 'bits<=4'" in clipboard()
    assert "--target vllm-like" in clipboard()


def test_a_form_that_cannot_run_has_no_script(
    qtbot: QtBot, context: AppContext, settings: Settings
) -> None:
    dialog = SearchDialog(settings, "any", script=Scripts(context).of_search)
    qtbot.addWidget(dialog)
    button = dialog.findChild(ScriptButton)
    button.click()
    assert button.text() == "&Copied"
    dialog._budget.setCurrentText("nonsense")
    assert not button.isEnabled()
    assert button.text() == "&Copy as script"


def test_without_a_project_the_button_is_not_there(
    qtbot: QtBot, settings: Settings
) -> None:
    dialog = AnalyseDialog(settings)
    qtbot.addWidget(dialog)
    dialog.show()
    assert not dialog.findChild(ScriptButton).isVisible()


def test_a_run_of_the_list_is_copied(qtbot: QtBot, context: AppContext) -> None:
    runner = JobRunner(FakeClient())
    view = JobsView(context, runner)
    qtbot.addWidget(view)
    view.show()
    with qtbot.waitSignal(view.actionRequested) as asked:
        view._actions["script"].trigger()
    act, run = asked.args
    assert act == "script"
    script = Scripts(context).of_run(run)
    assert script is not None
    assert "--measures predicted_error" in script.command
    runner.close()


def test_a_run_is_repeated_with_its_own_task(context: AppContext) -> None:
    project = analysed(6)
    context.set_project(project)
    run = project.begin_run("weights", unit="dB", task="cosine")
    project.end_run(run)
    script = Scripts(context).of_run(run)
    assert script is not None
    assert "--task cosine" in script.command
    assert "task='cosine'" in script.python


def test_the_last_job_is_remembered_for_its_project(
    qtbot: QtBot, settings: Settings, tmp_path: Path
) -> None:
    session = Session(settings, runner=JobRunner(FakeClient()))
    assert session.scripts.last is None
    session.context.set_project(analysed(6))
    last = session.scripts.last
    assert last is not None
    assert "predicted_error" in last.command, "the newest run, before any job"
    session.work.search(SearchRequest("bits<=5", "any"))
    last = session.scripts.last
    assert last is not None
    assert "bits<=5" in last.command
    session.report(tmp_path / "r.html")
    last = session.scripts.last
    assert last is not None
    assert last.command.startswith("quantscope report ")
    session.context.set_project(analysed(1))
    last = session.scripts.last
    assert last is not None
    assert "report" not in last.command, "another project"
    session.shut_down()
