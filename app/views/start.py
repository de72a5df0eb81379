"""The start page: drop a model, open a recent one, or try an example."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.actions import ActionSet
from app.settings import Recent, Settings
from app.theme import theme
from app.widgets.elided import Elided

EXAMPLES = (
    ("example:digits-vit", "digits-vit", "vision transformer, 8 × 8 digits"),
    ("example:digits-cnn", "digits-cnn", "convolutions and batch-norm"),
    ("example:pydoc-gpt", "pydoc-gpt", "small causal language model"),
)
SHOWN_ROWS = 5
SHOWN_KEYS = ("open", "open_folder", "shortcuts")


class StartView(QWidget):
    """What the window shows while no model is open.

    Signals:
        openRequested: A path, `example:NAME` or `package.module:callable`.
    """

    openRequested = Signal(object)  # noqa: N815 - Qt signal naming

    def __init__(
        self,
        actions: ActionSet,
        settings: Settings,
        parent: QWidget | None = None,
    ) -> None:
        """Build the page."""
        super().__init__(parent)
        self._settings = settings
        self.setAccessibleName("Start")
        self._busy = Elided(self)
        self._busy.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._page = QWidget(self)
        self._page.setMaximumWidth(theme().em(120))
        self._page.setSizePolicy(
            QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred
        )
        self.recent = QListWidget(self)
        self.recent.setAccessibleName("Recent models and projects")
        self.recent.setFrameShape(QFrame.Shape.NoFrame)
        self.recent.setSpacing(theme().line(0.15))
        self.recent.itemActivated.connect(self._on_recent)
        self.recent.itemClicked.connect(self._on_recent)
        self._clear = QPushButton("&Clear list", self)
        self._clear.clicked.connect(self._on_clear)
        self._drop = self._drop_target(actions)
        columns = QGridLayout(self._page)
        columns.setHorizontalSpacing(theme().em(4))
        columns.setVerticalSpacing(theme().line(1.2))
        columns.addWidget(self._heading(), 0, 0, 1, 2)
        columns.addWidget(self._drop, 1, 0, 1, 2)
        columns.addLayout(self._recent_column(), 2, 0)
        columns.addLayout(self._example_column(actions), 2, 1)
        columns.addWidget(self._busy, 3, 0, 1, 2)
        columns.setColumnStretch(0, 3)
        columns.setColumnStretch(1, 2)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self._page, 20)
        row.addStretch(1)
        outer = QVBoxLayout(self)
        outer.addStretch(1)
        outer.addLayout(row)
        outer.addStretch(2)
        theme().themeChanged.connect(self._paint)
        self._paint()
        self.refresh()

    # -- parts -----------------------------------------------------------------

    def _heading(self) -> QWidget:
        title = QLabel("Quantscope", self)
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 2)
        font.setBold(True)
        title.setFont(font)
        self._claim = QLabel(
            "See how much every layer suffers in every number format, choose "
            "bit widths, check the result, and take the configuration away.",
            self,
        )
        self._claim.setWordWrap(True)
        box = QWidget(self)
        layout = QVBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(title)
        layout.addWidget(self._claim)
        return box

    def _drop_target(self, actions: ActionSet) -> QFrame:
        frame = QFrame(self)
        frame.setObjectName("drop")
        self._invitation = QLabel(frame)
        self._invitation.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._invitation.setWordWrap(True)
        layout = QVBoxLayout(frame)
        layout.setContentsMargins(*(theme().em(3),) * 4)
        layout.setSpacing(theme().line(0.7))
        layout.addWidget(self._invitation)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for key, text in (("open", "Open &file…"), ("open_folder", "Open f&older…")):
            button = QPushButton(text, frame)
            button.setToolTip(actions[key].toolTip())
            button.clicked.connect(actions[key].trigger)
            buttons.addWidget(button)
        buttons.addStretch(1)
        layout.addLayout(buttons)
        return frame

    def _recent_column(self) -> QVBoxLayout:
        layout = QVBoxLayout()
        top = QHBoxLayout()
        top.addWidget(self._clear)
        top.addStretch(1)
        self._none = QLabel("Nothing opened yet.", self)
        layout.setSpacing(theme().line(0.4))
        layout.addWidget(_caption("Recent", self))
        layout.addWidget(self._none)
        layout.addWidget(self.recent)
        layout.addLayout(top)
        layout.addStretch(1)
        return layout

    def _example_column(self, actions: ActionSet) -> QVBoxLayout:
        layout = QVBoxLayout()
        layout.addWidget(_caption("Examples", self))
        layout.setSpacing(theme().line(0.4))
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme().em(1.5))
        for row, (source, name, about) in enumerate(EXAMPLES):
            button = QPushButton(name, self)
            button.setAccessibleDescription(about)
            button.setProperty("source", source)
            button.clicked.connect(self._on_example)
            grid.addWidget(button, row, 0)
            grid.addWidget(QLabel(about, self), row, 1)
        grid.setColumnStretch(1, 1)
        layout.addLayout(grid)
        layout.addSpacing(theme().line(0.7))
        layout.addWidget(_caption("Keys", self))
        keys = QGridLayout()
        keys.setHorizontalSpacing(theme().em(1.5))
        native = QKeySequence.SequenceFormat.NativeText
        for row, key in enumerate(SHOWN_KEYS):
            action = actions[key]
            shown = action.shortcut().toString(native)
            text = action.text().replace("&", "").rstrip("…")
            keys.addWidget(QLabel(shown, self), row, 0)
            keys.addWidget(QLabel(text, self), row, 1)
        keys.setColumnStretch(1, 1)
        layout.addLayout(keys)
        layout.addStretch(1)
        return layout

    # -- state -----------------------------------------------------------------

    def refresh(self) -> None:
        """Read the recent files again."""
        self.recent.clear()
        entries = self._settings.recent
        for entry in entries:
            self.recent.addItem(self._item(entry))
        self.recent.setVisible(bool(entries))
        self._none.setVisible(not entries)
        self._clear.setVisible(bool(entries))
        rows = min(len(entries), SHOWN_ROWS)
        self.recent.setFixedHeight(theme().line(2.6) * rows)

    def _item(self, entry: Recent) -> QListWidgetItem:
        where = (
            str(Path(entry.source).parent) if entry.is_file else "example or factory"
        )
        missing = entry.is_missing
        note = "no longer there: " if missing else ""
        item = QListWidgetItem(f"{entry.title}\n{note}{where}")
        item.setData(Qt.ItemDataRole.UserRole, entry.source)
        item.setToolTip(entry.source)
        if missing:
            item.setFlags(Qt.ItemFlag.NoItemFlags)
        return item

    def show_busy(self, text: str) -> None:
        """Say what is being opened; "" when done."""
        self._busy.set_full(text)
        self._page.setEnabled(not text)

    def show_invitation(self, text: str = "", *, welcome: bool = True) -> None:
        """Say what a drop would do while something hovers."""
        self._invitation.setText(
            text
            or "Drop a model or a project here: a Hugging Face folder, "
            ".safetensors, .pt2, or .qscope"
        )
        colour = theme().colours.accent if text and welcome else theme().colours.border
        if not welcome:
            colour = theme().colours.danger
        style = "solid" if text else "dashed"
        radius = theme().em()
        self._drop.setStyleSheet(
            f"QFrame#drop {{ border: 2px {style} {colour}; border-radius: {radius}px; "
            f"background: {theme().colours.base}; }}"
        )

    @Slot()
    def _paint(self) -> None:
        muted = f"color: {theme().colours.muted}"
        for label in (self._claim, self._none, self._busy):
            label.setStyleSheet(muted)
        self.recent.setStyleSheet("QListWidget { background: transparent; }")
        self.show_invitation()

    @Slot(QListWidgetItem)
    def _on_recent(self, item: QListWidgetItem) -> None:
        self.openRequested.emit(item.data(Qt.ItemDataRole.UserRole))

    @Slot()
    def _on_example(self) -> None:
        button = self.sender()
        if isinstance(button, QPushButton):
            self.openRequested.emit(button.property("source"))

    @Slot()
    def _on_clear(self) -> None:
        self._settings.clear_recent()
        self.refresh()


def _caption(text: str, parent: QWidget) -> QLabel:
    label = QLabel(text, parent)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label
