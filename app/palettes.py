"""The two boxes that find things by letters: every command, and every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction, QKeySequence

from app.actions import COMMANDS, WHY
from app.widgets.command_palette import CommandPalette, Detail
from app.widgets.fuzzy import Matcher

if TYPE_CHECKING:
    from app.main_window import MainWindow


class Palettes(QObject):
    """Opens the boxes over the window, and does what was chosen in them."""

    def __init__(self, window: MainWindow) -> None:
        """Work for a window."""
        super().__init__(window)
        self._window = window
        self._actions: list[tuple[str, QAction, str]] = []
        self._names: Sequence[str] = ()
        self._matcher = Matcher(())

    def commands(self) -> CommandPalette:
        """Open the box of all commands."""
        self._actions = self._all_commands()
        box = CommandPalette(
            [name for name, _, _ in self._actions],
            self._command_detail,
            title="Find a command",
            noun="command",
            parent=self._window,
        )
        box.chosen.connect(self._on_command)
        box.open_over(self._window)
        return box

    def layers(self) -> CommandPalette:
        """Open the box of all layers."""
        names = self._window.layers.model.layers.names
        if names is not self._names:
            self._names, self._matcher = names, Matcher(names)
        box = CommandPalette(
            names,
            self._layer_detail,
            title="Go to layer",
            noun="layer",
            matcher=self._matcher,
            parent=self._window,
        )
        box.chosen.connect(self._on_layer)
        box.open_over(self._window)
        return box

    def _all_commands(self) -> list[tuple[str, QAction, str]]:
        """Return name, action and reason to be disabled of everything in the menus."""
        actions = self._window.actions_
        found = []
        for command in COMMANDS:
            menu = command.menu.rpartition("/")[2]
            name = f"{menu}: {command.text}".replace("&", "")
            found.append((name, actions[command.key], actions.why(command.key)))
        for action, why in (
            (self._window.undo, "There is nothing to undo."),
            (self._window.redo, "There is nothing to redo."),
        ):
            why = "" if action.isEnabled() else why
            found.append((f"Edit: {action.text().replace('&', '')}", action, why))
        for action in self._window.desk.show_actions:
            why = "" if action.isEnabled() else WHY["project"]
            found.append((f"View: {action.text()}", action, why))
        return found

    def _command_detail(self, number: int) -> Detail:
        _, action, why = self._actions[number]
        native = QKeySequence.SequenceFormat.NativeText
        return Detail(action.shortcut().toString(native), why, action.statusTip())

    def _layer_detail(self, number: int) -> Detail:
        layers = self._window.layers.model.layers
        return Detail(
            f"{layers.kinds[number]}, {layers.schemes[int(layers.scheme[number])]}"
        )

    @Slot(object)
    def _on_command(self, number: object) -> None:
        self._actions[int(str(number))][1].trigger()

    @Slot(object)
    def _on_layer(self, number: object) -> None:
        layer = int(str(number))
        self._window.context.selection.set([layer])
        if self._window.layers.model.row_of(layer) < 0:
            name = self._window.layers.model.layers.names[layer]
            self._window.say(f"{name} is selected; the filter hides its row.")
