"""The one selection of layers that every view shows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot


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

    Signals:
        changed: Other layers are selected, or another one is looked at.
        restarted: Layer numbers mean other layers from now on; `changed` follows
            once every view knows the new layers.
    """

    changed = Signal()
    restarted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Start with nothing selected."""
        super().__init__(parent)
        self._layers: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._layers.flags.writeable = False
        self._current = -1
        self._is_first = True

    @property
    def layers(self) -> NDArray[np.int64]:
        """Selected layer indices, sorted, read-only."""
        return self._layers

    @property
    def is_first(self) -> bool:
        """Whether nobody has selected anything since these layers are shown."""
        return self._is_first

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
        self._is_first = False
        self.changed.emit()

    def choose(
        self,
        layers: Iterable[int] | NDArray[np.integer],
        current: int | None = None,
        *,
        adds: bool,
    ) -> None:
        """Select layers, instead of the others or (`adds`) besides them."""
        chosen = as_indices(layers)
        self.set(np.union1d(self._layers, chosen) if adds else chosen, current)

    def clear(self) -> None:
        """Select nothing."""
        self.set(np.zeros(0, dtype=np.int64), -1)

    def restart(self, layers: Iterable[int]) -> None:
        """Select among the layers of another project, before the views know it."""
        self.blockSignals(True)
        self.clear()
        self.set(layers)
        self._is_first = True
        self.blockSignals(False)
        self.restarted.emit()


class PinnableSelection(QObject):
    """The shared selection as one panel sees it: followed, or held by a pin.

    A panel that can be pinned reads and listens here instead of at
    `context.selection`; nothing else changes in it:

        self._selection = PinnableSelection(context.selection, self)
        self._selection.changed.connect(self._on_selection)
        self.corner.addWidget(PinButton(self._selection, self))

    Make it before connecting the panel to `context.projectChanged`: another project
    takes the pin out, and the panel should not ask for a layer of the old one.
    What the panel itself selects goes to all views, pinned or not.

    Signals:
        changed: The panel should show other layers.
        pinnedChanged: The pin was put in or taken out.
    """

    changed = Signal()
    pinnedChanged = Signal(object)  # noqa: N815 - Qt signal naming

    def __init__(self, shared: Selection, parent: QObject | None = None) -> None:
        """Follow the shared selection."""
        super().__init__(parent)
        self._shared = shared
        self._held: tuple[NDArray[np.int64], int] | None = None
        shared.changed.connect(self._on_shared)
        shared.restarted.connect(self._on_restart)

    @property
    def layers(self) -> NDArray[np.int64]:
        """Layers to show, sorted, read-only."""
        return self._shared.layers if self._held is None else self._held[0]

    @property
    def current(self) -> int:
        """The layer a single-layer panel shows; -1 for none."""
        return self._shared.current if self._held is None else self._held[1]

    @property
    def is_pinned(self) -> bool:
        """Whether the panel stays on its layers."""
        return self._held is not None

    def set_pinned(self, pinned: bool) -> None:
        """Stay on the present layers, or follow the shared selection again."""
        if pinned == self.is_pinned:
            return
        before = self.layers, self.current
        self._held = before if pinned else None
        self.pinnedChanged.emit(pinned)
        if self.current != before[1] or not np.array_equal(self.layers, before[0]):
            self.changed.emit()

    def set(
        self,
        layers: Iterable[int] | NDArray[np.integer],
        current: int | None = None,
    ) -> None:
        """Select layers in all views (see `Selection.set`)."""
        self._shared.set(layers, current)

    @Slot()
    def _on_shared(self) -> None:
        if self._held is None:
            self.changed.emit()

    @Slot()
    def _on_restart(self) -> None:
        # What was held is a layer of another project; `changed` follows by itself.
        if self._held is not None:
            self._held = None
            self.pinnedChanged.emit(False)
