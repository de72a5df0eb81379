"""Channels and outliers: the range of every channel, and what stands out."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QSize, Slot
from PySide6.QtWidgets import QComboBox, QWidget

from analysis.project import Project
from app.context import AppContext
from app.models.channel_ranges import SOURCES, ChannelRanges, kept_ranges
from app.models.kept import INPUT, WEIGHTS, why_missing
from app.models.top_positions import TopPositions, kept_positions
from app.selection import PinnableSelection
from app.theme import theme
from app.widgets.channel_plot import ChannelPlot
from app.widgets.data_table import Table
from app.widgets.format import significant
from app.widgets.pin_button import PinButton
from app.widgets.plot_panel import PlotPanel
from app.widgets.table_tabs import TableTabs
from app.widgets.tick_box import TickBox

LISTED = 20
"""Channels listed in the panel; its table has all."""
CHANNELS, POSITIONS = "channels", "positions"
"""The two lists under the plot."""


class ChannelsView(PlotPanel):
    """Channel ranges of the layer looked at, with the widest ones listed."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context; draw when shown."""
        super().__init__("Channels and outliers", parent)
        self._context = context
        self._selection = PinnableSelection(context.selection, self)
        self._ranges: ChannelRanges | None = None
        self._positions: TopPositions | None = None
        self._subject: tuple[int, str] = (-1, "")
        self._chosen = -1
        self._build()
        context.projectChanged.connect(self._on_any)
        context.runsChanged.connect(self._on_any)
        context.rowsAdded.connect(self._on_any)
        context.channelChosen.connect(self._on_channel)
        self._selection.changed.connect(self._on_any)
        self.message.connect(context.message)
        self.invalidate("all")

    def _build(self) -> None:
        self.source_box = QComboBox(self)
        for key, text in SOURCES.items():
            self.source_box.addItem(text, key)
        self.source_box.setAccessibleName("Which channels")
        self.source_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.sort_box = TickBox("&Widest first", self)
        self.sort_box.setToolTip("Order the channels by their largest magnitude")
        for widget in (self.source_box, self.sort_box):
            self.controls.addWidget(widget)
        self.corner.addWidget(PinButton(self._selection, self))
        self.plot = ChannelPlot("Smallest and largest value of every channel")
        self.lists = TableTabs({CHANNELS: "Widest channels", POSITIONS: "Top tokens"})
        self.body.addWidget(self.plot, 1)
        self.add_list(self.lists)
        self.plot.setMinimumHeight(theme().line(6))
        self.plot.axis("left").setWidth(theme().em(10))
        self.source_box.currentIndexChanged.connect(self._on_any)
        self.sort_box.toggled.connect(self._on_any)
        self.plot.hovered.connect(self._on_hover)
        self.plot.clicked.connect(self._on_click)
        self.lists.rowChosen.connect(self._on_listed)

    # -- what changed --------------------------------------------------------------

    @property
    def source(self) -> str:
        """Which channels are shown: a key of `SOURCES`."""
        return str(self.source_box.currentData())

    @Slot()
    def _on_any(self, *_: object) -> None:
        self.invalidate("all")

    @Slot(object)
    def _on_channel(self, chosen: tuple[int, int]) -> None:
        layer, channel = chosen
        if layer == self._selection.current and self.source == WEIGHTS:
            self.mark(channel)

    def mark(self, channel: int) -> None:
        """Mark a channel in the plot; one that does not exist marks none."""
        ranges = self._ranges
        if ranges is not None:
            self._chosen = channel if 0 <= channel < len(ranges.data.low) else -1
            self.plot.set_choice(self._chosen, np.zeros(0))

    # -- drawing -------------------------------------------------------------------

    def refresh(self, stale: set[str]) -> None:
        """Draw again."""
        project, current = self._context.project, self._selection.current
        self._ranges = None
        if project is None:
            text = "Open a model to see which of its channels stand out."
            self.show_empty("No model open", text, "Open a model…", "open")
            return
        if current < 0:
            self.show_no_layer(len(project.info.layers))
            return
        layer = project.info.layers[current]
        self._ranges = kept_ranges(project, self.source, layer)
        if self._ranges is None:
            measure = INPUT if self.source == INPUT else WEIGHTS
            title, text = why_missing(project, measure, layer.name)
            self.show_empty(title, text, "Analyse", "analyse", controls=True)
            return
        self.show_plot()
        self._draw(project, self._ranges)

    def _draw(self, project: Project, ranges: ChannelRanges) -> None:
        current = self._selection.current
        if self._subject != (current, self.source):
            self._subject, self._chosen = (current, self.source), -1
            self.plot.set_channels(ranges.data, by_range=self.sort_box.isChecked())
            self.plot.fit()
        else:
            self.plot.set_channels(ranges.data, by_range=self.sort_box.isChecked())
        self.plot.set_choice(self._chosen, np.zeros(0))
        self._fill_lists(project, ranges)
        layer = project.info.layers[current]
        self.set_title(f"{SOURCES[self.source]} of {layer.name}")
        facts = self._facts(project, ranges)
        self.set_subtitle(facts)
        self.set_summary(facts)

    def _fill_lists(self, project: Project, ranges: ChannelRanges) -> None:
        layer = project.info.layers[self._selection.current]
        self.lists.set_table(CHANNELS, ranges.table(ranges.order[:LISTED]))
        self._positions = None
        if self.source == INPUT:
            self._positions = kept_positions(project, layer)
        top = self._positions
        if top is None:
            self.lists.set_table(POSITIONS, None)
        else:
            self.lists.set_table(POSITIONS, top.table(), f"Top {top.noun}")

    def _facts(self, project: Project, ranges: ChannelRanges) -> str:
        """Return how uneven the channels are, and how many values stand out."""
        current = self._selection.current
        spread = ranges.spread
        parts = [f"{len(ranges.data.low):,} channels"]
        parts.append(
            f"channel spread {significant(spread)} (largest over median magnitude)"
        )
        measure, part = (
            (INPUT, "input") if self.source == INPUT else (WEIGHTS, "weight")
        )
        kurtosis = project.values(measure, None, "kurtosis", part)[current]
        if np.isfinite(kurtosis):
            parts.append(f"kurtosis {significant(float(kurtosis))} (normal: 3)")
        if ranges.hits is not None:
            many, some = int(ranges.hits.sum()), int((ranges.hits > 0).sum())
            parts.append(f"LLM.int8(): {many:,} outlier values in {some:,} channels")
        if self._positions is not None:
            parts.append(f"largest {self._positions.describe(0)}")
        run = project.latest_run(measure)
        if self.source == INPUT and run is not None:
            parts.append(f"{run.samples:,} calibration samples")
        return " · ".join(parts) + "."

    @Slot()
    def fit(self) -> None:
        """Show all channels."""
        self.plot.fit()

    # -- reading off and choosing ----------------------------------------------------

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        channel = -1 if point is None else self.plot.channel_at(point.x())
        self.read_out.set_full(self.describe(channel))

    def describe(self, channel: int) -> str:
        """Return the read-out of a channel, "" for none."""
        ranges = self._ranges
        if ranges is None or channel < 0:
            return ""
        table = ranges.table(np.array([channel]))
        named = zip(table.titles, table.columns, strict=True)
        return "  ·  ".join(
            f"{title} {significant(x[0]) if isinstance(x[0], float) else x[0]}"
            for title, x in named
        )

    @Slot(object, object)
    def _on_click(self, point: QPointF, _modifiers: object) -> None:
        self.choose(self.plot.channel_at(point.x()))

    @Slot(object)
    def _on_listed(self, chosen: tuple[str, int]) -> None:
        key, row = chosen
        if key == POSITIONS and self._positions is not None:
            self.choose(int(self._positions.channels[row]))
            self.read_out.set_full(self._positions.describe(row))
        elif self._ranges is not None:
            self.choose(int(self._ranges.order[row]))

    def choose(self, channel: int) -> None:
        """Mark a channel here, and an output channel in the other plots too."""
        if channel < 0:
            return
        self.mark(channel)
        self.read_out.set_full(self.describe(channel))
        if self.source == WEIGHTS:
            self._context.choose_channel(self._selection.current, channel)

    def table(self) -> Table | None:
        """Return all channels, the widest first, or the positions when in front."""
        if self._ranges is None or self.is_empty:
            return None
        if self.lists.key == POSITIONS and self._positions is not None:
            return self._positions.table()
        return self._ranges.table(self._ranges.order)

    def sizeHint(self) -> QSize:
        """Return a size at which plot and list can be read."""
        return QSize(theme().em(80), theme().line(30))
