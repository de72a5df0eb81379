"""One line of controls: a range tried by hand, and what it would cost."""

from __future__ import annotations

import math
from dataclasses import replace

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QToolButton, QWidget

from app.models.clipping import Rounded, dragged, rounded
from app.models.level_grid import SHARED, Distribution, LevelGrid, grid_between
from app.theme import theme
from app.widgets.elided import Elided
from app.widgets.format import significant
from quant_core.ranges import Manual
from quant_core.scheme import Scheme

SMALLEST = 1e-4
"""Least width of a range by hand, as a share of that of the values."""


class ClipBar(QWidget):
    """Keeps the range that a person tries, and tells the error it would have.

    Signals:
        changed: The range moved; `grid` and `cost` are those of the new one.
        settled: The person let go, or went back to the range of the method.
        applied: The `Scheme` with the range by hand, to be given to the layer.
        predictRequested: The error of the scheme shown shall be predicted.
    """

    changed = Signal()
    settled = Signal()
    applied = Signal(object)
    predictRequested = Signal()  # noqa: N815 - Qt naming

    def __init__(self, parent: QWidget | None = None) -> None:
        """Build two number boxes, a button and a sentence."""
        super().__init__(parent)
        self._data: Distribution | None = None
        self._scheme: Scheme | None = None
        self._method: LevelGrid | None = None
        self._subject: object = None
        self._hand: tuple[float, float] | None = None
        self.grid: LevelGrid | None = None
        self.cost: Rounded | None = None
        self.low_box, self.high_box = (self._box(end) for end in ("lower", "upper"))
        self.reset_button = self._button(
            "Reset",
            "Back to the range of the scheme; so does a double click on the histogram.",
        )
        self.use_button = self._button(
            "&Use these limits",
            "Store the layer with this one range for all of its values. One undo step.",
        )
        self.predict_button = self._button(
            "&Predict its error",
            "No error is known for these limits yet. Runs the prediction again, with "
            "its formats and samples and the schemes of the assignment.",
        )
        self.predict_button.hide()
        self.text = Elided(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        label = QLabel("Clip &to", self)
        label.setBuddy(self.low_box)
        buttons = self.reset_button, self.use_button, self.predict_button
        for widget in (label, self.low_box, self.high_box, *buttons):
            row.addWidget(widget)
        row.addWidget(self.text, 1)
        self.low_box.valueChanged.connect(self._on_low)
        self.high_box.valueChanged.connect(self._on_high)
        self.reset_button.clicked.connect(self.reset)
        self.use_button.clicked.connect(self.use)
        self.predict_button.clicked.connect(self.predictRequested)

    def _button(self, text: str, told: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setAccessibleName(text.replace("&", ""))
        button.setToolTip(told)
        return button

    def _box(self, end: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox(self)
        box.setKeyboardTracking(False)
        box.setMinimumWidth(theme().em(10))
        box.setAccessibleName(f"The {end} end of the range")
        box.setToolTip(
            f"The {end} end of the range; drag its dashed line, or use the arrow keys."
        )
        return box

    @property
    def by_hand(self) -> bool:
        """Whether the range is the person's, not that of the scheme."""
        return self._hand is not None

    def set_method(
        self,
        subject: object,
        data: Distribution,
        scheme: Scheme | None,
        grid: LevelGrid | None,
    ) -> None:
        """Take what the scheme gives; a range by hand outlives equal subjects.

        Args:
            subject: What is looked at, to be compared.
            data: The distribution.
            scheme: Its scheme, None for the stored float.
            grid: The levels of the scheme, None when it has none.
        """
        self._data, self._scheme, self._method = data, scheme, grid
        if (subject, scheme) != self._subject:
            self._subject, self._hand = (subject, scheme), None
        self.setVisible(grid is not None)
        if grid is not None:
            span = max(float(data.extent.max()), 1e-30)
            for box in (self.low_box, self.high_box):
                box.blockSignals(True)
                box.setDecimals(max(0, min(12, 4 - math.floor(math.log10(span)))))
                box.setSingleStep(float(grid.levels[-1] - grid.levels[0]) / 200)
                box.setRange(-2 * span, 2 * span)
                box.blockSignals(False)
            assert scheme is not None
            form = scheme.number_format
            self.low_box.setEnabled(form.affine or form.signed)
        self._compute()

    @Slot(int, float)
    def drag(self, which: int, to: float) -> None:
        """Move one end of the range.

        Args:
            which: 0 for the lower end, 1 for the upper.
            to: Value it is moved to.
        """
        data, grid, scheme = self._data, self.grid, self._scheme
        if data is None or grid is None or scheme is None:
            return
        low, high = self._hand or (float(grid.levels[0]), float(grid.levels[-1]))
        low, high = dragged(scheme.number_format, low, high, which, to)
        if high - low > SMALLEST * float(data.extent.max()):
            self._hand = low, high
        self._compute()
        self.changed.emit()

    @Slot()
    def reset(self) -> None:
        """Go back to the range of the scheme."""
        if self._hand is not None:
            self._hand = None
            self._compute()
            self.settled.emit()

    @Slot()
    def use(self) -> None:
        """Ask that the layer be stored with the range by hand."""
        if self._hand is not None and self._scheme is not None:
            # As the boxes show it: what is read is what is stored.
            low, high = (round(x, self.low_box.decimals()) for x in self._hand)
            if low == high:  # too small for the boxes
                low, high = self._hand
            scheme = replace(self._scheme, range=Manual(low, high).key)
            self.applied.emit(scheme)

    @Slot(float)
    def _on_low(self, value: float) -> None:
        self.drag(0, value)
        self.settled.emit()

    @Slot(float)
    def _on_high(self, value: float) -> None:
        self.drag(1, value)
        self.settled.emit()

    def _compute(self) -> None:
        self.grid, self.cost = self._method, None
        data, scheme = self._data, self._scheme
        if data is None or scheme is None or self._method is None:
            return
        if self._hand is not None:
            self.grid = grid_between(scheme.number_format, data, *self._hand)
        shared = self.by_hand or scheme.granularity == "tensor"
        if shared and self.grid is not None and len(self.grid.levels) > 1:
            self.cost = rounded(self.grid.levels, data)
        self._show(data)

    def _show(self, data: Distribution) -> None:
        assert self.grid is not None
        ends = self._hand or (self.grid.levels[0], self.grid.levels[-1])
        for box, end in zip((self.low_box, self.high_box), ends, strict=True):
            box.blockSignals(True)
            box.setValue(float(end))
            box.blockSignals(False)
        self.reset_button.setEnabled(self.by_hand)
        self.use_button.setEnabled(self.by_hand)
        self.text.set_full(self._sentence(data))

    def _sentence(self, data: Distribution) -> str:
        """Return the figures of the range, and those of the scheme's beside them."""
        if self.cost is None:
            return "Drag a dashed line to try one range for all channels."
        cost = self.cost
        parts = [
            f"SQNR {cost.sqnr:.2f} dB",
            f"MSE {significant(cost.mse)}",
            f"{100 * cost.clipped:.2f} % clipped",
        ]
        method = self._method
        if self.by_hand and method is not None and method.channel == SHARED:
            assert self._scheme is not None
            known = rounded(method.levels, data)
            parts.append(f"{self._scheme.range} has {known.sqnr:.2f} dB")
        return " · ".join(parts) + " (computed from the histogram)"
