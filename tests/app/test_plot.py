"""The plot, its frame, legend, colour bar, cells and table."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

import app.widgets.name_axis as name_axis_module
import app.widgets.plot_axis as plot_axis_module
from app.theme import theme
from app.widgets.cell_map import level_for, max_pyramid
from app.widgets.color_bar import ColorBar, decades
from app.widgets.data_table import Table, TableDialog, TableModel
from app.widgets.histogram_plot import LOG, HistogramPlot
from app.widgets.legend import Entry, Legend
from app.widgets.name_axis import NameAxis
from app.widgets.plot import Plot
from app.widgets.plot_axis import LogScale, PlotAxis, number
from app.widgets.plot_panel import PlotPanel

TABLE = Table(("layer", "error [nats]"), (["a", "b, c"], [0.5, float("nan")]))


class Panel(PlotPanel):
    """A panel that counts how often it is drawn."""

    def __init__(self) -> None:
        super().__init__("Errors")
        self.plot = Plot("Errors by layer")
        self.plot.set_axis("left", "error", "nats")
        self.plot.plot([0, 1, 2], [1, 3, 2])
        self.body.addWidget(self.plot)
        self.drawn: list[set[str]] = []

    def refresh(self, stale: set[str]) -> None:
        self.drawn.append(stale)

    def table(self) -> Table | None:
        return TABLE

    def fit(self) -> None:
        self.plot.show_range([0.0, 1.0], [0.0, 1.0])


@pytest.fixture
def light(qapp):
    theme().set_mode("light")
    yield
    theme().set_mode("system")


@pytest.fixture
def panel(qtbot, light):
    panel = Panel()
    qtbot.addWidget(panel)
    panel.resize(500, 400)
    return panel


@pytest.fixture
def plot(qtbot, light):
    plot = Plot("A plot")
    qtbot.addWidget(plot)
    plot.resize(400, 300)
    plot.show_range([0.0, 10.0], [-3.0, 1.0])
    plot.show()
    return plot


def test_examples_in_the_docstrings_hold():
    for module in (plot_axis_module, name_axis_module):
        assert doctest.testmod(module).failed == 0


def test_the_window_never_imports_torch():
    code = (
        "import sys, app.views.heatmap, app.views.distribution, app.views.trade_off;"
        "print([m for m in ('torch', 'h5py.torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# -- axes --------------------------------------------------------------------------


def test_log_scale_goes_there_and_back_and_keeps_zero():
    scale = LogScale.of([0.0, 3e-4, 2.0, np.nan])
    view = scale.to_view([0.0, 1e-3, 2.0, -1.0])
    assert scale.floor == -5.0
    np.testing.assert_allclose(view, [-5.0, -3.0, np.log10(2.0), -5.0])
    assert scale.to_value(view[1]) == pytest.approx(1e-3)
    assert scale.to_value(-5.0) == 0.0
    assert np.isnan(scale.to_view(np.nan))
    assert LogScale.of([]).floor == LogScale.of([0.0]).floor


def test_log_axis_writes_values_never_exponents(qapp):
    axis = PlotAxis("left")
    axis.set_scale(LogScale(-7.0))
    ticks = axis.tickValues(-7.2, 1.0, 400)
    texts = axis.tickStrings(ticks[0][1], 1.0, ticks[0][0])
    assert texts[0] == "0"
    assert texts[1:] == ["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "0.01", "0.1", "1", "10"]
    # A narrow range has steps of 1, 2, 5 with texts.
    ticks = axis.tickValues(-2.5, -1.6, 400)
    texts = [
        t for step, places in ticks for t in axis.tickStrings(places, 1.0, step) if t
    ]
    assert sorted(texts, key=float) == ["0.005", "0.01", "0.02"]
    # Within a decade the values are evenly spaced.
    ((step, places),) = axis.tickValues(np.log10(2.29e-3), np.log10(2.61e-3), 400)
    texts = axis.tickStrings(places, 1.0, step)
    assert texts == ["0.0023", "0.0024", "0.0025", "0.0026"]
    # Many decades on little room are thinned to whole steps.
    (step, majors), *_ = axis.tickValues(-6.0, 60.0, 120)
    assert step > 1
    assert all(place % step == 0 for place in majors)


def test_linear_axis_has_plain_numbers(qapp):
    axis = PlotAxis("bottom")
    assert axis.tickStrings([0.0, 20000.0], 1.0, 10000.0) == ["0", "20,000"]
    assert axis.tickStrings([2e-7], 1.0, 1e-7) == ["2.00e-7"]


def test_titles_carry_their_unit(plot):
    plot.set_axis("left", "predicted error", "nats per token", LogScale())
    assert plot.axis("left").labelText == "predicted error [nats per token]"
    assert plot.to_value("left", -2.0) == pytest.approx(0.01)
    assert plot.to_value("bottom", 4.0) == 4.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, "–"), (np.inf, "∞"), (-np.inf, "-∞"), (0.5, "0.5"), (1e9, "1.00e9")],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_names_fit_and_are_thinned(qapp):
    axis = NameAxis("left")
    axis.set_names([f"encoder.layer.{i}.attention.self.query" for i in range(60_000)])
    axis.apply_theme()
    axis.fit_room(200)
    assert axis.width() == 200
    ((step, places),) = axis.tickValues(0, 60_000, 600)
    assert len(places) <= 60
    text = axis.tickStrings(places[:1], 1.0, step)[0]
    assert text.startswith("…")
    assert text.endswith("attention.self.query")
    ((step, places),) = axis.tickValues(10, 20, 600)
    assert (step, places[0], len(places)) == (1.0, 10.5, 10)
    assert axis.tickValues(5, 5, 0) == []


def test_a_deleted_plot_no_longer_follows_the_theme(qapp, light):
    plot = HistogramPlot("counts")
    plot.close()
    plot.deleteLater()
    shown = HistogramPlot("counts")
    shown.deleteLater()
    del plot, shown
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    # An exception in a slot fails the test.
    theme().set_mode("dark")
    assert theme().is_dark


def test_one_is_named_on_an_axis_of_counts(qapp):
    axis = PlotAxis("left")
    axis.set_scale(LOG)
    ticks = axis.tickValues(-0.6, 2.2, 200)
    assert axis.tickStrings(ticks[0][1], 1.0, 1.0) == ["0", "1", "10", "100"]


def test_an_axis_of_channels_has_no_halves(qapp):
    axis = PlotAxis("bottom")
    axis.is_whole = True
    for step, places in axis.tickValues(-0.5, 1.5, 600):
        assert step >= 1
        assert all(float(place).is_integer() for place in places)


@pytest.mark.parametrize("channels", [1, 2, 3, 10])
def test_an_axis_of_few_channels_names_them(qapp, channels):
    axis = PlotAxis("bottom")
    axis.is_whole = True
    ticks = axis.tickValues(-0.5, channels - 0.5, 480)
    assert {0, channels - 1} <= {round(place) for _, at in ticks for place in at}


def test_column_names_are_cut_at_slashes(qapp):
    axis = NameAxis("top")
    axis.set_names(["int4", "int4/group(64)/percentile(99.9)/nearest"])
    axis.apply_theme()
    axis.fit_room(0)
    axis.setRange(0, 2)
    axis.resize(600, 60)
    assert axis.tickStrings([0.5, 1.5], 1.0, 1.0) == [
        "int4",
        "int4\ng64\np99.9/nearest",
    ]


# -- mouse, keys, zoom ---------------------------------------------------------------


def _pixel(plot: Plot, x: float, y: float) -> QPointF:
    return QPointF(plot.mapFromScene(plot.box.mapViewToScene(QPointF(x, y))))


def test_hover_tells_the_place_and_leaving_clears_it(plot, qtbot):
    with qtbot.waitSignal(plot.hovered) as told:
        qtbot.mouseMove(plot.viewport(), _pixel(plot, 4.0, -1.0).toPoint())
    assert told.args[0].x() == pytest.approx(4.0, abs=0.1)
    assert told.args[0].y() == pytest.approx(-1.0, abs=0.1)
    assert plot.cross_hair[0].isVisible()
    with qtbot.waitSignal(plot.hovered) as told:
        QApplication.sendEvent(plot, _leave())
    assert told.args == [None]
    assert not plot.cross_hair[0].isVisible()


def _leave():
    from PySide6.QtCore import QEvent

    return QEvent(QEvent.Type.Leave)


def test_click_tells_place_and_modifiers(plot, qtbot):
    with qtbot.waitSignal(plot.clicked) as told:
        qtbot.mouseClick(
            plot.viewport(),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.ControlModifier,
            _pixel(plot, 2.0, 0.0).toPoint(),
        )
    assert told.args[0].x() == pytest.approx(2.0, abs=0.1)
    assert told.args[1] == Qt.KeyboardModifier.ControlModifier


def test_zoom_goes_back_and_forward(plot, qtbot):
    before = plot.box.viewRange()
    plot.box.setRange(xRange=[2, 3], padding=0)
    plot.box.sigRangeChangedManually.emit(plot.box.state["mouseEnabled"])
    qtbot.keyClick(plot, Qt.Key.Key_Backspace)
    np.testing.assert_allclose(plot.box.viewRange(), before)
    qtbot.keyClick(plot, Qt.Key.Key_Backspace, Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_allclose(plot.box.viewRange()[0], [2, 3])
    with qtbot.waitSignal(plot.fitRequested):
        qtbot.keyClick(plot, Qt.Key.Key_F)


def test_colours_follow_the_theme(plot):
    for mode in ("dark", "light"):
        theme().set_mode(mode)
        assert plot.backgroundBrush().color() == theme().colour("base")
        assert plot.axis("left").textPen().color() == theme().colour("muted")


# -- the frame -----------------------------------------------------------------------


def test_panel_draws_once_and_only_when_visible(panel, qtbot):
    panel.invalidate("values")
    panel.invalidate("marks")
    QApplication.processEvents()
    assert panel.drawn == []
    panel.show()
    assert len(panel.drawn) == 1
    assert panel.drawn[0] >= {"values", "marks"}
    for part in ("a", "b", "b"):
        panel.invalidate(part)
    qtbot.waitUntil(lambda: len(panel.drawn) == 2)
    assert panel.drawn[1] == {"a", "b"}
    panel.hide()
    panel.invalidate("c")
    QApplication.processEvents()
    assert len(panel.drawn) == 2


def test_empty_state_offers_a_first_step(panel, qtbot):
    panel.show()
    panel.show_empty("No numbers yet", "Analyse the model.", "Analyse", "analyse")
    assert panel.is_empty
    assert panel.empty_title == "No numbers yet"
    assert "Analyse the model." in panel.accessibleDescription()
    with qtbot.waitSignal(panel.actionRequested) as asked:
        panel._empty.actionTriggered.emit()
    assert asked.args == ["analyse"]
    panel.show_plot()
    assert not panel.is_empty


def test_long_read_out_is_shortened_not_cut(panel):
    panel.show()
    panel.read_out.set_full("layer " * 100)
    assert panel.read_out.text().endswith("…")
    assert panel.read_out.toolTip() == "layer " * 100


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_picture_is_on_white_in_any_theme(panel, tmp_path, mode):
    theme().set_mode(mode)
    panel.show()
    panel.save_picture(tmp_path / "errors.png")
    panel.save_picture(tmp_path / "errors.svg")
    assert theme().mode == mode
    png = QImage(str(tmp_path / "errors.png"))
    svg = QImage(png.size(), QImage.Format.Format_RGB32)
    svg.fill(QColor("black"))
    renderer = QSvgRenderer(str(tmp_path / "errors.svg"))
    assert renderer.isValid()
    from PySide6.QtGui import QPainter

    painter = QPainter(svg)
    renderer.render(painter)
    painter.end()
    for image in (png, svg):
        assert image.width() > 500
        corner = image.pixelColor(1, 1)
        inside = image.pixelColor(image.width() - 8, image.height() // 3)
        assert corner == QColor("white")
        assert inside == QColor("white")
        colours = {
            image.pixelColor(x, y).rgb()
            for x in range(0, image.width(), 3)
            for y in range(0, image.height(), 3)
        }
        assert len(colours) > 3


def test_picture_that_cannot_be_written_says_so(panel, tmp_path):
    panel.show()
    with pytest.raises(OSError, match="cannot be written"):
        panel.save_picture(tmp_path / "missing" / "a.png")
    with pytest.raises(OSError, match="cannot be written"):
        TABLE.save(tmp_path / "missing" / "a.csv")


def test_numbers_leave_as_csv_and_on_the_clipboard(panel, tmp_path):
    TABLE.save(tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    assert text == 'layer,error [nats]\na,0.5\n"b, c",\n'
    panel.copy_numbers()
    assert QGuiApplication.clipboard().text().startswith("layer\terror [nats]\na\t0.5")
    panel.copy_picture()
    assert not QGuiApplication.clipboard().image().isNull()


def test_table_model_keeps_the_rules_of_qt(qtmodeltester, qapp):
    model = TableModel(TABLE)
    qtmodeltester.check(model)
    assert model.index(1, 1).data() == "–"
    assert model.headerData(0, Qt.Orientation.Vertical) == 1


def test_numbers_can_be_read_as_a_table(panel, qtbot):
    dialog = panel.show_table()
    assert isinstance(dialog, TableDialog)
    dialog.copy()
    assert "b, c" in QGuiApplication.clipboard().text()
    dialog.close()
    QApplication.processEvents()


def test_legend_wraps_and_is_read_aloud(qtbot, light):
    legend = Legend()
    qtbot.addWidget(legend)
    pen, brush = theme().pen("text"), theme().brush("text")
    kinds = ("line", "fill", "o", "crosshair", "x")
    legend.set_entries(tuple(Entry(f"meaning of {k}", k, pen, brush) for k in kinds))
    one, many = legend.heightForWidth(5000), legend.heightForWidth(150)
    assert many >= 4 * one
    assert "meaning of crosshair" in legend.accessibleName()
    legend.resize(150, many)
    image = legend.grab().toImage()
    assert image.height() == many


# -- colours and cells ---------------------------------------------------------------


@pytest.fixture
def bar(qtbot, light):
    import pyqtgraph as pg

    bar = ColorBar(pg.colormap.get("viridis"))
    qtbot.addWidget(bar)
    bar.resize(120, 300)
    return bar


def test_colours_leave_out_extremes_but_show_zero_and_missing(bar):
    values = np.append(np.logspace(-6, 0, 1000), [1e-30, 0.0, np.nan])
    bar.set_data(decades(values), "error [nats]")
    low, high = bar.limits
    assert -6.1 < low < -5.5
    assert -0.5 < high <= 0.0
    codes = bar.codes(decades(np.array([np.nan, 0.0, 1e-30, 1e-3, 1.0, 9.0])))
    assert codes.tolist()[:3] == [0, 1, 1]
    assert 100 < codes[3] < 160
    assert codes.tolist()[4:] == [255, 255]
    lookup = bar.lookup()
    assert lookup.shape == (256, 4)
    assert lookup[0, 3] == 0
    assert (lookup[1:, 3] == 255).all()


def test_limits_move_by_key_and_mouse_and_come_back(bar, qtbot):
    bar.set_data(np.linspace(-4, 0, 100), "error")
    proposed = bar.limits
    with qtbot.waitSignal(bar.limitsChanged):
        qtbot.keyClick(bar, Qt.Key.Key_Down)
    assert bar.limits[1] == pytest.approx(proposed[1] - 0.1)
    qtbot.keyClick(bar, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert bar.limits[0] == pytest.approx(proposed[0] + 0.1)
    place = QPointF(20, bar._y(-1.0)).toPoint()
    qtbot.mousePress(bar, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=place)
    assert bar.limits[1] == pytest.approx(-1.0, abs=0.05)
    # New numbers leave limits alone that a person has set.
    bar.set_data(np.linspace(-5, 0, 100), "error")
    assert bar.limits[1] == pytest.approx(-1.0, abs=0.05)
    qtbot.keyClick(bar, Qt.Key.Key_Home)
    assert bar.limits[1] > -0.1
    assert not bar.grab().isNull()


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1000])
def test_pyramid_never_loses_the_worst_cell(rows):
    rng = np.random.default_rng(rows)
    cells = rng.integers(0, 200, (rows, 3)).astype(np.uint8)
    if rows:
        cells[rows // 2, 1] = 255
    levels = max_pyramid(cells)
    assert len(levels[-1]) == min(rows, 1)
    for level in levels[1:]:
        np.testing.assert_array_equal(level.max(0), cells.max(0))


@pytest.mark.parametrize(
    ("rows", "pixels", "level"),
    [(10, 500, 0), (500, 500, 0), (501, 500, 1), (60_000, 600, 7), (5, 0, 3)],
)
def test_level_rows_are_never_thinner_than_a_pixel(rows, pixels, level):
    assert level_for(rows, pixels) == level
    assert rows / 2**level <= max(pixels, 1)
