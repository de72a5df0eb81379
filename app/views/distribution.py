"""Distribution: values of a layer, the levels of a scheme over them, its channels."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QSize, Qt, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QLabel,
    QSizePolicy,
    QSpinBox,
    QSplitter,
    QWidget,
)

from app.context import AppContext
from app.links import ValueLink
from app.models.kept import INPUT, SOURCES, WEIGHTS, kept_distribution, why_missing
from app.models.level_grid import (
    SHARED,
    TYPICAL,
    Distribution,
    LevelGrid,
    bins_and_channels,
    grid_of,
)
from app.selection import PinnableSelection
from app.theme import theme
from app.views.captions import grid_caption
from app.views.clip_bar import ClipBar
from app.widgets.channel_plot import ChannelPlot
from app.widgets.data_table import Table
from app.widgets.format import significant
from app.widgets.histogram_plot import HistogramPlot
from app.widgets.legend import Entry
from app.widgets.pin_button import PinButton
from app.widgets.plot_panel import PlotPanel
from app.widgets.tick_box import TickBox
from quant_core.ranges import Manual, get_range
from quant_core.scheme import Scheme, parse_scheme

ASSIGNED = "Assigned"


class DistributionView(PlotPanel):
    """Histogram and channel ranges of the layer looked at."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context; draw when shown."""
        super().__init__("Distribution", parent)
        self._context = context
        self._selection = PinnableSelection(context.selection, self)
        self._data: Distribution | None = None
        self._grid: LevelGrid | None = None
        self._shown_of: tuple[int, str] = (-1, "")
        self._build_controls()
        self._build_plots()
        context.projectChanged.connect(self._on_any)
        context.runsChanged.connect(self._on_any)
        context.rowsAdded.connect(self._on_rows)
        self._selection.changed.connect(self._on_any)
        context.channelChosen.connect(self._on_channel)
        context.assignmentChanged.connect(self._on_assignment)
        self.message.connect(context.message)
        self.invalidate("all")

    # -- parts ---------------------------------------------------------------------

    def _build_controls(self) -> None:
        self.source_box = QComboBox(self)
        # Short, so that the line of controls fits a narrow panel.
        for key, text in ((WEIGHTS, "Weights"), (INPUT, "Inputs")):
            self.source_box.addItem(text, key)
        self.source_box.setAccessibleName("Weights or input activations")
        self.source_box.setToolTip("The weights of the layer, or what it is given")
        self.scheme_box = QComboBox(self)
        self.scheme_box.setAccessibleName("Scheme whose levels are shown")
        self.scheme_box.setToolTip("Whose levels are drawn over the histogram")
        self.scheme_box.addItem(ASSIGNED)
        for box in (self.source_box, self.scheme_box):
            box.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.channel_box = QSpinBox(self)
        self.channel_box.setRange(TYPICAL, 0)
        self.channel_box.setValue(TYPICAL)
        self.channel_box.setSpecialValueText("typical")
        self.channel_box.setAccessibleName("Channel whose levels are shown")
        self.channel_box.setToolTip(
            "With one scale per channel: whose levels are drawn. The typical channel "
            "has the median range; a click on a channel below chooses it."
        )
        self.log_box = TickBox("Lo&g", self)
        self.log_box.setChecked(True)
        self.log_box.setToolTip("A log axis shows the few outliers beside the many")
        self.sort_box = TickBox("&Widest", self)
        self.log_box.setAccessibleName("Log counts")
        self.sort_box.setAccessibleName("Widest channels first")
        self.sort_box.setToolTip("Order the channels by their largest magnitude")
        self.controls.addWidget(self.source_box)
        named = (("&Scheme", self.scheme_box), ("&Channel", self.channel_box))
        for text, widget in named:
            label = QLabel(text, self)
            label.setBuddy(widget)
            self.controls.addWidget(label)
            self.controls.addWidget(widget)
        self.controls.addWidget(self.log_box)
        self.controls.addWidget(self.sort_box)
        self.corner.addWidget(PinButton(self._selection, self))
        self.source_box.currentIndexChanged.connect(self._on_any)
        self.scheme_box.currentIndexChanged.connect(self._on_grid)
        self.channel_box.valueChanged.connect(self._on_grid)
        self.log_box.toggled.connect(self._on_any)
        self.sort_box.toggled.connect(self._on_any)

    def _build_plots(self) -> None:
        self.histogram = HistogramPlot("Histogram of the values with the levels")
        self.channels = ChannelPlot("Smallest and largest value of every channel")
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.histogram)
        splitter.addWidget(self.channels)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        for plot in (self.histogram, self.channels):
            plot.setMinimumHeight(theme().line(5))
            plot.setSizePolicy(
                QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding
            )
            plot.axis("left").setWidth(theme().em(10))
        self.body.addWidget(splitter, 1)
        self.clip_bar = ClipBar(self)
        self.add_control_row(self.clip_bar)
        self.clip_bar.changed.connect(self._draw_grid)
        self.clip_bar.settled.connect(self._on_grid)
        self.clip_bar.applied.connect(self._on_limits)
        self.clip_bar.predictRequested.connect(self._on_predict)
        self.link_switch = self.add_switch("&Link values of both plots")
        ValueLink(self.histogram, self.channels, self.link_switch)
        self.histogram.dragged.connect(self.clip_bar.drag)
        self.histogram.dropped.connect(self._on_grid)
        self.histogram.resetRequested.connect(self.clip_bar.reset)
        self.histogram.hovered.connect(self._on_hover_value)
        self.channels.hovered.connect(self._on_hover_channel)
        self.channels.clicked.connect(self._on_click_channel)

    # -- what changed --------------------------------------------------------------

    @property
    def source(self) -> str:
        """Which tensor is shown: `WEIGHTS` or `INPUT`."""
        return str(self.source_box.currentData())

    @Slot()
    def _on_any(self, *_: object) -> None:
        self.invalidate("all")

    @Slot(object)
    def _on_rows(self, measure: object) -> None:
        if measure == self.source:
            self.invalidate("all")

    @Slot()
    def _on_grid(self, *_: object) -> None:
        self.invalidate("grid")

    @Slot(object)
    def _on_assignment(self, layers: object) -> None:
        if self._selection.current in np.asarray(layers):
            self.invalidate("grid")

    @Slot(object)
    def _on_limits(self, scheme: object) -> None:
        """Store the layer looked at with the limits that were tried."""
        assert isinstance(scheme, Scheme)
        is_weight = self.source == WEIGHTS
        give = self._context.set_weight if is_weight else self._context.set_input
        give([self._selection.current], scheme)
        # What is assigned is now what was tried; a refusal leaves it on trial.
        if self._assigned() == scheme:
            self.scheme_box.setCurrentIndex(0)

    @Slot()
    def _on_predict(self) -> None:
        self.actionRequested.emit("predict_assigned")

    def refresh(self, stale: set[str]) -> None:
        """Redraw what changed."""
        if "all" in stale:
            self._fill_schemes()
            if not self._read():
                self.clip_bar.hide()
                return
            self._show_data()
        if self._data is not None and not self.is_empty:
            self._show_grid()
            if self._shown_of != self._subject():
                self._shown_of = self._subject()
                self.fit()

    def _subject(self) -> tuple[int, str]:
        return self._selection.current, self.source

    def _fill_schemes(self) -> None:
        project, chosen = self._context.project, self.scheme_box.currentText()
        keys: tuple[str, ...] = ()
        if project is not None:
            part = "weight" if self.source == WEIGHTS else "input"
            keys = tuple(project.formats("predicted_error", "error", part))
            if self.source == WEIGHTS and not keys:
                keys = tuple(project.formats("weights", "sqnr", "weight"))
        if keys == tuple(self.scheme_box.itemText(i) for i in range(1, 1 + len(keys))):
            if self.scheme_box.count() == len(keys) + 1:
                return
        self.scheme_box.blockSignals(True)
        self.scheme_box.clear()
        self.scheme_box.addItems([ASSIGNED, *keys])
        self.scheme_box.setCurrentIndex(max(0, self.scheme_box.findText(chosen)))
        self.scheme_box.blockSignals(False)

    def _read(self) -> bool:
        """Take the kept arrays of the current layer; False leaves an empty state."""
        project, current = self._context.project, self._selection.current
        self._data = None
        if project is None:
            text = "Open a model to see how its weights and activations are spread."
            self.show_empty("No model open", text, "Open a model…", "open")
            return False
        if current < 0:
            self.show_no_layer(len(project.info.layers))
            return False
        name = project.info.layers[current].name
        self._data = kept_distribution(project, self.source, name)
        if self._data is None:
            title, text = why_missing(project, self.source, name)
            self.show_empty(title, text, "Analyse", "analyse", controls=True)
            return False
        self.show_plot()
        return True

    # -- drawing -------------------------------------------------------------------

    def _show_data(self) -> None:
        data, project = self._data, self._context.project
        assert data is not None
        assert project is not None
        noun = "weights" if self.source == WEIGHTS else "values"
        self.histogram.set_counts(
            data.counts, data.edges, log=self.log_box.isChecked(), noun=noun
        )
        self.channels.set_channels(data, by_range=self.sort_box.isChecked())
        layer = project.info.layers[self._selection.current]
        source = SOURCES[self.source]
        self.set_title(f"{source} of {layer.name}")

    def scheme(self) -> Scheme | None:
        """Return the scheme whose levels are shown, None for the stored float."""
        project, current = self._context.project, self._selection.current
        if project is None or current < 0:
            return None
        if self.scheme_box.currentIndex() > 0:
            return parse_scheme(self.scheme_box.currentText())
        return self._assigned()

    def _assigned(self) -> Scheme | None:
        """Return the scheme that the layer looked at is stored with."""
        project, current = self._context.project, self._selection.current
        if project is None or current < 0:
            return None
        assignment = project.assignment
        of = assignment.scheme_of if self.source == WEIGHTS else assignment.input_of
        return of(current)

    def _lacks_prediction(self, scheme: Scheme | None) -> bool:
        """Whether limits given by hand are assigned whose error nobody predicted."""
        project, current = self._context.project, self._selection.current
        if project is None or scheme is None or scheme != self._assigned():
            return False
        if not isinstance(get_range(scheme.range), Manual):
            return False
        part = "weight" if self.source == WEIGHTS else "input"
        if scheme.key not in project.formats("predicted_error", "error", part):
            return True
        values = project.values("predicted_error", scheme.key, "error", part)
        return not np.isfinite(values[current])

    def _show_grid(self) -> None:
        data, scheme = self._data, self.scheme()
        assert data is not None
        self.channel_box.blockSignals(True)
        self.channel_box.setMaximum(len(data.low) - 1)
        self.channel_box.blockSignals(False)
        wanted = self.channel_box.value()
        method = None if scheme is None else grid_of(scheme, data, wanted)
        self.clip_bar.set_method(self._subject(), data, scheme, method)
        self.clip_bar.predict_button.setVisible(self._lacks_prediction(scheme))
        self.channel_box.setEnabled(method is not None and method.channel != SHARED)
        if scheme is not None:
            form = scheme.number_format
            self.histogram.set_movable(form.affine or form.signed, True)
        self._draw_grid()
        self.set_subtitle(self._caption(scheme, self._grid))
        self._show_legend(scheme, self._grid)

    @Slot()
    def _draw_grid(self) -> None:
        """Draw the levels, while the range is dragged once a frame."""
        grid, cost = self.clip_bar.grid, self.clip_bar.cost
        self._grid = grid
        none = np.zeros(0)
        levels = none if grid is None else grid.levels
        self.histogram.set_levels(levels, clips=cost is not None)
        if cost is None:
            self.histogram.set_after(none, none)
        else:
            self.histogram.set_after(cost.edges, cost.density)
        self.channels.set_choice(SHARED if grid is None else grid.channel, levels)

    def _caption(self, scheme: Scheme | None, grid: LevelGrid | None) -> str:
        data, project = self._data, self._context.project
        assert data is not None
        assert project is not None
        noun = "weights" if self.source == WEIGHTS else "values"
        total, channels = int(data.counts.sum()), len(data.low)
        parts = [f"{total:,} {noun} in {channels:,} channels"]
        if data.is_sampled:
            parts.append(f"histogram from {data.binned:,} evenly spaced ones")
        run = project.latest_run(self.source)
        if self.source == INPUT and run is not None:
            parts.append(f"{run.samples:,} calibration samples")
        if scheme is None:
            parts.append("kept in float: no levels")
        elif grid is None:
            parts.append(f"{scheme.key}: too many values to draw as levels")
        else:
            parts.append(grid_caption(scheme, grid, by_hand=self.clip_bar.by_hand))
            noise = self._noise(scheme)
            if np.isfinite(noise) and not self.clip_bar.by_hand:
                parts.append(f"signal to noise {noise:.1f} dB, higher is better")
            if self._lacks_prediction(scheme):
                parts.append("predicted error not known: not among what was analysed")
        text = " · ".join(parts) + "."
        return f"{text} {grid.note}".rstrip() if grid is not None else text

    def _noise(self, scheme: Scheme) -> float:
        """Return the kept signal-to-noise ratio of the weights [dB], or NaN."""
        project, current = self._context.project, self._selection.current
        if project is None or self.source != WEIGHTS:
            return float("nan")
        if scheme.key not in project.formats("weights", "sqnr", "weight"):
            return float("nan")
        values = project.values("weights", scheme.key, "sqnr", "weight")
        return float(values[current])

    def _show_legend(self, scheme: Scheme | None, grid: LevelGrid | None) -> None:
        data_brush = theme().brush("float_data", alpha=0.35)
        stored = "weights as stored" if self.source == WEIGHTS else "values in float"
        entries = [Entry(stored, "fill", theme().pen("float_data"), data_brush)]
        none = theme().brush("base")
        if grid is not None and scheme is not None:
            dash = theme().pen("clip", style=Qt.PenStyle.DashLine)
            own = f" in channel {grid.channel}" if grid.channel != SHARED else ""
            clips = self.clip_bar.cost is not None
            ends = "their ends" + (": clipped beyond" if clips else "")
            pen = theme().pen("quantized")
            entries.append(Entry(f"levels of {scheme.key}{own}", "line", pen, none))
            if clips:
                after = "after rounding, spread over each step"
                entries.append(Entry(after, "line", pen, none))
            entries.append(Entry(ends, "line", dash, none))
        if self._data is not None and len(self._data.top_channels):
            red = theme().brush("danger")
            entries.append(Entry("widest channels", "t", theme().pen("danger"), red))
        self.legend.set_entries(tuple(entries))

    @Slot()
    def fit(self) -> None:
        """Show all values and all channels."""
        self.histogram.fit()
        self.channels.fit()

    # -- reading off ---------------------------------------------------------------

    @Slot(object)
    def _on_hover_value(self, point: QPointF | None) -> None:
        self.read_out.set_full("" if point is None else self.describe_value(point.x()))

    def describe_value(self, value: float) -> str:
        """Return the read-out at a value: its bin, and the level it would become."""
        data = self._data
        if data is None:
            return ""
        at = int(np.searchsorted(data.edges, value, side="right")) - 1
        parts = [f"value {significant(value)}"]
        if 0 <= at < len(data.counts):
            count, total = int(data.counts[at]), max(int(data.counts.sum()), 1)
            low, high = map(significant, data.edges[at : at + 2])
            about = "about " if data.is_sampled else ""
            parts.append(
                f"{about}{count:,} in the bin {low} to {high} "
                f"({100 * count / total:.2f} %)"
            )
        grid = self._grid
        if grid is not None:
            level = grid.levels[np.abs(grid.levels - value).argmin()]
            parts.append(f"becomes {significant(float(level))}")
            parts.append(f"off by {significant(abs(float(level) - value))}")
        return "  ·  ".join(parts)

    @Slot(object)
    def _on_hover_channel(self, point: QPointF | None) -> None:
        text = "" if point is None else self.describe_channel(point.x())
        self.read_out.set_full(text)

    def describe_channel(self, x: float) -> str:
        """Return the read-out of the channel at a coordinate of the lower plot."""
        channel, data = self.channels.channel_at(x), self._data
        if data is None or channel < 0:
            return ""
        low, high = significant(data.low[channel]), significant(data.high[channel])
        rank = int((data.extent > data.extent[channel]).sum()) + 1
        median = float(np.median(data.extent))
        parts = [f"channel {channel}", f"{low} to {high}"]
        if median > 0:
            ratio = data.extent[channel] / median
            parts.append(f"{ratio:.2g} x the median channel (rank {rank:,})")
        return "  ·  ".join(parts)

    @Slot(object, object)
    def _on_click_channel(self, point: QPointF, _modifiers: object) -> None:
        channel = self.channels.channel_at(point.x())
        if channel >= 0 and self.channel_box.isEnabled():
            self.channel_box.setValue(channel)
        if channel >= 0 and self.source == WEIGHTS:
            self._context.choose_channel(self._selection.current, channel)

    @Slot(object)
    def _on_channel(self, chosen: tuple[int, int]) -> None:
        layer, channel = chosen
        if layer == self._selection.current and self.source == WEIGHTS:
            self.channel_box.setValue(channel)

    def table(self) -> Table | None:
        """Return the bins with their counts, and beside them the channel ranges."""
        data = self._data
        if data is None or self.is_empty:
            return None
        return Table(*bins_and_channels(data))

    def sizeHint(self) -> QSize:
        """Return a size at which both plots can be read."""
        return QSize(theme().em(80), theme().line(34))
