"""A budget to drag, and what it proposes beside the present assignment."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.models.proposal import Proposal
from app.models.proposal_table import WIDTHS, ProposalModel
from app.models.trade_off import Offer
from app.theme import theme
from app.widgets.data_table import Table, TableModel
from app.widgets.elided import Elided
from app.widgets.format import count, significant
from app.widgets.format import size as size_text
from app.widgets.mark_delegates import PathDelegate
from app.widgets.row_table import RowTable
from app.widgets.tick_box import TickBox

STEPS = 1000
"""Places of the slider: equal ratios of size, whatever points lie there."""


class ProposalPane(QWidget):
    """Layers that the point of the slider would change, and why.

    The slider, its text and the buttons stand in `bar`, which the owner places.

    Signals:
        changed: Another point is proposed; also None, when there is none.
    """

    changed = Signal(object)

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Build both parts; nothing is proposed before `set_offer`."""
        super().__init__(parent)
        self._context = context
        self._offer: Offer | None = None
        self._unit = ""
        self._is_applying = False
        self._is_chosen = False  # or the slider keeps to the present size
        self.proposal: Proposal | None = None
        self.setAccessibleName("Proposal, layer by layer")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.told = Elided()
        self.all_button = QPushButton("Acce&pt")
        self.some_button = QPushButton("For selecte&d")
        self.changes_box = TickBox("Only &changes")
        self.model = ProposalModel(self)
        self.table = RowTable(self.model, WIDTHS, self)
        self.why = QTableView(self)
        self.why_title = QLabel(self)
        self.bar = self._make_bar()
        self._arrange()
        self._connect()

    def _make_bar(self) -> QWidget:
        bar = QWidget()
        self.slider.setRange(0, STEPS)
        self.slider.setPageStep(STEPS // 20)
        self.slider.setAccessibleName("Budget")
        self.slider.setToolTip(
            "Drag to another size: the best assignment of that size is proposed"
        )
        self.all_button.setToolTip("Put the proposal in place, as one undo step")
        self.some_button.setAccessibleName("Accept for the selected layers")
        self.some_button.setToolTip(
            "Give only the selected layers what is proposed, as one undo step"
        )
        label = QLabel("&Budget")
        label.setBuddy(self.slider)
        row = QHBoxLayout()
        self.slider.setMinimumWidth(theme().em(10))
        row.addWidget(label)
        row.addWidget(self.slider, 1)
        row.addWidget(self.all_button)
        row.addWidget(self.some_button)
        lines = QVBoxLayout(bar)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addLayout(row)
        lines.addWidget(self.told)
        return bar

    def _arrange(self) -> None:
        self.table.setAccessibleName("Layers that the proposal changes")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setItemDelegateForColumn(0, PathDelegate(self.table))
        self.why.setAccessibleName("Formats that the layer could have")
        self.why.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.why.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.why.setShowGrid(False)
        self.why.verticalHeader().hide()
        self.why.verticalHeader().setDefaultSectionSize(theme().line(1.4))
        self.why.horizontalHeader().setHighlightSections(False)
        self.why_title.setWordWrap(True)
        self.changes_box.setChecked(True)
        self.changes_box.setToolTip("Leave out the layers that would stay as they are")
        left, right, parts = QWidget(self), QWidget(self), QSplitter(self)
        for side, widgets in (
            (left, (self.changes_box, self.table)),
            (right, (self.why_title, self.why)),
        ):
            column = QVBoxLayout(side)
            column.setContentsMargins(0, 0, 0, 0)
            column.addWidget(widgets[0])
            column.addWidget(widgets[1], 1)
            parts.addWidget(side)
        parts.setStretchFactor(0, 3)
        parts.setStretchFactor(1, 2)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(parts)

    def _connect(self) -> None:
        self.slider.valueChanged.connect(self._on_slider)
        self.all_button.clicked.connect(self.accept_all)
        self.some_button.clicked.connect(self.accept_selected)
        self.changes_box.toggled.connect(self._show)
        self._context.selection.changed.connect(self._show_selection)
        self.model.modelAboutToBeReset.connect(self._on_reset)
        self.model.modelReset.connect(self._show_selection)
        self.table.selectionModel().selectionChanged.connect(self._on_rows)

    # -- what is proposed ------------------------------------------------------------

    def set_offer(self, offer: Offer | None, unit: str) -> None:
        """Take what can be chosen; what a person has proposed stays at its size."""
        before = self.proposal
        self._offer, self._unit = offer, unit
        self.bar.setEnabled(offer is not None and len(offer.front) > 1)
        if offer is None:
            self._is_chosen = False
            self._propose(None)
            return
        self._propose_size(before)

    def _propose_size(self, before: Proposal | None) -> None:
        """Propose what is as large as before if a person chose it, else as what is."""
        project, offer = self._context.project, self._offer
        assert project is not None
        assert offer is not None
        keeps = before is not None and self._is_chosen
        size = before.size if before is not None and keeps else project.totals.bytes
        self._place(int(np.abs(offer.front.bits - 8 * size).argmin()))

    def _place(self, point: int) -> None:
        """Propose a point of the front; the slider follows."""
        project, offer = self._context.project, self._offer
        if project is None or offer is None:
            return
        bits = np.maximum(offer.front.bits, 1.0)
        span = float(np.log(bits[-1] / bits[0])) or 1.0
        blocker = QSignalBlocker(self.slider)
        self.slider.setValue(round(STEPS * float(np.log(bits[point] / bits[0])) / span))
        blocker.unblock()
        self._propose(Proposal.of(project, offer, point))

    @Slot(int)
    def _on_slider(self, place: int) -> None:
        project, offer = self._context.project, self._offer
        if project is None or offer is None:
            return
        bits = np.maximum(offer.front.bits, 1.0)
        wanted = bits[0] * (bits[-1] / bits[0]) ** (place / STEPS)
        point = int(np.searchsorted(bits, wanted * (1 + 1e-12), side="right")) - 1
        self._is_chosen = True
        self._propose(Proposal.of(project, offer, max(0, point)))

    def renew(self) -> None:
        """Hold the proposal against the assignment as it is by now."""
        if self.proposal is not None:
            self._propose_size(self.proposal)

    def _propose(self, proposal: Proposal | None) -> None:
        self.proposal = proposal
        self._show()
        self.changed.emit(proposal)

    # -- showing ---------------------------------------------------------------------

    @Slot()
    def _show(self) -> None:
        found = self.proposal
        self.told.set_full("" if found is None else self.describe(found))
        if self.isVisible() or found is None:
            self.model.show(found, only_changes=self.changes_box.isChecked())
        self._show_selection()

    def showEvent(self, event: object) -> None:  # noqa: N802 - Qt naming
        """Catch up with what was proposed while hidden."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._show()

    def describe(self, found: Proposal) -> str:
        """Return bits per weight, size, error and how many layers would change."""
        changed = len(found.changed())
        return "  ·  ".join(
            (
                f"Proposed: {found.average_bits:.2f} bits",
                size_text(found.size),
                f"error {significant(found.error)} {self._unit}".rstrip(),
                f"changes {count(changed, 'layer')}" if changed else "changes nothing",
            )
        )

    @Slot()
    def _on_reset(self) -> None:
        self._is_applying = True

    @Slot()
    def _show_selection(self) -> None:
        """Select the rows of the selected layers; explain the one looked at."""
        chosen = self._context.selection.layers
        if self.isVisible():
            rows = self.model.rows_of(chosen)
            breaks = np.flatnonzero(np.diff(rows) != 1)
            starts, ends = np.append(0, breaks + 1), np.append(breaks, len(rows) - 1)
            ranges = zip(rows[starts], rows[ends], strict=True) if len(rows) else ()
            self._is_applying = True
            self.table.select_ranges([(int(a), int(b)) for a, b in ranges], -1)
            self._show_why()
        self._is_applying = False
        found = self.proposal
        everything = 0 if found is None else len(found.changed())
        changing = 0 if found is None else found.changes_among(chosen)
        self.all_button.setEnabled(everything > 0)
        self.some_button.setEnabled(changing > 0)
        self.some_button.setText(f"For {len(chosen):,} selecte&d")

    def _show_why(self) -> None:
        found, layer = self.proposal, self._context.selection.current
        old = self.why.model()
        is_known = found is not None and 0 <= layer < len(found.offer.table.layers)
        if found is None or not is_known:
            self.why_title.setText("Select a layer to see why it gets its format.")
            self.why.setModel(None)
        else:
            self.why_title.setText(self._reason(found, layer))
            self.why.setModel(TableModel(self._alternatives(found, layer), self.why))
            for column, digits in enumerate((14, 9, 11, 13)):
                self.why.setColumnWidth(column, theme().em(digits))
        if old is not None:
            old.deleteLater()

    def _reason(self, found: Proposal, layer: int) -> str:
        name = found.offer.table.layers[layer].name
        price = 8 * 1000 * found.offer.front.price(found.point)
        others = found.tied(layer) - 1
        tied = f" with {count(others, 'tied layer')}" if others else ""
        text = f"{name}{tied} gets {found.name(layer, mine=False)}: "
        if bool(found.offer.held[layer]):
            return text + "it is locked, or was not analysed."
        return (
            text + "least sum of error and storage, a kilobyte at the price of "
            f"{significant(price)} {self._unit} at this budget."
        )

    def _alternatives(self, found: Proposal, layer: int) -> Table:
        rows = found.alternatives(layer)
        return Table(
            ("Format", "Size", "Error", "Error + price"),
            (
                [f"{x.name}  ✓" if x.is_chosen else x.name for x in rows],
                [size_text(x.size) for x in rows],
                [significant(x.error) for x in rows],
                [significant(x.total) for x in rows],
            ),
        )

    # -- accepting -------------------------------------------------------------------

    @Slot()
    def _on_rows(self, *_: object) -> None:
        if not self._is_applying:
            layers = self.model.layers_at(self.table.selected_rows())
            self._context.selection.set(layers)

    @Slot()
    def accept_all(self) -> None:
        """Put the proposal in place; locked layers keep theirs."""
        project, found = self._context.project, self.proposal
        if project is not None and found is not None:
            made = found.assignment(project.assignment)
            name = f"trade-off at {size_text(found.size)}"
            self._context.replace_assignment(made, f"Apply {name}")

    @Slot()
    def accept_selected(self) -> None:
        """Give the selected layers what is proposed; tied layers change along."""
        project, found = self._context.project, self.proposal
        layers = self._context.selection.layers
        if project is not None and found is not None and len(layers):
            made = found.assignment(project.assignment)
            self._context.take_over(
                made, layers, f"proposal of {size_text(found.size)}"
            )
