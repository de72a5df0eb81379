"""Asks for a budget, and says at once whether it can be read."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from analysis.errors import AnalysisError
from analysis.search.budget import Budget
from app.help_topics import explain_control
from app.settings import Settings
from app.theme import theme
from app.widgets.format import count
from quant_core.targets import TARGETS

SETTINGS_KEY = "search/budget"
DEFAULT = "bits<=4"
EXAMPLES = (DEFAULT, "size<=0.25x", "size<=12MB", "error<=1e-3", "bits<=6,size<=20MB")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A budget and the deployment target whose limits hold."""

    budget: str
    target: str


class SearchDialog(QDialog):
    """The form of a `SearchRequest`.

    Args:
        settings: Where the last budget is kept.
        target: The present deployment target.
        locked: How many layers are locked; they keep their formats.
        parent: Owner.
    """

    def __init__(
        self,
        settings: Settings,
        target: str,
        locked: int = 0,
        parent: QWidget | None = None,
    ) -> None:
        """Fill the form."""
        super().__init__(parent)
        self.setWindowTitle("Search assignment")
        self._settings = settings
        self._budget = QComboBox(self)
        self._budget.setEditable(True)
        self._budget.addItems(EXAMPLES)
        self._budget.setMinimumContentsLength(28)
        self._budget.setAccessibleName("Budget")
        self._budget.setCurrentText(settings.get(SETTINGS_KEY, DEFAULT))
        line = self._budget.lineEdit()
        if isinstance(line, QLineEdit):
            line.selectAll()
        self._target = QComboBox(self)
        self._target.setAccessibleName("Deployment target")
        for name, known in TARGETS.items():
            self._target.addItem(known.title, name)
        self._target.setCurrentIndex(max(0, self._target.findData(target)))
        self._note = QLabel(self)
        self._note.setWordWrap(True)
        self._note.setMinimumHeight(theme().line(4))
        self._explained = (
            "Limits: bits (average per weight), size (kB, MB, GB, or 0.25x of the "
            "stored size), bops, error. Several limits are separated by commas. "
            "A limit on the error alone finds the smallest model."
        )
        if locked:
            self._explained += f" {count(locked, 'locked layer')} will be kept."
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self._ok = buttons.addButton("&Search", QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout()
        form.addRow("&Budget", self._budget)
        form.addRow("&Target", self._target)
        explain_control(self._budget, "budget")
        explain_control(self._target, "target")
        layout = QVBoxLayout(self)
        layout.setSpacing(theme().line(0.6))
        layout.addLayout(form)
        layout.addWidget(self._note)
        layout.addWidget(buttons)
        self._budget.currentTextChanged.connect(self._check)
        self._check()

    def request(self) -> SearchRequest:
        """Return what the form says."""
        target = str(self._target.currentData())
        return SearchRequest(self._budget.currentText().strip(), target)

    def mistake(self) -> str:
        """Return why the budget cannot be read; "" when it can."""
        try:
            Budget.parse(self.request().budget)
        except AnalysisError as error:
            return str(error)
        return ""

    @Slot()
    def _check(self) -> None:
        mistake = self.mistake()
        self._note.setText(mistake or self._explained)
        colours = theme().colours
        self._note.setStyleSheet(
            f"color: {colours.danger if mistake else colours.muted}"
        )
        self._ok.setEnabled(not mistake)

    def accept(self) -> None:
        """Remember the budget."""
        if not self.mistake():
            self._settings.set(SETTINGS_KEY, self.request().budget)
            super().accept()
