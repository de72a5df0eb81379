"""Rows of floors, ceilings, fixed formats and cost tables that a search keeps to."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.widgets.explain import wrapped
from app.widgets.typed_choice import TypedChoice

TABLE: Final = "table"
KINDS: Final = {
    "at_least": "at least",
    "at_most": "at most",
    "fix": "exactly",
    TABLE: "cost table",
}
HELP: Final = {
    "at_least": "Weights of these layers keep at least so many bits.",
    "at_most": "Weights of these layers get at most so many bits.",
    "fix": "These layers get this format (or float), without being locked.",
    TABLE: "Latency, energy ... by layer and format, from a .csv file with the columns "
    "layer, format, cost or from a .json file. Limit its sum in the budget by the name "
    "given here, such as latency<=3.2.",
}
PATTERN = "first | last, kind:conv, embeddings.* ..."
WIDTHS = ("2", "3", "4", "5", "6", "8", "16")


class SearchTerms(QWidget):
    """Folded away until it is opened; one row for each rule or table.

    Signals:
        changed: A row says something else.

    Args:
        formats: What `exactly` offers; others can be typed.
        parent: Owner.
    """

    changed = Signal()

    def __init__(self, formats: tuple[str, ...], parent: QWidget | None = None) -> None:
        """Begin without rows."""
        super().__init__(parent)
        self._formats = formats
        self._rows: list[TermRow] = []
        self._fold = QToolButton()
        self._fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._fold.setCheckable(True)
        self._fold.setAutoRaise(True)
        self._fold.toggled.connect(self._on_fold)
        add = QPushButton("Add r&ule")
        add.setToolTip(wrapped("A floor, a ceiling or a format for some layers."))
        add.clicked.connect(self._on_rule)
        table = QPushButton("Add c&ost table…")
        table.setToolTip(wrapped(HELP[TABLE]))
        table.clicked.connect(self._on_table)
        self._buttons = (add, table)
        buttons = QHBoxLayout()
        for button in self._buttons:
            button.setAutoDefault(False)
            buttons.addWidget(button)
        buttons.addStretch(1)
        self._body = QWidget()
        self._list = QVBoxLayout(self._body)
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._fold, alignment=Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self._body)
        self._on_fold(False)

    def rules(self) -> tuple[str, ...]:
        """Return the rules as `analysis.search.rules.Rule.read` takes them."""
        return tuple(
            f"{row.kind} {row.subject}={row.value}"
            for row in self._rows
            if row.kind != TABLE
        )

    def tables(self) -> dict[str, str]:
        """Return the files of cost tables by their names."""
        return {row.subject: row.value for row in self._rows if row.kind == TABLE}

    def controls(self) -> list[QWidget]:
        """Return what takes the keyboard, from top to bottom."""
        rows = [control for row in self._rows for control in row.controls]
        return [self._fold, *rows, *self._buttons]

    def add(self, kind: str, subject: str = "", value: str = "") -> TermRow:
        """Append a row and open the fold.

        Args:
            kind: Key of `KINDS`.
            subject: Which layers, or the name of a table.
            value: Bits, format or path.
        """
        row = TermRow(kind, self._formats, self)
        row.set(subject, value)
        row.changed.connect(self._on_edit)
        row.removeRequested.connect(self._on_remove)
        self._rows.append(row)
        self._list.insertWidget(self._list.count() - 1, row)
        self._fold.setChecked(True)
        self._on_edit()
        return row

    @Slot()
    def _on_rule(self) -> None:
        self.add("at_least", "first | last", "8").focus()

    @Slot()
    def _on_table(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Cost table", "", "Cost tables (*.csv *.json)"
        )
        if path:
            self.add(TABLE, "latency", path).focus()

    @Slot()
    def _on_remove(self) -> None:
        row = self.sender()
        assert isinstance(row, TermRow)
        self._rows.remove(row)
        row.hide()
        row.deleteLater()
        self._on_edit()

    @Slot()
    def _on_edit(self) -> None:
        self._name()
        self.changed.emit()

    @Slot(bool)
    def _on_fold(self, is_open: bool) -> None:
        self._body.setVisible(is_open)
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self._fold.setArrowType(arrow)
        self._name()

    def _name(self) -> None:
        count = f" ({len(self._rows)})" if self._rows else ""
        self._fold.setText(f"Rules and cost tables{count}")


class TermRow(QWidget):
    """One rule or cost table.

    Signals:
        changed: It says something else.
        removeRequested: It is no longer wanted.

    Args:
        kind: Key of `KINDS`; a table stays one, rules may change theirs.
        formats: What `exactly` offers.
        parent: Owner.
    """

    changed = Signal()
    removeRequested = Signal()

    def __init__(
        self, kind: str, formats: tuple[str, ...], parent: QWidget | None = None
    ) -> None:
        """Build the controls."""
        super().__init__(parent)
        self._formats, self._is_table = formats, kind == TABLE
        self._kind, self._subject = QComboBox(), QLineEdit()
        self._value = TypedChoice(width=10)
        for key, title in KINDS.items():
            if (key == TABLE) == self._is_table:
                self._kind.addItem(title, key)
        self._kind.setCurrentIndex(self._kind.findData(kind))
        self._kind.setEnabled(not self._is_table)
        self._subject.setPlaceholderText("name" if self._is_table else PATTERN)
        remove = QToolButton()
        remove.setText("✕")
        remove.setAutoRaise(True)
        remove.clicked.connect(self.removeRequested)
        names = (
            (self._kind, "What the rule says"),
            (self._subject, "Name of the table" if self._is_table else "Layers"),
            (self._value, "File" if self._is_table else "Bits or format"),
            (remove, "Remove this rule"),
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        # As a sentence: these layers, at least, so many bits.
        self.controls = (self._subject, self._kind, self._value, remove)
        shares = (1, 0, 2, 0) if self._is_table else (2, 0, 1, 0)
        for control, share in zip(self.controls, shares, strict=True):
            layout.addWidget(control, share)
        for control, name in names:
            control.setAccessibleName(name)
        remove.setToolTip("Remove")
        self._kind.currentIndexChanged.connect(self._on_kind)
        self._subject.textChanged.connect(self.changed)
        self._value.currentTextChanged.connect(self.changed)
        self._on_kind()

    @property
    def kind(self) -> str:
        """Key of `KINDS`."""
        return str(self._kind.currentData())

    @property
    def subject(self) -> str:
        """Which layers, or the name of a table."""
        return self._subject.text().strip()

    @property
    def value(self) -> str:
        """Bits, format or path."""
        return self._value.currentText().strip()

    def set(self, subject: str, value: str) -> None:
        """Show other words."""
        self._subject.setText(subject)
        self._value.setCurrentText(value)

    def focus(self) -> None:
        """Let the keyboard begin where something is to be typed."""
        self._subject.setFocus()
        self._subject.selectAll()

    @Slot()
    def _on_kind(self) -> None:
        """Offer the values of the kind; keep what was typed where it still fits."""
        is_fixed, kept = self.kind == "fix", self.value
        offered = self._formats if is_fixed else () if self._is_table else WIDTHS
        self._value.clear()
        self._value.addItems(list(offered))
        fits = self._is_table or (kept in offered)
        self._value.setCurrentText(kept if fits else "int8" if is_fixed else "8")
        self.setToolTip(wrapped(HELP[self.kind]))
        self.changed.emit()
