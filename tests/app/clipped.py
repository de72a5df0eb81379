"""Finds texts of a window that have less room than they need.

    python -m tests.app.clipped

prints as JSON what is clipped in any panel and how sharp pictures are, at the scale
that QT_SCALE_FACTOR says.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QSize
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QToolButton,
    QWidget,
)

from app.main_window import MainWindow
from app.theme import theme
from app.widgets.elided import Elided
from app.widgets.plot import Plot
from app.widgets.plot_panel import PlotPanel
from app.widgets.plot_picture import picture_size

SLACK = 1
"""What rounding may take [pixels]."""


def clipped(root: QWidget) -> list[str]:
    """Return the visible texts in a widget that are cut off, and by how much."""
    found = []
    for widget in root.findChildren(QWidget):
        if not widget.isVisible() or widget.window() is not root.window():
            continue
        over = max(_over(widget), default=0.0)
        if over > SLACK:
            text = getattr(widget, "text", widget.accessibleName)()
            found.append(f"{type(widget).__name__} “{text}” by {over:.0f}")
    return found


def _over(widget: QWidget) -> Iterator[float]:
    """Yield by how many pixels the texts of a widget are longer than their places."""
    if isinstance(widget, Plot):
        for side in ("left", "right", "top", "bottom"):
            axis = widget.getAxis(side)
            if axis.isVisible() and axis.label.isVisible():
                upright = side in ("left", "right")
                room = axis.size().height() if upright else axis.size().width()
                margins = 2 * axis.label.document().documentMargin()
                yield axis.label.boundingRect().width() - margins - room
    elif isinstance(widget, QLabel) and not isinstance(widget, Elided):
        if widget.wordWrap():
            yield widget.heightForWidth(widget.width()) - widget.height()
        elif widget.text():
            yield widget.sizeHint().width() - widget.width()
    elif isinstance(widget, QComboBox | QAbstractSpinBox):
        yield widget.minimumSizeHint().width() - widget.width()
    elif isinstance(widget, QAbstractButton) and widget.text():
        hint: QSize = widget.sizeHint()
        # The hint of a tool button counts a margin on either side that no text needs.
        spare = 8 if isinstance(widget, QToolButton) else 0
        yield hint.width() - spare - widget.width()
        yield hint.height() - spare - widget.height()


def in_panels(window: MainWindow, settle) -> list[str]:
    """Return what is clipped in any panel, each brought to the front."""
    found = []
    for key, dock in window.desk.docks.items():
        window.desk.show(key)
        settle()
        found += [f"{key}: {text}" for text in clipped(dock)]
    return found


def main() -> int:
    """Print what is clipped, and how many pixels pictures have per point."""
    app = QApplication(["quantscope"])
    from app.jobs import JobRunner
    from app.session import Session
    from app.settings import Settings
    from tests.app.helpers import FakeClient, settle
    from tests.journey.panels import edit, made_up

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder) / "settings.ini")
        window = MainWindow(settings, Session(settings, runner=JobRunner(FakeClient())))
        # 1280 x 800 with the usual font, and as roomy with another.
        window.resize(theme().em(168), theme().line(47))
        window.show()
        window.session.context.set_project(made_up(36))
        edit(window)
        settle()
        told = {"clipped": in_panels(window, settle), "pictures": {}}
        shot = window.grab()
        told["window"] = [shot.width() / window.width(), shot.devicePixelRatio()]
        for key, dock in window.desk.docks.items():
            panel = dock.widget()
            if isinstance(panel, PlotPanel) and not panel.is_empty:
                window.desk.show(key)
                settle()
                told["pictures"][key] = panel.picture().width() / (
                    picture_size(panel._picture).width()
                )
        sys.stdout.write(json.dumps(told))
        window.session.close_project()
        window.close()
        window.deleteLater()
        settle()
    app.processEvents()
    return 0


if __name__ == "__main__":
    sys.exit(main())
