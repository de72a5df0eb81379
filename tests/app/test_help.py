"""The help pane: follows the focus, explains every panel, links its pages."""

from __future__ import annotations

from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtWidgets import QApplication, QDialog, QLineEdit, QWidget

import app.commander as commander_module
from analysis.handbook import page, topics
from analysis.measures import NAMES
from app.dialogs.analyse import AnalyseDialog
from app.dialogs.analysis_request import OFFERED
from app.dialogs.search import SearchDialog
from app.help_topics import explain_control, set_topic, topic_of
from app.settings import Settings
from app.theme import theme
from tests.app.helpers import analysed
from tests.app.shell import shell


@pytest.fixture
def window(qtbot, tmp_path):
    with shell(qtbot, tmp_path, analysed(6)) as window:
        yield window


def test_every_panel_has_a_page(window):
    missing = [key for key in window.desk.docks if page(f"panel:{key}") is None]
    assert missing == [], "add resources/help/KEY.md"


def test_f1_explains_what_has_the_focus_and_then_follows_it(window, qtbot):
    window.layers.table.setFocus()
    window.actions_["help"].trigger()
    assert window.help.isVisible()
    assert window.help.topic == "panel:layers"
    assert "To set bits" in window.help.browser.toPlainText()
    assert "Signal to quantization noise" in window.help.browser.toPlainText()
    assert window.help.contents.currentData() == "panel:layers"
    window.desk.show("log")
    window.log.text.setFocus()
    assert window.help.topic == "panel:log"
    window.help.browser.setFocus()
    assert window.help.topic == "panel:log"
    window.help.follow.setChecked(False)
    window.layers.table.setFocus()
    assert window.help.topic == "panel:log"


def test_what_had_the_focus_may_be_gone(window, qtbot):
    field = QLineEdit(window)
    field.show()
    window.activateWindow()
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    shiboken6.delete(field)
    window.actions_["help"].trigger()
    assert window.help.topic == "panel:help"


def test_help_is_there_on_the_start_page(qtbot, tmp_path):
    with shell(qtbot, tmp_path) as window:
        window.actions_["help"].trigger()
        assert window.help.isVisible()
        assert window.help.topic in ("panel:start", "panel:help")
        window.context.set_project(analysed(6))
        assert window.layers.isVisible()


def test_every_page_is_in_the_list(window):
    window.actions_["help"].trigger()
    contents = window.help.contents
    listed = [contents.itemData(row) for row in range(contents.count())]
    assert listed == [key for key, _ in topics()]
    contents.activated.emit(listed.index("format:int4"))
    assert window.help.topic == "format:int4"


def test_links_lead_to_other_pages(window):
    window.actions_["help"].trigger()
    window.help.browser.anchorClicked.emit(QUrl("measure:predicted_error"))
    assert window.help.topic == "measure:predicted_error"
    window.help.browser.anchorClicked.emit(QUrl("measure:unheard_of"))
    assert window.help.topic == "measure:predicted_error"


def test_formulas_and_names_are_shown_as_they_are(window):
    window.actions_["help"].trigger()
    window.help.show_topic("measure:weights")
    text = window.help.browser.toPlainText()
    assert "sqnr = 10 log10(sum w^2 / sum (q - w)^2)   [dB]" in text
    window.help.show_topic("measure:predicted_error")
    assert "predicted_error" not in window.help.browser.toMarkdown().partition("\n")[0]


def test_links_take_the_colour_of_the_theme(window):
    window.actions_["help"].trigger()
    window.help.show_topic("panel:heatmap")
    looks = []
    for mode in ("light", "dark"):
        theme().set_mode(mode)
        looks.append(window.help.browser.toHtml())
        assert theme().colours.accent in looks[-1]
    assert looks[0] != looks[1]


@pytest.fixture
def form(qtbot, tmp_path) -> AnalyseDialog:
    form = AnalyseDialog(Settings(tmp_path / "form.ini"))
    qtbot.addWidget(form)
    return form


def test_measures_formats_and_parameters_of_the_form_have_pages(form):
    measures = [topic_of(row.box) for row in form._measures.rows]
    assert measures == [f"measure:{key}" for key in NAMES]
    assert [topic_of(box) for box in form._formats] == [f"format:{f}" for f in OFFERED]
    assert topic_of(form._samples) == "parameter.samples"
    assert "square root" in form._samples.toolTip()


def test_budget_and_target_have_pages(qtbot, tmp_path):
    form = SearchDialog(Settings(tmp_path / "form.ini"), "any")
    qtbot.addWidget(form)
    assert topic_of(form._budget) == "parameter.budget"
    assert topic_of(form._target) == "parameter.target"


def test_f1_works_inside_a_dialog(window, qtbot):
    class Form(QDialog):
        def __init__(self):
            super().__init__(window)
            self.line = QLineEdit(self)
            set_topic(self.line, "format:nf4")

    form = Form()

    def press() -> None:
        form.activateWindow()
        form.line.setFocus()
        if not form.line.hasFocus():
            QTimer.singleShot(10, form, press)
            return
        qtbot.keyClick(form.line, Qt.Key.Key_F1)
        form.accept()

    QTimer.singleShot(0, form, press)
    assert window.commander.ask._accepted(form)
    assert window.help.topic == "format:nf4"


def test_the_nearest_topic_with_a_page_counts(qtbot):
    outer = QWidget()
    qtbot.addWidget(outer)
    inner = QWidget(outer)
    line = QLineEdit(inner)
    assert topic_of(line) is None
    set_topic(outer, "panel:jobs")
    set_topic(inner, "panel:no_such_page")
    assert topic_of(line) == "panel:jobs"
    line.setToolTip("own")
    explain_control(line, "gap", "exact")
    assert line.toolTip() == "own"
    assert topic_of(line) == "parameter.gap"
    assert QApplication.focusWidget() is None


def test_the_handbook_opens_in_the_browser_and_an_unwritable_one_is_told(
    qtbot, tmp_path, monkeypatch
):
    opened = []
    monkeypatch.setattr(
        commander_module.QDesktopServices, "openUrl", lambda url: opened.append(url)
    )
    with shell(qtbot, tmp_path) as window:
        window.actions_["handbook"].trigger()
        (url,) = opened
        text = Path(url.toLocalFile()).read_text(encoding="utf-8")
        assert "<h2>Layers</h2>" in text
        Path(url.toLocalFile()).unlink()
        Path(url.toLocalFile()).mkdir()
        window.actions_["handbook"].trigger()
        assert len(opened) == 1
        assert "cannot be written" in window.toast.notice
