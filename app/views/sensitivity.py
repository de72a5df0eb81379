"""Sensitivity: any measures side by side, how they agree, and which to trust."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QMenu,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from analysis.comparison import Criterion, headlines
from analysis.described import measures_described
from analysis.glossary import explain_quantity
from analysis.quality import JUDGE
from app.context import AppContext
from app.models.sensitivity import MOST, Scene, Wish, scene_of
from app.views.sensitivity_arrays import InputPage, SpectrumPage
from app.views.sensitivity_pages import (
    BarsPage,
    Missing,
    Page,
    RanksPage,
    ScatterPage,
)
from app.views.sensitivity_quality import QualityPage
from app.widgets.data_table import Table
from app.widgets.explain import wrapped
from app.widgets.plot_panel import PlotPanel
from app.widgets.tick_box import TickBox

BARS, RANKS, SCATTER, QUALITY = "bars", "ranks", "scatter", "quality"
SPECTRUM, INPUT = "spectrum", "input"
PICTURES = {
    BARS: "Bars",
    RANKS: "Ranks",
    SCATTER: "Scatter",
    QUALITY: "Measure quality",
    SPECTRUM: "Spectrum",
    INPUT: "Relevance of input",
}
_PAGES: dict[str, type[Page]] = {
    BARS: BarsPage,
    RANKS: RanksPage,
    SCATTER: ScatterPage,
    QUALITY: QualityPage,
    SPECTRUM: SpectrumPage,
    INPUT: InputPage,
}
QUICK_SECONDS = 0.05
SHARE = 10
"""A picture that takes longer than `QUICK_SECONDS` is renewed while results stream in
at most this many times its own duration apart."""


class SensitivityView(PlotPanel):
    """Bars, ranks, scatter, quality, spectrum and input relevance of one project.

    Signals:
        rowsMoved: Other rows of the bars are in view.
    """

    rowsMoved = Signal()

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context; draw when shown."""
        super().__init__("Sensitivity", parent)
        self._context = context
        self.wish = Wish()
        self.scene: Scene | None = None
        self._seconds = 0.0
        self._renewal = QTimer(self)
        self._renewal.setSingleShot(True)
        self._renewal.timeout.connect(self._on_any)
        self.pages: dict[str, Page] = {}
        self._build()
        context.projectChanged.connect(self._on_project)
        context.rowsAdded.connect(self._on_rows)
        context.runsChanged.connect(self._on_any)
        context.selection.changed.connect(self._on_selection)
        self.message.connect(context.message)
        self.invalidate("all")

    def _build(self) -> None:
        self.picture_box = QComboBox(self)
        self.picture_box.setAccessibleName("Picture")
        self.picture_box.setToolTip("What is shown of the measures")
        for key, text in PICTURES.items():
            self.picture_box.addItem(text, key)
        self.measures = QToolButton(self)
        self.measures.setText("&Measures")
        self.measures.setToolTip(f"Which measures stand side by side, {MOST} at most")
        self.measures.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.measures.setMenu(QMenu(self.measures))
        self.measures.menu().setToolTipsVisible(True)
        self.measures.menu().aboutToShow.connect(self._fill_measures)
        self.measures.menu().triggered.connect(self._on_measure)
        self.format_box = QComboBox(self)
        self.format_box.setAccessibleName("Format")
        self.format_box.setToolTip("The number format that the measures judge")
        for box in (self.picture_box, self.format_box):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.log_box = TickBox("Lo&g", self)
        self.log_box.setChecked(True)
        self.log_box.setToolTip("Logarithmic axes, where all numbers are positive")
        self.all_box = TickBox("All la&yers", self)
        self.all_box.setToolTip("Show all layers instead of the most sensitive ones")
        self.order_box = TickBox("Networ&k order", self)
        self.order_box.setToolTip("Order the layers as in the network")
        self._by_use: dict[str, QWidget] = {
            "criteria": self.measures,
            "format": self.format_box,
            "log": self.log_box,
            "all": self.all_box,
            "order": self.order_box,
        }
        self._arrange_controls()
        self._connect()

    def _arrange_controls(self) -> None:
        self.controls.addWidget(self.picture_box)
        self.controls.addWidget(self.measures)
        self.controls.addWidget(self.format_box)
        # A second line: in a narrow panel one would cut off half of the controls.
        self._tools = QHBoxLayout()
        for widget in (self.log_box, self.all_box, self.order_box):
            self._tools.addWidget(widget)
        self._tools.addStretch(1)
        self._tools.setContentsMargins(0, 0, 0, 0)
        self._second = QWidget(self)
        self._second.setLayout(self._tools)
        self.add_control_row(self._second)
        self._stack_of_pages = QStackedWidget()
        self.body.addWidget(self._stack_of_pages, 1)

    def _connect(self) -> None:
        self.picture_box.currentIndexChanged.connect(self._on_picture)
        self.format_box.activated.connect(self._on_wish)
        for box in (self.log_box, self.all_box, self.order_box):
            box.toggled.connect(self._on_wish)

    def page_of(self, key: str) -> Page:
        """Return a picture; it is made when it is first asked for."""
        page = self.pages.get(key)
        if page is not None:
            return page
        page = self.pages[key] = _PAGES[key]()
        for tool in page.tools:
            # Before the room at the end of the line.
            self._tools.insertWidget(self._tools.count() - 1, tool)
        self._stack_of_pages.addWidget(page)
        page.picked.connect(self._on_picked)
        page.boxed.connect(self._on_boxed)
        page.pointed.connect(self._on_pointed)
        page.said.connect(self.read_out.set_full)
        page.redraw.connect(self._on_any)
        page.fitRequested.connect(self.fit)
        if isinstance(page, BarsPage):
            page.bars.moved.connect(self.rowsMoved)
        if isinstance(page, QualityPage):
            page.compared.connect(self.compare)
        return page

    @property
    def layers_shown(self) -> NDArray[np.int64]:
        """Layers from the top row down, in view or not."""
        return np.zeros(0, dtype=np.int64) if self.scene is None else self.scene.layers

    def rows_shown(self) -> tuple[float, float] | None:
        """Return the rows of the bars in view; None while there are no bars."""
        page = None if self.is_empty else self.pages.get(self.picture_key)
        return page.bars.rows_shown() if isinstance(page, BarsPage) else None

    def show_rows(self, low: float, high: float) -> None:
        """Show rows of the bars."""
        page = self.page_of(BARS)
        assert isinstance(page, BarsPage)
        page.bars.show_rows(low, high)

    # -- what changed --------------------------------------------------------------

    @property
    def picture_key(self) -> str:
        """Which picture is shown: a key of `PICTURES`."""
        return str(self.picture_box.currentData())

    @property
    def page(self) -> Page:
        """The picture that is shown."""
        return self.page_of(self.picture_key)

    @Slot()
    def _on_project(self) -> None:
        self.wish = dataclasses.replace(self.wish, criteria=None, format="")
        self._seconds = 0.0
        self.invalidate("all", "fit")

    @Slot()
    def _on_any(self, *_: object) -> None:
        self.invalidate("all")

    @Slot(object)
    def _on_rows(self, _measure: object) -> None:
        if self._seconds <= QUICK_SECONDS:
            self.invalidate("all")
        elif not self._renewal.isActive():
            self._renewal.start(round(1000 * SHARE * self._seconds))

    @Slot()
    def _on_selection(self) -> None:
        self.invalidate("marks")

    @Slot()
    def _on_picture(self, *_: object) -> None:
        self.invalidate("all", "fit")

    @Slot()
    def _on_wish(self, *_: object) -> None:
        self.wish = dataclasses.replace(
            self.wish,
            format=str(self.format_box.currentData() or ""),
            is_log=self.log_box.isChecked(),
            is_all=self.all_box.isChecked(),
            is_network=self.order_box.isChecked(),
        )
        self.invalidate("all", "fit")

    @Slot(QAction)
    def _on_measure(self, action: QAction) -> None:
        assert self.scene is not None
        chosen = [reading.criterion for reading in self.scene.readings]
        criterion = action.data()
        if action.isChecked():
            chosen = [*chosen, criterion][-MOST:]
        elif len(chosen) > 1:
            chosen = [one for one in chosen if one != criterion]
        self.show_criteria(tuple(chosen))

    def show_criteria(self, chosen: tuple[Criterion, ...]) -> None:
        """Lay other measures side by side; the first decides the order of layers."""
        self.wish = dataclasses.replace(self.wish, criteria=chosen)
        self.invalidate("all", "fit")

    @Slot(object)
    def compare(self, key: str) -> None:
        """Show a criterion against the measured error, layer by layer."""
        scene = self.scene
        if scene is None:
            return
        part = "input" if key.endswith(".input") else "weight"
        judge = Criterion(JUDGE, "error", part)
        chosen = [reading.criterion for reading in scene.readings]
        wanted = [judge, *(c for c in scene.known if c.key == key)]
        chosen = [c for c in chosen if c not in wanted][: MOST - len(wanted)] + wanted
        self.show_criteria(tuple(chosen))
        page = self.page_of(SCATTER)
        assert isinstance(page, ScatterPage)
        page.choose(judge.key, key)
        self.picture_box.setCurrentIndex(self.picture_box.findData(SCATTER))

    # -- drawing -------------------------------------------------------------------

    def refresh(self, stale: set[str]) -> None:
        """Draw what changed; a selection only moves the marks."""
        if "all" in stale or self.scene is None:
            self._renewal.stop()
            start = time.perf_counter()
            if not self._draw():
                return
            self._seconds = time.perf_counter() - start
            if "fit" in stale:
                self.page.fit()
        selection = self._context.selection
        self.page.mark(selection.layers, selection.current)

    def _draw(self) -> bool:
        """Read and draw everything; False leaves an empty state."""
        project, self.scene = self._context.project, None
        if project is None:
            text = "Open a model to see which of its layers suffer from quantization."
            self.show_empty("No model open", text, "Open a model…", "open")
            return False
        self._second.setVisible(bool(project.info.layers))
        if not project.info.layers:
            self.show_no_layer(0)
            return False
        self.scene = scene_of(project, self.wish)
        self._show_choices(self.scene)
        told = self.page.draw(self.scene)
        if isinstance(told, Missing):
            self.show_empty(told.title, told.text, told.action, told.key, controls=True)
            return False
        self.set_title(told.title)
        self.set_subtitle(told.text)
        self.set_summary(f"{told.title}. {told.text}")
        self.show_plot()
        self._stack_of_pages.setCurrentWidget(self.page)
        return True

    def _show_choices(self, scene: Scene) -> None:
        """Offer what there is, and only the controls that the picture listens to."""
        for use, widget in self._by_use.items():
            widget.setVisible(use in self.page.uses)
        for page in self.pages.values():
            for tool in page.tools:
                tool.setVisible(page is self.page)
        if self._keys_of(self.format_box) != list(scene.formats):
            self.format_box.clear()
            for key in scene.formats:
                self.format_box.addItem(key, key)
        self.format_box.setCurrentIndex(self.format_box.findData(scene.format))
        self.format_box.setEnabled(bool(scene.formats))
        self.measures.setEnabled(bool(scene.known))

    @staticmethod
    def _keys_of(box: QComboBox) -> list[str]:
        return [str(box.itemData(i)) for i in range(box.count())]

    @Slot()
    def _fill_measures(self) -> None:
        """Offer what ranks layers best at the top, the rest in a menu per measure."""
        menu = self.measures.menu()
        menu.clear()
        for old in menu.findChildren(QMenu):
            old.deleteLater()  # a menu below goes with its owner, not with its entry
        if self.scene is None:
            return
        chosen = {reading.criterion for reading in self.scene.readings}
        best = headlines(self.scene.known)
        self._add_criteria(menu, best, chosen)
        menu.addSeparator()
        rest = (one for one in self.scene.known if one not in best)
        for measure, others in itertools.groupby(rest, lambda one: one.measure):
            known = measures_described().get(measure)
            more = menu.addMenu(known.title if known else measure)
            more.setToolTipsVisible(True)
            self._add_criteria(more, tuple(others), chosen)

    @staticmethod
    def _add_criteria(
        menu: QMenu, criteria: Sequence[Criterion], chosen: Container[Criterion]
    ) -> None:
        for criterion in criteria:
            action = menu.addAction(criterion.title)
            action.setCheckable(True)
            action.setChecked(criterion in chosen)
            action.setData(criterion)
            entry = explain_quantity(criterion.quantity)
            action.setToolTip(wrapped(entry.text()) if entry else "")

    # -- reading off and choosing ----------------------------------------------------

    @Slot(object)
    def _on_pointed(self, layer: int) -> None:
        scene = self.scene if layer >= 0 else None
        self.read_out.set_full("" if scene is None else scene.describe(layer))

    @Slot(object, object)
    def _on_picked(self, layer: int, modifiers: Any) -> None:
        selection = self._context.selection
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            selection.set(np.setxor1d(selection.layers, np.array([layer])), None)
        else:
            selection.set([layer], layer)

    @Slot(object, object)
    def _on_boxed(self, layers: NDArray[np.int64], adds: bool) -> None:
        self._context.selection.choose(layers, adds=adds)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Up and down walk through the layers as they are shown, Home and End jump.

        With Shift those passed stay selected.
        """
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        ends = {Qt.Key.Key_Home: 0, Qt.Key.Key_End: -1}
        scene, key = self.scene, event.key()
        if not self.is_empty and self.page.take_key(key):
            return
        walks = "criteria" in self.page.uses and not self.is_empty
        if scene is None or not walks or key not in {*steps, *ends}:
            super().keyPressEvent(event)
            return
        layers = scene.layers
        if key in ends:
            row = range(len(layers))[ends[Qt.Key(key)]]
        else:
            found = np.flatnonzero(layers == self._context.selection.current)
            step = steps[Qt.Key(key)]
            row = int(found[0]) + step if len(found) else 0
            row = min(max(row, 0), len(layers) - 1)
        layer = int(layers[row])
        adds = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self._context.selection.choose([layer], layer, adds=adds)
        self.read_out.set_full(scene.describe(layer))

    # -- taking away -----------------------------------------------------------------

    def table(self) -> Table | None:
        """Return the numbers behind the picture."""
        return None if self.is_empty or self.scene is None else self.page.table()

    @Slot()
    def fit(self) -> None:
        """Show the whole picture."""
        if not self.is_empty and self.scene is not None:
            self.page.fit()
