"""The findings panel: what looks wrong with the assignment, why, and what to try."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QGuiApplication, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QScrollArea,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from analysis.diagnosis import (
    SEVERITIES,
    ChannelFacts,
    Diagnosis,
    Finding,
    Rule,
    Verdict,
    collect,
    verdicts,
)
from analysis.diagnosis.finding import named
from app.context import AppContext
from app.theme import theme
from app.widgets.elided import Elided
from app.widgets.empty_state import NOTHING, EmptyState
from app.widgets.finding_card import Card, add_numbers, add_paragraph
from app.widgets.format import count
from quant_core.errors import QuantError

if TYPE_CHECKING:
    from analysis.project import Project

WAIT_MS = 300
"""Pause before judging again: edits and results come in bursts."""
_SUBJECT = "the current assignment"


class FindingsView(QWidget):
    """Lists the findings on the assignment being edited.

    Rules run one per turn of the event loop, while the panel is visible.

    Signals:
        actionRequested: Key of the command that the empty state offers.
        showRequested: Key of the panel in which a finding is best looked at.
    """

    actionRequested = Signal(object)  # noqa: N815 - Qt signal naming
    showRequested = Signal(object)  # noqa: N815

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context."""
        super().__init__(parent)
        self._context = context
        self._channels: ChannelFacts | None = None
        self._rules: Iterator[tuple[Rule, Verdict]] | None = None
        self._found: dict[Rule, Verdict] = {}
        self.diagnosis = Diagnosis(_SUBJECT, ())
        self.cards: list[Card] = []
        self._shown = ""
        self._unfolded: set[str] = set()
        self._is_stale = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._begin)
        self._step = QTimer(self)
        self._step.setInterval(0)
        self._step.timeout.connect(self._judge_one)
        self.setAccessibleName("Findings")
        self._arrange()
        context.projectChanged.connect(self._on_project)
        context.assignmentChanged.connect(self._on_edit)
        context.rowsAdded.connect(self._invalidate)
        context.runsChanged.connect(self._invalidate)
        context.assignmentsChanged.connect(self._invalidate)
        theme().themeChanged.connect(self._on_theme)
        self._on_project()

    def _arrange(self) -> None:
        self._summary = Elided(self)
        copy = QToolButton(self)
        copy.setText("Copy")
        copy.setAccessibleName("Copy all findings")
        copy.setToolTip("Copy all findings as text or Markdown")
        copy.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(copy)
        for text, slot in (
            ("As &text", self.copy_text),
            ("As &Markdown", self.copy_markdown),
        ):
            action = QAction(text, self)
            action.triggered.connect(slot)
            menu.addAction(action)
        copy.setMenu(menu)
        self._bar = QWidget(self)
        row = QHBoxLayout(self._bar)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._summary, 1)
        row.addWidget(copy)
        self._scroll = QScrollArea(self)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setAccessibleName("List of findings")
        self._empty = EmptyState(parent=self)
        self._empty.actionTriggered.connect(self._on_empty_action)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self._scroll)
        self._stack.addWidget(self._empty)
        gap = theme().em(0.75)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addWidget(self._bar)
        layout.addWidget(self._stack, 1)

    # -- judging -----------------------------------------------------------------

    @Slot()
    def _on_project(self) -> None:
        project = self._context.project
        self._channels = None if project is None else ChannelFacts(project)
        self._step.stop()
        self._rules = None
        self._forget()
        self._invalidate()

    def _forget(self) -> None:
        """Drop what was found in another project: its layers have no names here."""
        self.diagnosis = Diagnosis(_SUBJECT, ())
        self.cards = []
        self._shown = ""
        self._unfolded.clear()
        self._scroll.setWidget(QWidget())
        self._stack.setCurrentWidget(self._scroll)
        self._bar.hide()

    @Slot(object)
    def _on_edit(self, _layers: object) -> None:
        """Wait for a pause: one edit seldom comes alone, and none waits for rules."""
        self._step.stop()
        self._rules = None
        self._timer.stop()
        self._invalidate()

    @Slot()
    def _invalidate(self, *_: object) -> None:
        self._is_stale = True
        if self.isVisible() and not self._timer.isActive():
            self._timer.start(WAIT_MS)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt naming
        """Catch up with what changed while hidden."""
        super().showEvent(event)
        if self._is_stale and not self._timer.isActive():
            self._timer.start(0)

    @property
    def is_looking(self) -> bool:
        """Whether what is shown is still to be judged; never while hidden."""
        is_due = self._is_stale or self._timer.isActive()
        return self.isVisible() and (is_due or self._rules is not None)

    @Slot()
    def _begin(self) -> None:
        """Start over, unless nobody looks."""
        self._step.stop()
        if not self.isVisible():
            return
        self._is_stale = False
        project = self._context.project
        if project is None or not project.runs and not _is_quantized(project):
            self._show_empty()
            return
        if not self.cards:
            self._empty.set_text("Looking…", "The results are judged rule by rule.")
            self._stack.setCurrentWidget(self._empty)
        self._found = {}
        self._rules = verdicts(project, channels=self._channels)
        self._step.start()

    @Slot()
    def _judge_one(self) -> None:
        """Let one rule judge; when all have, show what they said."""
        if self._rules is None:
            self._step.stop()
            return
        try:
            rule, verdict = next(self._rules)
        except StopIteration:
            self._step.stop()
            self._rules = None
            self._show(collect(self._found, _SUBJECT))
        except QuantError as error:
            # The file went away, or a result is damaged: said, not raised, because
            # the rest of the window goes on.
            self._step.stop()
            self._rules = None
            self._empty.set_text("The findings cannot be told", str(error))
            self._stack.setCurrentWidget(self._empty)
            self._bar.hide()
        else:
            self._found[rule] = verdict

    # -- showing -----------------------------------------------------------------

    def _show_empty(self) -> None:
        self._forget()
        project = self._context.project
        title, action = "No findings yet", "Run analysis…" if project else ""
        text = "Findings say what looks wrong, why, and what to try. They need results."
        if project is not None and not project.info.layers:
            (title, text), action = NOTHING, ""
        self._empty.set_text(title, text, action)
        self._stack.setCurrentWidget(self._empty)
        self.setAccessibleDescription(title)

    def _show(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        self._bar.show()
        self._stack.setCurrentWidget(self._scroll)
        text = diagnosis.to_markdown(self._names())
        if text == self._shown:
            return
        self._shown = text
        counts = [
            count(number, severity)
            for severity in SEVERITIES
            if (number := sum(f.severity == severity for f in diagnosis.findings))
        ]
        summary = ", ".join(counts) or "Nothing was found"
        self._summary.set_full(f"{summary} in {_SUBJECT}")
        self.setAccessibleDescription(f"{summary} in {_SUBJECT}")
        self._fill()

    def _fill(self) -> None:
        """Make the cards anew; those that were open stay open."""
        at = self._scroll.verticalScrollBar().value()
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme().em(0.5), 0)
        column.setSpacing(theme().em(0.75))
        self.cards = [self._card(finding) for finding in self.diagnosis.findings]
        self.cards += self._rest()
        for card in self.cards:
            column.addWidget(card)
            if card.objectName() in self._unfolded:
                card.unfold()
            card.folded.connect(self._on_folded)
        column.addStretch(1)
        self._scroll.setWidget(inside)
        self._scroll.verticalScrollBar().setValue(at)

    def _card(self, finding: Finding) -> Card:
        card = Card(finding.title, finding.severity, "Show")
        card.setObjectName(f"{finding.rule} {finding.panel} {finding.layers[:1]}")
        card.action.setToolTip("Select the layers and bring their panel forward")
        card.setProperty("finding", self.diagnosis.findings.index(finding))
        add_numbers(card, [(x.name, x.text) for x in finding.numbers])
        if finding.layers:
            add_paragraph(card, "Layers", named(self._names(), finding.layers))
        add_paragraph(card, "Why", finding.reason)
        add_paragraph(card, "What to try", finding.advice)
        if finding.runs:
            runs = ", ".join(map(str, finding.runs))
            add_paragraph(card, "Measured by", f"run {runs}")
        card.actionTriggered.connect(self._on_show)
        return card

    def _rest(self) -> list[Card]:
        """Return cards for what could not be judged, and for what was fine."""
        cards = []
        if self.diagnosis.unjudged:
            many = count(len(self.diagnosis.unjudged), "question")
            card = Card(f"{many} not judged: what they need")
            card.setObjectName("unjudged")
            for gap in self.diagnosis.unjudged:
                add_paragraph(card, gap.title, gap.needs)
            cards.append(card)
        if self.diagnosis.clear:
            many = count(len(self.diagnosis.clear), "question")
            card = Card(f"{many} looked at, nothing found")
            card.setObjectName("clear")
            add_paragraph(card, "Nothing found", ". ".join(self.diagnosis.clear) + ".")
            cards.append(card)
        return cards

    def _names(self) -> tuple[str, ...]:
        project = self._context.project
        layers = () if project is None else project.info.layers
        return tuple(layer.name for layer in layers)

    @Slot()
    def _on_theme(self) -> None:
        if self._shown:
            self._fill()

    @Slot(object)
    def _on_folded(self, is_folded: object) -> None:
        card = self.sender()
        if isinstance(card, Card):
            change = self._unfolded.discard if is_folded else self._unfolded.add
            change(card.objectName())

    @Slot()
    def _on_show(self) -> None:
        card = self.sender()
        if isinstance(card, Card):
            self.show_finding(int(card.property("finding")))

    def show_finding(self, number: int) -> None:
        """Select the layers of a finding and ask for its panel."""
        finding = self.diagnosis.findings[number]
        if finding.layers:
            self._context.selection.set(finding.layers, finding.layers[0])
        self.showRequested.emit(finding.panel)

    @Slot()
    def _on_empty_action(self) -> None:
        self.actionRequested.emit("analyse")

    # -- taking away ---------------------------------------------------------------

    @Slot()
    def copy_markdown(self) -> None:
        """Put all findings on the clipboard as Markdown."""
        self._copy(self.diagnosis.to_markdown(self._names()))

    @Slot()
    def copy_text(self) -> None:
        """Put all findings on the clipboard as plain text."""
        self._copy(self.diagnosis.to_text(self._names()))

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        many = count(len(self.diagnosis.findings), "finding")
        self._context.message.emit(f"{many} copied.")


def _is_quantized(project: Project) -> bool:
    plan = project.assignment
    return bool(plan.weight.any() or plan.input.any() or plan.sites)
