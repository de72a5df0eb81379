"""The one selection of layers that every view shows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal


def as_indices(layers: Iterable[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return layer indices as a sorted array without repeats, never the given one."""
    if not isinstance(layers, np.ndarray):
        layers = np.fromiter(layers, dtype=np.int64)
    found = layers.astype(np.int64)
    # Ranges of rows come in order, and sorting 60,000 of them again takes a while.
    return found if (np.diff(found) > 0).all() else np.unique(found)


class Selection(QObject):
    """Selected layers as a sorted index array, and the layer looked at.

    Any view may call `set`; every view listens to `changed`. Setting what is
    already set emits nothing, so two views cannot drive each other in circles.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Start with nothing selected."""
        super().__init__(parent)
        self._layers: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._layers.flags.writeable = False
        self._current = -1

    @property
    def layers(self) -> NDArray[np.int64]:
        """Selected layer indices, sorted, read-only."""
        return self._layers

    @property
    def current(self) -> int:
        """The layer that single-layer panels show; -1 for none."""
        return self._current

    def set(
        self,
        layers: Iterable[int] | NDArray[np.integer],
        current: int | None = None,
    ) -> None:
        """Replace the selection.

        Args:
            layers: Layer indices in any order, repeats allowed.
            current: The layer looked at; None keeps the present one while it
                stays selected and takes the first selected layer otherwise.
        """
        chosen = as_indices(layers)
        if current is None:
            at = int(np.searchsorted(chosen, self._current))
            kept = at < len(chosen) and int(chosen[at]) == self._current
            current = self._current if kept else int(chosen[0]) if len(chosen) else -1
        current = int(current)
        if current == self._current and np.array_equal(chosen, self._layers):
            return
        chosen.flags.writeable = False
        self._layers, self._current = chosen, current
        self.changed.emit()

    def clear(self) -> None:
        """Select nothing."""
        self.set(np.zeros(0, dtype=np.int64), -1)
