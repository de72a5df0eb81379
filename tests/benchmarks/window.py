"""How long a person waits for the window, beside what they would not notice.

Run from the project's root: `python -m tests.benchmarks.window`. Times are the median
of several turns, from the act to the end of the last repaint it causes: on the wall,
against the budgets of the design, and in processor time of the process, which says
what they would be were nothing else running. References of the same run (sorting
60,000 numbers, repainting the whole window, importing Qt) say how slow the machine is.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

# Read only once, at the first import of Qt.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np  # noqa: E402
from PySide6.QtCore import QEventLoop, Qt, QTimer  # noqa: E402
from PySide6.QtWidgets import QApplication, QWidget  # noqa: E402

from analysis.error_picture import halving_of, largest_of, picture_name  # noqa: E402
from analysis.method import Row, Update  # noqa: E402
from analysis.project import Project  # noqa: E402
from app.main_window import MainWindow  # noqa: E402
from app.models.layer_columns import KEYS  # noqa: E402
from app.models.level_grid import Distribution  # noqa: E402
from app.settings import Settings  # noqa: E402
from app.widgets.channel_plot import ChannelPlot  # noqa: E402
from app.widgets.plot import Plot  # noqa: E402
from quant_core.scheme import Scheme, parse_scheme  # noqa: E402
from tests.app.helpers import model_info  # noqa: E402
from tests.app.panel_projects import (  # noqa: E402
    add_errors,
    histogram,
    make_errors,
    make_info,
)

MANY, POINTS, MATRIX = 60_000, 1_000_000, (4096, 14336)
MEGABYTES = 500
TURNS = 7

Act = Callable[[int], object]


def settle() -> None:
    """Let everything that was asked for be done and painted."""
    for _ in range(4):
        QApplication.processEvents()


def rest() -> None:
    """Let docks find their places, which takes them a few turns."""
    loop = QEventLoop()
    QTimer.singleShot(300, loop.quit)
    loop.exec()


@dataclass(frozen=True)
class Spent:
    """Time by the clock on the wall, and of the processor [ms]."""

    wall: float
    cpu: float


def median_of(spent: list[Spent]) -> Spent:
    """Return the middle of each kind of time."""
    wall = statistics.median(one.wall for one in spent)
    return Spent(wall, statistics.median(one.cpu for one in spent))


def timed(act: Act, turns: int = TURNS) -> Spent:
    """Return the median time of an act with all its repaints."""
    spent = []
    settle()
    for turn in range(turns):
        wall, cpu = time.perf_counter(), time.process_time()
        act(turn)
        settle()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        spent.append(Spent(1000 * wall, 1000 * cpu))
    return median_of(spent)


def told(what: str, spent: Spent, budget: float | None) -> None:
    """Print one line of the table of times."""
    wanted, mark = "", ""
    if budget is not None:
        wanted = f"{budget:8,.0f}"
        over = [name for name in ("wall", "cpu") if getattr(spent, name) > budget]
        mark = f"   over ({' and '.join(over)})" if over else ""
    print(f"{what:<58}{spent.wall:9,.1f}{spent.cpu:9,.1f}{wanted}{mark}")


def many_layers() -> Project:
    """Return a project of 60,000 layers with one error each."""
    project = Project.create(model_info(MANY))
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=MANY).tolist()
    names = [layer.name for layer in project.info.layers]
    rows = tuple(Row(*x, 0.1) for x in zip(names, ["int4"] * MANY, values, strict=True))
    run = project.begin_run("predicted_error", unit="nats", samples=32)
    project.apply(run, Update(1, 1, rows=rows, samples=32))
    project.end_run(run, "complete")
    return project


def few_layers() -> Project:
    """Return a project of 36 layers whose every panel has something to show."""
    project = Project.create(make_info(36))
    add_errors(project, make_errors(36))
    weights = np.random.default_rng(0).normal(0, 0.1, (1536, 384))
    counts, edges = histogram(weights, 2048)
    arrays = {
        "hist_counts": counts,
        "hist_edges": edges,
        "channel_min": weights.min(1),
        "channel_max": weights.max(1),
        "channel_squares": (weights**2).sum(1),
    }
    run = project.begin_run("weights")
    for layer in project.info.layers:
        kept = {f"weights/{layer.name}/{key}": array for key, array in arrays.items()}
        row = Row(layer.name, None, 3.0, quantity="kurtosis")
        project.apply(run, Update(1, 1, rows=(row,), arrays=kept))
    project.end_run(run)
    return project


def add_large_picture(project: Project, layer: int) -> None:
    """Record a picture of 4096 x 14336 errors."""
    tile = np.random.default_rng(0).uniform(-1, 1, (512, 1024)).astype(np.float16)
    levels = [np.tile(tile, (MATRIX[0] // 512, MATRIX[1] // 1024))]
    while max(levels[-1].shape) > 256:
        level = levels[-1].astype(np.float32)
        levels.append(largest_of(level, *halving_of(level.shape)).astype(np.float16))
    arrays = {f"level{number}": level for number, level in enumerate(levels)}
    for side, count in zip(("row", "column"), MATRIX, strict=True):
        arrays[f"{side}_rms"] = arrays[f"{side}_max"] = np.ones(count, np.float32)
    arrays |= {"weight": levels[0], "scale": np.array([1.0, 1.0, 0.99])}
    prefix = picture_name(project.info.layers[layer].name, parse_scheme("int4"))
    run = project.begin_run("error_map")
    kept = {f"{prefix}/{name}": array for name, array in arrays.items()}
    project.apply(run, Update(1, 1, arrays=kept))
    project.end_run(run, "complete")


def references(window: QWidget) -> None:
    """Print how fast this machine is just now."""
    values = np.random.default_rng(0).random(MANY)
    told(
        "reference: numpy.argsort of 60,000", timed(lambda _: np.argsort(values)), None
    )
    told(
        "reference: repaint of the whole window",
        timed(lambda _: window.repaint()),
        None,
    )


def of_opening(window: MainWindow, project: Project) -> None:
    """Print the time from a project to the repaint of all panels."""
    spent = timed(lambda _: window.context.set_project(project), turns=1)
    layers = len(project.info.layers)
    told(f"{layers:,} layers: all panels at first sight", spent, 1000)
    window.desk.arrange(is_wide=True)
    rest()
    spent = timed(lambda _: window.trade_off.invalidate("all"))
    told(f"{layers:,} layers: trade-off computed anew", spent, 100)


def of_selection(window: MainWindow) -> None:
    """Print the time from a click to the repaint of all visible panels."""
    selection = window.context.selection
    told("36 layers: select one, all panels", timed(lambda i: selection.set([i])), 100)
    bar = window.distribution.clip_bar
    window.desk.show("distribution")
    rest()
    window.distribution.scheme_box.setCurrentText("int4")
    settle()
    assert bar.grid is not None
    told("drag a clip line, one frame", timed(lambda i: bar.drag(1, 0.1 + i / 100)), 16)


def of_table(window: MainWindow) -> None:
    """Print the times of the table with 60,000 rows."""
    context, layers = window.context, window.layers
    header = layers.table.horizontalHeader()
    orders = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
    for key in ("error", "name"):
        column = KEYS.index(key)

        def sort(turn: int, column: int = column) -> None:
            header.setSortIndicator(column, orders[turn % 2])

        told(f"60,000 layers: sort by {key}", timed(sort), 100)
    texts = ("query error>1", "")
    told("60,000: filter", timed(lambda i: layers.filter.set_text(texts[i % 2])), 100)
    layers.filter.set_text("")
    select = context.selection.set
    told("60,000: select one, all panels", timed(lambda i: select([100 * i])), 100)
    everything = np.arange(MANY)
    told("60,000: select all", timed(lambda i: select(everything[i % 2 :])), 100)
    keys = "int4", "int8"

    def assign(turn: int) -> None:
        context.set_weight(everything, Scheme(keys[turn % 2]))

    told("60,000: set bits", timed(assign), 100)
    told("60,000: undo", timed(lambda _: context.undo_stack.undo()), 100)


def of_view(what: str, plot: Plot, wide: float, tall: tuple[float, float]) -> None:
    """Print the times of one frame of panning and of zooming."""

    def pan(turn: int) -> None:
        left = 0.3 * wide + turn * wide / 100
        plot.show_range([left, left + 0.2 * wide], list(tall))

    def zoom(turn: int) -> None:
        plot.show_range([0, wide * 0.8**turn], list(tall))

    told(f"{what}: pan", timed(pan, 20), 16)
    told(f"{what}: zoom", timed(zoom, 20), 16)


def of_pictures(window: MainWindow, folder: pathlib.Path) -> None:
    """Print the times of the largest plots."""
    rng = np.random.default_rng(0)
    low = rng.normal(size=POINTS)
    none = np.zeros(0, np.int64)
    ends = np.zeros(1, np.int64), np.array([-1.0, 1.0])
    data = Distribution(ends[0], ends[1], low, low + 1, none)
    plot = ChannelPlot("a million ranges")
    plot.resize(1000, 600)
    plot.show()
    plot.set_channels(data, by_range=False)
    of_view("a million points", plot, POINTS, (-6, 6))
    plot.close()
    path = folder / "large.qscope"
    with Project.create(make_info(2), path) as project:
        add_errors(project, make_errors(2))
        add_large_picture(project, 0)
    window.context.set_project(None)
    project = Project.open(path)
    window.context.set_project(project)
    view = window.error_map
    window.desk.show("error_map")
    rest()
    spent = timed(lambda _: view.scheme_box.setCurrentText("int4"), turns=1)
    assert not view.is_empty
    told("4096 x 14336 picture: first seen", spent, 300)
    rows, columns = map(float, MATRIX)
    of_view("4096 x 14336 picture", view.plots[0], columns, (0, rows))

    def closer(turn: int) -> None:
        view.plots[0].show_range([9000 - turn * 20, 9600], [1000, 1400])

    told("4096 x 14336 picture: single weights", timed(closer, 20), 16)
    window.context.set_project(None)
    project.close()


START = """
import os, sys, time
os.environ["QT_QPA_PLATFORM"] = "offscreen"
{body}
print(1000 * (time.time() - float(sys.argv[1])))
print(1000 * time.process_time())
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print(int(line.split()[1]) / 1000)
print("torch" in sys.modules)
"""
BARE = "import numpy, pyqtgraph; from PySide6.QtWidgets import QApplication"
SHOWN = """
import pathlib, tempfile
import app.entry, app.__main__
from PySide6.QtWidgets import QApplication
from app.main_window import MainWindow
from app.settings import Settings
class Window(MainWindow):
    def furnish(self, session=None):
        qt.exit() if {until!r} == "painted" else super().furnish(session)
qt = QApplication(["quantscope"])
folder = tempfile.TemporaryDirectory()
settings = Settings(pathlib.Path(folder.name) / "settings.ini")
window = Window(settings, furnished=False)
window.ready.connect(lambda: qt.exit())  # leaves the window open
window.show()
qt.exec()
if {project!r}:
    window.session.open_now(pathlib.Path({project!r}))
    qt.processEvents()
"""


def child(body: str) -> tuple[Spent, float]:
    """Return the time since the start and the megabytes of a fresh process."""
    spent, memory, torch = [], [], []
    for _ in range(5):
        command = [sys.executable, "-c", START.format(body=body), str(time.time())]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        lines = done.stdout.split()
        spent.append(Spent(float(lines[0]), float(lines[1])))
        memory.append(float(lines[2]) if len(lines) > 3 else float("nan"))
        torch.append(lines[-1] == "True")
    assert not any(torch), "the window imported torch"
    return median_of(spent), max(memory)


def of_process(folder: pathlib.Path) -> None:
    """Print the time to a window and the memory it takes."""
    spent, bare = child(BARE)
    told("reference: process that imports Qt, numpy and pyqtgraph", spent, None)
    spent, _ = child(SHOWN.format(until="painted", project=""))
    told("window visible after start", spent, 1000)
    spent, _ = child(SHOWN.format(until="ready", project=""))
    told("window usable after start", spent, 2000)
    path = folder / "many.qscope"
    many_layers().save(path)
    _, memory = child(SHOWN.format(until="ready", project=str(path)))
    mark = "" if memory <= MEGABYTES else "   over"
    print(f"memory with 60,000 layers: {memory:.0f} MB of {MEGABYTES} MB{mark}")
    print(f"reference: of which imports {bare:.0f} MB")


def main() -> None:
    """Print the table."""
    app = QApplication.instance() or QApplication(["quantscope"])
    print(f"{'median [ms]':<58}{'wall':>9}{'cpu':>9}{'budget':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        of_process(folder)
        window = MainWindow(Settings(folder / "settings.ini"))
        window.resize(1920, 1200)
        window.show()
        for project, acts in ((few_layers(), of_selection), (many_layers(), of_table)):
            references(window)
            of_opening(window, project)
            acts(window)
            window.context.set_project(None)
        of_pictures(window, folder)
        window.close()
    app.processEvents()


if __name__ == "__main__":
    main()
