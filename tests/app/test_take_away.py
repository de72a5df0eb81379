"""Every plot panel gives its picture and its numbers away, in every shape."""

from __future__ import annotations

import csv
import importlib
import io
import pkgutil
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from PySide6.QtCore import QRect
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication, QFileDialog

import app.views
from analysis.project import Project
from app.context import AppContext
from app.theme import theme
from app.widgets.plot_panel import FINE_SCALE, PlotPanel
from app.widgets.plot_picture import picture_size
from quant_core.scheme import Scheme
from tests.app.helpers import settle
from tests.app.panel_projects import (
    add_distribution,
    add_errors,
    make_errors,
    make_info,
)
from tests.app.test_error_map import add_picture

LAYER = 1
WHITE = QColor("white").rgb()


def plot_panels() -> list[type[PlotPanel]]:
    """Return every plot panel that the window has, by name."""
    for module in pkgutil.iter_modules(app.views.__path__):
        importlib.import_module(f"app.views.{module.name}")
    found = [x for x in PlotPanel.__subclasses__() if x.__module__.startswith("app.")]
    return sorted(found, key=lambda cls: cls.__name__)


def add_everything(project: Project) -> None:
    """Record what each of the panels shows of one layer."""
    add_errors(project, make_errors(len(project.info.layers)))
    name = project.info.layers[LAYER].name
    x = np.random.default_rng(0).normal(0, 0.1, (24, 128))
    add_distribution(project, "weights", name, x, 0)
    add_distribution(project, "activations", name, x, 1)
    add_picture(project, name, "int4", x)
    project.set_weight([LAYER], Scheme("int4"))


@pytest.fixture
def context(qapp) -> Iterator[AppContext]:
    context = AppContext()
    project = Project.create(make_info(6))
    add_everything(project)
    context.set_project(project)
    context.selection.set([LAYER])
    yield context
    context.set_project(None)
    theme().set_mode("system")


@pytest.fixture(params=plot_panels(), ids=lambda cls: cls.__name__)
def panel(request, qtbot, context) -> PlotPanel:
    panel = request.param(context)
    qtbot.addWidget(panel)
    panel.resize(640, 520)
    panel.show()
    settle()
    assert not panel.is_empty, panel.empty_title
    return panel


def colours(image: QImage) -> set[int]:
    """Return the colours on a few lines across and down."""
    rows = range(0, image.height(), max(1, image.height() // 8))
    columns = range(0, image.width(), max(1, image.width() // 8))
    across = {image.pixel(x, y) for y in rows for x in range(0, image.width(), 3)}
    return across | {
        image.pixel(x, y) for x in columns for y in range(0, image.height(), 3)
    }


def mostly_white(image: QImage) -> bool:
    """Tell whether the frame around everything is white, and not all is."""
    right, bottom = image.width() - 1, image.height() - 1
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    return all(image.pixel(*at) == WHITE for at in corners) and len(colours(image)) > 3


def test_picture_three_times_as_fine_is_on_white(panel, tmp_path):
    panel.save_picture(tmp_path / "a.png")
    panel.save_picture(tmp_path / "fine.png", FINE_SCALE)
    usual, fine = QImage(str(tmp_path / "a.png")), QImage(str(tmp_path / "fine.png"))
    size = picture_size(panel._picture)
    assert FINE_SCALE == 3
    assert fine.size() == 3 * size
    assert usual.size() == 2 * size
    assert mostly_white(fine)
    assert mostly_white(usual)
    # Finer, not blown up: somewhere neighbours inside a 3 x 3 block differ.
    assert any(
        fine.pixel(3 * x, 3 * y) != fine.pixel(3 * x + 1, 3 * y + 1)
        for x in range(0, size.width(), 2)
        for y in range(0, size.height(), 2)
    )


def test_a_dark_window_gives_light_pictures(panel):
    light = panel.picture(1)
    theme().set_mode("dark")
    settle()
    assert panel.picture(1) == light
    assert theme().mode == "dark"
    assert panel.grab().toImage().pixel(0, 0) != WHITE


def test_svg_is_well_formed_and_on_white(panel, tmp_path):
    theme().set_mode("dark")
    settle()
    path = tmp_path / "a.svg"
    panel.save_picture(path)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == panel._title.full
    texts = "".join(root.itertext())
    assert panel._title.full[:12] in texts
    families = {x.get("font-family") for x in root.iter() if "font-family" in x.attrib}
    assert families
    assert all(str(family).endswith(", sans-serif") for family in families)
    images = list(root.iter("{http://www.w3.org/2000/svg}image"))
    assert all(x.get("style") == "image-rendering:pixelated" for x in images)
    # Symbols are shapes, not copies of one sheet.
    small = [x for x in images if float(x.get("width", 0)) < 24]
    sources = [x.get("{http://www.w3.org/1999/xlink}href") for x in small]
    assert len(set(sources)) == len(sources)
    renderer = QSvgRenderer(str(path))
    assert renderer.isValid()
    size = picture_size(panel._picture)
    assert renderer.viewBox() == QRect(0, 0, size.width(), size.height())
    drawn = QImage(size, QImage.Format.Format_RGB32)
    drawn.fill(QColor("black"))
    painter = QPainter(drawn)
    renderer.render(painter)
    painter.end()
    assert mostly_white(drawn)


def test_numbers_as_csv_clipboard_and_table(panel, qtbot, tmp_path):
    said: list[object] = []
    panel.message.connect(said.append)
    table = panel.table()
    assert table is not None
    assert table.rows
    table.save(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == table.titles
    assert len(rows) == table.rows + 1
    assert {len(row) for row in rows} == {len(table.titles)}
    assert all(any(cell for cell in row) for row in rows)
    panel.copy_numbers()
    copied = list(csv.reader(io.StringIO(QApplication.clipboard().text()), "excel-tab"))
    assert copied == rows
    dialog = panel.show_table()
    assert dialog is not None
    assert dialog.isVisible()
    assert dialog.windowTitle() == panel._title.full
    assert dialog._model.rowCount() == table.rows
    dialog.close()
    panel.copy_picture()
    image = QApplication.clipboard().image()
    assert image.size() == 2 * picture_size(panel._picture)
    assert len(said) == 2


def test_the_dialog_offers_each_kind(panel, monkeypatch, tmp_path):
    wanted = [""]

    def answer(_parent: object, _title: str, _name: str, kinds: str) -> tuple[str, str]:
        chosen = next(k for k in kinds.split(";;") if wanted[0] in k)
        return str(tmp_path / "mine"), chosen

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    for kind, scale in (("PNG", 2), ("fine", 3)):
        wanted[0] = kind
        panel._ask_picture()
        width = QImage(str(tmp_path / "mine.png")).width()
        assert width == scale * picture_size(panel._picture).width()
    wanted[0] = "SVG"
    panel._ask_picture()
    assert QSvgRenderer(str(tmp_path / "mine.svg")).isValid()
    wanted[0] = "CSV"
    panel._ask_numbers()
    assert {path.name for path in tmp_path.iterdir()} == {
        "mine.png",
        "mine.svg",
        "mine.csv",
    }


def test_an_empty_panel_has_nothing_to_give(panel, context):
    context.set_project(None)
    settle()
    assert panel.is_empty
    assert panel.table() is None
    assert panel.show_table() is None
    QApplication.clipboard().setText("before")
    panel.copy_numbers()
    panel.copy_picture()
    assert QApplication.clipboard().text() == "before"
    assert not any(action.isEnabled() for action in panel._actions)
