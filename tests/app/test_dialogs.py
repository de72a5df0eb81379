"""The forms that ask what to analyse, and the tick boxes in them."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QComboBox, QDialogButtonBox, QLineEdit, QSpinBox

from analysis.described import describe, measures_described
from analysis.measures import NAMES, measures
from analysis.project import Project
from app.dialogs.analyse import AnalyseDialog
from app.dialogs.analysis_request import EXAMPLE, SETTINGS_KEY, AnalysisRequest
from app.settings import Settings
from app.theme import theme
from app.widgets.measure_list import MeasureRow
from app.widgets.params_form import ParamsForm
from app.widgets.tick_box import TickBox
from tests.app.helpers import model_info


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path / "settings.ini")


def test_example_data_are_offered_only_to_examples(qtbot, settings):
    form = AnalyseDialog(settings, has_example=True)
    qtbot.addWidget(form)
    assert form.request().data == EXAMPLE
    assert form.mistake() == ""
    form.accept()
    assert settings.get(SETTINGS_KEY, {})["data"] == EXAMPLE
    form = AnalyseDialog(settings, has_example=False)
    qtbot.addWidget(form)
    assert form.request().data == ""
    assert form.mistake().startswith("Choose calibration data")
    buttons = form.findChild(QDialogButtonBox).buttons()
    assert not next(b for b in buttons if b.text() == "&Run").isEnabled()
    form._data.setCurrentText(EXAMPLE)
    assert "bundled examples" in form.mistake()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("checked", [False, True])
def test_an_empty_tick_box_can_be_seen(qtbot, mode, checked):
    theme().set_mode(mode)
    box = TickBox("Names")
    box.setChecked(checked)
    qtbot.addWidget(box)
    image = box.grab().toImage()
    middle, left = image.height() // 2, range(image.height())
    background = theme().colour("window").lightness()
    shades = [image.pixelColor(x, middle).lightness() for x in left]
    theme().set_mode("system")
    assert max(abs(shade - background) for shade in shades) > 80


# -- measures and their parameters ----------------------------------------------


def row_of(form: AnalyseDialog, key: str) -> MeasureRow:
    return next(row for row in form._measures.rows if row.measure.key == key)


def control(row: MeasureRow, name: str, kind: type) -> object:
    """Return the control of a parameter by the name that a screen reader says."""
    (found,) = (c for c in row.form.findChildren(kind) if c.accessibleName() == name)
    return found


@pytest.fixture
def form(qtbot, settings) -> AnalyseDialog:
    form = AnalyseDialog(settings, layers=26)
    qtbot.addWidget(form)
    return form


def test_the_form_offers_every_measure_with_every_parameter(form):
    assert tuple(row.measure.key for row in form._measures.rows) == NAMES
    for row in form._measures.rows:
        shown = row.findChildren(ParamsForm)[0]._fields
        cls = measures()[row.measure.key]
        assert tuple(shown) == tuple(info.name for info in describe(cls).parameters)
        for field in shown.values():
            assert field.accessibleName()
            assert field.toolTip()


def test_parameters_travel_to_the_worker_and_are_remembered(form, qtbot, settings):
    row = row_of(form, "hessian")
    row.box.setChecked(True)
    control(row, "Probes", QSpinBox).setValue(9)
    control(row, "Operator", QComboBox).setCurrentText("hessian")
    job = form.request().job
    assert "hessian" in job.measures
    assert job.params == {"hessian": {"operator": "hessian", "probes": 9}}
    form.accept()
    again = AnalyseDialog(settings)
    qtbot.addWidget(again)
    assert again.request().params == form.request().params
    row_of(again, "hessian")._restore.click()
    assert again.request().params == {}


def test_parameters_of_measures_that_do_not_run_stay_behind(form):
    control(row_of(form, "fisher"), "Draws", QSpinBox).setValue(7)
    assert "fisher" not in form.request().measures
    assert form.request().job.params == {}


def test_a_parameter_of_several_choices_is_a_list(form, qtbot, settings):
    row = row_of(form, "measured_error")
    row.box.setChecked(True)
    assert form.request().params == {}
    scopes = row.form._fields["scopes"]
    assert scopes.chosen() == ["alone"]
    (cumulative,) = (box for box in scopes.boxes if box.text() == "cumulative")
    assert cumulative.accessibleName().endswith(": cumulative")
    cumulative.setChecked(True)
    params = form.request().params["measured_error"]
    assert set(params["scopes"]) == {"alone", "cumulative"}
    assert measures()["measured_error"](**params).scopes == params["scopes"]
    form.accept()
    again = AnalyseDialog(settings)
    qtbot.addWidget(again)
    assert again.request().params["measured_error"] == params


def test_the_defaults_of_the_form_are_those_of_the_measures(form):
    for row in form._measures.rows:
        assert row.form.values() == {}, row.measure.key
        row._restore.click()
        assert row.form.values() == {}


def test_a_parameter_out_of_range_is_named(form):
    row = row_of(form, "fisher")
    row.box.setChecked(True)
    line = control(row, "Precision", QLineEdit)
    line.setText("7")
    assert "fisher.precision is out of range" in form.mistake()
    assert not form._run.isEnabled()
    line.setText("0.05")
    assert form.mistake() == ""


def test_costs_follow_parameters_and_formats(form):
    fisher, measured = row_of(form, "fisher"), row_of(form, "measured_error")
    assert fisher.about.text().endswith("Takes about 9 forward passes.")
    control(fisher, "Draws", QSpinBox).setValue(8)
    assert fisher.about.text().endswith("Takes about 17 forward passes.")
    before = measured.about.text()
    form._formats[5].toggle()
    assert measured.about.text() != before


def test_a_run_is_repeated_with_its_own_parameters(qtbot, settings):
    settings.set("analyse/params", {"fisher": {"draws": 99}})
    project = Project.create(model_info(6))
    told = {name: measure.default for name, measure in _defaults("fisher").items()}
    run = project.begin_run("fisher", params=told | {"draws": 2, "scores": "fit"})
    project.end_run(run)
    first = AnalysisRequest.of_run(project.runs[-1])
    form = AnalyseDialog(settings, first=first)
    qtbot.addWidget(form)
    assert form.request().measures == ("fisher",)
    assert form.request().params == {"fisher": {"draws": 2}}


def _defaults(key: str) -> dict[str, object]:
    return {info.name: info for info in measures_described()[key].parameters}


def test_only_measures_of_the_weights_without_a_network(qtbot, settings):
    form = AnalyseDialog(settings, runs_model=False)
    qtbot.addWidget(form)
    usable = {row.measure.key for row in form._measures.rows if row.box.isEnabled()}
    assert usable == {"weights", "error_map"}
    assert form.request().measures == ("weights",)
