"""Looking for layers without filtering, and the bookmarks on layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from analysis.errors import AnalysisError
from app.context import AppContext
from app.widgets.find_bar import FindBar
from app.widgets.format import count

if TYPE_CHECKING:
    from app.views.layer_table import LayerTableView

MOST_LISTED = 40
"""Bookmarks that the menu lists; the rest is reached by stepping."""


class LayerFinder(QObject):
    """Steps through matches and bookmarks of a layer table.

    Args:
        view: The table.
        context: Selection and project.
        bar: The line to type in.
    """

    def __init__(self, view: LayerTableView, context: AppContext, bar: FindBar) -> None:
        """Listen to the line."""
        super().__init__(view)
        self._view = view
        self._context = context
        self.bar = bar
        bar.edited.connect(self._on_edited)
        bar.stepped.connect(self.step)
        bar.closed.connect(self._on_closed)
        view.model.modelReset.connect(self._say)
        context.selection.changed.connect(self._say)

    def open(self) -> None:
        """Show the line to type in."""
        self.bar.open_bar()

    @Slot(object)
    def _on_edited(self, text: object) -> None:
        try:
            self._view.model.find(str(text))
        except AnalysisError as error:
            self.bar.show_mistake(str(error))
            return
        self._say()

    @Slot()
    def _on_closed(self) -> None:
        self._view.model.find("")
        self._view.table.setFocus()

    @Slot()
    def _say(self) -> None:
        """Say how many rows match, and which of them is looked at."""
        if self.bar.isHidden():
            return
        found = self._view.model.found
        here = np.flatnonzero(found == self._context.selection.current)
        self.bar.show_count(int(here[0]) + 1 if len(here) else 0, len(found))

    @Slot(object)
    def step(self, by: object) -> None:
        """Look at the next (1) or previous (-1) match; round the end."""
        if self.bar.isHidden() or not self.bar.line.text().strip():
            self.open()
            return
        # What a query chooses may have changed with the numbers since it was typed.
        self._on_edited(self.bar.line.text())
        self._go(self._view.model.found, int(str(by)))

    def _go(self, layers: np.ndarray, by: int) -> bool:
        """Select the one after or before the current; return whether one is.

        A block that is folded over it unfolds.

        Args:
            layers: To step through, from the top of the table.
            by: 1 or -1.
        """
        if not len(layers):
            return False
        place, current = self._view.model.rows.place, self._context.selection.current
        here = int(place[current]) if current >= 0 else -1
        if by > 0:
            at = int(np.searchsorted(place[layers], here, side="right"))
        else:
            at = int(np.searchsorted(place[layers], here)) - 1
        layer = int(layers[at % len(layers)])
        self._context.selection.set([layer], layer)
        return True

    # -- bookmarks -------------------------------------------------------------

    def star(self) -> None:
        """Bookmark the selected layers; forget it when all of them are."""
        project, chosen = self._context.project, self._context.selection.layers
        if project is not None and len(chosen):
            is_new = not project.starred[chosen].all()
            changed = project.set_starred(chosen, is_new)
            verb = "Bookmarked" if is_new else "Bookmark taken off"
            self._context.message.emit(f"{verb}: {count(len(changed), 'layer')}.")

    def step_star(self, by: int) -> None:
        """Look at the next (1) or previous (-1) bookmark shown; round the end."""
        model = self._view.model
        listed = model.rows.listed
        if not self._go(listed[model.layers.starred[listed]], by):
            self._context.message.emit(
                "No layer shown is bookmarked. Ctrl+B bookmarks the selected ones."
            )

    def fill_menu(self, menu: QMenu) -> None:
        """List the bookmarked layers; choosing one looks at it."""
        menu.clear()
        names = self._view.model.layers.names
        starred = np.flatnonzero(self._view.model.layers.starred).tolist()
        for layer in starred[:MOST_LISTED]:
            menu.addAction(names[layer].replace("&", "&&")).setData(layer)
        left = len(starred) - MOST_LISTED
        if left > 0:
            menu.addAction(f"… and {count(left, 'layer')} more").setEnabled(False)
        if not starred:
            menu.addAction("No layer is bookmarked (Ctrl+B)").setEnabled(False)
            return
        menu.addSeparator()
        menu.addAction("&Select all bookmarked layers").setData(-1)

    @Slot(QAction)
    def on_menu(self, action: QAction) -> None:
        """Look at what was chosen in the menu; a filter that hides it goes."""
        layer = action.data()
        if layer is None:
            return
        model = self._view.model
        chosen = (
            np.flatnonzero(model.layers.starred) if layer < 0 else np.array([layer])
        )
        if layer >= 0 and model.row_of(layer) < 0:
            self._view.filter.set_text("")
        self._context.selection.set(chosen)
        self._view.table.setFocus()
