"""The log: fed by logging from any thread and by jobs, filtered, bounded."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from app.logbook import LIMIT, Logbook
from app.models.log import LogModel
from app.progress import JobState
from app.theme import theme
from app.views.log import LogView
from tests.app.shell import shell

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


@pytest.fixture
def book(qapp):
    book = Logbook()
    book.install()
    yield book
    book.uninstall()


@pytest.fixture
def view(book, qtbot) -> LogView:
    view = LogView(book)
    qtbot.addWidget(view)
    view.resize(700, 200)
    view.show()
    return view


def messages(view: LogView) -> list[str]:
    model = view.model
    return [model.index(row, 3).data() for row in range(model.rowCount())]


def test_records_of_any_thread_are_kept(book, qtbot):
    log = logging.getLogger("analysis.somewhere")
    thread = threading.Thread(target=log.warning, args=("from %s", "afar"))
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: len(book.entries) == 1)
    entry = book.entries[0]
    assert (entry.level_text, entry.source) == ("Warning", "analysis.somewhere")
    assert entry.text == "from afar"
    assert abs(entry.time - time.time()) < 60
    assert entry.line().endswith(" WARNING analysis.somewhere: from afar")
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("it broke")
    assert "ValueError: inside" in book.entries[1].text
    assert book.entries[1].level_text == "Error"


def test_nothing_is_heard_after_the_end(qapp):
    book = Logbook()
    before = len(logging.getLogger().handlers)
    book.install()
    book.uninstall()
    assert len(logging.getLogger().handlers) == before
    logging.getLogger("x").warning("unheard")
    assert book.entries == []


def test_a_job_warns_once_of_each_thing(book):
    state = JobState("Analysis", "running", warnings=("a is NaN",))
    book.add_job(None)
    book.add_job(state)
    book.add_job(state)
    book.add_job(JobState("Analysis", "running", warnings=("a is NaN", "b is 0")))
    assert [(e.source, e.text) for e in book.entries] == [
        ("Analysis", "a is NaN"),
        ("Analysis", "b is 0"),
    ]
    book.add_job(JobState("Analysis", "running"))
    book.add_job(state)
    assert len(book.entries) == 3


def test_memory_is_bounded(book, view):
    for number in range(LIMIT + 1):
        book.add(INFO, "test", str(number))
    assert len(book.entries) == LIMIT + 1 - LIMIT // 10
    assert book.entries[-1].text == str(LIMIT)
    assert messages(view) == [entry.text for entry in book.entries]


def test_filters_by_level_and_text(book, view, qtbot):
    book.add(INFO, "window", "Opened a.qscope.")
    book.add(WARNING, "Analysis", "layer a holds NaN")
    book.add(ERROR, "app.jobs", "The worker died.\nTraceback")
    assert len(messages(view)) == 3
    view.level.setCurrentIndex(1)
    assert messages(view) == ["layer a holds NaN", "The worker died."]
    qtbot.keyClicks(view.text, "NAN")
    assert messages(view) == ["layer a holds NaN"]
    book.add(WARNING, "Analysis", "layer b holds nan")
    book.add(WARNING, "Analysis", "something else")
    assert messages(view) == ["layer a holds NaN", "layer b holds nan"]
    view.text.setText("no such text")
    assert view._empty.isVisible()
    assert "filter" in view._empty.title
    view.level.setCurrentIndex(2)
    view.text.clear()
    assert messages(view) == ["The worker died."]
    tip = view.model.index(0, 3).data(Qt.ItemDataRole.ToolTipRole)
    assert tip.endswith("Traceback")


def test_copies_what_is_chosen_or_all(book, view):
    for text in ("one", "two", "three"):
        book.add(INFO, "test", text)
    view.copy_button.click()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["one", "two", "three"]
    view.table.selectRow(1)
    view.copy_button.click()
    assert QGuiApplication.clipboard().text().endswith("INFO test: two")


def test_clear_leaves_an_empty_state(book, view):
    book.add(INFO, "test", "one")
    assert not view._empty.isVisible()
    view.clear_button.click()
    assert book.entries == []
    assert view._empty.isVisible()
    assert not view.copy_button.isEnabled()
    assert not view.clear_button.isEnabled()


def test_follows_the_end_unless_one_reads_further_up(book, view):
    for number in range(100):
        book.add(INFO, "test", str(number))
    bar = view.table.verticalScrollBar()
    assert bar.value() == bar.maximum() > 0
    bar.setValue(3)
    book.add(INFO, "test", "more")
    assert bar.value() == 3


def test_levels_are_words_and_colours_of_the_theme(book, view):
    book.add(ERROR, "test", "bad")
    index = view.model.index(0, 1)
    assert index.data() == "Error"
    theme().set_mode("dark")
    dark = index.data(Qt.ItemDataRole.ForegroundRole).name()
    theme().set_mode("light")
    light = index.data(Qt.ItemDataRole.ForegroundRole).name()
    theme().set_mode("system")
    assert dark != light


def test_model_is_sound(book, qtmodeltester):
    model = LogModel(book)
    for number in range(3):
        book.add(INFO, "test", str(number))
    qtmodeltester.check(model)


def test_the_window_writes_what_it_says_and_stops_at_its_end(qtbot, tmp_path):
    handlers = len(logging.getLogger().handlers)
    with shell(qtbot, tmp_path) as window:
        window.context.message.emit("Saved tiny.qscope.")
        logging.getLogger("app.somewhere").warning("odd")
        texts = [entry.text for entry in window.logbook.entries]
        assert texts == ["Saved tiny.qscope.", "odd"]
    assert len(logging.getLogger().handlers) == handlers
