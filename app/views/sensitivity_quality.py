"""Which measure to trust: each judged by the measured error of this very model."""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QWidget

from analysis.comparison import Criterion
from analysis.quality import JUDGE, Quality
from app.models.sensitivity import Scene, judged
from app.views.sensitivity_pages import Caption, Missing, Page
from app.widgets.bar_columns import BarColumn, BarColumns
from app.widgets.data_table import Table
from app.widgets.format import significant

_TITLES = (
    "measure",
    "Spearman within a format (median)",
    "Spearman over layers and formats",
    "predicted over measured (median)",
    "first quartile",
    "third quartile",
    "forward passes",
    "pairs",
    "note",
)


class QualityPage(Page):
    """Rank correlation, calibration and cost of every measure.

    Signals:
        compared: Key of the criterion whose points a person wants to see.
    """

    compared = Signal(object)
    uses = frozenset()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(parent)
        self.found: tuple[Quality, ...] = ()
        self._row = -1
        self.bars = BarColumns(self)
        self.column.addWidget(self.bars)
        self.bars.hovered.connect(self._on_hover)
        self.bars.clicked.connect(self._on_click)
        self.bars.fitRequested.connect(self.fitRequested)

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw a row for each number that ranks layers, the best on top."""
        self.scene = scene
        self.found = found = judged(scene.project)
        run = scene.project.latest_run(JUDGE)
        if run is None or not scene.project.formats(JUDGE):
            return Missing(
                "No measured error to judge by",
                "Analyse the model with Measured error among the measures: it runs "
                "the network with one layer quantized at a time.",
                "Analyse",
                "analyse",
            )
        if not found:
            return Missing(
                "No other measure to judge",
                "Analyse the model by another measure, in formats that were measured.",
                "Analyse",
                "analyse",
            )
        none = np.full(len(found), math.nan)
        ratio, low, high = (
            np.array([getattr(q, name) for q in found])
            for name in ("ratio", "ratio_low", "ratio_high")
        )
        columns = (
            _correlation("Spearman, same format", [q.rank for q in found]),
            _correlation("Spearman, all formats", [q.spearman for q in found]),
            BarColumn("predicted / measured", "", ratio, low, high, 1.0, True),
            BarColumn(
                "cost",
                "forward passes",
                np.array([q.forwards for q in found]),
                none,
                none,
                is_log=True,
            ),
        )
        self.bars.set_rows([title_of(q) for q in found], columns, "measure")
        return Caption(
            "How far each measure can be trusted on this model",
            "Judged by the measured error of one layer at a time, "
            f"{run.samples:,} samples. Spearman 1 is the same order of layers; "
            "predicted / measured 1 is calibrated, whiskers are quartiles; a click "
            "shows the layers.",
        )

    def table(self) -> Table | None:
        """Return what is shown, with the reasons for what is not."""
        if not self.found:
            return None
        found = self.found
        columns: list[list[object]] = [[title_of(q) for q in found]]
        for name in ("rank", "spearman", "ratio", "ratio_low", "ratio_high"):
            columns.append([getattr(q, name) for q in found])
        for name in ("forwards", "pairs", "note"):
            columns.append([getattr(q, name) for q in found])
        return Table(_TITLES, tuple(columns))

    def describe(self, row: int) -> str:
        """Return all there is to say of a measure, "" outside."""
        if not 0 <= row < len(self.found):
            return ""
        one = self.found[row]
        parts = [title_of(one), f"Spearman within a format {one.rank:.3f}"]
        if not math.isnan(one.spearman):
            parts.append(f"over all formats {one.spearman:.3f}")
        if not math.isnan(one.ratio):
            low, high = significant(one.ratio_low), significant(one.ratio_high)
            parts.append(
                f"predicted over measured {significant(one.ratio)} ({low} to {high})"
            )
        if not math.isnan(one.forwards):
            parts.append(f"{significant(one.forwards)} forward passes")
        return "  ·  ".join((*parts, one.note) if one.note else parts)

    def take_key(self, key: int) -> bool:
        """Up and down walk through the measures, Enter shows the layers of one."""
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        if key in steps and self.found:
            row = self._row + steps[Qt.Key(key)]
            self._row = min(max(row, 0), len(self.found) - 1)
            self.bars.set_chosen(np.array([self._row]))
            self.bars.reveal(self._row)
            self.said.emit(f"{self.describe(self._row)}  ·  Enter shows the layers")
            return True
        is_known = 0 <= self._row < len(self.found)
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and is_known:
            self.compared.emit(criterion_of(self.found[self._row]).key)
            return True
        return False

    @Slot(object)
    def _on_hover(self, row: int) -> None:
        self.said.emit(self.describe(row))

    @Slot(object, object)
    def _on_click(self, row: int, _modifiers: object) -> None:
        one = self.found[row]
        self.compared.emit(criterion_of(one).key)

    @Slot()
    def fit(self) -> None:
        """Show all rows."""
        self.bars.fit()


def criterion_of(quality: Quality) -> Criterion:
    """Return what was judged."""
    return Criterion(quality.measure, quality.quantity, quality.part)


def title_of(quality: Quality) -> str:
    """Return what was judged, as the other pictures call it."""
    return criterion_of(quality).title


def _correlation(title: str, values: list[float]) -> BarColumn:
    known, none = np.array(values), np.full(len(values), math.nan)
    low = -1.0 if (known < 0).any() else 0.0
    return BarColumn(title, "", known, none, none, limits=(low, 1.0))
