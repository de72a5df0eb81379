"""The picture of rounding errors: what is read, what is shown, how fast it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtCore import QPointF, Qt

from analysis.error_picture import halving_of, largest_of, picture_name
from analysis.messages import Analyze
from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from app.theme import theme
from app.views.error_map import ErrorMapView
from app.widgets.color_bar import ColorBar
from app.widgets.matrix_plot import MatrixPlot
from quant_core.scheme import parse_scheme
from quant_core.sites import Layer
from tests.app.helpers import settle
from tests.app.panel_projects import add_errors, make_errors, make_info
from tests.budget import assert_within, clock

LAYER = 1
BUDGET_SECONDS = 0.033


def add_picture(
    project: Project, name: str, key: str, errors: np.ndarray, matrix: int = 0
) -> None:
    """Record a picture as the measure does, from made-up errors."""
    prefix = picture_name(name, parse_scheme(key), matrix)
    levels = [errors.astype(np.float32)]
    while max(levels[-1].shape) > 256:
        levels.append(largest_of(levels[-1], *halving_of(levels[-1].shape)))
    arrays = {f"level{i}": level for i, level in enumerate(levels)}
    arrays["weight"] = np.full(errors.shape, 0.25, np.float32)
    for side, axis in (("row", 1), ("column", 0)):
        arrays[f"{side}_rms"] = np.sqrt((errors**2).mean(axis)).astype(np.float32)
        arrays[f"{side}_max"] = np.abs(errors).max(axis).astype(np.float32)
    arrays["scale"] = np.array([1.0, 1.0, np.quantile(np.abs(errors), 0.995)])
    run = project.begin_run("error_map")
    kept = {f"{prefix}/{key}": array for key, array in arrays.items()}
    row = Row(name, key, float(np.abs(errors).max()), quantity="max_error")
    project.apply(run, Update(1.0, 1.0, rows=(row,), arrays=kept))
    project.end_run(run)


def make_matrix(rows: int = 300, columns: int = 700) -> np.ndarray:
    rng = np.random.default_rng(0)
    errors = rng.uniform(-0.01, 0.01, (rows, columns))
    errors[123, 456] = -0.5
    return errors


@pytest.fixture
def view(qtbot, context) -> ErrorMapView:
    view = ErrorMapView(context)
    qtbot.addWidget(view)
    view.resize(900, 700)
    view.show()
    return view


@pytest.fixture
def project(context) -> Project:
    project = Project.create(make_info(6))
    add_errors(project, make_errors(6))
    name = project.info.layers[LAYER].name
    add_picture(project, name, "int4", make_matrix())
    context.set_project(project)
    context.selection.set([LAYER])
    settle()
    return project


def test_empty_states_name_the_first_step(view, context, project):
    assert view.empty_title == "Nothing is rounded"
    view.scheme_box.setCurrentText("int8")
    settle()
    assert view.empty_title == "No picture yet"
    asked = []
    view.actionRequested.connect(asked.append)
    view._empty.actionTriggered.emit()
    assert asked == ["error_map"]
    assert [s.key for s in view.schemes()] == ["int8"]
    context.selection.clear()
    settle()
    assert view.empty_title == "No layer selected"
    context.set_project(None)
    settle()
    assert view.empty_title == "No model open"


def test_the_whole_matrix_shows_its_one_bad_weight(view, project):
    project.set_weight([LAYER], parse_scheme("int4"))
    settle()
    plot = view.plots[0]
    assert not view.is_empty
    assert plot.box.viewRange() == [[0, 700], [0, 300]]
    assert not view.plots[1].isVisible()
    codes = plot.image.codes
    assert codes.max() == 255
    # One pixel of the picture, in the right place.
    assert (codes == 255).sum() < codes.size * 0.02
    assert "largest 0.500" in view.subtitle
    assert "300 output channels x 700 weights" in view.subtitle
    text = view.describe(QPointF(456.5, 123.5))
    assert "row 123  ·  column 456" in text
    assert "weight 0.250" in text
    assert "becomes -0.250, error -0.500" in text
    assert view.describe(QPointF(-1, 5)) == ""


def test_zoomed_in_each_weight_is_told(view, project):
    view.scheme_box.setCurrentText("int4")
    settle()
    view.plots[0].show_range([450, 470], [115, 130])
    settle()
    assert view.plots[0].image.level == 0
    text = view.describe(QPointF(451.5, 120.5))
    assert text.startswith("row 120  ·  column 451")
    error = make_matrix()[120, 451]
    assert f"error {error:.3g}"[:10] in text
    view._on_hover(QPointF(451.5, 120.5))
    assert view.read_out.full == text
    view._on_hover(None)
    assert view.read_out.full == ""


def test_arrow_keys_move_from_weight_to_weight(view, project, qtbot):
    view.scheme_box.setCurrentText("int4")
    settle()
    plot = view.plots[0]
    plot.show_range([0, 20], [0, 20])
    qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert view.read_out.full.startswith("row 10  ·  column 11")
    qtbot.keyClick(plot, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    assert view.read_out.full.startswith("row 20  ·  column 11")
    # The view follows, and the edge of the matrix is the end.
    assert plot.box.viewRange()[1][1] > 20
    for _ in range(40):
        qtbot.keyClick(plot, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    assert "column 0" in view.read_out.full


def test_two_schemes_side_by_side_have_one_scale_and_one_view(view, project):
    name = project.info.layers[LAYER].name
    add_picture(project, name, "int6", make_matrix() / 4)
    view.scheme_box.setCurrentText("int4")
    view.beside_box.setCurrentText("int6")
    settle()
    first, second = view.plots
    assert second.isVisible()
    assert view.bar._data == (0.0, pytest.approx(0.5))
    assert first.image._limits == second.image._limits
    first.show_range([100, 140], [50, 90])
    settle()
    assert second.box.viewRange()[0] == pytest.approx([100, 140], abs=4)
    assert second.image.codes.mean() < first.image.codes.mean()
    assert view.describe(QPointF(120.5, 60.5)).count("error") == 2
    titles = view.table().titles
    assert "rms error of the row, int6" in titles
    view.beside_box.setCurrentText("int4")
    settle()
    assert not second.isVisible()


def test_a_picture_that_is_deleted_is_not_read_again(view, project):
    view.scheme_box.setCurrentText("int4")
    settle()
    assert not view.is_empty
    picture = view._pictures[0]
    project.delete_run(picture.run)
    # In the same turn of the event loop it may still be panned or pointed at.
    window = slice(3, 8), slice(0, 4)
    assert np.isnan(picture.read(0, *window)).all()
    assert picture.weights(*window).shape == (5, 4)
    view.plots[0].hovered.emit(QPointF(4.5, 4.5))
    assert not view.grab().isNull()
    settle()
    assert view.empty_title == "No picture yet"


def test_signs_are_told_by_a_diverging_map_around_zero(view, project):
    view.scheme_box.setCurrentText("int4")
    view.sign_box.setChecked(True)
    settle()
    low, high = view.bar.limits
    assert low == -high
    assert view.plots[0].image.codes.min() == 1
    # The bad weight is negative; zero is in the middle.
    assert view.plots[0].image._numbers(np.zeros((1, 1), np.float32))[0, 0] == 128
    view.bar._move(1, 0.2)
    assert view.bar.limits == (-0.2, 0.2)
    view.bar.reset()
    assert view.bar.limits == (low, high)


def test_colour_limits_leave_out_the_extremes_until_dragged(view, project, qtbot):
    view.scheme_box.setCurrentText("int4")
    settle()
    assert view.bar.limits[1] == pytest.approx(0.01, rel=0.05)
    before = view.plots[0].image.codes.mean()
    view.bar._move(1, 0.5)
    settle()
    assert view.plots[0].image.codes.mean() < before / 2
    qtbot.keyClick(view.bar, Qt.Key.Key_Down)
    assert view.bar.limits[1] == pytest.approx(0.49)
    qtbot.keyClick(view.bar, Qt.Key.Key_Home)
    assert view.bar.limits[1] == pytest.approx(0.01, rel=0.05)


def test_experts_are_chosen_one_at_a_time(view, context):
    layer = Layer("experts", "experts", "experts", (3, 30, 50), "float32", (0, 1))
    project = Project.create(ModelInfo("m", "made-up", "d", (layer,)))
    add_picture(project, "experts", "int4", np.full((30, 50), 0.1), matrix=2)
    context.set_project(project)
    settle()
    view.scheme_box.setCurrentText("int4")
    settle()
    assert view.matrix_box.isVisible()
    assert view.matrix_box.maximum() == 2
    assert view.empty_title == "No picture yet"
    view.matrix_box.setValue(2)
    settle()
    assert not view.is_empty
    assert "matrix 2 of the stack" in view.subtitle


def test_a_click_marks_the_channel_everywhere(view, project, context):
    view.scheme_box.setCurrentText("int4")
    settle()
    chosen = []
    context.channelChosen.connect(chosen.append)
    view.plots[0].clicked.emit(QPointF(10.5, 42.5), Qt.KeyboardModifier.NoModifier)
    assert chosen == [(LAYER, 42)]
    assert view.plots[0]._marked.value() == 42.5
    context.choose_channel(LAYER, 7)
    assert view.plots[0]._marked.value() == 7.5
    context.choose_channel(LAYER + 1, 9)
    assert view.plots[0]._marked.value() == 7.5


def test_both_themes_and_a_narrow_panel_draw(view, project):
    view.scheme_box.setCurrentText("int4")
    for mode, width in (("dark", 420), ("light", 1400)):
        theme().set_mode(mode)
        view.resize(width, 500)
        settle()
        assert not view.grab().isNull()
    theme().set_mode("system")


def test_the_session_asks_for_exactly_this_picture(qapp):
    from app.jobs import JobRunner
    from app.session import Session
    from app.settings import Settings
    from tests.app.helpers import FakeClient

    client = FakeClient()
    session = Session(Settings(), runner=JobRunner(client))
    session.context.set_project(Project.create(make_info(6)))
    client.source = "made-up"
    session.work.picture("a[0].b", (parse_scheme("int4"),), 3)
    (job,) = [asked[1] for asked in client.asked if asked[0] == "start"]
    assert isinstance(job, Analyze)
    assert job.measures == ("error_map",)
    assert job.params["error_map"] == {"layers": ["a[[]0].b"], "matrix": 3}
    session.shut_down()


# -- pictures of any size --------------------------------------------------------------


@dataclass
class Level:
    number: int
    shape: tuple[int, int]
    steps: tuple[int, int]


class Made:
    """A pyramid in memory, made as the measure makes it."""

    def __init__(self, values: np.ndarray) -> None:
        self.arrays, self.levels, steps = (
            [values],
            [Level(0, values.shape, (1, 1))],
            (1, 1),
        )
        while max(self.arrays[-1].shape) > 256:
            down, across = halving_of(self.arrays[-1].shape)
            self.arrays.append(largest_of(self.arrays[-1], down, across))
            steps = steps[0] * down, steps[1] * across
            self.levels.append(Level(len(self.levels), self.arrays[-1].shape, steps))
        self.read_values = 0

    def read(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        part = self.arrays[level][rows, columns]
        self.read_values += part.size
        return part


def shown(qtbot, values: np.ndarray, signed: bool = False) -> tuple[MatrixPlot, Made]:
    plot = MatrixPlot("test")
    qtbot.addWidget(plot)
    plot.resize(800, 500)
    plot.show()
    settle()
    bar = ColorBar(pg.colormap.get("viridis"), is_log=False)
    qtbot.addWidget(bar)
    made = Made(values)
    plot.set_matrix(made)
    plot.image.set_colours(
        (-1.0 if signed else 0.0, 1.0), bar.lookup(), is_signed=signed
    )
    plot.fit()
    return plot, made


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", [(40, 30), (1500, 2700), (9000, 60), (50, 5000)])
def test_one_bad_value_is_seen_at_every_zoom_and_place(qtbot, shape, signed):
    values = np.zeros(shape, np.float32)
    row, column = shape[0] * 2 // 3, shape[1] // 3
    values[row, column] = -1.0
    plot, _ = shown(qtbot, values, signed)
    worst = 1 if signed else 255
    for zoom in (1, 2, 3.3, 7, 20, 50):
        tall, wide = shape[0] / zoom, shape[1] / zoom
        for shift in (0.1, 0.5, 0.93):
            top, left = row - shift * tall, column - shift * wide
            plot.show_range([left, left + wide], [top, top + tall])
            codes = plot.image.codes
            assert (codes == worst).sum() == 1, (zoom, shift)
            i, j = np.argwhere(codes == worst)[0]
            rect = plot.image._image.mapRectToView(plot.image._image.boundingRect())
            y = rect.top() + i * rect.height() / codes.shape[0]
            x = rect.left() + j * rect.width() / codes.shape[1]
            assert y <= row < y + rect.height() / codes.shape[0] + 1e-6
            assert x <= column < x + rect.width() / codes.shape[1] + 1e-6
    cells = plot.cells_at(QPointF(column + 0.5, row + 0.5))
    assert -1.0 in values[cells]


def test_only_what_is_seen_is_read(qtbot):
    plot, made = shown(qtbot, np.zeros((3000, 4000), np.float32))
    assert made.read_values < 3000 * 4000 / 2
    made.read_values = 0
    plot.show_range([1100, 1200], [1100, 1150])
    assert made.read_values == 256 * 256
    plot.show_range([1150, 1250], [1130, 1180])
    assert made.read_values == 256 * 256


def test_panning_and_zooming_a_large_picture_fits_its_budget(qtbot):
    rng = np.random.default_rng(0)
    tile = rng.uniform(0, 1, (512, 2048)).astype(np.float32)
    plot, _ = shown(qtbot, np.tile(tile, (8, 7)))
    assert plot.shape == (4096, 14336)
    for moves in (range(30), [1.1**-k for k in range(30)]):
        spent = []
        for move in moves:
            begin = clock()
            if isinstance(move, int):
                plot.show_range([100 * move, 100 * move + 3000], [0, 900])
            else:
                plot.show_range([0, 14336 * move], [0, 4096 * move])
            plot.viewport().grab()
            spent.append(clock() - begin)
        assert_within(BUDGET_SECONDS, [float(np.median(spent))])


def test_enter_is_a_click_where_the_cross_hair_is(qtbot):
    plot, _ = shown(qtbot, np.ones((8, 8), np.float32))
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Down):
        qtbot.keyClick(plot, key)
    with qtbot.waitSignal(plot.clicked) as told:
        qtbot.keyClick(plot, Qt.Key.Key_Return)
    assert told.args[0] == QPointF(5.5, 5.5)
