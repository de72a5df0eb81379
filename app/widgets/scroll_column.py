"""A column that scrolls when it is higher than its place."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFrame,
    QScrollArea,
    QWidget,
)

_STILL = (QComboBox, QAbstractSpinBox)


class ScrollColumn(QScrollArea):
    """Scrolls up and down only; as wide as its content wants to be.

    The wheel scrolls the column, also above a list or a number: only those that have
    the focus are changed by it.

    Args:
        content: What is shown; owned from here on.
        parent: Owner.
    """

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        """Put the content in."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)
        self.hold_still(content)

    def hold_still(self, content: QWidget) -> None:
        """Keep the wheel from the controls in a part that was made later."""
        for control in content.findChildren(QWidget):
            if isinstance(control, _STILL):
                control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                control.installEventFilter(self)
        self.setMinimumWidth(
            content.minimumSizeHint().width()
            + self.verticalScrollBar().sizeHint().width()
        )

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt
        """Hand the wheel on from controls without the focus."""
        if event.type() == QEvent.Type.Wheel and isinstance(watched, _STILL):
            if not watched.hasFocus():
                event.ignore()
                return True
        return super().eventFilter(watched, event)
