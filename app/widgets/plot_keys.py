"""Zooming and panning a plot by key, as wheel and drag do it by mouse."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent

STEP = 0.1
"""How far an arrow moves the view, as a share of what is shown."""
ZOOMS = {
    Qt.Key.Key_Plus: 0.8,
    Qt.Key.Key_Equal: 0.8,
    Qt.Key.Key_Minus: 1.25,
}
WAYS = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, 1),
    Qt.Key.Key_Down: (0, -1),
}


def move_by_key(box: pg.ViewBox, event: QKeyEvent) -> bool:
    """Zoom with `+` and `-`, pan with `Ctrl` and an arrow; tell if it was such a key.

    Only the axes move that the mouse may move.
    """
    key, is_pan = event.key(), event.modifiers() & Qt.KeyboardModifier.ControlModifier
    free = box.state["mouseEnabled"]
    if key in ZOOMS:
        zoom = ZOOMS[Qt.Key(key)]
        box.scaleBy(tuple(zoom if may else 1.0 for may in free))
    elif key in WAYS and is_pan:
        turned = box.xInverted(), box.yInverted()
        moves = [
            STEP * step * (high - low) * may * (-1 if back else 1)
            for step, (low, high), may, back in zip(
                WAYS[Qt.Key(key)], box.viewRange(), free, turned, strict=True
            )
        ]
        box.translateBy(x=moves[0], y=moves[1])
    else:
        return False
    box.sigRangeChangedManually.emit(free)
    return True
