"""The window: panels around one project, and what its menus do."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QLocale, Qt, QTimer, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QKeySequence,
    QPaintEvent,
)
from PySide6.QtWidgets import QMainWindow, QSizePolicy, QToolBar, QWidget

from analysis.errors import AnalysisError
from app.actions import ActionSet, Need
from app.drops import dropped_path, refusal
from app.errors import Problem, show_problem
from app.settings import Settings
from app.theme import theme
from app.views.start import StartView
from app.widgets.format import NOTATION
from app.widgets.toast import Toast

# What only a furnished window needs is imported when it is furnished: results, plots
# and jobs take longer to import than all the rest takes to be on the screen.
if TYPE_CHECKING:
    from app.session import Session

DEFAULT_SIZE = (1440, 900)
GEOMETRY_KEY = "window/geometry"
MESSAGE_MS = 12_000
TABLE_COMMANDS = (
    "copy",
    "copy_header",
    "copy_csv",
    "copy_markdown",
    "select_all",
    "select_tied",
    "select_block",
    "fold",
    "lock",
    "star",
)


class MainWindow(QMainWindow):
    """Shows one session: start page, or panels around the open project.

    Args:
        settings: What is remembered between sessions.
        session: The work; one of its own when None.
        furnished: Build everything at once. Otherwise the start page comes first, and
            the rest once it is on the screen.

    Signals:
        ready: Everything is built.
        closed: The window was closed and its worker ended.
    """

    ready = Signal()
    closed = Signal()

    def __init__(
        self,
        settings: Settings,
        session: Session | None = None,
        *,
        furnished: bool = True,
    ) -> None:
        """Build the start page or everything; nothing is opened yet."""
        super().__init__()
        # In English texts "1.234" of a German system would be another number.
        QLocale.setDefault(NOTATION)
        self.setLocale(NOTATION)
        self.settings = settings
        self._is_furnished = False
        self._dropped = ""
        theme().set_mode(settings.mode)
        self.actions_ = ActionSet(self)
        self.actions_.set_shortcuts(settings.preferences.shortcuts)
        self.actions_.allow(set())
        self.start = StartView(self.actions_, self.settings, self)
        self.setCentralWidget(self.start)
        self._build_bars()
        self.setWindowTitle("Quantscope")
        self.resize(*DEFAULT_SIZE)
        geometry = settings.bytes(GEOMETRY_KEY)
        if not geometry.isEmpty():
            self.restoreGeometry(geometry)
        if furnished:
            self.furnish(session)

    # -- building --------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt naming
        """Furnish the window once its start page is on the screen."""
        super().paintEvent(event)
        if not self._is_furnished:
            QTimer.singleShot(0, self, self.furnish)

    @Slot()
    def furnish(self, session: Session | None = None) -> None:
        """Build all that is behind the start page, once."""
        if self._is_furnished:
            return
        from app.commander import Commander
        from app.notices import Notices
        from app.remembered import remember_panels
        from app.session import Session
        from app.widgets.focus_frame import FocusFrame

        self._is_furnished = True
        self.session = session or Session(self.settings, self)
        self.context = self.session.context
        self.commander = Commander(self)
        self._build_views()
        remember_panels(self)
        self._build_menus()
        self._build_status()
        self._focus_frame = FocusFrame(self)
        self.notices = Notices(self)
        self._connect()
        self.setAcceptDrops(True)
        self._on_project()
        self.ready.emit()

    def _build_views(self) -> None:
        from app.desk import Desk
        from app.help_topics import set_topic
        from app.links import RowLink
        from app.logbook import Logbook
        from app.panels import panels_of
        from app.views.channels import ChannelsView
        from app.views.compare import CompareView
        from app.views.distribution import DistributionView
        from app.views.error_map import ErrorMapView
        from app.views.findings import FindingsView
        from app.views.heatmap import HeatmapView
        from app.views.help import HelpView
        from app.views.history import HistoryView
        from app.views.inspector import InspectorView
        from app.views.jobs import JobsView
        from app.views.layer_table import LayerTableView
        from app.views.log import LogView
        from app.views.sensitivity import SensitivityView
        from app.views.trade_off import TradeOffView

        context, runner = self.context, self.session.runner
        self.layers = LayerTableView(context, self.settings, self)
        self.heatmap = HeatmapView(context)
        self.sensitivity = SensitivityView(context)
        RowLink(self.heatmap, self.sensitivity, self.heatmap.link_switch)
        self.distribution = DistributionView(context)
        self.channels = ChannelsView(context)
        self.error_map = ErrorMapView(context)
        self.trade_off = TradeOffView(context)
        self.inspector = InspectorView(context)
        self.compare = CompareView(context)
        self.history = HistoryView(context)
        self.findings = FindingsView(context)
        self.jobs = JobsView(context, runner, self)
        self.logbook = Logbook(self)
        self.log = LogView(self.logbook, self)
        self.help = HelpView(self)
        self.jobs.actionRequested.connect(self.commander.on_run)
        self.jobs.commandRequested.connect(self.commander.run)
        set_topic(self.start, "panel:start")
        self.desk = Desk(self, panels_of(self), self.settings)
        for key in ("bits_0", *TABLE_COMMANDS):
            self.layers.addAction(self.actions_[key])
        self.layers.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)

    def _build_bars(self) -> None:
        actions = self.actions_
        actions.fill_menus(self.menuBar())
        tools = QToolBar("Tools", self)
        tools.setObjectName("tools")
        tools.setMovable(False)
        tools.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        actions.fill_toolbar(tools)
        tools.insertSeparator(actions["analyse"])
        tools.toggleViewAction().setVisible(False)
        room = QWidget(tools)
        room.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.toast = Toast(tools)
        for widget in (room, self.toast):
            tools.addWidget(widget)
        self.addToolBar(tools)
        self.statusBar()

    def _build_menus(self) -> None:
        actions = self.actions_
        edit = actions.menu("&Edit")
        self.undo = self.context.undo_group.createUndoAction(self, "&Undo")
        self.undo.setShortcut("Ctrl+Z")
        self.redo = self.context.undo_group.createRedoAction(self, "&Redo")
        self.redo.setShortcuts([QKeySequence(s) for s in ("Ctrl+Shift+Z", "Ctrl+Y")])
        edit.insertActions(actions["copy"], [self.undo, self.redo])
        edit.insertSeparator(actions["copy"])
        self._recent = actions.menu("&File").addMenu("Open &recent")
        actions.menu("&File").insertMenu(actions["save"], self._recent)
        self._recent.aboutToShow.connect(self._fill_recent)
        self._recent.triggered.connect(self._on_recent)
        self._bookmarks = actions.menu("&Edit/&Bookmarks").addMenu("&Go to")
        self._bookmarks.aboutToShow.connect(self._fill_bookmarks)
        self._bookmarks.triggered.connect(self.layers.finder.on_menu)
        view = actions.menu("&View")
        first = view.actions()[0]
        self.desk.fill_menu(view, first)
        view.insertSeparator(first)

    def _build_status(self) -> None:
        from app.views.jobs import JobStrip
        from app.views.totals import TotalsBar

        self._totals_bar = QToolBar("Totals", self)
        self._totals_bar.setObjectName("totals")
        self._totals_bar.setMovable(False)
        self._totals_bar.toggleViewAction().setVisible(False)
        self.totals = TotalsBar(self.context, self)
        self._totals_bar.addWidget(self.totals)
        self.addToolBar(Qt.ToolBarArea.BottomToolBarArea, self._totals_bar)
        self.strip = JobStrip(self.session.runner, self)
        self.strip.setMinimumWidth(theme().em(60))
        self.statusBar().addPermanentWidget(self.strip)

    def _connect(self) -> None:
        self.actions_.chosen.connect(self.commander.run)
        context, session = self.context, self.session
        context.projectChanged.connect(self._on_project)
        context.dirtyChanged.connect(self._on_title)
        context.rowsAdded.connect(self._on_having)
        context.runsChanged.connect(self._on_having)
        context.selection.changed.connect(self._on_having)
        context.message.connect(self.say)
        context.message.connect(self.logbook.add_message)
        session.runner.stateChanged.connect(self.logbook.add_job)
        self.logbook.install()
        session.runner.stateChanged.connect(self._on_having)
        session.problem.connect(self.show_problem)
        session.openingChanged.connect(self.start.show_busy)
        self.start.openRequested.connect(self.commander.open)
        self.layers.openRequested.connect(self.commander.do_open)
        plots = (self.distribution, self.channels, self.error_map, self.trade_off)
        tables = (self.compare, self.findings)
        for panel in (self.heatmap, self.sensitivity, *plots, *tables):
            panel.actionRequested.connect(self.commander.run)
        self.findings.showRequested.connect(self.show_panel)

    def fixed_keys(self) -> dict[str, str]:
        """Return the keys of commands outside the table, with what they do."""
        found = {}
        for action in (self.undo, self.redo, *self.desk.show_actions):
            for key in action.shortcuts():
                found[key.toString()] = action.text().replace("&", "")
        return found

    # -- state -----------------------------------------------------------------

    @Slot()
    def _on_project(self) -> None:
        has_project = self.context.project is not None
        if has_project:
            self.start.hide()
            self.desk.open()
            # Digits are to set bits, not to be typed into the filter.
            self.layers.table.setFocus(Qt.FocusReason.OtherFocusReason)
        else:
            self.desk.close()
            self.start.refresh()
            self.start.show()
        # After the desk: a remembered arrangement also says which bars were visible.
        self._totals_bar.setVisible(has_project)
        self.notices.show()
        self._on_title()
        self._on_having()

    @Slot()
    def _on_title(self) -> None:
        project = self.context.project
        if project is None:
            self.setWindowTitle("Quantscope")
            self.setWindowModified(False)
            return
        name = project.path.name if project.path else f"{project.info.name} (new)"
        note = " (read-only)" if project.read_only else ""
        self.setWindowTitle(f"{name}{note}[*] – Quantscope")
        self.setWindowModified(project.dirty)

    @Slot()
    def _on_having(self, *_: object) -> None:
        """Enable the commands that can act."""
        having: set[Need] = set()
        project = self.context.project
        is_busy = self.session.runner.is_busy
        if is_busy:
            having.add("job")
        if project is not None:
            having.add("project")
            if not is_busy:
                having.add("idle")
            if len(self.context.selection.layers):
                having.add("layers")
            if project.formats("predicted_error", "error", "weight"):
                having.add("predicted")
        self.actions_.allow(having)
        self.actions_[f"theme_{theme().mode}"].setChecked(True)

    @Slot(object)
    def say(self, text: object) -> None:
        """Show a sentence where it is seen, and in the status bar for a while."""
        self.statusBar().showMessage(str(text), MESSAGE_MS)
        self.toast.tell(str(text))

    @Slot(object)
    def show_problem(self, problem: Problem) -> None:
        """Show what went wrong and what to do."""
        dialog = show_problem(problem, self)
        dialog.remedyChosen.connect(self.session.work.try_again)

    def open_soon(self, source: str) -> None:
        """Open a model or project once the window is on the screen."""
        self._dropped = source
        QTimer.singleShot(0, self, self._open_dropped)

    @Slot(object)
    def show_panel(self, key: object) -> None:
        """Bring the panel of a finding forward.

        Channels are shown beside the distribution where they have no panel.
        """
        name = str(key)
        self.desk.show(name if name in self.desk.docks else "distribution")

    def show_worst_layer(self) -> None:
        """Look at the layer with the largest predicted error, if one is known.

        Layers kept in float count only while nothing is quantized: what is shown of
        them is an error they do not make.
        """
        layers = self.layers.model.layers
        errors = np.where(layers.is_reference, np.nan, layers.error)
        if not np.isfinite(errors).any():
            errors = layers.error
        if np.isfinite(errors).any():
            self.context.selection.set([int(np.nanargmax(errors))])

    def show_layer(self, name: str) -> None:
        """Look at the layer of a name.

        Raises:
            AnalysisError: there is none.
        """
        names = self.layers.model.layers.names
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise AnalysisError(
                "There is no layer of this name.",
                value=name,
                hint=f"Did you mean {near[0]}?" if near else None,
            )
        self.context.selection.set([names.index(name)])

    # -- recent files ----------------------------------------------------------

    @Slot()
    def _fill_recent(self) -> None:
        self._recent.clear()
        for entry in self.settings.recent:
            action = self._recent.addAction(entry.source.replace("&", "&&"))
            action.setData(entry.source)
            action.setEnabled(not entry.is_missing)
        empty = self._recent.isEmpty()
        if empty:
            self._recent.addAction("Nothing opened yet").setEnabled(False)
        self._recent.addSeparator()
        self._recent.addAction("&Clear list").setEnabled(not empty)

    @Slot(QAction)
    def _on_recent(self, action: QAction) -> None:
        source = action.data()
        if source:
            self.commander.open(source)
        else:
            self.settings.clear_recent()
            self.start.refresh()

    @Slot()
    def _fill_bookmarks(self) -> None:
        self.layers.finder.fill_menu(self._bookmarks)

    # -- drops -----------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Say what a drop would do."""
        path = dropped_path(event.mimeData())
        reason = refusal(path, len(event.mimeData().urls()))
        name = Path(path).name if path else ""
        text = reason or f"Open {name}"
        self.start.show_invitation(text, welcome=not reason)
        self.statusBar().showMessage(text, MESSAGE_MS)
        if reason:
            event.ignore()
        else:
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802
        """Forget the hovering."""
        self.start.show_invitation()
        self.statusBar().clearMessage()
        super().dragLeaveEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt naming
        """Open what was dropped, once the drop itself is over.

        Opening may show a dialog, and doing that inside the drop has crashed
        applications.
        """
        path = dropped_path(event.mimeData())
        event.acceptProposedAction()
        self.start.show_invitation()
        self.open_soon(path)

    @Slot()
    def _open_dropped(self) -> None:
        if self._dropped:
            self.commander.open(self._dropped)

    # -- closing ---------------------------------------------------------------

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt naming
        """Ask about unsaved work, remember the window, end the worker."""
        self.furnish()
        if not self.commander.may_discard():
            event.ignore()
            return
        self.settings.set_bytes(GEOMETRY_KEY, self.saveGeometry())
        self.desk.save()
        self.layers.save_settings()
        self.settings.sync()
        self.session.shut_down()
        self.logbook.uninstall()
        self.toast.clear_notice()
        self.closed.emit()
        super().closeEvent(event)
