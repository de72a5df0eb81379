"""A list of measures to choose from, each with its parameters behind a fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from analysis.described import Described, measures_described
from analysis.expense import Workload, expense
from app.help_topics import set_topic
from app.theme import theme
from app.widgets.explain import wrapped
from app.widgets.finding_card import text_label
from app.widgets.params_form import ParamsForm
from app.widgets.tick_box import TickBox


class MeasureRow(QWidget):
    """One measure: chosen or not, what it tells, and its parameters.

    Signals:
        changed: It was chosen or dropped, or a parameter was changed.

    Args:
        measure: What is shown.
        chosen: Whether it is chosen at first.
        values: Its parameters, where they differ from the defaults.
        parent: Owner.

    Attributes:
        measure: As given.
        box: Chooses the measure.
        about: What it tells and, once known, what it costs.
        fold: Shows or hides the parameters; hidden itself where there are none.
    """

    changed = Signal()

    def __init__(
        self,
        measure: Described,
        chosen: bool,
        values: Mapping[str, Any],
        parent: QWidget | None = None,
    ) -> None:
        """Make the row; the parameters are folded unless some were changed."""
        super().__init__(parent)
        self.measure = measure
        set_topic(self, f"measure:{measure.key}")
        self.box = TickBox(measure.title, self)
        self.box.setChecked(chosen)
        self.box.setToolTip(wrapped(measure.sentence))
        self.fold = QToolButton(self)
        self.fold.setText("Parameters")
        self.fold.setAccessibleName(f"Parameters of {measure.title}")
        self.fold.setToolTip("Show or hide the parameters of this measure")
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setAutoRaise(True)
        self.fold.setVisible(bool(measure.parameters))
        self.about = text_label(measure.sentence, self, role="muted")
        self._body = QWidget(self)
        self.form = ParamsForm(measure, values, self._body)
        self._restore = QPushButton("Restore defaults", self._body)
        self._restore.setAccessibleName(f"Restore defaults of {measure.title}")
        self._restore.setAutoDefault(False)
        self._arrange()
        self._show_body(bool(chosen and values))
        self.box.toggled.connect(self._on_change)
        self.form.changed.connect(self._on_change)
        self.fold.clicked.connect(self._on_fold)
        self._restore.clicked.connect(self.form.restore)
        self._on_change()

    def _arrange(self) -> None:
        indent = theme().em(2)
        head = QHBoxLayout()
        head.addWidget(self.box, 1)
        head.addWidget(self.fold)
        inner = QVBoxLayout(self._body)
        inner.setContentsMargins(indent, 0, 0, theme().line(0.4))
        inner.addWidget(self.form)
        inner.addWidget(self._restore, 0, Qt.AlignmentFlag.AlignRight)
        about = QHBoxLayout()
        about.setContentsMargins(indent, 0, 0, 0)
        about.addWidget(self.about)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme().line(0.15))
        layout.addLayout(head)
        layout.addLayout(about)
        layout.addWidget(self._body)

    @property
    def is_chosen(self) -> bool:
        """Whether the measure is to run."""
        return self.box.isChecked() and self.box.isEnabled()

    def mistake(self) -> str:
        """Return what is out of range in a measure that is to run; "" if nothing."""
        return self.form.mistake() if self.is_chosen else ""

    def show_cost(self, work: Workload) -> None:
        """Say how long the measure takes on what is to be analysed."""
        found = expense(self.measure.key, self.form.values(), work)
        cost = f" Takes {found.text}." if found else ""
        self.about.setText(self.measure.sentence + cost)
        self.about.setAccessibleName(self.about.text())

    @Slot()
    def _on_fold(self) -> None:
        self._show_body(self._body.isHidden())

    def _show_body(self, shown: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow
        self.fold.setArrowType(arrow)
        self._body.setVisible(shown)

    @Slot()
    def _on_change(self) -> None:
        self._restore.setEnabled(bool(self.form.values()))
        self.changed.emit()


class MeasureList(QWidget):
    """All measures, in the order of the registry.

    Signals:
        changed: A measure was chosen or dropped, or a parameter was changed.

    Args:
        chosen: Keys of those that are chosen at first.
        params: Parameters by key, where they differ from the defaults.
        runs_model: Whether measures that run the network can be chosen.
        parent: Owner.

    Attributes:
        rows: One for each measure.
    """

    changed = Signal()

    def __init__(
        self,
        chosen: tuple[str, ...],
        params: Mapping[str, Mapping[str, Any]],
        runs_model: bool,
        parent: QWidget | None = None,
    ) -> None:
        """Make the rows."""
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme().line(0.6))
        self.rows: list[MeasureRow] = []
        for key, measure in measures_described().items():
            row = MeasureRow(measure, key in chosen, params.get(key, {}), self)
            row.box.setEnabled(runs_model or not measure.needs_data)
            row.changed.connect(self.changed)
            layout.addWidget(row)
            self.rows.append(row)

    def chosen(self) -> tuple[str, ...]:
        """Return the keys of the measures that are to run."""
        return tuple(row.measure.key for row in self.rows if row.is_chosen)

    def params(self) -> dict[str, dict[str, Any]]:
        """Return all parameters that differ from their defaults, by measure."""
        given = {row.measure.key: row.form.values() for row in self.rows}
        return {key: values for key, values in given.items() if values}

    def show_cost(self, work: Workload) -> None:
        """Say beside each measure how long it takes."""
        for row in self.rows:
            row.show_cost(work)

    def mistake(self) -> str:
        """Return the first parameter out of range, as a sentence; "" if none is."""
        return next(filter(None, (row.mistake() for row in self.rows)), "")
