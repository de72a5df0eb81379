"""The panels of the window, and where they stand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, QSize, Qt, QTimer, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMenu, QWidget

from app.help_topics import set_topic
from app.settings import Settings
from app.widgets.dock_buttons import DockButtons

STATE_VERSION = 2
"""Raise it whenever zones change: an old saved state restores nonsense.

Another set of panels makes another version by itself.
"""

STATE_KEY = "window/state"
WIDE = 1700
"""Width from which three columns fit side by side [logical pixels]."""
NUMBERED = 9
"""Panels that have a key of their own, Alt+1 to Alt+9."""

WAYS = {"wider": (1, 0), "narrower": (-1, 0), "taller": (0, 1), "shorter": (0, -1)}
"""Across and down."""
SHARE = 0.05
"""By how much of the window a panel grows or shrinks at once."""

Area = Qt.DockWidgetArea
ACROSS = Qt.Orientation.Horizontal
Zone = Literal["left", "left_below", "centre", "centre_below", "right", "bottom"]
Layout = Literal["explore", "assign"]
LAYOUTS: tuple[Layout, ...] = ("explore", "assign")

_NARROW: dict[Zone, Zone] = {
    "left_below": "centre",
    "centre_below": "centre",
    "right": "left_below",
}
"""Where panels of a zone go in a window too narrow for three columns."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel stands in one layout.

    Attributes:
        zone: Part of the window; panels of one zone are tabs, in the order given.
        is_shown: Whether it is there from the start; the menu shows it otherwise.
    """

    zone: Zone
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """A view, how its dock is called, and where it stands.

    Attributes:
        key: Name for programs; the dock is called `dock_KEY`.
        title: Name for people.
        view: The widget.
        explore: Place while looking for what is wrong.
        assign: Place while setting bits; None for the same.
    """

    key: str
    title: str
    view: QWidget
    explore: Place
    assign: Place | None = None

    def place(self, layout: Layout) -> Place:
        """Return where it stands in a layout."""
        return self.assign or self.explore if layout == "assign" else self.explore


class Desk(QObject):
    """Docks that are shown while a project is open.

    Args:
        window: Gets the docks.
        panels: In the order of menu and number keys.
        settings: Where the arrangement is kept.
    """

    def __init__(
        self, window: QMainWindow, panels: Sequence[Panel], settings: Settings
    ) -> None:
        """Make one dock per panel, hidden."""
        super().__init__(window)
        self._window = window
        self._settings = settings
        self.panels = {panel.key: panel for panel in panels}
        self.docks: dict[str, QDockWidget] = {}
        self._zones: dict[Zone, list[QDockWidget]] = {}
        names = ",".join(sorted(self.panels))
        # Qt keeps the version in 32 bits, signed.
        self._version = zlib.crc32(f"{STATE_VERSION}:{names}".encode()) >> 1
        window.setDockNestingEnabled(True)
        for panel in panels:
            dock = QDockWidget(panel.title, window)
            dock.setObjectName(f"dock_{panel.key}")
            dock.setWidget(panel.view)
            set_topic(dock, f"panel:{panel.key}")
            DockButtons(dock)
            dock.hide()
            self.docks[panel.key] = dock
        self.show_actions = list(self._make_actions())
        self._is_open = False
        self._is_placed = False

    def _make_actions(self) -> Iterator[QAction]:
        """Make one command per panel that brings it to the front."""
        for number, panel in enumerate(self.panels.values(), start=1):
            action = QAction(f"Show {panel.title}", self._window)
            action.setData(panel.key)
            action.setStatusTip(f"Bring the panel {panel.title} to the front.")
            if number <= NUMBERED:
                action.setShortcut(f"Alt+{number}")
            action.triggered.connect(self._on_show)
            action.setEnabled(False)
            self._window.addAction(action)
            yield action

    def fill_menu(self, menu: QMenu, before: QAction | None = None) -> None:
        """Add one entry per panel that shows or hides it."""
        for dock, action in zip(self.docks.values(), self.show_actions, strict=True):
            toggle = dock.toggleViewAction()
            key = action.shortcut().toString()
            # Text only: the key belongs to the command that also brings it forward.
            toggle.setText(f"{dock.windowTitle()}\t{key}" if key else toggle.text())
            menu.insertAction(before, toggle) if before else menu.addAction(toggle)

    @property
    def is_open(self) -> bool:
        """Whether the panels are on the desk, and not the start page."""
        return self._is_open

    def open(self) -> None:
        """Show the panels where they were last time, or by default."""
        if self._is_open:
            return
        self._is_open = True
        for action in self.show_actions:
            action.setEnabled(True)
        state = self._settings.bytes(STATE_KEY)
        placed = self._is_placed or self._window.restoreState(state, self._version)
        if not placed or not any(dock.isVisible() for dock in self.docks.values()):
            self.arrange()
        self._is_placed = True

    def close(self) -> None:
        """Hide all panels; the start page takes their place."""
        if self._is_open:
            self.save()
            self._is_placed = False
        self._is_open = False
        for action in self.show_actions:
            action.setEnabled(False)
        for dock in self.docks.values():
            dock.hide()

    def save(self) -> None:
        """Remember where the panels are."""
        if self._is_open:
            state = self._window.saveState(self._version)
            self._settings.set_bytes(STATE_KEY, state)

    def show(self, key: str) -> None:
        """Bring a panel to the front; on the start page, to its side."""
        dock = self.docks[key]
        if self._window.dockWidgetArea(dock) == Area.NoDockWidgetArea:
            self._window.addDockWidget(Area.RightDockWidgetArea, dock)
        dock.show()
        dock.raise_()

    @Slot()
    def _on_show(self) -> None:
        """Bring the panel of an action to the front, and the keyboard to it."""
        action = self.sender()
        if isinstance(action, QAction):
            self.show(action.data())
            focus_first(self.docks[action.data()].widget())

    def _key_of(self, widget: QWidget | None) -> str | None:
        """Return the key of the panel around a widget, None outside of all."""
        if widget is None:
            return None
        around = (key for key, dock in self.docks.items() if dock.isAncestorOf(widget))
        return next(around, None)

    def detach(self, widget: QWidget | None) -> bool:
        """Make the panel around a widget a window, or put it back; tell if one is."""
        key = self._key_of(widget)
        if key is None:
            return False
        dock = self.docks[key]
        dock.setFloating(not dock.isFloating())
        dock.activateWindow()
        self.show(key)
        focus_first(dock.widget())
        return True

    def resize(self, widget: QWidget | None, way: str) -> bool:
        """Move the edge of the panel around a widget; tell if there is one.

        Args:
            widget: Usually the one with the keyboard.
            way: One of `WAYS`.
        """
        key = self._key_of(widget)
        if key is None:
            return False
        dock, (across, down) = self.docks[key], WAYS[way]
        window = self._window
        step = round(SHARE * (window.width() * across + window.height() * down))
        side = ACROSS if across else Qt.Orientation.Vertical
        if dock.isFloating():
            dock.resize(dock.size() + (QSize(step, 0) if across else QSize(0, step)))
        elif beside := self._beside(dock, side):
            # Both, or Qt gives what one leaves back to it.
            mine, other = (
                last - first + 1
                for first, last in (_span(d, side) for d in (dock, beside))
            )
            window.resizeDocks([dock, beside], [mine + step, other - step], side)
        return True

    def _beside(self, dock: QDockWidget, side: Qt.Orientation) -> QDockWidget | None:
        """Return the nearest dock after one, else before it; None for a lone one."""
        cross = Qt.Orientation.Vertical if side == ACROSS else ACROSS
        start = _span(dock, side)[0]
        low, high = _span(dock, cross)
        found: list[tuple[bool, int, QDockWidget]] = []
        for other in self.docks.values():
            is_seen = not other.isFloating() and not other.visibleRegion().isEmpty()
            first, last = _span(other, cross)
            if is_seen and other is not dock and first <= high and low <= last:
                at = _span(other, side)[0]
                found.append((at < start, abs(at - start), other))
        return min(found, key=lambda one: one[:2])[2] if found else None

    def arrange(
        self, layout: Layout = "explore", *, is_wide: bool | None = None
    ) -> None:
        """Place all panels as a layout says.

        Args:
            layout: Which of the ready layouts.
            is_wide: Whether there is room for three columns; None to judge by the
                width of the window.
        """
        if is_wide is None:
            is_wide = self._window.width() >= WIDE
        self._zones = {}
        guests: list[tuple[Zone, QDockWidget]] = []
        for panel in self.panels.values():
            dock, zone = self.docks[panel.key], panel.place(layout).zone
            dock.setFloating(False)
            self._window.removeDockWidget(dock)
            if is_wide or zone not in _NARROW:
                self._zones.setdefault(zone, []).append(dock)
            else:
                guests.append((_NARROW[zone], dock))
        # Behind those whose own zone it is: the first one comes to the front.
        for zone, dock in guests:
            self._zones.setdefault(zone, []).append(dock)
        self._place(self._zones)
        for panel in self.panels.values():
            self.docks[panel.key].setVisible(panel.place(layout).is_shown)
        for docks in self._zones.values():
            if shown := [dock for dock in docks if not dock.isHidden()]:
                shown[0].raise_()
        # The window lays its docks out at the end of this turn; before, sizes
        # asked for are forgotten.
        QTimer.singleShot(0, self, self._share_out)

    def _place(self, zones: dict[Zone, list[QDockWidget]]) -> None:
        """Put the first panel of every zone down, and the others as tabs on it."""
        window = self._window
        first = {zone: docks[0] for zone, docks in zones.items()}
        for zone, area in (
            ("left", Area.LeftDockWidgetArea),
            ("centre", Area.RightDockWidgetArea),
            ("bottom", Area.BottomDockWidgetArea),
        ):
            if zone in first:
                window.addDockWidget(area, first[zone])
        for zone, beside, direction in (
            ("right", "centre", Qt.Orientation.Horizontal),
            ("left_below", "left", Qt.Orientation.Vertical),
            ("centre_below", "centre", Qt.Orientation.Vertical),
        ):
            if zone in first and beside in first:
                window.splitDockWidget(first[beside], first[zone], direction)
            elif zone in first:
                window.addDockWidget(Area.RightDockWidgetArea, first[zone])
        for docks in zones.values():
            for before, dock in zip(docks, docks[1:], strict=False):
                window.tabifyDockWidget(before, dock)

    @Slot()
    def _share_out(self) -> None:
        """Give the zones their shares of the window."""
        width, height = self._window.width(), self._window.height()
        across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        first: dict[Zone, QDockWidget] = {}
        for zone, docks in self._zones.items():
            if shown := [dock for dock in docks if not dock.isHidden()]:
                first[zone] = shown[0]
        order: tuple[Zone, ...] = ("left", "centre", "right")
        columns = [first[zone] for zone in order if zone in first]
        shares = (8, 8, 4) if len(columns) == 3 else (11, 9)
        parts = [width * share // 20 for share in shares[: len(columns)]]
        self._window.resizeDocks(columns, parts, across)
        pairs: tuple[tuple[Zone, Zone], ...] = (
            ("left", "left_below"),
            ("centre", "centre_below"),
        )
        for above, below in pairs:
            if above in first and below in first:
                both = [first[above], first[below]]
                self._window.resizeDocks(both, [height // 2] * 2, down)


def _span(dock: QDockWidget, side: Qt.Orientation) -> tuple[int, int]:
    """Return the first and the last pixel of a dock across or down the window."""
    place = dock.geometry()
    if side == ACROSS:
        return place.left(), place.right()
    return place.top(), place.bottom()


def focus_first(view: QWidget) -> None:
    """Give the keyboard to a panel: to its first control that takes it by Tab."""
    takes = Qt.FocusPolicy.TabFocus
    controls = (view, *view.findChildren(QWidget))
    for widget in controls:
        if widget.focusPolicy() & takes and widget.isVisible() and widget.isEnabled():
            widget.setFocus(Qt.FocusReason.ShortcutFocusReason)
            return
