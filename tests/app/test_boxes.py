"""Boxes drawn with Ctrl select what lies in them, in every plot of layers."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication

from app.views.heatmap import HeatmapView
from app.views.sensitivity import BARS, RANKS, SCATTER, SensitivityView
from app.widgets.plot import Plot
from tests.app.helpers import open_, settle
from tests.app.panel_projects import analysed
from tests.compared import compared

NONE = Qt.KeyboardModifier.NoModifier
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
LEFT = Qt.MouseButton.LeftButton


def drag(plot: Plot, first: QPointF, last: QPointF, keys: Qt.KeyboardModifier) -> None:
    """Draw from one place of the view to another with the left button."""
    places = [
        plot.mapFromScene(plot.box.mapViewToScene(first + (last - first) * share))
        for share in (0.0, 0.4, 0.7, 1.0)
    ]
    Type = QMouseEvent.Type
    steps = [(Type.MouseButtonPress, places[0], LEFT, LEFT)]
    none = Qt.MouseButton.NoButton
    steps += [(Type.MouseMove, place, none, LEFT) for place in places[1:]]
    steps += [(Type.MouseButtonRelease, places[-1], LEFT, none)]
    for kind, place, button, held in steps:
        at = QPointF(QPoint(place))
        port = plot.viewport()
        event = QMouseEvent(kind, at, port.mapToGlobal(at), button, held, keys)
        QApplication.sendEvent(port, event)


@pytest.fixture(autouse=True)
def every_move_counts(monkeypatch) -> None:
    """Let no move of the mouse be left out for coming too soon after another."""
    monkeypatch.setitem(pg.CONFIG_OPTIONS, "mouseRateLimit", -1)


@pytest.fixture
def plot(qtbot) -> Plot:
    plot = Plot("plot")
    qtbot.addWidget(plot)
    plot.resize(400, 300)
    plot.show_range([0.0, 10.0], [0.0, 8.0])
    plot.show()
    settle()
    return plot


def test_a_box_drawn_with_ctrl_is_told_and_moves_nothing(plot, qtbot):
    plot.box.chooses = True
    told: list[tuple[QRectF, bool]] = []
    plot.box.boxed.connect(lambda box, adds: told.append((box, adds)))
    before = plot.box.viewRange()
    drag(plot, QPointF(8, 2), QPointF(3, 6), CTRL)
    drag(plot, QPointF(3, 2), QPointF(8, 6), CTRL | SHIFT)
    assert [adds for _, adds in told] == [False, True]
    for box, _ in told:
        assert box.getCoords() == pytest.approx((3, 2, 8, 6), abs=0.2)
    assert plot.box.viewRange() == before
    assert not plot.box.rbScaleBox.isVisible()


def test_other_drags_pan_and_zoom_as_before(plot):
    told = []
    plot.box.boxed.connect(lambda *box: told.append(box))
    drag(plot, QPointF(5, 4), QPointF(6, 4), CTRL)
    assert plot.box.viewRange()[0][0] == pytest.approx(-1, abs=0.2), "nothing to choose"
    plot.box.chooses = True
    plot.show_range([0.0, 10.0], [0.0, 8.0])
    drag(plot, QPointF(5, 4), QPointF(6, 4), NONE)
    assert plot.box.viewRange()[0][0] == pytest.approx(-1, abs=0.2)
    plot.show_range([0.0, 10.0], [0.0, 8.0])
    drag(plot, QPointF(2, 2), QPointF(8, 6), SHIFT)
    np.testing.assert_allclose(plot.box.viewRange(), [[2, 8], [2, 6]], atol=0.5)
    assert told == []


def test_cells_of_the_heatmap(qtbot, context):
    view = HeatmapView(context)
    qtbot.addWidget(view)
    view.resize(700, 600)
    view.show()
    project = open_(context, analysed(12))
    before = project.assignment
    drag(view.plot, QPointF(1.5, 2.5), QPointF(3.5, 5.5), CTRL)
    assert context.selection.layers.tolist() == [2, 3, 4, 5]
    drag(view.plot, QPointF(1.5, 9.3), QPointF(1.9, 9.7), CTRL | SHIFT)
    assert context.selection.layers.tolist() == [2, 3, 4, 5, 9]
    view.order_box.setCurrentIndex(1)
    settle()
    drag(view.plot, QPointF(1.5, 0.3), QPointF(2.5, 1.7), CTRL)
    assert set(context.selection.layers) == set(view._order[:2].tolist())
    view.plot.box.boxed.emit(QRectF(0, -9, 1, 3), False)
    assert len(context.selection.layers) == 2, "nothing was in the box"
    assert project.assignment is before


@pytest.fixture
def sensitivity(qtbot, context) -> SensitivityView:
    view = SensitivityView(context)
    qtbot.addWidget(view)
    view.resize(900, 600)
    view.show()
    open_(context, compared(8))
    return view


def page_of(view: SensitivityView, picture: str):
    view.picture_box.setCurrentIndex(view.picture_box.findData(picture))
    settle()
    return view.page


def test_bars_that_a_box_touches(sensitivity, context):
    page = page_of(sensitivity, BARS)
    plot, layers = page.bars.plots[0], sensitivity.scene.layers
    column = plot._column
    ends = column.to_view(column.values)
    # The first half of the longest bars: what a box at their ends touches.
    longest = np.argsort(-ends)[:3]
    between = float(np.sort(ends)[-4:-2].mean())
    box = QRectF(QPointF(between, 0.1), QPointF(float(ends.max()) + 1, len(layers)))
    plot.box.boxed.emit(box, False)
    assert set(context.selection.layers) == set(layers[longest].tolist())
    beside = QRectF(float(ends.max()) + 1, 0, 1, len(layers))
    plot.box.boxed.emit(beside, False)
    assert len(context.selection.layers) == 3, "no bar is there"
    everything = QRectF(column.base - 1, 0.1, 99, len(layers) - 0.2)
    plot.box.boxed.emit(everything, True)
    assert len(context.selection.layers) == len(layers)


def test_points_and_lines_in_a_box(sensitivity, context):
    page = page_of(sensitivity, SCATTER)
    x, y = page.plot._x, page.plot._y
    chosen = int(np.argmax(x))
    here = QRectF(x[chosen] - 1e-6, y[chosen] - 1e-6, 2e-6, 2e-6)
    page.plot.box.boxed.emit(here, False)
    assert context.selection.layers.tolist() == [sensitivity.scene.layers[chosen]]
    page = page_of(sensitivity, RANKS)
    places = page.plot._places
    page.plot.box.boxed.emit(QRectF(0, 0, 1, 2), False)
    best = np.flatnonzero(places[:, 0] <= 2)
    expected = sensitivity.scene.layers[best]
    assert set(context.selection.layers) == set(expected.tolist())


def test_shift_with_an_arrow_adds_as_a_box_does(qtbot, sensitivity, context):
    layers = sensitivity.scene.layers
    context.selection.set([int(layers[1])])
    for _ in range(2):
        qtbot.keyClick(sensitivity, Qt.Key.Key_Down, SHIFT)
    assert set(context.selection.layers) == set(layers[1:4].tolist())
    assert context.selection.current == layers[3]
    qtbot.keyClick(sensitivity, Qt.Key.Key_Up)
    assert context.selection.layers.tolist() == [layers[2]]
    view = HeatmapView(context)
    qtbot.addWidget(view)
    open_(context, analysed(12))
    view.show()
    settle()
    context.selection.set([4])
    qtbot.keyClick(view, Qt.Key.Key_Down, SHIFT)
    assert context.selection.layers.tolist() == [4, 5]
    qtbot.keyClick(view, Qt.Key.Key_Down)
    assert context.selection.layers.tolist() == [6]
