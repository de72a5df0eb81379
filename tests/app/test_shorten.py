"""Names in less room than they need; controls in less than they need."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QRect, QStringListModel
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import (
    QLabel,
    QPushButton,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from app.widgets.flow_layout import FlowLayout
from app.widgets.mark_delegates import PathDelegate
from app.widgets.name_axis import NameAxis
from app.widgets.shorten import shorten_path

LONG = "the_encoder_of_the_tower.{}.feed_forward_network_with_gating"


@pytest.fixture
def metrics(qapp) -> QFontMetricsF:
    return QFontMetricsF(qapp.font())


def test_what_fits_is_whole_and_the_beginning_goes_first(metrics):
    name = "model.layers.11.self_attn.q_proj"
    assert shorten_path(metrics, name, metrics.horizontalAdvance(name)) == name
    room = metrics.horizontalAdvance("…11.self_attn.q_proj")
    assert shorten_path(metrics, name, room) == "…11.self_attn.q_proj"
    # Not "…1.self_attn.q_proj", which is another layer.
    assert shorten_path(metrics, name, room - 1).startswith("…11.")
    assert shorten_path(metrics, "embeddings.word", 60).startswith("…")


@pytest.mark.parametrize("letters", [8, 12, 20, 30])
def test_layers_of_other_blocks_never_look_alike(metrics, letters):
    room = letters * metrics.horizontalAdvance("m")
    names = [LONG.format(i) for i in range(120)]
    short = [shorten_path(metrics, name, room) for name in names]
    assert len(set(short)) == len(names)
    assert max(map(metrics.horizontalAdvance, short)) <= room
    paths = [f"encoder.layer.{i}.attention.output.dense" for i in range(24)]
    assert len({shorten_path(metrics, path, room) for path in paths}) == len(paths)


def test_short_words_stay_whole(metrics):
    name = "encoder.layer.3.a_projection_with_a_long_name.dense"
    room = metrics.horizontalAdvance("…3.a_proje…g_name.dense")
    short = shorten_path(metrics, name, room)
    assert short.startswith("…3.a_")
    assert short.endswith(".dense")
    room = metrics.horizontalAdvance("…3…dense")
    assert shorten_path(metrics, name, room) == "…3…dense"


def test_columns_ask_for_what_shows_their_names(qapp):
    axis = NameAxis("top")
    axis.set_names(["int4", "fp8_e4m3", "float"])
    axis.apply_theme()
    room = axis.room_across
    axis.fit_room(0)
    axis.setRange(0, 3)
    axis.resize(room, 60)
    shown = axis.tickStrings([0.5, 1.5, 2.5], 1.0, 1.0)
    assert shown == ["int4", "fp8\ne4m3", "float"]
    axis.resize(room / 2, 60)
    assert "…" in axis.tickStrings([2.5], 1.0, 1.0)[0]


def test_controls_go_on_in_the_next_line(qtbot):
    place = QWidget()
    qtbot.addWidget(place)
    flow = FlowLayout(place)
    flow.setSpacing(4)
    buttons = [QPushButton(f"Button {i}") for i in range(3)]
    label = QLabel("Named")
    for widget in (buttons[0], buttons[1], label, buttons[2]):
        flow.addWidget(widget)
    one = flow.sizeHint()
    assert flow.heightForWidth(one.width()) == one.height()
    assert flow.heightForWidth(one.width() - 1) == 2 * one.height() + 4
    place.resize(one.width() - 1, 200)
    flow.setGeometry(QRect(0, 0, one.width() - 1, 200))
    assert buttons[1].y() == buttons[0].y() < buttons[2].y()
    assert label.x() == buttons[0].x()
    assert label.geometry().bottom() <= buttons[2].geometry().bottom()
    assert all(w.width() >= w.sizeHint().width() for w in (*buttons, label))
    buttons[1].hide()
    label.hide()
    assert flow.heightForWidth(one.width() - 1) == one.height()
    assert flow.minimumSize().width() == buttons[0].sizeHint().width()
    assert flow.takeAt(0).widget() is buttons[0]
    assert flow.takeAt(9) is None
    assert flow.count() == 3


def test_tables_keep_the_number_of_a_block(qtbot):
    names = [LONG.format(i) for i in (1, 11)]
    model = QStringListModel(names)
    table = QTableView()
    qtbot.addWidget(table)
    table.setModel(model)
    delegate = PathDelegate(table)
    shown = []
    for row in range(2):
        option = QStyleOptionViewItem()
        option.initFrom(table)
        option.rect = QRect(0, 0, 140, 20)
        delegate.initStyleOption(option, model.index(row, 0))
        shown.append(option.text)
    assert shown[0].startswith("…1.")
    assert shown[1].startswith("…11.")
