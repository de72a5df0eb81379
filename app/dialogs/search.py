"""Asks for a budget and a search, and says at once what cannot be read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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

from analysis.described import describe
from analysis.script import Script
from analysis.search import SEARCHES, method_of
from analysis.search.asked import Refinement
from analysis.search.budget import Budget
from analysis.search.cost_file import CostFile, read_costs
from analysis.search.objective import Objective
from analysis.search.problem import MEASURE
from analysis.search.rules import Rule
from analysis.search.setup import Setup
from app.dialogs.search_runs import KEEP, NOTHING, VERIFY, SearchRuns
from app.help_topics import explain_control
from app.settings import Settings
from app.theme import theme
from app.widgets.explain import wrapped
from app.widgets.format import count
from app.widgets.params_form import ParamsForm
from app.widgets.script_button import ScriptButton
from app.widgets.search_terms import SearchTerms
from app.widgets.tick_box import TickBox
from app.widgets.typed_choice import TypedChoice
from quant_core.errors import QuantError
from quant_core.targets import TARGETS

SETTINGS_KEY = "search/budget"
METHOD_KEY = "search/method"
PARAMS_KEY = "search/params"
RUNS_KEY = "search/runs"
DEFAULT = "bits<=4"
EXAMPLES = (
    DEFAULT,
    "size<=0.25x",
    "size<=12MB",
    "compression>=8",
    "error<=1e-3",
    "bits<=6,size<=20MB",
)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search for.

    Attributes:
        budget: The limits, as they are written.
        target: The deployment target whose limits hold.
        method: Key of the search.
        params: Its parameters, where they differ from the defaults.
        objective: What is minimised.
        inputs: Whether the formats of input activations are chosen as well.
        rules: Floors, ceilings and fixed formats, as `Rule.read` takes them.
        tables: Files of cost tables by the names that the budget uses.
        runs: Whether candidates are run: "", "verify", "refine" or "keep".
        keep: What of the task may be lost at most, with "keep".
        plan: Parameters of `Refinement` that differ from the defaults.
    """

    budget: str
    target: str
    method: str = SEARCHES[0].key
    params: Mapping[str, Any] = field(default_factory=dict)
    objective: str = MEASURE
    inputs: bool = False
    rules: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    runs: str = NOTHING
    keep: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)

    def refinement(self) -> Refinement:
        """Return how much is run."""
        plan = Refinement(**self.plan)
        return replace(plan, rounds=1, singles=0) if self.runs == VERIFY else plan

    @property
    def title(self) -> str:
        """What is asked for, in a few words."""
        return ", ".join(filter(None, (self.budget, self.keep and f"keep {self.keep}")))

    def setup(self, read: Callable[[str], CostFile] = read_costs) -> Setup:
        """Return objective, rules and tables, read and checked.

        Args:
            read: Reads a cost table.

        Raises:
            QuantError: one of them cannot be read.
        """
        return Setup(
            Objective.parse(self.objective),
            self.inputs,
            tuple(Rule.read(rule) for rule in self.rules),
            {name: read(path) for name, path in self.tables.items()},
        )


class SearchDialog(QDialog):
    """The form of a `SearchRequest`.

    Args:
        settings: Where the last budget, search and parameters are kept.
        target: The present deployment target.
        locked: How many layers are locked; they keep their formats.
        objectives: What can be minimised; more can be typed.
        formats: Keys of the formats that were analysed.
        script: Returns the script of a request, for *Copy as script*; None to offer
            none.
        parent: Owner.
    """

    def __init__(
        self,
        settings: Settings,
        target: str,
        locked: int = 0,
        objectives: Sequence[str] = (MEASURE,),
        formats: Sequence[str] = (),
        script: Callable[[SearchRequest], Script | None] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Fill the form."""
        super().__init__(parent)
        self.setWindowTitle("Search assignment")
        self._settings = settings
        last_budget = settings.get(SETTINGS_KEY, DEFAULT)
        self._budget = TypedChoice(EXAMPLES, last_budget, width=28)
        first = next(iter(objectives), MEASURE)
        self._objective = TypedChoice(objectives, first, width=28)
        self._inputs = TickBox("Choose input formats as well")
        self._inputs.setToolTip(
            wrapped("Worth it where bit operations or a cost table are limited.")
        )
        none: dict[str, Any] = {}
        self._runs = SearchRuns(**settings.get(RUNS_KEY, none))
        # Every key press checks the form; a table that could be read is read once.
        self._read = functools.cache(read_costs)
        self._terms = SearchTerms(("float", *formats))
        self._terms.changed.connect(self._on_terms)
        self._target = QComboBox()
        for name, known in TARGETS.items():
            self._target.addItem(known.title, name)
        self._target.setCurrentIndex(max(0, self._target.findData(target)))
        self._method = QComboBox()
        for kind in SEARCHES:
            self._method.addItem(kind.title, kind.key)
        last = settings.get(METHOD_KEY, SEARCHES[0].key)
        self._method.setCurrentIndex(max(0, self._method.findData(last)))
        self._about, self._note = _text(), _text()
        self._note.setMinimumHeight(theme().line(4))
        self._params = ParamsForm(describe(SEARCHES[0]), {}, self)
        self._explained = (
            "Limits: bits (average per weight), size (kB, MB, GB, or 0.25x of the "
            "stored size), compression>=8, bops, error. Several limits are separated "
            "by commas. A limit on the error alone finds the smallest model."
        )
        if locked:
            self._explained += f" {count(locked, 'locked layer')} will be kept."
        self._script = ScriptButton(
            lambda: script(self.request()) if script is not None else None
        )
        self._arrange(has_script=script is not None)
        self._budget.currentTextChanged.connect(self._check)
        self._objective.currentTextChanged.connect(self._check)
        self._method.currentIndexChanged.connect(self._on_method)
        self._runs.changed.connect(self._on_terms)
        self._on_method()
        self._check()
        line = self._budget.lineEdit()
        if isinstance(line, QLineEdit):
            line.selectAll()

    def _arrange(self, *, has_script: bool) -> None:
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self._ok = buttons.addButton("&Search", QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.addButton(self._script, QDialogButtonBox.ButtonRole.ActionRole)
        # Not before: a button box shows what it is given.
        self._script.setVisible(has_script)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._buttons = buttons
        form = QFormLayout()
        rows: tuple[tuple[str, str, QWidget], ...] = (
            ("&Budget", "Budget", self._budget),
            ("Make s&mall", "What is made small", self._objective),
            ("&Target", "Deployment target", self._target),
            ("", "Choose input formats as well", self._inputs),
            ("Sea&rch by", "Search method", self._method),
        )
        for label, name, control in rows:
            control.setAccessibleName(name)
            form.addRow(label, control)
        explain_control(self._budget, "budget")
        explain_control(self._target, "target")
        self._own = QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.setSpacing(theme().line(0.6))
        layout.addLayout(form)
        layout.addWidget(self._about)
        layout.addLayout(self._own)
        layout.addWidget(self._runs)
        layout.addWidget(self._terms)
        layout.addWidget(self._note)
        layout.addWidget(buttons)

    def request(self) -> SearchRequest:
        """Return what the form says."""
        return SearchRequest(
            self._budget.currentText().strip(),
            str(self._target.currentData()),
            str(self._method.currentData()),
            self._params.values(),
            self._objective.currentText().strip(),
            self._inputs.isChecked(),
            self._terms.rules(),
            self._terms.tables(),
            self._runs.runs(),
            self._runs.keep(),
            self._runs.plan(),
        )

    def mistake(self) -> str:
        """Return what cannot be read or is out of range; "" when all is well."""
        request = self.request()
        try:
            if request.budget or request.runs != KEEP:
                Budget.parse(request.budget, request.tables)
            self._runs.check()
            request.setup(self._read)
            method_of(request.method)(**request.params)
        except QuantError as error:
            return str(error)
        return ""

    @Slot()
    def _on_method(self) -> None:
        """Show the help and the parameters of the search chosen."""
        kind = method_of(str(self._method.currentData()))
        text = inspect.cleandoc(kind.__doc__ or "")
        about = text.partition("\n\n")[0].replace("\n", " ")
        if kind.reconstruction:
            about += f"\nReconstruction: {kind.reconstruction}"
        self._about.setText(about)
        self._method.setToolTip(wrapped(*text.replace("\n", " ").split("  ")))
        old = self._params
        kept = self._kept().get(kind.key, {})
        self._params = ParamsForm(describe(kind), kept, self)
        self._params.changed.connect(self._check)
        self._own.removeWidget(old)
        old.hide()  # it is deleted only when the event loop runs
        old.deleteLater()
        self._own.addWidget(self._params)
        self._on_terms()

    @Slot()
    def _on_terms(self) -> None:
        """Let Tab go down the form: new controls come last of themselves."""
        last = [self._method, *self._params.findChildren(QWidget)][-1]
        own = (*self._runs.controls(), *self._terms.controls())
        for control in (*own, *self._buttons.buttons()):
            self.setTabOrder(last, control)
            last = control
        self._check()

    def _kept(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of every search that was run, by its key."""
        none: dict[str, dict[str, Any]] = {}
        return self._settings.get(PARAMS_KEY, none)

    @Slot()
    def _check(self) -> None:
        mistake = self.mistake()
        self._note.setText(mistake or self._explained)
        colours = theme().colours
        self._note.setStyleSheet(
            f"color: {colours.danger if mistake else colours.muted}"
        )
        self._ok.setEnabled(not mistake)
        self._script.renew(not mistake)

    def accept(self) -> None:
        """Remember the budget, the search and its parameters."""
        if self.mistake():
            return
        request = self.request()
        self._settings.set(SETTINGS_KEY, request.budget)
        self._settings.set(METHOD_KEY, request.method)
        kept = {**self._kept(), request.method: dict(request.params)}
        self._settings.set(PARAMS_KEY, kept)
        self._settings.set(RUNS_KEY, self._runs.to_json())
        super().accept()


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setStyleSheet(f"color: {theme().colours.muted}")
    return label
