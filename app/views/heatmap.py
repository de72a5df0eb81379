"""Heatmap: predicted error of every layer in every format; a click assigns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QBrush, QKeyEvent, QPen
from PySide6.QtWidgets import QComboBox, QLabel, QWidget

from app.context import AppContext
from app.models.error_table import columns_of, titles_and_columns, worst_first
from app.theme import theme
from app.views.captions import run_caption
from app.widgets.cell_map import LOCKED_FILL, MARK_FILL, MARK_INK, Marks
from app.widgets.data_table import Table
from app.widgets.empty_state import NOTHING
from app.widgets.format import with_error
from app.widgets.heatmap_plot import HeatmapPlot
from app.widgets.legend import Entry
from app.widgets.plot_axis import number
from app.widgets.plot_panel import PlotPanel
from quant_core.scheme import Scheme, parse_scheme

MEASURE = "predicted_error"
FLOAT = "float"
NETWORK, WORST = "Network order", "Worst first"
UNSURE = 0.5
"""Relative standard error from which a value in a cell is marked as rough."""


class HeatmapView(PlotPanel):
    """Layers x formats of predicted error on a log colour scale.

    Signals:
        rowsMoved: Other rows are in view.
    """

    rowsMoved = Signal()

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context; draw when shown."""
        super().__init__("Predicted error per layer and format", parent)
        self._context = context
        self._values = np.zeros((0, 0))
        self._stderrs = np.zeros((0, 0))
        self._keys: tuple[str, ...] = ()
        self._schemes: tuple[Scheme | None, ...] = ()
        self._names: list[str] = []
        self._order = np.zeros(0, dtype=np.int64)
        self._place = self._order
        self._unit = ""
        self._cursor = -1
        self._told: tuple[int, int] | None = None
        self._fits_selection = False
        self._refusals: dict[tuple[str, int, int], str | None] = {}
        self._build()
        context.projectChanged.connect(self._on_project)
        context.rowsAdded.connect(self._on_rows)
        context.runsChanged.connect(self._on_rows)
        context.assignmentChanged.connect(self._on_marks)
        context.selection.changed.connect(self._on_selection)
        self.message.connect(context.message)
        self.invalidate("all")

    def _build(self) -> None:
        self.map = HeatmapPlot("Predicted error, layers by formats", "viridis")
        self.plot = self.map.plot
        self.body.addWidget(self.map, 1)
        label = QLabel("&Order", self)
        self.order_box = QComboBox(self)
        self.order_box.setAccessibleName("Order of the layers")
        self.order_box.setToolTip("Which layer comes first")
        adjust = QComboBox.SizeAdjustPolicy.AdjustToContents
        self.order_box.setSizeAdjustPolicy(adjust)
        label.setBuddy(self.order_box)
        self.controls.addWidget(label)
        self.controls.addWidget(self.order_box)
        self.order_box.addItems([NETWORK, WORST])
        self.order_box.currentIndexChanged.connect(self._on_order)
        self.plot.hovered.connect(self._on_hover)
        self.plot.clicked.connect(self._on_click)
        self.plot.box.chooses = True
        self.plot.box.boxed.connect(self._on_boxed)
        self.plot.fitRequested.connect(self.fit)
        self.plot.box.sigRangeChanged.connect(self._on_range)
        self.link_switch = self.add_switch("Move with the bars of &Sensitivity")

    # -- what changed --------------------------------------------------------------

    @Slot()
    def _on_project(self) -> None:
        self._cursor, self._told = -1, None
        self.invalidate("all", "fit")

    @Slot()
    def _on_rows(self, measure: object = MEASURE) -> None:
        if measure == MEASURE:
            self.invalidate("values")

    @Slot(object)
    def _on_marks(self, _layers: object) -> None:
        self.invalidate("marks")

    @Slot()
    def _on_selection(self) -> None:
        self._fits_selection = False
        self.invalidate("marks", "reveal")

    @Slot()
    def _on_order(self, *_: object) -> None:
        self.invalidate("order")

    @Slot()
    def _on_range(self, *_: object) -> None:
        self._fits_selection = False
        self.rowsMoved.emit()

    @property
    def layers_shown(self) -> NDArray[np.int64]:
        """Layers from the top row down, in view or not."""
        return self._order

    def rows_shown(self) -> tuple[float, float] | None:
        """Return the rows in view; None while there is no picture."""
        low, high = self.plot.box.viewRange()[1]
        return None if self.is_empty else (low, high)

    def show_rows(self, low: float, high: float) -> None:
        """Show rows."""
        self.map.show_rows(low, high)

    def refresh(self, stale: set[str]) -> None:
        """Redraw what changed."""
        if stale & {"all", "values"}:
            rows = self.map.cells.rows
            if not self._read():
                return
            self._show_scale()
            self._show_values()
            if "fit" in stale or rows != self.map.cells.rows:
                self.map.show_all()
        elif "order" in stale and not self.is_empty:
            self._show_values()
        if not self.is_empty:
            self._show_marks()
            # What it is now assigned may be what changed.
            self._tell(self._told)
            if "reveal" in stale and self._context.selection.current >= 0:
                self.map.reveal(int(self._place[self._context.selection.current]))

    def _read(self) -> bool:
        """Take the table from the project; False leaves an empty state."""
        project = self._context.project
        if project is None or not project.info.layers:
            text = "Open a model to see which layers suffer in which number format."
            told = ("No model open", text) if project is None else NOTHING
            self.show_empty(*told, "Open a model…", "open")
            return False
        values, stderrs, keys = self._context.measure_table()
        if not keys or not np.isfinite(values).any():
            self.show_empty(
                "No predicted error yet",
                "Analyse the model: one pass forward and one back predict, for every "
                "layer and format, how far the output moves.",
                "Analyse",
                "analyse",
            )
            return False
        if keys != self._keys:
            self._take_formats(keys)
        self._names = [layer.name for layer in project.info.layers]
        # "float" is a choice like the others, and its error is exactly zero.
        zeros = np.zeros((len(values), 1))
        self._values = np.hstack([zeros, values])
        self._stderrs = np.hstack([zeros, stderrs])
        self._refusals.clear()
        run = project.latest_run(MEASURE)
        self._unit = run.unit if run is not None else ""
        self.set_subtitle(self._caption(run))
        self.show_plot()
        return True

    def _take_formats(self, keys: tuple[str, ...]) -> None:
        self._keys = keys
        self._schemes = (None, *(parse_scheme(key) for key in keys))
        chosen = self.order_box.currentText()
        self.order_box.blockSignals(True)
        self.order_box.clear()
        self.order_box.addItems([NETWORK, WORST, *(f"Worst at {k}" for k in keys)])
        self.order_box.setCurrentIndex(max(0, self.order_box.findText(chosen)))
        self.order_box.blockSignals(False)

    def _caption(self, run: Any) -> str:
        caption = run_caption(run, self._unit)
        text = f"How far the output moves when this layer alone is quantized. {caption}"
        unsure = self._stderrs > UNSURE * self._values
        share = float(np.mean(unsure[:, 1:])) if unsure.size else 0.0
        if share > 0.01:
            text += f" In {100 * share:.0f} % of the cells the error is only roughly "
            text += "known (~)."
        return text

    def _sort(self) -> None:
        values, column = self._values[:, 1:], self.order_box.currentIndex() - 2
        if self.order_box.currentIndex() == 0:
            self._order = np.arange(len(values))
        else:
            self._order = worst_first(values, column if column >= 0 else None)
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(len(self._order))

    # -- drawing -------------------------------------------------------------------

    def _show_values(self) -> None:
        self._sort()
        order = self.order_box.currentText()
        titles = f"layer, {order[0].lower()}{order[1:]}", "weight format"
        names = np.array(self._names, dtype=object)[self._order].tolist()
        self.map.set_names(names, (FLOAT, *self._keys), titles)
        self.map.set_values(self._values[self._order])

    def _show_scale(self) -> None:
        unit = f" [{self._unit}]" if self._unit else ""
        self.map.set_scale(self._values[:, 1:], f"predicted error{unit}")
        worst = np.unravel_index(np.nanargmax(self._values), self._values.shape)
        layer, column = int(worst[0]), int(worst[1])
        self.set_summary(
            f"{len(self._names):,} layers, worst {self._names[layer]} in "
            f"{(FLOAT, *self._keys)[column]}, {number(self._values[layer, column])} "
            f"{self._unit}."
        )

    def _show_marks(self) -> None:
        project = self._context.project
        assert project is not None
        assignment, selection = project.assignment, self._context.selection
        chosen = columns_of(assignment, self._keys)
        selected = np.zeros(len(self._names), dtype=bool)
        selected[selection.layers] = True
        current = selection.current
        self.map.cells.set_marks(
            Marks(
                chosen=chosen[self._order],
                locked=assignment.locked[self._order],
                selected=selected[self._order],
                current=int(self._place[current]) if current >= 0 else -1,
                cursor=self._cursor,
                text=self._cell_text,
                refused=self._is_refused,
            )
        )
        self._show_legend(int((chosen < 0).sum()))

    def _show_legend(self, elsewhere: int) -> None:
        project = self._context.project
        assert project is not None
        ink, white = pg.mkPen(MARK_INK, width=1.5), pg.mkBrush(MARK_FILL)
        hatch = theme().brush("muted")
        hatch.setStyle(Qt.BrushStyle.BDiagPattern)
        accent = theme().brush("accent")
        entries = [
            Entry("assigned now", "o", ink, white),
            Entry("assigned and locked", "s", ink, pg.mkBrush(LOCKED_FILL)),
            Entry("selected", "fill", theme().pen("accent"), accent),
        ]
        if np.isnan(self._values).any():
            border = theme().pen("border")
            entries.append(Entry("not analysed", "fill", border, hatch))
        if project.target != "any":
            muted = theme().pen("muted")
            text = f"not offered by {project.target}"
            entries.append(Entry(text, "x", muted, theme().brush("muted")))
        if elsewhere:
            text = f"{elsewhere:,} in a format without a column"
            none = QBrush(Qt.BrushStyle.NoBrush)
            entries.append(Entry(text, "fill", QPen(Qt.PenStyle.NoPen), none))
        self.legend.set_entries(tuple(entries))

    def _cell_text(self, row: int, column: int) -> str:
        layer = int(self._order[row])
        value, stderr = self._values[layer, column], self._stderrs[layer, column]
        rough = column > 0 and stderr > UNSURE * value
        return ("~" if rough else "") + number(float(value), 2)

    def _refusal(self, layer: int, column: int) -> str | None:
        """Return why the target refuses a format for a layer; None when it runs."""
        scheme, project = self._schemes[column], self._context.project
        if scheme is None or project is None:
            return None
        key = (project.target, layer, column)
        if key not in self._refusals:
            self._refusals[key] = project.refused(scheme, layer)
        return self._refusals[key]

    def _is_refused(self, row: int, column: int) -> bool:
        return self._refusal(int(self._order[row]), column) is not None

    @Slot()
    def fit(self) -> None:
        """Show the selected rows; once more shows all rows."""
        layers = self._context.selection.layers
        if self.is_empty:
            return
        if self._fits_selection or not len(layers):
            self.map.show_all()
            return
        places = self._place[layers]
        low, high = float(places.min()), float(places.max()) + 1
        margin = max(2.0, 0.05 * (high - low))
        self.map.show_rows(low - margin, high + margin)
        self._fits_selection = True

    # -- mouse and keys ------------------------------------------------------------

    def _cell_at(self, point: QPointF) -> tuple[int, int] | None:
        """Return layer and column under a point; column -1 is the selection strip."""
        cell = None if self.is_empty else self.map.cell_at(point)
        return None if cell is None else (int(self._order[cell[0]]), cell[1])

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        self._tell(None if point is None else self._cell_at(point))

    def _tell(self, cell: tuple[int, int] | None) -> None:
        """Read a cell out: layer and column; None for nothing."""
        self._told = cell
        self.read_out.set_full("" if cell is None else self.describe(*cell))

    def describe(self, layer: int, column: int) -> str:
        """Return the read-out of a cell: layer, format, value, present choice."""
        project = self._context.project
        assert project is not None
        parts = [self._names[layer]]
        if self.map.shares_pixels:
            parts[0] += " (the worst of several layers here)"
        if column == 0:
            parts.append("float: stored as it is, no error")
        elif column > 0:
            value = float(self._values[layer, column])
            known = with_error(value, float(self._stderrs[layer, column]))
            missing = math.isnan(value)
            parts.append(self._keys[column - 1])
            parts.append("not analysed" if missing else f"{known} {self._unit}")
        scheme = project.assignment.scheme_of(layer)
        parts.append(f"now {FLOAT if scheme is None else scheme.key}")
        if project.assignment.locked[layer]:
            parts.append("locked")
        reason = self._refusal(layer, column) if column > 0 else None
        if reason:
            parts.append(f"not offered: {reason}")
        return "  ·  ".join(parts)

    @Slot(object, object)
    def _on_click(self, point: QPointF, modifiers: Any) -> None:
        cell = self._cell_at(point)
        if cell is None:
            return
        layer, column = cell
        selection = self._context.selection
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            one = np.array([layer])
            selection.set(np.setxor1d(selection.layers, one), None)
        elif modifiers & Qt.KeyboardModifier.ShiftModifier:
            ends = self._place[[layer, max(selection.current, 0)]]
            low, high = sorted(ends.tolist())
            selection.set(self._order[low : high + 1], layer)
        elif self.map.shares_pixels:
            # What cannot be seen by itself is not edited.
            selection.set([layer], layer)
            self.map.show_single(int(self._place[layer]))
            self.message.emit("Zoomed in to single layers; click a cell to assign it.")
        elif column < 0:
            selection.set([layer], layer)
        else:
            if layer not in selection.layers:
                selection.set([layer], layer)
            self._cursor = column
            self.assign(column)

    @Slot(object, object)
    def _on_boxed(self, box: QRectF, adds: bool) -> None:
        """Select the layers whose rows a box touches."""
        rows = self.map.cells.rows
        first, last = max(math.floor(box.top()), 0), min(math.ceil(box.bottom()), rows)
        if first < last:
            self._context.selection.choose(self._order[first:last], adds=adds)

    def assign(self, column: int) -> None:
        """Give the selected layers the format of a column."""
        layers = self._context.selection.layers
        if len(layers) == 1:
            reason = self._refusal(int(layers[0]), column)
            if reason:
                self.message.emit(f"{self._names[int(layers[0])]}: {reason}")
                return
        if len(layers):
            self._context.set_weight(layers, self._schemes[column])

    def _tell_cursor(self) -> None:
        """Read out the cell that Enter assigns."""
        layer = self._context.selection.current
        if layer >= 0 and self._cursor >= 0:
            self._tell((layer, self._cursor))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move the current cell, Shift keeps the others selected too.

        Enter assigns, Escape clears.
        """
        key, selection = event.key(), self._context.selection
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        side = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if self.is_empty:
            super().keyPressEvent(event)
        elif key in step:
            row = int(self._place[selection.current]) if selection.current >= 0 else -1
            row = min(max(0, row + step[Qt.Key(key)]), self.map.cells.rows - 1)
            adds = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            layer = int(self._order[row])
            selection.choose([layer], layer, adds=adds)
            self._tell_cursor()
        elif key in side:
            last = self.map.cells.columns - 1
            self._cursor = min(max(0, self._cursor + side[Qt.Key(key)]), last)
            self.invalidate("marks")
            self._tell_cursor()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._cursor >= 0:
            self.assign(self._cursor)
        elif key == Qt.Key.Key_Escape:
            selection.set(np.zeros(0, dtype=np.int64), -1)
        else:
            super().keyPressEvent(event)

    def table(self) -> Table | None:
        """Return layers in the order shown, with values and standard errors."""
        if self.is_empty or not self._names:
            return None
        order = self._order
        values, stderrs = (x[order, 1:] for x in (self._values, self._stderrs))
        names = [self._names[i] for i in order]
        return Table(
            *titles_and_columns(names, self._keys, values, stderrs, self._unit)
        )
