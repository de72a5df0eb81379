"""Real mouse and key events, sent through the X server by `xdotool`."""

from __future__ import annotations

import subprocess

from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import QAbstractButton, QHeaderView, QTableView, QWidget

KEY_DELAY_MS = 8


def _xdotool(*words: str | int) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=20)


def focus(window: QWidget) -> None:
    """Give a window the keyboard, as a window manager would on its appearing."""
    _xdotool("windowfocus", "--sync", int(window.window().winId()))


def press(*chords: str) -> None:
    """Press keys: "ctrl+o", "Return", "4"."""
    _xdotool("key", "--delay", KEY_DELAY_MS, *chords)


def write(text: str) -> None:
    """Type a text."""
    _xdotool("type", "--delay", KEY_DELAY_MS, text)


def click(widget: QWidget, where: QPoint | None = None, *, held: str = "") -> None:
    """Click into a widget.

    Args:
        widget: The widget.
        where: Its point, the middle when None.
        held: A modifier that is held meanwhile ("shift", "ctrl").
    """
    point = widget.mapToGlobal(where or widget.rect().center())
    ratio = widget.devicePixelRatioF()
    place = [round(point.x() * ratio), round(point.y() * ratio)]
    if held:
        _xdotool("mousemove", *place, "keydown", held, "click", 1, "keyup", held)
    else:
        _xdotool("mousemove", *place, "click", 1)


def click_row(table: QTableView, row: int, *, held: str = "") -> None:
    """Click the name of a row, scrolled into view."""
    index = table.model().index(row, 0)
    table.scrollTo(index)
    rect: QRect = table.visualRect(index)
    click(table.viewport(), rect.center(), held=held)


def click_header(table: QTableView, column: int) -> None:
    """Click the title of a column."""
    header: QHeaderView = table.horizontalHeader()
    x = header.sectionViewportPosition(column) + header.sectionSize(column) // 2
    click(header.viewport(), QPoint(x, header.height() // 2))


def click_button(parent: QWidget, text: str) -> None:
    """Click the visible button of a text."""
    for button in parent.findChildren(QAbstractButton):
        if button.isVisible() and button.text().replace("&", "") == text:
            click(button)
            return
    raise AssertionError(f"no button {text!r}")
