"""How long a person waits for the window, beside what they would not notice.

Run from the project's root: `python -m tests.benchmarks.window`. Times are from the act
until every visible panel is painted and nothing is left to do: on the wall, against
the budgets of the design, and in processor time of the process, which says what they
would be were nothing else running. `block` is the longest time on the wall in which the
window took no key or click. Acts that go to and fro (one order and the other, int4 and
int8) are done equally often, and the slower of the two medians is told. References of
the same run (sorting 60,000 numbers, repainting the whole window, importing Qt) say how
slow the machine is.
"""

from __future__ import annotations

import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

# Read only once, at the first import of Qt.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PySide6.QtCore import QEventLoop, Qt, QTimer  # noqa: E402
from PySide6.QtWidgets import QApplication, QWidget  # noqa: E402

from analysis.error_picture import halving_of, largest_of, picture_name  # noqa: E402
from analysis.method import Row, Update  # noqa: E402
from analysis.project import Project  # noqa: E402
from app.main_window import MainWindow  # noqa: E402
from app.models.layer_columns import KEYS  # noqa: E402
from app.models.level_grid import Distribution  # noqa: E402
from app.settings import Settings  # noqa: E402
from app.views.findings import WAIT_MS  # noqa: E402
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
SWITCHED = "int4", "int8"
MEGABYTES = 500
TURNS = 10
"""Even, so that acts that go to and fro do both equally often."""
PASSES = 1000
"""Most passes of the event loop after one act."""
FINDINGS_MS = WAIT_MS + 50
"""By then the findings have begun."""

Act = Callable[[int], object]


def settle() -> float:
    """Let everything asked for be done and painted; return the longest pass [s]."""
    loop, longest = QEventLoop(), 0.0
    for _ in range(PASSES):
        begun = time.perf_counter()
        is_done = not loop.processEvents()
        longest = max(longest, time.perf_counter() - begun)
        if is_done:
            return longest
    raise AssertionError("the window never comes to rest")


def rest(milliseconds: int = 300) -> None:
    """Let docks find their places, and what waits for a pause be done."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()
    settle()


@dataclass(frozen=True)
class Spent:
    """Time by the clock on the wall, of the processor, and of the longest pass [ms]."""

    wall: float
    cpu: float
    block: float = math.nan


def median_of(spent: Sequence[Spent]) -> Spent:
    """Return the middle of each kind of time."""
    kinds = zip(*map(astuple, spent), strict=True)
    return Spent(*map(statistics.median, kinds))


def timed(act: Act, turns: int = TURNS, *, pause: int = 0) -> Spent:
    """Return the median time of an act with all its repaints.

    Args:
        act: Called with the number of the turn; odd ones may undo what even ones do.
        turns: How often.
        pause: Rest after each turn [ms]: a person pauses, and what waits for a pause
            (findings) belongs to no act.
    """
    spent = []
    settle()
    for turn in range(turns):
        wall, cpu = time.perf_counter(), time.process_time()
        act(turn)
        block = time.perf_counter() - wall
        block = max(block, settle())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        spent.append(Spent(1000 * wall, 1000 * cpu, 1000 * block))
        if pause:
            rest(pause)
    return max(
        (median_of(half) for half in (spent[::2], spent[1::2]) if half),
        key=lambda one: one.cpu,
    )


def told(what: str, spent: Spent, budget: float | None) -> None:
    """Print one line of the table of times."""
    wanted, mark = "", ""
    if budget is not None:
        wanted = f"{budget:8,.0f}"
        over = [name for name in ("wall", "cpu") if getattr(spent, name) > budget]
        mark = f"   over ({' and '.join(over)})" if over else ""
    block = "" if math.isnan(spent.block) else f"{spent.block:,.1f}"
    print(f"{what:<58}{spent.wall:9,.1f}{spent.cpu:9,.1f}{block:>8}{wanted}{mark}")


def many_layers() -> Project:
    """Return a project of 60,000 layers with errors and projections in two formats."""
    project = Project.create(model_info(MANY))
    rng = np.random.default_rng(0)
    names = [layer.name for layer in project.info.layers]
    columns = [("weight", name, key) for key in SWITCHED for name in names]
    own = rng.lognormal(size=(2, len(columns)))
    v = rng.normal(size=(32, len(columns))).astype(np.float32)
    arrays = {"weight": np.ones(32), "sample": np.arange(32), "v": v, "own": own}
    arrays["columns"] = np.array(columns)
    rows = tuple(
        Row(name, key, value, stderr)
        for (_, name, key), value, stderr in zip(columns, *own.tolist(), strict=True)
    )
    run = project.begin_run("predicted_error", unit="nats", samples=32)
    kept = {f"predicted_error/{name}": array for name, array in arrays.items()}
    project.apply(run, Update(1, 1, rows=rows, arrays=kept, samples=32))
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
    spent = timed(lambda _: window.trade_off.invalidate("front"))
    told(f"{layers:,} layers: trade-off computed anew", spent, 100)


def of_selection(window: MainWindow) -> None:
    """Print the time from a click to the repaint of all visible panels."""
    selection = window.context.selection
    told("36 layers: select one, all panels", timed(lambda i: selection.set([i])), 100)
    of_edits(window, np.arange(36))
    bar = window.distribution.clip_bar
    window.desk.show("distribution")
    rest()
    window.distribution.scheme_box.setCurrentText("int4")
    settle()
    assert bar.grid is not None
    told("drag a clip line, one frame", timed(lambda i: bar.drag(1, 0.1 + i / 100)), 16)


def of_edits(window: MainWindow, layers: NDArray[np.int64]) -> None:
    """Print the times of giving layers another format, and of taking it back."""
    context, stack = window.context, window.context.undo_stack

    def assign(turn: int) -> None:
        context.set_weight(layers, Scheme(SWITCHED[turn % 2]))

    acts = (
        ("set bits", assign),
        ("undo", lambda _: stack.undo()),
        ("redo", lambda _: stack.redo()),
    )
    for name, act in acts:
        told(f"{len(layers):,}: {name}", timed(act, pause=FINDINGS_MS), 100)


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
    of_edits(window, everything)


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
    print(f"{'median [ms]':<58}{'wall':>9}{'cpu':>9}{'block':>8}{'budget':>8}")
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
