"""Rounding error: every weight of a layer as a pixel, two schemes side by side."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QSize, Qt, Slot
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QSpinBox, QWidget

from analysis.error_picture import MEASURE, ErrorPicture, find_picture, stack_axis
from analysis.messages import FORMATS
from app.context import AppContext
from app.selection import PinnableSelection
from app.theme import theme
from app.widgets.color_bar import ColorBar
from app.widgets.data_table import Table
from app.widgets.format import significant
from app.widgets.legend import Entry
from app.widgets.matrix_plot import COLOURS, MatrixPlot, ProfilePlot
from app.widgets.pin_button import PinButton
from app.widgets.plot_panel import PlotPanel
from app.widgets.tick_box import TickBox
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer

ASSIGNED, ALONE = "As assigned", "nothing"
SIZES, SIGNS = "viridis", "CET-CBD1"


class ErrorMapView(PlotPanel):
    """Picture of `stored - true` weights of the layer looked at."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context; draw when shown."""
        super().__init__("Rounding error", parent)
        self._context = context
        self._selection = PinnableSelection(context.selection, self)
        self._pictures: list[ErrorPicture] = []
        self._scale_of: object = None
        self._build_controls()
        self._build_plots()
        context.projectChanged.connect(self._on_any)
        context.runsChanged.connect(self._on_any)
        context.rowsAdded.connect(self._on_rows)
        context.assignmentChanged.connect(self._on_assignment)
        context.channelChosen.connect(self._on_channel)
        self._selection.changed.connect(self._on_any)
        self.message.connect(context.message)
        self.invalidate("all")

    # -- parts ---------------------------------------------------------------------

    def _build_controls(self) -> None:
        self.scheme_box = self._scheme_box(ASSIGNED, "Scheme whose errors are shown")
        self.beside_box = self._scheme_box(ALONE, "Scheme shown beside it")
        self.matrix_box = QSpinBox(self)
        self.matrix_box.setAccessibleName("Which of the stacked matrices")
        self.matrix_box.setToolTip("Which expert, counted from 0")
        self._matrix_label = QLabel("E&xpert", self)
        self.sign_box = TickBox("S&igned", self)
        self.sign_box.setToolTip(
            "Colours tell too high from too low; otherwise only how far off"
        )
        named = (
            (QLabel("&Scheme", self), self.scheme_box),
            (QLabel("&Beside", self), self.beside_box),
            (self._matrix_label, self.matrix_box),
        )
        for label, widget in named:
            label.setBuddy(widget)
            self.controls.addWidget(label)
            self.controls.addWidget(widget)
        self.controls.addWidget(self.sign_box)
        self.corner.addWidget(PinButton(self._selection, self))
        self.matrix_box.valueChanged.connect(self._on_any)
        self.sign_box.toggled.connect(self._on_any)

    def _scheme_box(self, first: str, name: str) -> QComboBox:
        box = QComboBox(self)
        box.addItem(first)
        box.setAccessibleName(name)
        box.setToolTip(name)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        box.currentIndexChanged.connect(self._on_any)
        return box

    def _build_plots(self) -> None:
        numbers = ("", " beside it")
        self.plots = [MatrixPlot(f"Picture of the error{n}") for n in numbers]
        self.columns = [
            ProfilePlot("column", f"Error of every column{n}") for n in numbers
        ]
        self.rows = ProfilePlot("row", "Error of every row")
        self.bar = ColorBar(pg.colormap.get(SIZES), self, is_log=False)
        self._grid = grid = QGridLayout()
        grid.setSpacing(0)
        for at, (plot, column) in enumerate(zip(self.plots, self.columns, strict=True)):
            grid.addWidget(plot, 0, at)
            grid.addWidget(column, 1, at)
            for one in (plot, column):
                one.axis("left").setWidth(theme().em(8))
            column.box.setXLink(plot.box)
            plot.hovered.connect(self._on_hover)
            plot.clicked.connect(self._on_click)
        grid.addWidget(self.rows, 0, 2)
        grid.addWidget(self.bar, 0, 3)
        grid.setColumnStretch(2, 1)
        grid.setRowStretch(0, 4)
        grid.setRowStretch(1, 1)
        self.plots[1].box.setXLink(self.plots[0].box)
        self.plots[1].box.setYLink(self.plots[0].box)
        self.rows.box.setYLink(self.plots[0].box)
        self.rows.axis("left").setWidth(theme().em(1))
        self.rows.setMinimumWidth(theme().em(11))
        self.body.addLayout(grid, 1)
        self.bar.limitsChanged.connect(self._on_limits)

    # -- what changed --------------------------------------------------------------

    @Slot()
    def _on_any(self, *_: object) -> None:
        self.invalidate("all")

    @Slot(object)
    def _on_rows(self, measure: object) -> None:
        if measure == MEASURE:
            self.invalidate("all")

    @Slot(object)
    def _on_assignment(self, layers: object) -> None:
        if self._selection.current in np.asarray(layers):
            self.invalidate("all")

    @Slot(object)
    def _on_channel(self, chosen: tuple[int, int]) -> None:
        layer, channel = chosen
        if layer == self._selection.current:
            for plot in self.plots:
                plot.mark_row(channel if channel < plot.shape[0] else -1)

    @Slot(object)
    def _on_limits(self, _limits: object) -> None:
        self._colour()

    # -- what is wanted ------------------------------------------------------------

    @property
    def layer(self) -> Layer | None:
        """The layer looked at."""
        project, current = self._context.project, self._selection.current
        return None if project is None or current < 0 else project.info.layers[current]

    def schemes(self) -> list[Scheme]:
        """Return the schemes to show, the float left out: it has no error."""
        project = self._context.project
        if project is None or self._selection.current < 0:
            return []
        wanted: list[Scheme | None] = []
        if self.scheme_box.currentIndex() > 0:
            wanted.append(parse_scheme(self.scheme_box.currentText()))
        else:
            wanted.append(project.assignment.scheme_of(self._selection.current))
        if self.beside_box.currentIndex() > 0:
            wanted.append(parse_scheme(self.beside_box.currentText()))
        return [scheme for scheme in dict.fromkeys(wanted) if scheme is not None]

    @property
    def matrix(self) -> int:
        """Which of the stacked matrices is shown."""
        stacked = self.layer is not None and stack_axis(self.layer) is not None
        return self.matrix_box.value() if stacked else 0

    # -- drawing -------------------------------------------------------------------

    def refresh(self, stale: set[str]) -> None:
        """Draw again."""
        self._fill()
        layer, project = self.layer, self._context.project
        schemes = self.schemes()
        if layer is None or project is None or not schemes:
            self._show_nothing(layer)
            return
        found = [find_picture(project, layer.name, s, self.matrix) for s in schemes]
        self._pictures = [picture for picture in found if picture is not None]
        if len(self._pictures) < len(schemes):
            names = " and ".join(
                s.key for s, f in zip(schemes, found, strict=True) if f is None
            )
            self.show_empty(
                "No picture yet",
                f"Round the {layer.parameters:,} weights of {layer.name} to {names} "
                "and see each one's error.",
                "Make the picture",
                "error_map",
                controls=True,
            )
            return
        self.show_plot()
        self._draw(layer, schemes)

    def _show_nothing(self, layer: Layer | None) -> None:
        project = self._context.project
        if project is None:
            text = "Open a model to see where in its weights the errors are."
            self.show_empty("No model open", text, "Open a model…", "open")
        elif layer is None:
            self.show_no_layer(len(project.info.layers))
        else:
            text = f"{layer.name} is kept as stored. Choose a scheme to try on it."
            self.show_empty("Nothing is rounded", text, controls=True)

    def _fill(self) -> None:
        """Offer the schemes of the project and the matrices of the layer."""
        project, layer = self._context.project, self.layer
        keys: tuple[str, ...] = ()
        if project is not None:
            keys = tuple(project.formats("predicted_error", "error", "weight"))
            keys = keys or tuple(project.formats("weights", "sqnr", "weight"))
            keys = keys or FORMATS
        for box in (self.scheme_box, self.beside_box):
            if keys == tuple(box.itemText(i) for i in range(1, box.count())):
                continue
            first, chosen = box.itemText(0), box.currentText()
            box.blockSignals(True)
            box.clear()
            box.addItems([first, *keys])
            box.setCurrentIndex(max(0, box.findText(chosen)))
            box.blockSignals(False)
        axis = None if layer is None else stack_axis(layer)
        for widget in (self._matrix_label, self.matrix_box):
            widget.setVisible(axis is not None)
        if layer is not None and axis is not None:
            self.matrix_box.blockSignals(True)
            self.matrix_box.setRange(0, layer.shape[axis] - 1)
            self.matrix_box.blockSignals(False)

    def _draw(self, layer: Layer, schemes: list[Scheme]) -> None:
        pictures, both = self._pictures, len(self._pictures) > 1
        self._show_scale()
        moved = self.plots[0].shape != pictures[0].shape
        for at, (plot, column) in enumerate(zip(self.plots, self.columns, strict=True)):
            picture = pictures[at] if at < len(pictures) else None
            for widget in (plot, column):
                widget.setVisible(picture is not None)
            self._grid.setColumnStretch(at, 5 if picture is not None else 0)
            plot.set_matrix(picture)
            profile = [] if picture is None else [picture.profile("column")]
            column.set_profiles(profile, self._top(), first=at)
        if moved:
            self.fit()
        self.rows.set_profiles([p.profile("row") for p in pictures], self._top())
        self._colour()
        names = " (left) and ".join(scheme.key for scheme in schemes)
        self.set_title(f"Rounding error of {layer.name}")
        rows, columns = pictures[0].shape
        stack = f", matrix {self.matrix} of the stack" if self.matrix else ""
        parts = [f"{names}{' (right)' if both else ''}: stored minus true weight"]
        parts.append(f"{rows:,} output channels x {columns:,} weights{stack}")
        worst = ", ".join(significant(picture.worst) for picture in pictures)
        parts.append(f"largest {worst}")
        self.set_subtitle(" · ".join(parts) + ". Each pixel shows its worst weight.")
        self.set_summary(f"Errors of {rows:,} x {columns:,} weights, largest {worst}.")
        self._show_legend(schemes)

    def _top(self) -> float:
        """Return the end of every axis of errors: both pictures have the same."""
        return max(picture.worst for picture in self._pictures)

    def _show_scale(self) -> None:
        """Give both pictures the same colours, proposed anew for another layer."""
        signed, pictures = self.sign_box.isChecked(), self._pictures
        key = signed, tuple((p.run, p.name) for p in pictures)
        if key == self._scale_of:
            return
        self._scale_of = key
        worst = max(max(p.worst for p in pictures), 1e-30)
        robust = max(max(p.robust for p in pictures), worst * 2e-3)
        self.bar.set_range(
            pg.colormap.get(SIGNS if signed else SIZES),
            (-worst if signed else 0.0, worst),
            (-robust if signed else 0.0, robust),
            "stored minus true" if signed else "size of the rounding error",
            is_mirrored=signed,
        )

    def _colour(self) -> None:
        for plot in self.plots[: len(self._pictures)]:
            plot.image.set_colours(
                self.bar.limits,
                self.bar.lookup(),
                is_signed=self.sign_box.isChecked(),
            )

    def _show_legend(self, schemes: list[Scheme]) -> None:
        entries, none = [], theme().brush("base")
        for scheme, colour in zip(schemes, COLOURS, strict=False):
            rms, dots = theme().pen(colour), theme().pen(colour)
            dots.setStyle(Qt.PenStyle.DotLine)
            entries.append(Entry(f"root mean square, {scheme.key}", "line", rms, none))
            entries.append(Entry("largest", "line", dots, none))
        self.legend.set_entries(tuple(entries))

    @Slot()
    def fit(self) -> None:
        """Show the whole matrix."""
        self.plots[0].fit()

    # -- reading off ---------------------------------------------------------------

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        self.read_out.set_full("" if point is None else self.describe(point))

    def describe(self, point: QPointF) -> str:
        """Return row, column, weight, stored value and error under a point.

        Where several weights share the pixel it is the worst of them.
        """
        cells = self.plots[0].cells_at(point)
        if cells is None or not self._pictures:
            return ""
        first, *others = self._pictures
        errors = first.read(0, *cells)
        i, j = np.unravel_index(np.abs(errors).argmax(), errors.shape)
        row, column = cells[0].start + int(i), cells[1].start + int(j)
        one = slice(row, row + 1), slice(column, column + 1)
        weight = float(first.weights(*one)[0, 0])
        parts = [f"row {row:,}", f"column {column:,}"]
        if errors.size > 1:
            parts[0] = f"worst of {errors.size:,} weights here: {parts[0]}"
        parts.append(f"weight {significant(weight)}")
        for picture in (first, *others):
            error = float(picture.read(0, *one)[0, 0])
            stored = f"becomes {significant(weight + error)}"
            parts.append(f"{stored}, error {significant(error)}")
        return "  ·  ".join(parts)

    @Slot(object, object)
    def _on_click(self, point: QPointF, _modifiers: object) -> None:
        """Mark the channel of a row in the other plots."""
        if self.plots[0].cells_at(point) is not None:
            row = int(point.y())
            self._context.choose_channel(self._selection.current, row)

    def table(self) -> Table | None:
        """Return the profiles of rows and columns."""
        if self.is_empty or not self._pictures:
            return None
        titles: list[str] = []
        columns: list[list[object]] = []
        for side in ("row", "column"):
            profiles = [picture.profile(side) for picture in self._pictures]
            titles.append(side)
            columns.append(list(range(len(profiles[0][0]))))
            for scheme, pair in zip(self.schemes(), profiles, strict=True):
                for what, values in zip(("rms", "largest"), pair, strict=True):
                    titles.append(f"{what} error of the {side}, {scheme.key}")
                    columns.append(values.tolist())
        rows = max(map(len, columns))
        filled = tuple([*column, *[""] * (rows - len(column))] for column in columns)
        return Table(tuple(titles), filled)

    def sizeHint(self) -> QSize:
        """Return a size at which the picture can be read."""
        return QSize(theme().em(80), theme().line(34))
