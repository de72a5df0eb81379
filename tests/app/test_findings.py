"""The findings panel: what it lists, selects, copies, and when it works."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from analysis.diagnosis import RULES, SEVERITIES, diagnose
from analysis.method import Row, Update
from analysis.project import Project
from app.context import AppContext
from app.theme import theme
from app.views.findings import FindingsView
from app.widgets.finding_card import Card
from quant_core.scheme import Scheme
from tests.analysis.diagnosis.projects import info, made
from tests.app.helpers import analysed

ERRORS = {("weight", "int4"): [0.1] * 9 + [9.0], ("weight", "int8"): [0.001] * 10}


@pytest.fixture
def context(qtbot: QtBot) -> AppContext:
    return AppContext()


def shown(qtbot: QtBot, context: AppContext, project: Project | None) -> FindingsView:
    view = FindingsView(context)
    qtbot.addWidget(view)
    context.set_project(project)
    view.resize(500, 700)
    view.show()
    settled(qtbot, view)
    return view


def settled(qtbot: QtBot, view: FindingsView) -> None:
    """Wait until every rule has judged."""
    qtbot.waitUntil(lambda: not view.is_looking)


def named_severities() -> set[str]:
    return {severity.capitalize() for severity in SEVERITIES}


def texts(card: object) -> str:
    return " ".join(label.accessibleName() for label in card.findChildren(QLabel))  # type: ignore[attr-defined]


def test_the_panel_lists_what_the_library_finds(
    qtbot: QtBot, context: AppContext
) -> None:
    project = made(10, ERRORS)
    project.set_weight(range(10), Scheme("int4"))
    view = shown(qtbot, context, project)
    expected = diagnose(project)
    assert [f.title for f in view.diagnosis.findings] == [
        f.title for f in expected.findings
    ]
    assert len(expected.findings) >= 2
    card = view.cards[0]
    finding = expected.findings[0]
    assert card.accessibleName() == f"{finding.severity.capitalize()}: {finding.title}"
    assert card.is_folded
    card.arrow.click()
    assert not card.is_folded
    told = texts(card)
    for part in (finding.reason, finding.advice, finding.numbers[0].text):
        assert part in told


def test_show_selects_the_layers_and_asks_for_the_panel(
    qtbot: QtBot, context: AppContext
) -> None:
    project = made(10, ERRORS)
    view = shown(qtbot, context, project)
    at = next(
        i for i, f in enumerate(view.diagnosis.findings) if f.rule == "concentration"
    )
    with qtbot.waitSignal(view.showRequested) as asked:
        view.cards[at].action.click()
    assert asked.args == ["heatmap"]
    assert context.selection.layers.tolist() == [9]
    assert context.selection.current == 9


def test_edits_and_results_refresh_the_list(qtbot: QtBot, context: AppContext) -> None:
    project = made(10, ERRORS)
    view = shown(qtbot, context, project)
    assert "ties" not in {f.rule for f in view.diagnosis.findings}
    project.target = "int8-symmetric"
    project.set_weight([3], Scheme("int4"))
    qtbot.waitUntil(lambda: "target" in {f.rule for f in view.diagnosis.findings})
    run = project.begin_run("weights")
    row = Row("l0", None, 1.0, quantity="absmax")
    project.apply(run, Update(1, 1, rows=(row,)))
    project.end_run(run)
    qtbot.waitUntil(lambda: "nonfinite" in {f.rule for f in view.diagnosis.findings})
    settled(qtbot, view)


def test_open_cards_stay_open(qtbot: QtBot, context: AppContext) -> None:
    project = made(10, ERRORS)
    view = shown(qtbot, context, project)
    at = next(
        i for i, f in enumerate(view.diagnosis.findings) if f.rule == "concentration"
    )
    view.cards[at].arrow.click()
    theme().set_mode("dark")
    card = next(c for c in view.cards if c.objectName().startswith("concentration"))
    assert not card.is_folded
    theme().set_mode("light")


def test_the_findings_go_with_their_project(qtbot: QtBot, context: AppContext) -> None:
    view = shown(qtbot, context, made(10, ERRORS))
    assert view.cards
    context.set_project(None)
    theme().set_mode("dark")
    assert not view.cards
    assert not view.diagnosis.findings
    theme().set_mode("light")
    settled(qtbot, view)
    assert view._stack.currentWidget() is view._empty


def test_severity_and_headline_stand_on_one_line(
    qtbot: QtBot, context: AppContext
) -> None:
    view = shown(qtbot, context, made(10, ERRORS))
    card = view.cards[0]
    word = next(x for x in card.findChildren(QLabel) if x.text() in named_severities())
    tops = {
        label.mapTo(card, label.contentsRect().topLeft()).y()
        + label.fontMetrics().ascent()
        for label in (word, card._headline)
    }
    assert len(tops) == 1
    assert word.alignment() == card._headline.alignment()


def test_a_narrow_card_gives_the_headline_a_line_of_its_own(qtbot: QtBot) -> None:
    card = Card("1 group of tied layers has unequal formats", "problem", "Show")
    qtbot.addWidget(card)
    card.show()
    for width, below in ((theme().em(60), False), (theme().em(28), True)) * 2:
        card.resize(width, card.heightForWidth(width))
        qtbot.waitUntil(lambda width=width: card.width() == width)
        card.layout().activate()
        line = card._headline.geometry()
        assert (line.top() >= card.action.geometry().bottom()) is below
        words = card._headline.text().split()
        widest = max(map(card._headline.fontMetrics().horizontalAdvance, words))
        assert line.width() >= widest, "no word is cut off"


def test_a_hidden_panel_does_not_judge(qtbot: QtBot, context: AppContext) -> None:
    view = FindingsView(context)
    qtbot.addWidget(view)
    project = made(10, ERRORS)
    context.set_project(project)
    project.set_weight([0], Scheme("int4"))
    qtbot.waitUntil(lambda: not context._timer.isActive())
    assert not view._timer.isActive()
    assert not view.diagnosis.findings
    view.show()
    settled(qtbot, view)
    assert view.diagnosis.findings


def test_a_panel_hidden_while_it_judges_starts_no_more(
    qtbot: QtBot, context: AppContext
) -> None:
    view = shown(qtbot, context, made(10, ERRORS))
    view._invalidate()
    view.hide()
    settled(qtbot, view)
    assert view._is_stale, "it catches up when it is shown again"


def test_an_edit_does_not_wait_for_rules_that_judge_what_was(
    qtbot: QtBot, context: AppContext
) -> None:
    project = made(10, ERRORS)
    view = shown(qtbot, context, project)
    view._begin()
    view._judge_one()
    assert view._step.isActive()
    project.set_weight(range(10), Scheme("int4"))
    context._flush()
    assert not view._step.isActive()
    assert view._timer.isActive()
    settled(qtbot, view)
    found = [f.title for f in view.diagnosis.findings]
    assert found == [f.title for f in diagnose(project).findings]


@pytest.mark.parametrize("layers", [0, 1, 10])
def test_without_results_there_is_a_first_step(
    qtbot: QtBot, context: AppContext, layers: int
) -> None:
    view = shown(qtbot, context, Project.create(info(layers)))
    assert view._stack.currentWidget() is view._empty
    with qtbot.waitSignal(view.actionRequested) as asked:
        view._empty.actionTriggered.emit()
    assert asked.args == ["analyse"]


def test_no_project_no_button(qtbot: QtBot, context: AppContext) -> None:
    view = shown(qtbot, context, None)
    assert view._empty.title == "No findings yet"


def test_findings_are_copied_as_text_and_markdown(
    qtbot: QtBot, context: AppContext
) -> None:
    view = shown(qtbot, context, made(10, ERRORS))
    clipboard = QGuiApplication.clipboard()
    view.copy_markdown()
    assert clipboard.text().startswith("# Findings on the current assignment")
    view.copy_text()
    assert "try: " in clipboard.text()
    assert "#" not in clipboard.text()


def test_unjudged_rules_say_what_they_need(qtbot: QtBot, context: AppContext) -> None:
    view = shown(qtbot, context, made(10, ERRORS))
    card = next(c for c in view.cards if c.objectName() == "unjudged")
    assert "input format" in texts(card)
    found = view.diagnosis
    rules = {f.rule for f in found.findings}
    assert len(rules) + len(found.unjudged) + len(found.clear) == len(RULES)


def test_sixty_thousand_layers(qtbot: QtBot, context: AppContext) -> None:
    project = analysed(60_000, samples=2)
    view = shown(qtbot, context, project)
    assert view.diagnosis.findings
