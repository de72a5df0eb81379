"""The sensitivity panel: pictures, shared selection, choices, sizes, taking away."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from pyqtgraph import mkPen
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QAction, QImage
from PySide6.QtWidgets import QGraphicsItem

from analysis.comparison import Criterion
from analysis.project import Project
from app.models.sensitivity import MOST, TOP
from app.theme import theme
from app.views.sensitivity import (
    BARS,
    INPUT,
    PICTURES,
    QUALITY,
    RANKS,
    SCATTER,
    SPECTRUM,
    SensitivityView,
)
from app.widgets.layer_scatter import MANY
from app.widgets.rank_plot import LINES
from tests.app.helpers import open_, settle
from tests.compared import add_run, compared, layers_info, truth

NONE = Qt.KeyboardModifier.NoModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
JUDGED = (BARS, RANKS, SCATTER, QUALITY)


@pytest.fixture
def view(qtbot, context) -> SensitivityView:
    view = SensitivityView(context)
    qtbot.addWidget(view)
    view.resize(900, 600)
    view.show()
    return view


def show(view: SensitivityView, picture: str):
    view.picture_box.setCurrentIndex(view.picture_box.findData(picture))
    settle()
    return view.page


def with_arrays(layers: int = 6) -> Project:
    """Return a judged project with a spectrum and the relevance of two sentences."""
    project = compared(layers)
    grid = np.linspace(-1, 9, 101)
    density = np.exp(-((grid - 2.0) ** 2)) / np.sqrt(np.pi)
    none = np.full(layers, np.nan)
    add_run(
        project,
        "hessian_spectrum",
        {("largest", None): none},
        arrays={
            "hessian_spectrum/grid": grid,
            "hessian_spectrum/density": density,
            "hessian_spectrum/ritz": np.array([[1.0, 3.0], [0.5, 0.5]]),
        },
        params={"layer": ""},
    )
    words = np.array([["<s>", "cats", "sleep"], ["<s>", "dogs", ""]])
    shares = np.array([[0.1, 0.9, -0.2], [0.3, 0.7, 0.0]])
    add_run(
        project,
        "relevance",
        {("positive", None): truth(layers)},
        arrays={"relevance/input": shares, "relevance/tokens": words},
        params={"rules": "attnlrp"},
    )
    return project


# -- empty states -----------------------------------------------------------------


def test_empty_states_name_the_first_step(view, context, qtbot):
    assert view.empty_title == "No model open"
    open_(context, Project.create(layers_info(3)))
    titles = []
    for picture in PICTURES:
        show(view, picture)
        assert view.is_empty
        titles.append(view.empty_title)
        with qtbot.waitSignal(view.actionRequested) as asked:
            view._empty.actionTriggered.emit()
        assert asked.args == ["analyse"]
        # The controls stay: another picture may have something to show.
        assert view.picture_box.isVisible()
    assert titles == [
        "No sensitivity yet",
        "No sensitivity yet",
        "No sensitivity yet",
        "No measured error to judge by",
        "No spectrum yet",
        "No relevance of the input yet",
    ]


def test_a_model_without_layers_and_one_with_a_single_layer(view, context):
    open_(context, Project.create(layers_info(0)))
    assert view.empty_title == "Nothing to quantize"
    open_(context, compared(1))
    for picture in (BARS, RANKS, SCATTER):
        show(view, picture)
        assert not view.is_empty, picture


def test_one_measure_has_nothing_to_be_compared_with(view, context):
    project = Project.create(layers_info(3))
    add_run(project, "fisher", {("trace", None): np.array([1.0, 2.0, 3.0])})
    open_(context, project)
    show(view, SCATTER)
    assert view.empty_title.startswith("One measure alone")


# -- bars -------------------------------------------------------------------------


def test_bars_have_a_column_per_measure_worst_layer_on_top(view, context):
    open_(context, compared(6))
    page = show(view, BARS)
    shown = [plot for plot in page.bars.plots if not plot.isHidden()]
    assert len(shown) == 4
    assert view.scene.layers.tolist() == [0, 1, 2, 3, 4, 5]
    first = shown[0]
    column = first._column
    np.testing.assert_allclose(column.values, 2 * truth(6))
    np.testing.assert_allclose(column.high - column.values, 0.2 * truth(6))
    assert first.axis("bottom").scale_log is not None
    # Decibels are logarithms already.
    assert shown[-1]._column.unit == "dB"
    assert shown[-1].axis("bottom").scale_log is None
    view.log_box.setChecked(False)
    settle()
    assert first.axis("bottom").scale_log is None
    # The first layer is selected at first, so its bar is a marked one.
    assert first._marked.opts["x1"][0] == pytest.approx(2 * truth(6)[0])


def test_a_click_selects_and_the_selection_is_shown(view, context):
    open_(context, compared(6))
    page = show(view, BARS)
    plot = page.bars.plots[1]
    plot.clicked.emit(QPointF(0.0, 3.4), NONE)
    assert context.selection.layers.tolist() == [3]
    plot.clicked.emit(QPointF(0.0, 5.1), CONTROL)
    assert context.selection.layers.tolist() == [3, 5]
    settle()
    np.testing.assert_allclose(plot._marked.opts["y"], [3.5, 5.5])
    # Not by colour alone: only the selected bars have an outline.
    pens = [mkPen(item.opts["pen"]) for item in (plot._rows, plot._marked)]
    assert [pen.style() != Qt.PenStyle.NoPen for pen in pens] == [False, True]
    context.selection.set([1])
    settle()
    np.testing.assert_allclose(plot._marked.opts["y"], [1.5])
    plot.clicked.emit(QPointF(0.0, 60.0), NONE)
    assert context.selection.layers.tolist() == [1]


def test_pointing_reads_off_all_measures(view, context):
    open_(context, compared(6))
    page = show(view, BARS)
    page.bars.plots[0].hovered.emit(QPointF(0.0, 1.5))
    told = view.read_out.full
    assert told.startswith("block.1  ·  Predicted error, int4")
    assert "±" in told
    assert "Hessian trace: HAWQ-V2 score, int4" in told
    assert "(rank 1)" in told
    page.bars.plots[0].hovered.emit(None)
    assert view.read_out.full == ""


def test_keys_walk_through_the_layers_as_shown(view, context, qtbot):
    open_(context, compared(6))
    show(view, BARS)
    view.show_criteria((Criterion("hessian", "trace"),))
    settle()
    assert view.scene.layers.tolist() == [1, 0, 3, 2, 5, 4]
    context.selection.set([1])
    for key, current in (
        (Qt.Key.Key_Down, 0),
        (Qt.Key.Key_Down, 3),
        (Qt.Key.Key_Up, 0),
        (Qt.Key.Key_End, 4),
        (Qt.Key.Key_Home, 1),
        (Qt.Key.Key_Up, 1),
    ):
        qtbot.keyClick(view.page.bars.plots[0], key)
        assert context.selection.current == current
    view.order_box.setChecked(True)
    settle()
    assert view.scene.layers.tolist() == [0, 1, 2, 3, 4, 5]


def test_other_states_of_the_other_layers_are_told(view, context):
    project = compared(6)
    add_run(project, "fisher", {("fit", "int4"): truth(6)}, state="int8")
    open_(context, project)
    show(view, BARS)
    assert "not comparable, as the other layers were float and int8" in (
        view._subtitle.text()
    )


# -- ranks and scatter --------------------------------------------------------------


def test_lines_join_the_ranks_and_can_be_clicked(view, context):
    open_(context, compared(6))
    page = show(view, RANKS)
    places = page.plot._places
    assert places[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert places[:, 2].tolist() == [2, 1, 4, 3, 6, 5]
    assert "Spearman between measures 0.83 to 1.00" in view._subtitle.text()
    # Half-way between the first two columns the line of layer 4 is at its rank.
    page.plot.clicked.emit(QPointF(1.0, 4.5), NONE)
    assert context.selection.layers.tolist() == [4]
    settle()
    x, y = page.plot._lines.getData()
    np.testing.assert_allclose(y[:4], [4.5, 4.5, 5.5, 4.5])
    assert page.plot._right._names[-1] == "block.5"


def test_a_layer_that_a_measure_does_not_know_has_a_broken_line(view, context):
    project = Project.create(layers_info(3))
    add_run(project, "fisher", {("trace", None): np.array([3.0, 2.0, 1.0])})
    add_run(project, "hessian", {("trace", None): np.array([3.0, np.nan, 1.0])})
    open_(context, project)
    view.show_criteria((Criterion("fisher", "trace"), Criterion("hessian", "trace")))
    page = show(view, RANKS)
    page.plot.clicked.emit(QPointF(0.5, 1.5), NONE)
    assert context.selection.layers.tolist() == [1]
    page.plot.clicked.emit(QPointF(1.5, 1.5), NONE)
    assert context.selection.layers.tolist() == [2]


def test_scatter_tells_spearman_and_follows_its_lists(view, context):
    open_(context, compared(6))
    page = show(view, SCATTER)
    assert view._title.full == "Predicted error, int4 against Measured error, int4"
    assert view._subtitle.text().startswith("Spearman 1.000 over 6 layers")
    page.up.setCurrentIndex(page.up.findData("hessian.hawq_v2"))
    page.up.activated.emit(page.up.currentIndex())
    settle()
    assert view._subtitle.text().startswith("Spearman 0.829 over 6 layers")
    place = QPointF(float(page.plot._x[2]), float(page.plot._y[2]))
    page.plot.clicked.emit(place, NONE)
    assert context.selection.layers.tolist() == [2]
    settle()
    assert page.plot._rings.getData()[0].tolist() == [place.x()]


# -- quality ------------------------------------------------------------------------


def test_quality_shows_the_best_first_and_a_click_shows_its_layers(view, context):
    open_(context, compared(6))
    page = show(view, QUALITY)
    ranks = [one.rank for one in page.found]
    assert ranks == sorted(ranks, reverse=True)
    row = [one.measure for one in page.found].index("predicted_error")
    assert page.found[row].ratio == pytest.approx(2.0)
    page.bars.plots[0].hovered.emit(QPointF(0.0, row + 0.5))
    assert "predicted over measured 2.00" in view.read_out.full
    row = [one.quantity for one in page.found].index("trace")
    page.bars.plots[0].clicked.emit(QPointF(0.0, row + 0.5), NONE)
    settle()
    assert view.picture_key == SCATTER
    assert view._title.full == "Hessian trace against Measured error, int4"


def test_quality_can_be_walked_with_keys(view, context, qtbot):
    open_(context, compared(6))
    page = show(view, QUALITY)
    plot = page.bars.plots[0]
    for _ in range(2):
        qtbot.keyClick(plot, Qt.Key.Key_Down)
    assert plot._marked.opts["y"].tolist() == [1.5]
    assert view.read_out.full.endswith("Enter shows the layers")
    second = page.found[1]
    qtbot.keyClick(plot, Qt.Key.Key_Return)
    settle()
    assert view.picture_key == SCATTER
    assert view.page.up.currentData() == f"{second.measure}.{second.quantity}"


# -- spectrum and relevance of the input --------------------------------------------


def test_spectrum_draws_the_density(view, context):
    open_(context, with_arrays())
    page = show(view, SPECTRUM)
    assert view._subtitle.text().startswith("Eigenvalues between 1.00 and 3.00")
    x, y = page._curve.getData()
    assert x[np.argmax(y)] == pytest.approx(2.0)
    assert y.max() == pytest.approx(np.log10(1 / np.sqrt(np.pi)), abs=1e-9)
    view.log_box.setChecked(False)
    settle()
    assert page._curve.getData()[1].max() == pytest.approx(1 / np.sqrt(np.pi))
    assert page.table().rows == 101


def test_tokens_are_coloured_text_with_their_numbers(view, context):
    open_(context, with_arrays())
    page = show(view, INPUT)
    assert page.text.isVisible()
    assert not page.plot.isVisible()
    assert "adds up to 0.800" in view._subtitle.text()
    text = page.text.toPlainText()
    assert "<s>" in text
    assert "0.90" in text
    page.number.setValue(2)
    settle()
    assert "dogs" in page.text.toPlainText()
    assert page.table().columns[1][1] == "dogs"
    # Padding is no text.
    assert page.text.toPlainText().split()[-1] == "0.70"


def test_an_image_is_a_map_with_signs(view, context):
    project = compared(3)
    maps = np.zeros((1, 4, 5))
    maps[0, 1, 3], maps[0, 2, 0] = 0.5, -0.25
    add_run(
        project,
        "relevance",
        {("positive", None): truth(3)},
        arrays={"relevance/input": maps},
    )
    open_(context, project)
    page = show(view, INPUT)
    assert page.plot.isVisible()
    assert page.image.image.shape == (4, 5)
    assert page.bar.limits == (-0.5, 0.5)
    page.plot.hovered.emit(QPointF(3.5, 1.5))
    assert view.read_out.full == "row 1, column 3  ·  relevance 0.500"


def test_films_are_added_up_and_long_texts_are_cut(view, context):
    project = compared(3)
    for maps in (np.ones((1, 7, 4, 5)), np.ones((1, 5000))):
        add_run(
            project,
            "relevance",
            {("positive", None): truth(3)},
            arrays={"relevance/input": maps},
        )
        open_(context, project)
        page = show(view, INPUT)
        view.invalidate()
        settle()
        if maps.ndim == 4:
            np.testing.assert_array_equal(page.image.image, np.full((4, 5), 7.0))
        else:
            assert page.text.toPlainText().endswith("… and 3,000 more")
            assert page.table().rows == 5000


def offered(view: SensitivityView) -> list[QAction]:
    """Return the measures in the menu, as they are when it opens."""
    menu = view.measures.menu()
    menu.aboutToShow.emit()
    deeper = [a for m in menu.actions() if m.menu() for a in m.menu().actions()]
    return [a for a in menu.actions() if a.isCheckable()] + deeper


# -- choices ------------------------------------------------------------------------


def test_measures_are_chosen_in_the_menu_up_to_a_limit(view, context):
    project = compared(6)
    values = truth(6)
    quantities = ("positive", "absolute", "share", "absorbed")
    add_run(project, "relevance", {(q, None): values for q in quantities})
    open_(context, project)
    for _ in range(20):
        off = [a for a in offered(view) if not a.isChecked()]
        if not off:
            break
        off[0].trigger()
        settle()
        assert len(view.scene.readings) <= MOST
    assert len(view.scene.readings) == MOST
    for _ in range(MOST):
        on = [a for a in offered(view) if a.isChecked()]
        on[0].trigger()
        settle()
    assert len(view.scene.readings) == 1, "one always stays"


def test_the_menu_has_the_best_of_each_measure_at_the_top(view, context):
    open_(context, compared(6))
    top = [action.text() for action in offered(view)]
    assert top == [
        "Predicted error",
        "Measured error",
        "Hessian trace: HAWQ-V2 score",
        "Weight statistics and noise: SQNR",
        "Hessian trace",
    ]
    menu = view.measures.menu()
    (more,) = (a.menu() for a in menu.actions() if a.menu() is not None)
    assert [action.text() for action in more.actions()] == ["Hessian trace"]
    assert "squared rounding error" in offered(view)[2].toolTip()


def test_the_format_changes_the_numbers_that_have_one(view, context):
    open_(context, compared(6))
    assert view.scene.format == "int4"
    view.format_box.setCurrentIndex(view.format_box.findData("int2"))
    view.format_box.activated.emit(view.format_box.currentIndex())
    settle()
    np.testing.assert_allclose(view.scene.readings[0].values, 32 * truth(6))


def test_new_results_appear(view, context):
    project = open_(context, compared(6))
    add_run(project, "fisher", {("fit", "int4"): truth(6)})
    settle()
    assert "fisher" in {r.criterion.measure for r in view.scene.readings}


# -- sizes --------------------------------------------------------------------------


def test_only_the_most_sensitive_are_shown_until_all_are_asked_for(view, context):
    open_(context, compared(100))
    assert len(view.scene.layers) == TOP
    assert "40 of 100 layers" in view._subtitle.text()
    view.all_box.setChecked(True)
    settle()
    assert len(view.scene.layers) == 100
    assert "of 100 layers" not in view._subtitle.text()


def items_of(view: SensitivityView) -> list[QGraphicsItem]:
    plots = getattr(view.page, "bars", None)
    shown = plots.plots if plots is not None else [view.page.plot]
    return [item for plot in shown for item in plot.scene().items()]


def test_sixty_thousand_layers_need_no_more_items_than_a_hundred(view, context):
    counts = []
    for layers in (100, 60_000):
        project = Project.create(layers_info(layers))
        values = truth(layers)
        add_run(project, "fisher", {("trace", None): values})
        add_run(project, "hessian", {("trace", None): values[::-1]})
        open_(context, project)
        view.all_box.setChecked(True)
        kinds = ("fisher", "hessian")
        view.show_criteria(tuple(Criterion(kind, "trace") for kind in kinds))
        settle()
        for picture in (BARS, RANKS, SCATTER):
            show(view, picture)
            assert not view.is_empty
            counts.append(len(items_of(view)))
    assert counts[3:] == pytest.approx(counts[:3], rel=0.3, abs=20)
    assert len(view.pages[SCATTER].plot._points.data) <= MANY
    page = show(view, BARS)
    bars = len(page.bars.plots[0]._rows.opts["y"])
    assert bars < 1000
    # A bar that stands for many rows shows, and selects, the worst of them.
    page.bars.plots[0].clicked.emit(QPointF(0.0, 30.0), NONE)
    assert context.selection.layers.tolist() == [0]
    page = show(view, RANKS)
    assert page.plot.drawn == LINES
    assert np.isfinite(page.plot._others.getData()[1]).sum() <= 2 * LINES


# -- taking away --------------------------------------------------------------------


@pytest.mark.parametrize("picture", list(PICTURES))
def test_pictures_and_numbers_can_be_taken_away(view, context, tmp_path, picture):
    open_(context, with_arrays())
    theme().set_mode("dark")
    show(view, picture)
    image = view.picture()
    assert image.pixelColor(2, 2).lightness() > 240, "printed on white"
    for name in ("picture.png", "picture.svg"):
        view.save_picture(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert not QImage(str(tmp_path / "picture.png")).isNull()
    view.table().save(tmp_path / "numbers.csv")
    text = (tmp_path / "numbers.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1
    theme().set_mode("system")
