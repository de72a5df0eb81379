"""Folds blocks of the layer table into one row each, and unfolds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QModelIndex, QObject, Slot

from app.context import AppContext

if TYPE_CHECKING:
    from app.views.layer_table import LayerTableView


class LayerFolds(QObject):
    """Folds and unfolds what is selected in a layer table.

    A folded block is selected as a whole or not at all: what selects some of its
    layers elsewhere unfolds it, so that no edit is larger than it looks.

    Args:
        view: The table.
        context: The selection.
    """

    def __init__(self, view: LayerTableView, context: AppContext) -> None:
        """Listen to double clicks."""
        super().__init__(view)
        self._view = view
        self._context = context
        view.table.doubleClicked.connect(self._on_double_click)

    def toggle(self) -> None:
        """Fold the blocks of the selected layers; unfold them when all are folded."""
        model, chosen = self._view.model, self._context.selection.layers
        self._set(chosen, not model.are_folded(chosen))

    def toggle_all(self) -> None:
        """Fold all blocks; unfold them when all are folded."""
        model = self._view.model
        everything = np.arange(len(model.layers))
        self._set(everything, not model.are_folded(everything))

    def _set(self, layers: np.ndarray, folded: bool) -> None:
        model, selection = self._view.model, self._context.selection
        if folded:
            selection.set(model.blocks_of(selection.layers))
        model.fold(layers, folded)

    def open_cut(self) -> bool:
        """Unfold blocks that are selected in part; return whether there was one."""
        model = self._view.model
        cut = model.rows.cut(self._context.selection.layers)
        if len(cut):
            model.fold(cut, False)
        return bool(len(cut))

    @Slot(QModelIndex)
    def _on_double_click(self, index: QModelIndex) -> None:
        model = self._view.model
        is_name = model.columns[index.column()].key == "name"
        if is_name and model.rows.is_folded(index.row()):
            model.fold(model.layers_at(np.array([index.row()])), False)
