"""The running job with its time left, and the runs of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.dialogs.analysis_request import summary
from app.models.layer_columns import RIGHT
from app.theme import theme
from app.widgets.elided import Elided
from app.widgets.empty_state import EmptyState
from app.widgets.format import DASH, duration, integer
from app.widgets.row_height import RowHeight

if TYPE_CHECKING:
    from analysis.runs import RunInfo
    from app.jobs import JobRunner
    from app.progress import JobState

COLUMNS = (
    ("Measure", 30),
    ("Status", 14),
    ("Samples", 9),
    ("Data", 22),
    ("Time", 11),
    ("Begun", 18),
    ("Notes", 60),
)
NUMBERS = (2, 4)
STEPS = 1000
RESUMABLE = ("cancelled", "failed", "interrupted")
ACTIONS = (
    ("resume", "&Go on", "Finish a run that was cancelled or interrupted."),
    ("again", "&Run again…", "Repeat the run, with changes if you like."),
    ("script", "&Copy as script", "Copy the Python and the command line of the run."),
    ("delete", "D&elete run…", "Delete the run with all its results."),
)
STATUS_COLOURS = {"complete": "good", "failed": "danger", "running": "accent"}


class JobStrip(QWidget):
    """One line with text, bar and *Cancel*; hidden while nothing runs."""

    def __init__(self, runner: JobRunner, parent: QWidget | None = None) -> None:
        """Listen to the runner."""
        super().__init__(parent)
        self._runner = runner
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the job")
        self.bar.setMaximumHeight(theme().line(0.6))
        self.bar.setMaximumWidth(theme().em(30))
        self.text = Elided(self)
        self.cancel = QPushButton("Cancel", self)
        self.cancel.setToolTip("Stop the job; what is finished is kept (Ctrl+.)")
        self.cancel.clicked.connect(runner.cancel)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme().em())
        layout.addWidget(self.text, 3)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.cancel)
        # A line that grows with its button would push the panels about.
        self.setMinimumHeight(self.cancel.sizeHint().height())
        runner.stateChanged.connect(self.show_state)
        self.show_state(runner.state)

    @Slot(object)
    def show_state(self, state: JobState | None) -> None:
        """Show a job, or nothing."""
        active = state is not None and state.is_active
        self.setVisible(active)
        if state is None or not active:
            return
        self.text.set_full(state.text)
        share = state.share
        # A range of 0 to 0 makes the bar say "busy" without a share.
        self.bar.setRange(0, STEPS if share is not None else 0)
        self.bar.setValue(round(STEPS * (share or 0.0)))
        self.cancel.setEnabled(state.status == "running")
        self.cancel.setVisible(state.status != "opening")


class JobsView(QWidget):
    """The job at work above, the finished runs below.

    Signals:
        actionRequested: "resume", "again", "script" or "delete", and the number of
            a run.
        commandRequested: Key of the window's action that the empty state offers.
    """

    actionRequested = Signal(object, object)  # noqa: N815 - Qt signal naming
    commandRequested = Signal(object)  # noqa: N815

    def __init__(
        self, context: AppContext, runner: JobRunner, parent: QWidget | None = None
    ) -> None:
        """Listen to the context."""
        super().__init__(parent)
        self._context = context
        self._runner = runner
        self._is_stale = True
        self.setAccessibleName("Jobs")
        self.strip = JobStrip(runner, self)
        self.runs = QTreeWidget(self)
        self.runs.setAccessibleName("Runs of this project")
        self.runs.setRootIsDecorated(False)
        self.runs.setUniformRowHeights(True)
        self.runs.setItemDelegate(RowHeight(self.runs))
        self.runs.setAlternatingRowColors(True)
        self.runs.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.runs.setHeaderLabels([title for title, _ in COLUMNS])
        for number, (_, width) in enumerate(COLUMNS):
            self.runs.setColumnWidth(number, theme().em(width))
        for number in NUMBERS:
            self.runs.headerItem().setTextAlignment(number, RIGHT)
        self._empty = EmptyState(
            "No runs yet",
            "Every analysis is listed here, and earlier ones are kept.",
            "Run analysis…",
        )
        self._empty.actionTriggered.connect(self._on_empty)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.runs)
        self._stack.addWidget(self._empty)
        gap = theme().em(0.75)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.addWidget(self.strip)
        layout.addWidget(self._stack, 1)
        layout.addLayout(self._build_actions())
        self.runs.itemSelectionChanged.connect(self._on_selection)
        runner.stateChanged.connect(self._on_selection)
        context.projectChanged.connect(self._invalidate)
        context.runsChanged.connect(self._invalidate)
        theme().themeChanged.connect(self._invalidate)
        self._refresh()

    def _build_actions(self) -> QHBoxLayout:
        """Return the buttons below the list; a right click offers the same."""
        row = QHBoxLayout()
        row.addStretch(1)
        self._actions: dict[str, QAction] = {}
        for key, text, tip in ACTIONS:
            action = QAction(text, self)
            action.setToolTip(tip)
            action.setData(key)
            action.triggered.connect(self._on_action)
            button = QToolButton(self)
            button.setDefaultAction(action)
            button.setAccessibleName(text.replace("&", ""))
            row.addWidget(button)
            self.runs.addAction(action)
            self._actions[key] = action
        return row

    def selected(self) -> RunInfo | None:
        """Return the run that is selected in the list."""
        project, items = self._context.project, self.runs.selectedItems()
        if project is None or not items:
            return None
        number = items[0].data(0, Qt.ItemDataRole.UserRole)
        return next((run for run in project.runs if run.id == number), None)

    @Slot()
    def _on_empty(self) -> None:
        self.commandRequested.emit("analyse")

    @Slot()
    def _on_action(self) -> None:
        action, run = self.sender(), self.selected()
        if isinstance(action, QAction) and run is not None:
            self.actionRequested.emit(action.data(), run.id)

    @Slot()
    def _on_selection(self, *_: object) -> None:
        run, is_busy = self.selected(), self._runner.is_busy
        can_resume = run is not None and run.status in RESUMABLE
        self._actions["resume"].setEnabled(can_resume and not is_busy)
        self._actions["again"].setEnabled(run is not None and not is_busy)
        self._actions["script"].setEnabled(run is not None)
        self._actions["delete"].setEnabled(run is not None and not is_busy)

    @Slot()
    def _invalidate(self) -> None:
        self._is_stale = True
        if self.isVisible():
            self._refresh()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt naming
        """Catch up with what changed while hidden."""
        super().showEvent(event)
        self._refresh()

    def _refresh(self) -> None:
        if not self._is_stale:
            return
        self._is_stale = False
        project = self._context.project
        runs = () if project is None else project.runs
        self.runs.clear()
        self.runs.addTopLevelItems([self._item(run) for run in reversed(runs)])
        self._stack.setCurrentIndex(0 if runs else 1)
        if (first := self.runs.topLevelItem(0)) is not None:
            self.runs.setCurrentItem(first)
        self._on_selection()

    @staticmethod
    def _item(run: RunInfo) -> QTreeWidgetItem:
        status = run.status
        if status in ("cancelled", "interrupted", "failed") and run.total:
            status += f" at {100 * min(1.0, run.done / run.total):.0f} %"
        notes = " ".join(run.warnings)
        item = QTreeWidgetItem(
            [
                summary([run.measure]),
                status,
                integer(run.samples) if run.samples else DASH,
                run.data_source or "none needed",
                duration(run.seconds),
                run.created.replace("T", " ")[:16],
                notes,
            ]
        )
        item.setData(0, Qt.ItemDataRole.UserRole, run.id)
        for column in NUMBERS:
            item.setTextAlignment(column, RIGHT)
        role = STATUS_COLOURS.get(run.status, "warning")
        item.setForeground(1, theme().brush(role))
        item.setToolTip(6, notes)
        return item
