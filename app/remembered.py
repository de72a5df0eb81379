"""Choices in panels that last from one session to the next."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractButton

if TYPE_CHECKING:
    from app.main_window import MainWindow
    from app.settings import Settings

PREFIX = "panels/"


def remember(settings: Settings, key: str, box: QAbstractButton | QAction) -> None:
    """Set a box as it was left, and keep what becomes of it.

    Args:
        settings: Where it is kept.
        key: Its name there; `PREFIX` is put before it.
        box: Checkable; as it is now it stays while nothing is kept.
    """
    box.setChecked(settings.get(PREFIX + key, box.isChecked()))
    box.toggled.connect(partial(settings.set, PREFIX + key))


def remember_panels(window: MainWindow) -> None:
    """Remember how the plots of a window are to be drawn.

    Which layer, format or measure is shown is not among it: that belongs to what is
    looked at now, and the next model may have others.
    """
    sensitivity, distribution = window.sensitivity, window.distribution
    boxes: tuple[tuple[str, QAbstractButton | QAction], ...] = (
        ("distribution/log", distribution.log_box),
        ("distribution/widest", distribution.sort_box),
        ("sensitivity/log", sensitivity.log_box),
        ("sensitivity/all", sensitivity.all_box),
        ("sensitivity/order", sensitivity.order_box),
        ("channels/widest", window.channels.sort_box),
        ("error_map/signed", window.error_map.sign_box),
        ("trade_off/names", window.trade_off.names_box),
        ("trade_off/by_layer", window.trade_off.layers_box),
        ("distribution/linked", distribution.link_switch),
        ("heatmap/linked", window.heatmap.link_switch),
    )
    for key, box in boxes:
        remember(window.settings, key, box)
