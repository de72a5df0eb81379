"""Two assignments side by side: totals, changed layers, and taking rows across."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStackedWidget,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.models.compare import BASELINE, differences, stored_float, totals
from app.models.compare_table import NUMBERS, WIDTHS, DifferenceModel, TotalsModel
from app.theme import theme
from app.widgets.empty_state import NOTHING, EmptyState
from app.widgets.format import count
from app.widgets.late_view import LateView
from app.widgets.mark_delegates import PathDelegate
from app.widgets.markdown import markdown
from app.widgets.row_table import RowTable
from quant_core.assignment import Assignment

PRESENT, STORED = "Present", "Stored float"


class CompareView(LateView):
    """The compare panel; A is what B, as a rule the present one, is held against.

    Signals:
        actionRequested: Key of the window's action that the empty state offers.
    """

    actionRequested = Signal(object)  # noqa: N815 - Qt signal naming

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Build the panel; it compares when shown."""
        super().__init__(parent)
        self._context = context
        self._is_applying = False
        self.setAccessibleName("Compare")
        self.left_box, self.right_box = QComboBox(self), QComboBox(self)
        self.model, self.totals_model = DifferenceModel(self), TotalsModel(self)
        self.table = RowTable(self.model, WIDTHS, self)
        self.totals_table = QTableView(self)
        self.take_button = QPushButton("Use the selected rows", self)
        self._note = QLabel(self)
        self._empty = EmptyState(parent=self)
        self._stack = QStackedWidget(self)
        self._set_up_tables()
        self._arrange()
        self._connect()

    # -- building --------------------------------------------------------------

    def _set_up_tables(self) -> None:
        self.table.setAccessibleName("Layers that differ")
        self.table.setItemDelegateForColumn(0, PathDelegate(self.table))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        totals_table = self.totals_table
        totals_table.setAccessibleName("Totals side by side")
        totals_table.setModel(self.totals_model)
        totals_table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        totals_table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        totals_table.setShowGrid(False)
        totals_table.verticalHeader().hide()
        totals_table.verticalHeader().setDefaultSectionSize(theme().line(1.4))
        header = totals_table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        # Six short lines: measuring them costs nothing, unlike those of layers.
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setHighlightSections(False)
        totals_table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        for text, slot, is_copy in (
            ("&Copy rows as text", self.copy_text, True),
            ("Copy comparison as &Markdown", self.copy_markdown, False),
        ):
            action = QAction(text, self)
            action.triggered.connect(slot)
            if is_copy:
                action.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
                action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            self.table.addAction(action)

    def _arrange(self) -> None:
        top = QHBoxLayout()
        for letter, box in (("A", self.left_box), ("B", self.right_box)):
            label = QLabel(letter, self)
            label.setBuddy(box)
            box.setAccessibleName(f"Assignment {letter}")
            box.setToolTip("An assignment: the present one, or one that was kept")
            top.addWidget(label)
            top.addWidget(box, 1)
            if box is self.left_box:
                swap = QToolButton(self)
                swap.setText("⇄")
                swap.setToolTip("Swap A and B")
                swap.setAccessibleName("Swap A and B")
                swap.clicked.connect(self.swap)
                top.addWidget(swap)
        below = QHBoxLayout()
        below.addWidget(self._note, 1)
        below.addWidget(self.take_button)
        compared = QWidget(self)
        inside = QVBoxLayout(compared)
        gap = theme().em(0.75)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(gap)
        inside.addWidget(self.totals_table)
        inside.addWidget(self.table, 1)
        inside.addLayout(below)
        self._stack.addWidget(compared)
        self._stack.addWidget(self._empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addLayout(top)
        layout.addWidget(self._stack, 1)

    def _connect(self) -> None:
        context = self._context
        context.projectChanged.connect(self._on_project)
        context.assignmentsChanged.connect(self._on_kept)
        context.assignmentChanged.connect(self._on_any)
        context.rowsAdded.connect(self._on_results)
        context.runsChanged.connect(self._on_results)
        context.selection.changed.connect(self._show_selection)
        theme().themeChanged.connect(self.table.viewport().update)
        self.left_box.activated.connect(self._on_any)
        self.right_box.activated.connect(self._on_any)
        self.take_button.clicked.connect(self.take)
        self._empty.actionTriggered.connect(self._on_empty)
        self.model.modelAboutToBeReset.connect(self._on_reset)
        self.model.modelReset.connect(self._show_selection)
        self.table.selectionModel().selectionChanged.connect(self._on_rows)
        self._fill(self.left_box, STORED)
        self._fill(self.right_box, PRESENT)

    # -- what is compared ------------------------------------------------------

    def _fill(self, box: QComboBox, default: str) -> None:
        """List the assignments; what was chosen stays while it exists."""
        project = self._context.project
        kept = [] if project is None else list(project.assignments)
        chosen = box.currentText()
        blocker = QSignalBlocker(box)
        box.clear()
        box.addItems([PRESENT, *kept, STORED])
        at = max(box.findText(chosen), -1)
        box.setCurrentIndex(at if at >= 0 else box.findText(default))
        blocker.unblock()

    def assignment(self, name: str) -> Assignment | None:
        """Return the assignment that a list calls so."""
        project = self._context.project
        if project is None:
            return None
        if name == PRESENT:
            return project.assignment
        if name == STORED:
            return stored_float(project)
        return project.assignments.get(name)

    def compare(self, left: str, right: str = PRESENT) -> None:
        """Compare two assignments by the names that the lists show."""
        self._fill(self.left_box, STORED)
        self._fill(self.right_box, PRESENT)
        self.left_box.setCurrentIndex(max(0, self.left_box.findText(left)))
        self.right_box.setCurrentIndex(max(0, self.right_box.findText(right)))
        self._on_any()

    @Slot()
    def swap(self) -> None:
        """Hold A against B instead of B against A."""
        self.compare(self.right_box.currentText(), self.left_box.currentText())

    @Slot()
    def _on_project(self) -> None:
        for box in (self.left_box, self.right_box):
            box.clear()
        self._on_kept()

    @Slot()
    def _on_kept(self) -> None:
        project = self._context.project
        has_baseline = project is not None and BASELINE in project.assignments
        self._fill(self.left_box, BASELINE if has_baseline else STORED)
        self._fill(self.right_box, PRESENT)
        self._on_any()

    def renew(self) -> None:
        """Show what is true now."""
        project = self._context.project
        names = self.left_box.currentText(), self.right_box.currentText()
        left, right = map(self.assignment, names)
        if project is None or left is None or right is None:
            self._show_empty("Nothing to compare", "Open a model first.")
            return
        if not project.info.layers:
            self._show_empty(*NOTHING)
            return
        if not len(left.diff(right)):
            text = (
                f"{names[0]} and {names[1]} are the same. Keep the present assignment"
            )
            text += " as the baseline, then change it: the changes show here."
            self._show_empty("No differences", text, "Make it the baseline")
            return
        found = differences(project, left, right)
        self.model.show(found, names)
        self.totals_model.show(totals(project, left, right), names)
        self._fit_totals()
        layers = len(project.info.layers)
        self._note.setText(f"{count(len(found.layers), 'layer')} of {layers:,} differ")
        self._stack.setCurrentIndex(0)
        self._on_chosen()

    def _fit_totals(self) -> None:
        """Make the table of totals as high as its rows."""
        rows = self.totals_model.rowCount() * theme().line(1.4)
        head = self.totals_table.horizontalHeader().sizeHint().height()
        self.totals_table.setFixedHeight(rows + head + theme().line(0.3))

    def _show_empty(self, title: str, text: str, action: str = "") -> None:
        self.model.show(None, ("A", "B"))
        self.totals_model.show((), ("A", "B"))
        self._empty.set_text(title, text, action)
        self._stack.setCurrentIndex(1)

    @Slot()
    def _on_empty(self) -> None:
        self.actionRequested.emit("baseline")

    # -- selection and taking across -------------------------------------------

    @Slot()
    def _on_reset(self) -> None:
        self._is_applying = True

    @Slot()
    def _show_selection(self) -> None:
        """Select the rows of the selected layers."""
        rows = self.model.rows_of(self._context.selection.layers)
        breaks = np.flatnonzero(np.diff(rows) != 1)
        starts, ends = np.append(0, breaks + 1), np.append(breaks, len(rows) - 1)
        ranges = list(zip(rows[starts], rows[ends], strict=True)) if len(rows) else []
        self._is_applying = True
        self.table.select_ranges([(int(a), int(b)) for a, b in ranges], -1)
        self._is_applying = False
        self._on_chosen()

    @Slot()
    def _on_rows(self, *_: object) -> None:
        if not self._is_applying:
            layers = self.model.layers_at(self.table.selected_rows())
            self._context.selection.set(layers)

    def _on_chosen(self) -> None:
        """Say what the button would take over."""
        name, rows = self.left_box.currentText(), len(self.table.selected_rows())
        rest = count(rows, "selected row") if rows else "selected rows"
        self.take_button.setText(f"Use {rest} of {name}")
        self.take_button.setToolTip(
            f"Give the selected layers the formats they have in {name}, as one undo "
            "step. Locked layers stay; tied layers change along."
        )
        self.take_button.setEnabled(rows > 0 and name != PRESENT)

    @Slot()
    def take(self) -> None:
        """Give the selected layers of the present assignment what they have in A."""
        name = self.left_box.currentText()
        source = self.assignment(name)
        layers = self.model.layers_at(self.table.selected_rows())
        if source is not None and name != PRESENT and len(layers):
            self._context.take_over(source, layers, name)

    # -- taking away -----------------------------------------------------------

    def _header(self) -> list[str]:
        across = Qt.Orientation.Horizontal
        return [str(self.model.headerData(i, across)) for i in range(len(WIDTHS))]

    @Slot()
    def copy_text(self) -> None:
        """Copy the selected rows with their titles, separated by tabs."""
        lines = [self.model.line(row) for row in self.table.selected_rows().tolist()]
        text = "\n".join("\t".join(line) for line in [self._header(), *lines])
        QGuiApplication.clipboard().setText(text)

    @Slot()
    def copy_markdown(self) -> None:
        """Copy totals and all changed layers as Markdown."""
        model, right = self.totals_model, [False, True, True, True]
        head = markdown(model.header, map(model.texts, range(model.rowCount())), right)
        rows = map(self.model.line, range(self.model.rowCount()))
        sides = [column in NUMBERS for column in range(len(WIDTHS))]
        table = markdown(self._header(), rows, sides)
        QGuiApplication.clipboard().setText(f"{head}\n{table}")
