"""What a person can set: colours, autosave, threads, and the key of every command."""

from __future__ import annotations

import os
from collections.abc import Mapping

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QKeySequenceEdit,
    QLabel,
    QPushButton,
    QSpinBox,
    QTabWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.actions import COMMANDS, default_shortcuts, key_text
from app.settings import DIGITS_RANGE, Preferences
from app.theme import MODES, theme
from app.widgets.row_height import RowHeight

MODE_TEXTS = {"system": "As the system", "light": "Light", "dark": "Dark"}
AUTOSAVE_RANGE = (5, 3600)
"""Seconds between two saves: never so often that saving is all it does."""
_KEY = int(Qt.ItemDataRole.UserRole)


class ShortcutEditor(QWidget):
    """The commands with their keys, and a line that takes another key.

    Args:
        shortcuts: Keys by command.
        fixed: Keys that cannot be given away, with what they do.
        parent: Owner.
    """

    def __init__(
        self,
        shortcuts: Mapping[str, tuple[str, ...]],
        fixed: Mapping[str, str],
        parent: QWidget | None = None,
    ) -> None:
        """List every command."""
        super().__init__(parent)
        self.shortcuts = dict(shortcuts)
        self._fixed = {
            QKeySequence(key).toString(): what for key, what in fixed.items()
        }
        self._texts = {c.key: c.text.replace("&", "").rstrip("…") for c in COMMANDS}
        self.table = QTreeWidget(self)
        self.table.setAccessibleName("Commands and their keys")
        self.table.setHeaderLabels(["Command", "Key"])
        self.table.setRootIsDecorated(False)
        self.table.setItemDelegate(RowHeight(self.table))
        for command in COMMANDS:
            row = QTreeWidgetItem([self._texts[command.key], ""])
            row.setData(0, _KEY, command.key)
            row.setToolTip(0, command.tip)
            self.table.addTopLevelItem(row)
        self.table.setColumnWidth(0, theme().em(34))
        self.edit = QKeySequenceEdit(self)
        self.edit.setMaximumSequenceLength(1)
        self.edit.setAccessibleName("New key of the command")
        self.give = QPushButton("&Use this key", self)
        self.take = QPushButton("&No key", self)
        self.back = QPushButton("&Default", self)
        self.note = QLabel(self)
        self.note.setWordWrap(True)
        self._arrange()
        self.table.currentItemChanged.connect(self._on_command)
        self.edit.keySequenceChanged.connect(self._check)
        self.give.clicked.connect(self._on_give)
        self.take.clicked.connect(self._on_take)
        self.back.clicked.connect(self._on_back)
        self._show_keys()
        self.table.setCurrentIndex(self.table.model().index(0, 0))

    def _arrange(self) -> None:
        label = QLabel("New &key", self)
        label.setBuddy(self.edit)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.edit, 1)
        for button in (self.give, self.take, self.back):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addLayout(row)
        layout.addWidget(self.note)

    def own(self) -> dict[str, tuple[str, ...]]:
        """Return the keys that differ from those of the table."""
        default = default_shortcuts()
        return {k: keys for k, keys in self.shortcuts.items() if keys != default[k]}

    def taken_by(self, key: str) -> str:
        """Return what a key does already; "" when it is free or the command's own."""
        wanted = QKeySequence(key).toString()
        if wanted in self._fixed:
            return self._fixed[wanted]
        for command, keys in self.shortcuts.items():
            known = {QKeySequence(k).toString() for k in keys}
            if wanted in known and command != self._command:
                return self._texts[command]
        return ""

    @property
    def _command(self) -> str:
        return str(self.table.currentIndex().siblingAtColumn(0).data(_KEY))

    def _show_keys(self) -> None:
        for number in range(self.table.topLevelItemCount()):
            row = self.table.topLevelItem(number)
            assert row is not None
            keys = self.shortcuts[row.data(0, _KEY)]
            row.setText(1, key_text(keys))

    @Slot()
    def _on_command(self, *_: object) -> None:
        self.edit.clear()
        self._check()

    @Slot()
    def _check(self, *_: object) -> None:
        """Say whether the key typed can be used."""
        key = self.edit.keySequence().toString()
        taken = self.taken_by(key) if key else ""
        self.note.setText(f"{key} is the key of: {taken}." if taken else "")
        self.give.setEnabled(bool(key) and not taken)
        default = default_shortcuts()[self._command]
        self.take.setEnabled(bool(self.shortcuts[self._command]))
        self.back.setEnabled(self.shortcuts[self._command] != default)

    def _set(self, keys: tuple[str, ...]) -> None:
        self.shortcuts[self._command] = keys
        self.edit.clear()
        self._show_keys()
        self._check()

    @Slot()
    def _on_give(self) -> None:
        self._set((self.edit.keySequence().toString(),))

    @Slot()
    def _on_take(self) -> None:
        self._set(())

    @Slot()
    def _on_back(self) -> None:
        default = default_shortcuts()[self._command]
        for key in default:
            if taken := self.taken_by(key):
                self.note.setText(f"{key} is the key of: {taken}.")
                return
        self._set(default)


class SettingsDialog(QDialog):
    """The form of `Preferences`.

    Args:
        preferences: As they are.
        fixed: Keys that cannot be given away, with what they do.
        parent: Owner.

    Signals:
        layoutReset: The panels are to return to their places, at once.
    """

    layoutReset = Signal()  # noqa: N815 - Qt signal naming

    def __init__(
        self,
        preferences: Preferences,
        fixed: Mapping[str, str],
        parent: QWidget | None = None,
    ) -> None:
        """Fill the form."""
        super().__init__(parent)
        self.setWindowTitle("Settings")
        # First, because Tab visits widgets in the order they were made.
        self.tabs = QTabWidget(self)
        self.mode = QComboBox(self)
        for mode in MODES:
            self.mode.addItem(MODE_TEXTS[mode], mode)
        self.mode.setCurrentIndex(MODES.index(preferences.mode))
        self.autosave = QSpinBox(self)
        self.autosave.setRange(*AUTOSAVE_RANGE)
        self.autosave.setSuffix(" s")
        self.autosave.setValue(preferences.autosave_seconds)
        self.threads = QSpinBox(self)
        self.threads.setRange(0, max(os.cpu_count() or 1, preferences.threads))
        self.threads.setSpecialValueText("All but one core")
        self.threads.setValue(preferences.threads)
        self.digits = QSpinBox(self)
        self.digits.setRange(DIGITS_RANGE[0], DIGITS_RANGE[-1])
        self.digits.setValue(preferences.digits)
        shortcuts = {**default_shortcuts(), **_known(preferences.shortcuts)}
        self.keys = ShortcutEditor(shortcuts, fixed, self)
        self.tabs.addTab(self._general(), "&General")
        self.tabs.addTab(self.keys, "Key&board")
        button = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(button.Ok | button.Cancel, self)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.tabs)
        layout.addWidget(buttons)
        self.resize(theme().em(88), theme().line(26))

    def _general(self) -> QWidget:
        page = QWidget(self)
        form = QFormLayout(page)
        rows: tuple[tuple[str, QWidget, str], ...] = (
            ("&Colours", self.mode, "Light or dark colours, or as the system says."),
            (
                "&Autosave every",
                self.autosave,
                "How often changed work is put where a crash cannot reach it.",
            ),
            (
                "&Threads for analysis",
                self.threads,
                "Processor threads of the worker process, from the next job on. "
                "Fewer leave more of the machine to other programs.",
            ),
            (
                "D&igits of results",
                self.digits,
                "Significant digits of results in tables, panels and read-outs. What "
                "is copied as CSV or exported has all of them.",
            ),
        )
        for text, control, tip in rows:
            control.setAccessibleName(text.replace("&", ""))
            control.setAccessibleDescription(tip)
            control.setToolTip(tip)
            form.addRow(text, control)
        reset = QPushButton("&Reset layout", page)
        reset.setToolTip("Put all panels back where they were at first.")
        reset.clicked.connect(self.layoutReset)
        form.addRow("Panels", reset)
        return page

    def preferences(self) -> Preferences:
        """Return what the form says."""
        return Preferences(
            MODES[self.mode.currentIndex()],
            self.autosave.value(),
            self.threads.value(),
            self.keys.own(),
            self.digits.value(),
        )


def _known(shortcuts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Leave out commands that an earlier version had."""
    keys = {command.key for command in COMMANDS}
    return {key: value for key, value in shortcuts.items() if key in keys}
