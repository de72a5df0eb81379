"""The form that asks what to search for."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QDialogButtonBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QToolButton,
)

from analysis.described import describe
from analysis.search import SEARCHES
from analysis.search.rules import Rule
from app.dialogs.search import SearchDialog, SearchRequest
from app.settings import Settings
from app.widgets.params_form import ParamsForm
from app.widgets.tick_box import TickBox


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path / "settings.ini")


def choose(form: SearchDialog, key: str) -> None:
    form._method.setCurrentIndex(form._method.findData(key))


def control(form: SearchDialog, kind: type, name: str):
    found = form._params.findChildren(kind)
    return next(field for field in found if field.accessibleName() == name)


def test_every_search_is_offered_with_its_help(qtbot, settings):
    form = SearchDialog(settings, "any")
    qtbot.addWidget(form)
    for kind in SEARCHES:
        choose(form, kind.key)
        assert form.request().method == kind.key
        assert form.request().params == {}
        about = form._about.text()
        assert about.startswith((kind.__doc__ or "").split(".")[0].replace("\n", " "))
        assert ("Reconstruction:" in about) == bool(kind.reconstruction)
        assert form.mistake() == ""


def test_a_budget_is_taken_as_typed_and_enter_searches(qtbot, settings):
    form = SearchDialog(settings, "any")
    qtbot.addWidget(form)
    form.show()
    line = form._budget.lineEdit()
    assert line.selectedText() == "bits<=4"
    # "bits<=6,size<=20MB" is on the list, and must not be written for the user.
    qtbot.keyClicks(line, "bits<=6")
    assert form.request().budget == "bits<=6"
    line.selectAll()
    with qtbot.waitSignal(form.accepted):
        qtbot.keyClick(line, Qt.Key.Key_Return)


def test_numbers_have_their_units(qtbot, settings):
    form = SearchDialog(settings, "any")
    qtbot.addWidget(form)
    choose(form, "exact")
    labels = {label.text() for label in form._params.findChildren(QLabel)}
    assert labels == {"Proven gap", "Time limit [s]"}


def test_parameters_are_read_checked_and_kept(qtbot, settings):
    form = SearchDialog(settings, "any", 2, ("predicted_error", "weights.sqnr"))
    qtbot.addWidget(form)
    assert "2 locked layers" in form._note.text()
    choose(form, "annealing")
    control(form, QSpinBox, "Seed").setValue(7)
    control(form, TickBox, "Sweep").setChecked(True)
    control(form, QLineEdit, "Cooling").setText("0.9")
    form._objective.setCurrentText("weights.sqnr")
    form._inputs.setChecked(True)
    assert form.request() == SearchRequest(
        "bits<=4",
        "any",
        "annealing",
        {"seed": 7, "sweep": True, "cooling": 0.9},
        "weights.sqnr",
        True,
    )
    form.accept()
    again = SearchDialog(settings, "any")
    qtbot.addWidget(again)
    assert again.request().method == "annealing"
    assert again.request().params == {"seed": 7, "sweep": True, "cooling": 0.9}
    choose(again, "greedy")
    control(again, QComboBox, "Order").setCurrentText("nncf")
    assert again.request().params == {"order": "nncf"}


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("_budget", "bits=4", "budget cannot be read"),
        ("_objective", "a*", "objective cannot be read"),
    ],
)
def test_a_mistake_is_said_at_once(qtbot, settings, part, text, told):
    form = SearchDialog(settings, "any")
    qtbot.addWidget(form)
    search = next(
        b for b in form.findChild(QDialogButtonBox).buttons() if b.text() == "&Search"
    )
    assert search.isEnabled()
    getattr(form, part).setCurrentText(text)
    assert told in form._note.text()
    assert not search.isEnabled()


def test_parameters_out_of_range_are_refused(qtbot, settings):
    form = SearchDialog(settings, "any")
    qtbot.addWidget(form)
    choose(form, "exact")
    control(form, QLineEdit, "Proven gap").setText("3")
    assert "exact.gap is out of range" in form._note.text()


def test_old_settings_that_no_longer_fit_give_the_default(qtbot):
    annealing = next(kind for kind in SEARCHES if kind.key == "annealing")
    form = ParamsForm(describe(annealing), {"seed": "seven", "sweep": 3, "moves": 5})
    qtbot.addWidget(form)
    assert form.values() == {"moves": 5}


def test_rules_and_tables_are_asked_for_and_checked(qtbot, settings, tmp_path):
    form = SearchDialog(settings, "any", formats=("int2", "int4"))
    qtbot.addWidget(form)
    form.show()
    assert not form._terms._body.isVisible()
    button = next(b for b in form.findChildren(QPushButton) if b.text() == "Add r&ule")
    button.click()
    row = form._terms._rows[0]
    assert form._terms._body.isVisible()
    assert form.request().rules == ("at_least first | last=8",)
    row._kind.setCurrentIndex(row._kind.findData("fix"))
    assert [row._value.itemText(i) for i in range(row._value.count())] == [
        "float",
        "int2",
        "int4",
    ]
    row._value.setCurrentText("int4")
    assert form.request().setup().rules == (Rule("fix", "first | last", "int4"),)
    row._value.setCurrentText("int")
    assert "int" in form.mistake()
    qtbot.mouseClick(
        next(b for b in row.findChildren(QToolButton)), Qt.MouseButton.LeftButton
    )
    assert form.request().rules == ()
    assert form.mistake() == ""
    path = tmp_path / "latency.csv"
    form._terms.add("table", "latency", str(path))
    assert "cost table" in form.mistake()
    path.write_text("layer,format,cost\na,int4,1.5\n", encoding="utf-8")
    form._budget.setCurrentText("latency<=3")
    assert form.mistake() == ""
    assert form.request().setup().costs["latency"].cost == {("a", "int4", None): 1.5}


def test_running_candidates_is_asked_for_checked_and_kept(qtbot, settings):
    form = SearchDialog(settings, "any")
    qtbot.addWidget(form)
    form.show()
    runs = form._runs
    assert form.request().runs == ""
    assert not runs._plan.isVisible()
    runs._box.setCurrentIndex(runs._box.findData("verify"))
    assert runs._plan.isVisible()
    assert not runs._keep.isVisible()
    spin = next(
        field
        for field in runs._plan.findChildren(QSpinBox)
        if field.accessibleName().lower() == "candidates"
    )
    spin.setValue(7)
    request = form.request()
    assert (request.runs, request.plan) == ("verify", {"candidates": 7})
    plan = request.refinement()
    assert (plan.candidates, plan.rounds, plan.singles) == (7, 1, 0)
    runs._box.setCurrentIndex(runs._box.findData("keep"))
    assert "cannot be read" in form._note.text()
    runs._keep.setText("top1=0.5%")
    form._budget.setCurrentText("")
    assert form.mistake() == ""
    assert form.request().title == "keep top1=0.5%"
    form.accept()
    again = SearchDialog(settings, "any")
    qtbot.addWidget(again)
    assert again.request().keep == "top1=0.5%"
    assert again.request().plan == {"candidates": 7}
    again._runs._box.setCurrentIndex(0)
    assert again.request().keep == ""
    assert "cannot be read" in again._note.text()  # without runs a budget is needed
