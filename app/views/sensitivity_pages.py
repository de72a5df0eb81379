"""The pictures of the sensitivity panel that have a row, line or point per layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from analysis.comparison import Reading, agreement, side_by_side
from analysis.quality import rank_correlation
from app.models.sensitivity import Scene, errors_shown
from app.widgets.bar_columns import BarColumn, BarColumns
from app.widgets.data_table import Table
from app.widgets.layer_scatter import LayerScatter, Side
from app.widgets.rank_plot import RankPlot

_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands above a picture.

    Attributes:
        title: What is shown.
        text: Under it: how to read it, and on how much data.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no picture.

    Attributes:
        title: What is missing.
        text: What to do about it.
        action: Text of the button; "" for none.
        key: The window's action behind it.
    """

    title: str
    text: str
    action: str = ""
    key: str = ""


class Page(QWidget):
    """One picture of a scene.

    A subclass keeps the scene it drew in `scene`, puts controls of its own into
    `tools`, and overrides `draw`, `table`, `fit` and, where layers can be seen,
    `mark`.

    Signals:
        picked: Layer that was clicked, and the keyboard modifiers.
        boxed: Layers in a box, and whether they are to be added.
        pointed: Layer under the mouse, -1 for none.
        said: Text for the read-out, where what is pointed at is no layer.
        redraw: A control of the page was changed.
        fitRequested: The person asked for the whole picture.
    """

    picked = Signal(object, object)
    boxed = Signal(object, object)
    pointed = Signal(object)
    said = Signal(object)
    redraw = Signal()
    fitRequested = Signal()

    uses = frozenset({"criteria", "format", "log", "all", "order"})
    """Controls of the panel that change this picture."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make a page without a picture."""
        super().__init__(parent)
        self.scene: Scene | None = None
        self.tools: tuple[QWidget, ...] = ()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw a scene."""
        raise NotImplementedError

    def mark(self, layers: NDArray[np.int64], current: int) -> None:
        """Show which layers are selected."""

    def table(self) -> Table | None:
        """Return the numbers behind the picture."""
        raise NotImplementedError

    @Slot()
    def fit(self) -> None:
        """Show the whole picture."""
        raise NotImplementedError

    def take_key(self, key: int) -> bool:
        """Act on a key that belongs to this picture; False leaves it to others."""
        return False

    def _layers_table(self) -> Table | None:
        if self.scene is None:
            return None
        scene = self.scene
        return Table(*side_by_side(scene.names, scene.readings, scene.layers))

    @Slot(object, object)
    def _on_row(self, row: int, modifiers: object) -> None:
        if self.scene is not None and 0 <= row < len(self.scene.layers):
            self.picked.emit(int(self.scene.layers[row]), modifiers)

    @Slot(object, object)
    def _on_boxed(self, rows: NDArray[np.int64], adds: bool) -> None:
        if self.scene is not None and len(rows):
            self.boxed.emit(self.scene.layers[rows], adds)

    @Slot(object)
    def _on_pointed(self, row: int) -> None:
        layers = _NONE if self.scene is None else self.scene.layers
        self.pointed.emit(int(layers[row]) if 0 <= row < len(layers) else -1)


def nothing_yet() -> Missing:
    """Return what is said while no layer has a number."""
    return Missing(
        "No sensitivity yet",
        "Analyse the model by one or more measures: each says in its own way which "
        "layers need bits.",
        "Analyse",
        "analyse",
    )


def samples_told(scene: Scene) -> str:
    """Return format, how much was measured, what is left out, what is missing."""
    counts = sorted({r.samples for r in scene.readings if r.samples})
    told = " and ".join(f"{count:,}" for count in counts)
    parts = [scene.format] if scene.format else []
    if told:
        parts.append(f"{told} calibration samples")
    if scene.left_out:
        shown, every = len(scene.layers), len(scene.names)
        parts.append(f"{shown:,} of {every:,} layers, most sensitive by any measure")
    states = sorted({reading.state for reading in scene.readings})
    if len(states) > 1:
        told = " and ".join(states)
        parts.append(f"not comparable, as the other layers were {told}")
    text = " · ".join(parts)
    if scene.missing:
        text += f". Not in {scene.format or 'this format'}: {', '.join(scene.missing)}"
    return f" {text}." if text else ""


def _order_told(scene: Scene) -> str:
    if (np.diff(scene.layers) > 0).all():
        return "In the order of the network."
    return f"Most sensitive by {scene.readings[0].criterion.short} first."


class BarsPage(Page):
    """One column of bars for each criterion."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(parent)
        self.bars = BarColumns(self)
        self.column.addWidget(self.bars)
        self.bars.hovered.connect(self._on_pointed)
        self.bars.clicked.connect(self._on_row)
        self.bars.boxed.connect(self._on_boxed)
        self.bars.fitRequested.connect(self.fitRequested)

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw values and standard errors."""
        self.scene = scene
        if not scene.readings:
            return nothing_yet()
        columns = []
        for reading in scene.readings:
            low, high = errors_shown(reading)
            rows = scene.layers
            columns.append(
                BarColumn(
                    reading.criterion.short,
                    reading.unit,
                    reading.values[rows],
                    low[rows],
                    high[rows],
                    is_log=scene.is_log and reading.is_ratio,
                )
            )
        names = [scene.names[layer] for layer in scene.layers]
        self.bars.set_rows(names, columns, "layer")
        return Caption(
            "Sensitivity of every layer",
            "One column per measure, each in its own unit; whiskers are standard "
            f"errors. {_order_told(scene)}{samples_told(scene)}",
        )

    def mark(self, layers: NDArray[np.int64], current: int) -> None:
        """Colour the bars of the selection."""
        if self.scene is not None:
            self.bars.set_chosen(self.scene.rows_of(layers))
            rows = self.scene.rows_of(np.array([current]))
            if len(rows):
                self.bars.reveal(int(rows[0]))

    def table(self) -> Table | None:
        """Return values, standard errors and ranks."""
        return self._layers_table()

    @Slot()
    def fit(self) -> None:
        """Show all rows."""
        self.bars.fit()


class PlotPage(Page):
    """A plot with something of its own for every layer."""

    plot: RankPlot | LayerScatter

    def _add_plot(self, plot: RankPlot | LayerScatter) -> None:
        self.column.addWidget(plot)
        plot.pointed.connect(self._on_pointed)
        plot.picked.connect(self._on_row)
        plot.boxed.connect(self._on_boxed)
        plot.fitRequested.connect(self.fitRequested)

    def mark(self, layers: NDArray[np.int64], current: int) -> None:
        """Make the selection stand out."""
        if self.scene is not None:
            self.plot.set_chosen(self.scene.rows_of(layers))

    def table(self) -> Table | None:
        """Return values, standard errors and ranks."""
        return self._layers_table()

    @Slot()
    def fit(self) -> None:
        """Show all layers."""
        self.plot.fit()


class RanksPage(PlotPage):
    """How the order of the layers changes from one criterion to the next."""

    uses = frozenset({"criteria", "format", "all"})
    plot: RankPlot

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(parent)
        self.plot = RankPlot("Ranks of the layers by each measure", self)
        self._add_plot(self.plot)

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw a line for each layer."""
        self.scene = scene
        if not scene.readings:
            return nothing_yet()
        rows = scene.layers
        places = np.stack([_among(r.need[rows]) for r in scene.readings], 1)
        names = [scene.names[layer] for layer in rows]
        titles = [reading.criterion.short for reading in scene.readings]
        self.plot.set_ranks(names, titles, places)
        text = "Each line is a layer; the most sensitive one is on top."
        found = agreement(scene.readings)
        pairs = found[np.triu_indices(len(found), 1)]
        if len(pairs) and not np.isnan(pairs).all():
            low, high = float(np.nanmin(pairs)), float(np.nanmax(pairs))
            text += f" Spearman between measures {low:.2f} to {high:.2f}."
        if self.plot.drawn < len(rows):
            text += f" {self.plot.drawn:,} evenly chosen lines are drawn."
        return Caption("Ranks by each measure", text + samples_told(scene))


def _among(need: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks among the layers shown, 1 for the largest need."""
    ranks, known = np.full(len(need), np.nan), np.flatnonzero(~np.isnan(need))
    ranks[known[np.argsort(-need[known], kind="stable")]] = np.arange(1, len(known) + 1)
    return ranks


class ScatterPage(PlotPage):
    """Two criteria against each other."""

    uses = frozenset({"criteria", "format", "log", "all"})
    plot: LayerScatter

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(parent)
        self.plot = LayerScatter("One measure against another", self)
        self._add_plot(self.plot)
        self.across, self.up = QComboBox(), QComboBox()
        label = QLabel("against")
        for box, where in ((self.up, "upwards"), (self.across, "across")):
            box.setAccessibleName(f"Measure {where}")
            box.setMinimumContentsLength(14)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.activated.connect(self.redraw)
        self.tools = (self.up, label, self.across)

    def choose(self, across: str, up: str) -> None:
        """Show two criteria, by their keys, when next drawn."""
        for box, key in ((self.across, across), (self.up, up)):
            if box.findData(key) < 0:
                box.addItem(key, key)
            box.setCurrentIndex(box.findData(key))

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw a point for each layer."""
        self.scene = scene
        if not scene.readings:
            return nothing_yet()
        if len(scene.readings) < 2:
            return Missing(
                "One measure alone has nothing to be compared with",
                "Choose another under Measures, or analyse the model by a second one.",
                "Analyse",
                "analyse",
            )
        x = self._chosen(self.across, scene, 1)
        y = self._chosen(self.up, scene, 0)
        self.plot.set_points(_side(x, scene), _side(y, scene))
        known = int((~np.isnan(x.need) & ~np.isnan(y.need)).sum())
        found = rank_correlation(x.need, y.need)
        text = f"Spearman {found:.3f}" if found == found else "Too few for Spearman"
        return Caption(
            f"{y.title} against {x.title}",
            f"{text} over {known:,} layers.{samples_told(scene)}",
        )

    def _chosen(self, box: QComboBox, scene: Scene, usual: int) -> Reading:
        """Fill a list and return the reading chosen in it."""
        keys = [reading.criterion.key for reading in scene.readings]
        chosen = box.currentData()
        titles = [reading.criterion.short for reading in scene.readings]
        if [box.itemText(i) for i in range(box.count())] != titles:
            box.clear()
            for key, title in zip(keys, titles, strict=True):
                box.addItem(title, key)
        number = keys.index(chosen) if chosen in keys else usual % len(keys)
        box.setCurrentIndex(number)
        return scene.readings[number]


def _side(reading: Reading, scene: Scene) -> Side:
    rows = scene.layers
    return Side(
        reading.title,
        reading.unit,
        reading.values[rows],
        reading.stderrs[rows],
        scene.is_log and reading.is_ratio,
    )
