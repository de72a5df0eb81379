"""The panels of the window, and where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMenu, QWidget

from app.settings import Settings

STATE_VERSION = 1
"""Raise it whenever docks change: an old saved state restores nonsense."""

STATE_KEY, GEOMETRY_KEY = "window/state", "window/geometry"
WIDE = 1700
"""Width from which all plots fit side by side [logical pixels]."""

Area = Qt.DockWidgetArea


@dataclass(frozen=True, slots=True)
class Panel:
    """A view and how its dock is called."""

    key: str
    title: str
    view: QWidget


class Desk(QObject):
    """Docks that are shown while a project is open.

    Args:
        window: Gets the docks.
        panels: Layers, heatmap, distribution, trade-off and jobs, in this order.
        settings: Where the arrangement is kept.
    """

    def __init__(
        self, window: QMainWindow, panels: Sequence[Panel], settings: Settings
    ) -> None:
        """Make one dock per panel, hidden."""
        super().__init__(window)
        self._window = window
        self._settings = settings
        self.docks: dict[str, QDockWidget] = {}
        window.setDockNestingEnabled(True)
        for panel in panels:
            dock = QDockWidget(panel.title, window)
            dock.setObjectName(f"dock_{panel.key}")
            dock.setWidget(panel.view)
            dock.hide()
            self.docks[panel.key] = dock
        self._is_open = False
        self._is_placed = False

    def fill_menu(self, menu: QMenu, before: QAction | None = None) -> None:
        """Add one entry per panel, with Alt+1, Alt+2 … as shortcuts."""
        for number, dock in enumerate(self.docks.values(), start=1):
            action = dock.toggleViewAction()
            action.setShortcut(f"Alt+{number}")
            if before is None:
                menu.addAction(action)
            else:
                menu.insertAction(before, action)

    def open(self) -> None:
        """Show the panels where they were last time, or by default."""
        if self._is_open:
            return
        self._is_open = True
        state = self._settings.bytes(STATE_KEY)
        placed = self._is_placed or self._window.restoreState(state, STATE_VERSION)
        if not placed or not any(dock.isVisible() for dock in self.docks.values()):
            self.arrange()
        self._is_placed = True

    def close(self) -> None:
        """Hide all panels; the start page takes their place."""
        if self._is_open:
            self.save()
            self._is_placed = False
        self._is_open = False
        for dock in self.docks.values():
            dock.hide()

    def save(self) -> None:
        """Remember where the panels are."""
        if self._is_open:
            state = self._window.saveState(STATE_VERSION)
            self._settings.set_bytes(STATE_KEY, state)

    def show(self, key: str) -> None:
        """Bring a panel to the front."""
        self.docks[key].show()
        self.docks[key].raise_()

    def arrange_all(self) -> None:
        """Place all panels side by side."""
        self.arrange(is_wide=True)

    def arrange(self, *, is_wide: bool | None = None) -> None:
        """Place all panels by default: side by side on a wide window, else tabs."""
        window, docks = self._window, self.docks
        layers, jobs = docks["layers"], docks["jobs"]
        heatmap, distribution = docks["heatmap"], docks["distribution"]
        trade_off = docks["trade_off"]
        for dock in docks.values():
            dock.setFloating(False)
            window.removeDockWidget(dock)
        window.addDockWidget(Area.LeftDockWidgetArea, layers)
        window.addDockWidget(Area.RightDockWidgetArea, heatmap)
        if window.width() >= WIDE if is_wide is None else is_wide:
            window.splitDockWidget(heatmap, distribution, Qt.Orientation.Vertical)
            window.splitDockWidget(layers, trade_off, Qt.Orientation.Vertical)
        else:
            window.tabifyDockWidget(heatmap, distribution)
            window.tabifyDockWidget(distribution, trade_off)
        window.addDockWidget(Area.BottomDockWidgetArea, jobs)
        for dock in docks.values():
            dock.setVisible(dock is not jobs)
        heatmap.raise_()
        # The window lays its docks out at the end of this turn; before, sizes
        # asked for are forgotten.
        QTimer.singleShot(0, self, self._share_out)

    @Slot()
    def _share_out(self) -> None:
        """Give the panels their shares of the window."""
        window, docks = self._window, self.docks
        width, height = window.width(), window.height()
        across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        layers, heatmap = docks["layers"], docks["heatmap"]
        window.resizeDocks(
            [layers, heatmap], [width * 11 // 20, width * 9 // 20], across
        )
        window.resizeDocks([layers, docks["trade_off"]], [height // 2] * 2, down)
        window.resizeDocks([heatmap, docks["distribution"]], [height // 2] * 2, down)
