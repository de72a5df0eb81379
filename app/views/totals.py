"""What the assignment costs: the four numbers the window always shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.context import AppContext
from app.theme import theme
from app.widgets.elided import Elided
from app.widgets.format import DASH, count, integer, size, with_error

if TYPE_CHECKING:
    from analysis.project import Project


class Figure(QWidget):
    """A caption, a number, and what the number rests on."""

    def __init__(self, caption: str, tip: str, parent: QWidget | None = None) -> None:
        """Start without a number."""
        super().__init__(parent)
        self._caption_text = caption
        self._caption = QLabel(caption, self)
        self._value = QLabel(DASH, self)
        self._note = Elided(self)
        font = self._value.font()
        font.setBold(True)
        self._value.setFont(font)
        row = QHBoxLayout()
        row.setSpacing(theme().em(0.75))
        row.addWidget(self._value)
        row.addWidget(self._note, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme().em(), 2, theme().em(), 2)
        layout.setSpacing(0)
        layout.addWidget(self._caption)
        layout.addLayout(row)
        self.setToolTip(tip)
        theme().themeChanged.connect(self._paint)
        self._paint()

    @property
    def text(self) -> str:
        """Number and note, as shown."""
        return f"{self._value.text()} {self._note.full}".strip()

    def show_number(self, value: str, note: str = "") -> None:
        """Change number and note."""
        self._value.setText(value)
        self._note.set_full(note)
        self.setAccessibleName(f"{self._caption_text}: {value} {note}".strip())

    @Slot()
    def _paint(self) -> None:
        muted = f"color: {theme().colours.muted}"
        self._caption.setStyleSheet(muted)
        self._note.setStyleSheet(muted)


class TotalsBar(QWidget):
    """Average bits, size, predicted and last measured error; follows every edit."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context."""
        super().__init__(parent)
        self._context = context
        self.setAccessibleName("Totals")
        self.bits = Figure(
            "Average bits",
            "Bits per weight over all layers, scales and zero points included.",
            self,
        )
        self.bytes = Figure(
            "Size",
            "All listed weights with scales and zero points; 1 MB = 1,000,000 bytes.",
            self,
        )
        self.predicted = Figure(
            "Predicted error",
            "Second-order prediction of how far the output moves under the whole "
            "assignment, interactions between layers included, ± standard error.",
            self,
        )
        self.measured = Figure(
            "Measured error",
            "How far the output moved when the quantized model was run.",
            self,
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        shares = ((self.bits, 4), (self.bytes, 5), (self.predicted, 8))
        for figure, share in (*shares, (self.measured, 8)):
            layout.addWidget(figure, share)
        for signal in (
            context.projectChanged,
            context.assignmentChanged,
            context.rowsAdded,
            context.runsChanged,
            context.assignmentsChanged,
        ):
            signal.connect(self.refresh)
        self.refresh()

    @Slot()
    def refresh(self, *_: object) -> None:
        """Read the project again."""
        project = self._context.project
        if project is None or not project.info.layers:
            for figure in (self.bits, self.bytes, self.predicted, self.measured):
                figure.show_number(DASH)
            return
        totals = project.totals
        chosen = int((project.assignment.weight > 0).sum())
        layers = count(len(project.info.layers), "layer")
        self.bits.show_number(
            f"{totals.average_bits:.2f}",
            f"{integer(chosen)} of {layers}",
        )
        self.bits.setToolTip(
            "Bits per weight over all layers, scales and zero points included.\n"
            f"{chosen:,} of {layers} quantized."
        )
        share = 1 / totals.compression if totals.compression else math.nan
        self.bytes.show_number(size(totals.bytes), f"{share:.3f} × as stored")
        self._show_predicted(project)
        self._show_measured(project)

    def _show_predicted(self, project: Project) -> None:
        prediction = project.prediction
        run = project.latest_run("predicted_error")
        if prediction is None or run is None:
            self.predicted.show_number(DASH, "run the analysis first")
            return
        note = f"{run.unit}, {count(run.samples, 'sample')}"
        if prediction.missing:
            note += (
                f"; {count(prediction.missing, 'layer')} not analysed at this format"
            )
        self.predicted.show_number(
            with_error(prediction.value, prediction.stderr), note
        )

    def _show_measured(self, project: Project) -> None:
        measured: Mapping[str, Any] | None = project.measured
        if not measured:
            last = project.last_measured
            note = "not measured yet"
            if last is not None:
                told = with_error(float(last["value"]), float(last["stderr"]))
                note = f"not measured; another assignment: {told} {last['unit']}"
            self.measured.show_number(DASH, note)
            return
        note = f"{measured['unit']}, {count(int(measured['samples']), 'sample')}"
        self.measured.show_number(
            with_error(float(measured["value"]), float(measured["stderr"])), note
        )
