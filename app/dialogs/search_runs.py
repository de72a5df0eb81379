"""The part of the search form that asks whether to run the network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QComboBox, QFormLayout, QLineEdit, QSpinBox, QWidget

from analysis.described import describe
from analysis.search.asked import Keep, Refinement
from app.widgets.explain import wrapped
from app.widgets.params_form import ParamsForm

NOTHING, VERIFY, REFINE, KEEP = "", "verify", "refine", "keep"

CHOICES = {
    NOTHING: "Trust the prediction",
    VERIFY: "Run the best candidates",
    REFINE: "Run candidates, correct, search on",
    KEEP: "Smallest model that keeps a metric",
}
HINTS = {
    NOTHING: "Nothing is run: the answer is there at once.",
    VERIFY: "The best candidates are run once each; the least measured error wins.",
    REFINE: "What runs show corrects the predictions, round by round.",
    KEEP: "Bisection along the front, the metric measured at every step.",
}


class SearchRuns(QWidget):
    """How much of the network a search runs, and what it must keep.

    Signals:
        changed: Anything was chosen or typed.
    """

    changed = Signal()

    def __init__(
        self,
        runs: str = NOTHING,
        keep: str = "",
        plan: Mapping[str, Any] = MappingProxyType({}),
        parent: QWidget | None = None,
    ) -> None:
        """Show what was asked for last."""
        super().__init__(parent)
        self._box, self._keep = QComboBox(self), QLineEdit(keep, self)
        for key, title in CHOICES.items():
            self._box.addItem(title, key)
        self._box.setCurrentIndex(max(0, self._box.findData(runs)))
        self._box.setAccessibleName("Run the network")
        self._box.setToolTip(
            wrapped(*(f"{CHOICES[key]}: {hint}" for key, hint in HINTS.items()))
        )
        self._keep.setAccessibleName("What may be lost at most")
        self._keep.setPlaceholderText("top1=0.5%, perplexity=1%, error=0.001")
        self._keep.setToolTip(
            wrapped("Per cent of top-1 are points; of a perplexity they are relative.")
        )
        self._plan = ParamsForm(describe(Refinement), plan, self)
        self._form = form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Run the &network", self._box)
        form.addRow("&Lose at most", self._keep)
        form.addRow(self._plan)
        self._box.currentIndexChanged.connect(self._on_box)
        self._keep.textChanged.connect(self.changed)
        self._plan.changed.connect(self.changed)
        self._on_box()

    @Slot()
    def _on_box(self) -> None:
        runs = self.runs()
        self._form.setRowVisible(self._keep, runs == KEEP)
        self._form.setRowVisible(self._plan, runs != NOTHING)
        self.changed.emit()

    def runs(self) -> str:
        """Return "", "verify", "refine" or "keep"."""
        return str(self._box.currentData())

    def keep(self) -> str:
        """Return what may be lost, "" unless a metric is to be kept."""
        return self._keep.text().strip() if self.runs() == KEEP else ""

    def to_json(self) -> dict[str, Any]:
        """Return the arguments that make the same form, needed or not."""
        plan = self._plan.values()
        return {"runs": self.runs(), "keep": self._keep.text().strip(), "plan": plan}

    def plan(self) -> dict[str, Any]:
        """Return the parameters of the plan that differ from their defaults."""
        return self._plan.values() if self.runs() else {}

    def check(self) -> None:
        """Refuse what cannot be read.

        Raises:
            QuantError: says what.
        """
        if self.runs() == KEEP:
            Keep.parse(self.keep())
        Refinement(**self.plan())

    def controls(self) -> list[QWidget]:
        """Return what Tab goes through, from top to bottom."""
        return [self._box, self._keep, *self._plan.findChildren(QSpinBox)]
