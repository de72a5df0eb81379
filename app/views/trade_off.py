"""Trade-off: size against predicted error; a click applies a point."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, Qt, QTimer, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QWidget

from app.context import AppContext
from app.models.proposal import Proposal
from app.models.trade_off import (
    Candidate,
    Offer,
    current_choice,
    offer_steps,
    state_key,
)
from app.theme import theme
from app.views.captions import run_caption
from app.views.proposal import ProposalPane
from app.widgets.data_table import Table
from app.widgets.format import significant, with_error
from app.widgets.format import size as size_text
from app.widgets.plot_panel import PlotPanel
from app.widgets.tick_box import TickBox
from app.widgets.trade_off_legend import legend_entries
from app.widgets.trade_off_plot import KEPT, TradeOffPlot
from app.widgets.trade_off_points import Measured, Present, Spot
from app.widgets.turns import Turns
from quant_core.errors import QuantError

MEASURE = "predicted_error"
QUICK_SECONDS = 0.05
SHARE = 10
"""A front that takes longer than `QUICK_SECONDS` is renewed at most this many times
its own duration apart, so that a running analysis never fills the event loop. What
counts is processor time: other programs make no front slow to compute."""


class TradeOffView(PlotPanel):
    """The front, one format for all layers, kept assignments, and the present one."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context; draw when shown."""
        super().__init__("Size against predicted error", parent)
        self._context = context
        self._offer: Offer | None = None
        self._unit = ""
        self._cursor = -1
        self._must_fit = True
        self._seconds = 0.0
        self._renewal = QTimer(self)
        self._renewal.setSingleShot(True)
        self._renewal.timeout.connect(self._on_change)
        self._work = Turns(self._take, self._on_refused, self)
        self.plot = TradeOffPlot("Size of the weights against predicted error")
        self.body.addWidget(self.plot, 1)
        self.names_box = TickBox("&Names", self)
        self.names_box.setChecked(True)
        self.names_box.setToolTip("Write the name of a format beside its point")
        self.proposal = ProposalPane(context, self)
        self.layers_box = TickBox("B&y layer", self)
        self.layers_box.setToolTip(
            "Show which layers the budget would change, what their next step buys, "
            "and why"
        )
        self.controls.addWidget(self.names_box)
        self.controls.addWidget(self.layers_box)
        self.add_control_row(self.proposal.bar)
        self.add_list(self.proposal)
        self.set_list_shown(False)
        self.layers_box.toggled.connect(self.set_list_shown)
        self.proposal.changed.connect(self._on_proposed)
        self.names_box.toggled.connect(self.plot.set_names_shown)
        self.plot.hovered.connect(self._on_hover)
        self.plot.clicked.connect(self._on_click)
        context.projectChanged.connect(self._on_project)
        context.rowsAdded.connect(self._on_rows)
        context.runsChanged.connect(self._on_change)
        context.assignmentsChanged.connect(self._on_change)
        context.assignmentChanged.connect(self._on_assignment)
        self.message.connect(context.message)
        self.invalidate("all")

    # -- what changed --------------------------------------------------------------

    @Slot()
    def _on_project(self) -> None:
        self._must_fit = True
        self._cursor = -1
        self._seconds = 0.0
        self._forget()
        self.invalidate("front")

    @Slot(object)
    def _on_rows(self, measure: object) -> None:
        if measure == MEASURE:
            self._renew()

    @Slot()
    def _on_change(self) -> None:
        self.invalidate("front")

    @Slot(object)
    def _on_assignment(self, _layers: object) -> None:
        self.invalidate("now")

    def _renew(self) -> None:
        """Compute the front again: at once, or later when that takes long."""
        seconds = max(self._seconds, self._work.seconds)
        if seconds <= QUICK_SECONDS:
            self.invalidate("front")
        elif not self._renewal.isActive():
            self._renewal.start(round(1000 * SHARE * seconds))

    def refresh(self, stale: set[str]) -> None:
        """Redraw what changed; edits of free layers move only the present point."""
        project, offer = self._context.project, self._offer
        if "front" in stale or (offer is None and not self._work.is_busy):
            self._renewal.stop()
            self._compute()
        elif project is not None and offer is not None:
            if "all" in stale:
                self._show()
            else:
                self._show_now()
                self.proposal.renew()
                self.plot.finish()
            if offer.key != state_key(project, offer.held):
                self._renew()

    def _compute(self) -> None:
        """Begin a new front; the one before stays in view until it is there."""
        project = self._context.project
        if not self._has_errors() or project is None:
            self._forget()
            return
        self._work.start(offer_steps(project))
        if self._offer is None and self._work.is_busy:
            self.show_empty(
                "Looking for the best trade-offs…",
                "Every step of every layer is put in order.",
            )

    def _forget(self) -> None:
        """Drop the front: its layers are not those of the project any more."""
        self._work.stop()
        self._offer = None
        self.proposal.set_offer(None, self._unit)
        self.proposal.bar.setVisible(False)

    def _on_refused(self, error: QuantError) -> None:
        self._forget()
        self.show_empty("No trade-off to show", str(error))

    def _take(self, offer: Offer) -> None:
        """Show a front that is ready."""
        project = self._context.project
        assert project is not None
        self._offer, self._seconds = offer, self._work.seconds
        run = project.latest_run(MEASURE)
        self._unit = run.unit if run is not None else ""
        self.show_plot()
        self.proposal.bar.setVisible(True)
        self._show()
        if offer.key != state_key(project, offer.held):
            self._renew()

    def _show(self) -> None:
        self._show_offer()
        self.proposal.set_offer(self._offer, self._unit)
        self._show_now()
        self._show_legend()
        if self._must_fit:
            self._must_fit = False
            self.fit()
        self.plot.keep_fitting()
        self.plot.finish()

    def _has_errors(self) -> bool:
        """Return whether there is something to choose; False leaves an empty state."""
        project = self._context.project
        if project is None:
            text = "Open a model to see what each megabyte buys."
            self.show_empty("No model open", text, "Open a model…", "open")
            return False
        if not project.info.layers:
            self.show_no_layer(0)
            return False
        if not project.formats(MEASURE, "error", "weight"):
            self.show_empty(
                "No predicted error yet",
                "Analyse the model: the best trade-offs between size and error follow "
                "from the predicted error of every layer.",
                "Analyse",
                "analyse",
            )
            return False
        return True

    def _show_caption(self, *, interacts: bool) -> None:
        project = self._context.project
        assert project is not None
        text = "Line, marks and cross-hair add up the layers' own errors; "
        text += "what interactions between layers add is not known. "
        if interacts:
            text = "Line and marks add up the layers' own errors; the cross-hair is "
            text += "the present assignment, interactions between layers included. "
        caption = run_caption(project.latest_run(MEASURE), self._unit)
        self.set_subtitle(text + caption)

    # -- drawing -------------------------------------------------------------------

    def _show_offer(self) -> None:
        offer, project = self._offer, self._context.project
        assert offer is not None
        assert project is not None
        sizes = offer.front.bits / 8
        largest = max(float(sizes[-1]), project.totals.bytes)
        parameters = offer.parameters
        self.plot.set_units(largest, offer.smallest_error(), parameters, self._unit)
        ink = theme().colour("text")
        spots = [
            Spot(
                c.name,
                c.size,
                c.error,
                c.stderr,
                theme().bit_mark(c.bits_per_value),
                theme().bit_colour(c.bits_per_value),
            )
            for c in offer.uniform
        ]
        spots += [
            Spot(c.name, c.size, c.error, c.stderr, KEPT, ink) for c in offer.kept
        ]
        self.plot.set_points(sizes, offer.front.cost, tuple(spots), offer.stderr)
        self._cursor = min(self._cursor, len(sizes) - 1)
        self.set_summary(
            f"{len(sizes):,} best trade-offs, from {size_text(float(sizes[0]))} with "
            f"error {significant(float(offer.front.cost[0]))} {self._unit} to "
            f"{size_text(float(sizes[-1]))}."
        )

    def _show_now(self) -> None:
        """Move the present assignment's point."""
        project, offer = self._context.project, self._offer
        assert project is not None
        assert offer is not None
        prediction = project.prediction
        present = None
        if prediction is not None:
            present = Present(
                project.totals.bytes,
                prediction.value,
                prediction.stderr,
                prediction.additive,
            )
        else:
            choice = current_choice(project, offer.table)
            if choice is not None:
                own = offer.table.cost[np.arange(len(choice)), choice]
                alone = float(own[np.isfinite(own)].sum())
                present = Present(project.totals.bytes, alone, float("nan"), alone)
        self.plot.set_now(present)
        runs = [
            Measured(float(x["bytes"]), float(x["value"]), float(x["stderr"]))
            for x in project.measured_scores
            if x["unit"] == self._unit and "bytes" in x and np.isfinite(x["value"])
        ]
        self.plot.set_measured(tuple(runs))
        self._show_caption(interacts=prediction is not None)

    def _show_legend(self) -> None:
        offer = self._offer
        assert offer is not None
        widths = sorted({c.bits_per_value or 0.0 for c in offer.uniform})
        measured, kept = bool(self.plot.measured), bool(offer.kept)
        self.legend.set_entries(
            legend_entries(widths, has_measured=measured, has_kept=kept)
        )

    @Slot()
    def fit(self) -> None:
        """Show all points."""
        self.plot.fit()

    @Slot(object)
    def _on_proposed(self, proposal: Proposal | None) -> None:
        """Mark the point of the slider; say what it is."""
        self.plot.set_proposed(-1 if proposal is None else proposal.point)

    # -- reading off and applying --------------------------------------------------

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        number = -1 if point is None or self._offer is None else self.plot.at(point)
        self.plot.show_hit(number)
        if number >= 0:
            self.read_out.set_full(f"{self.describe(number)}  ·  click to apply")
        elif point is not None and self._offer is not None:
            size = size_text(point.x() * self.plot.per_unit)
            error = significant(self.plot.to_value("left", point.y()))
            self.read_out.set_full(f"{size}  ·  error {error} {self._unit}")
        else:
            self.read_out.set_full("")

    def _single(self, number: int) -> Candidate | None:
        """Return the uniform or kept assignment of a point, None on the front."""
        assert self._offer is not None
        at = number - len(self._offer.front)
        return (*self._offer.uniform, *self._offer.kept)[at] if at >= 0 else None

    def describe(self, number: int) -> str:
        """Return the read-out of a point: size, bits, error."""
        offer, project = self._offer, self._context.project
        assert offer is not None
        assert project is not None
        candidate = self._single(number)
        if candidate is None:
            size = float(offer.front.bits[number]) / 8
            name, error = "best trade-off", significant(float(offer.front.cost[number]))
        else:
            size, name = candidate.size, candidate.name
            error = with_error(candidate.error, candidate.stderr)
            if candidate.bits_per_value is not None:
                name = f"all layers at {name}"
            if candidate.others:
                name += f", {candidate.others:,} other layers as they must be"
        stored = project.totals.bytes * project.totals.compression
        share = f" ({size / stored:.2g} × stored)" if stored else ""
        bits = 8 * size / max(offer.parameters, 1)
        return "  ·  ".join(
            (
                name,
                f"{size_text(size)}{share}",
                f"{bits:.2f} bits per weight",
                f"error {error} {self._unit}",
            )
        )

    @Slot(object, object)
    def _on_click(self, point: QPointF, _modifiers: object) -> None:
        number = -1 if self._offer is None else self.plot.at(point)
        if number >= 0:
            self.apply(number)

    def apply(self, number: int) -> None:
        """Put the assignment of a point in place; locked layers keep theirs."""
        offer, project = self._offer, self._context.project
        if offer is None or project is None:
            return
        candidate = self._single(number)
        if candidate is None:
            choice = offer.front.choice(number)
            size = size_text(float(offer.front.bits[number]) / 8)
            name = f"trade-off at {size}"
        else:
            choice, name = candidate.choice, candidate.name
        assignment = offer.table.assign(project.assignment, choice)
        self._context.replace_assignment(assignment, f"Apply {name}")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right walk along the front, Enter applies."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        key = event.key()
        if self.is_empty or self._offer is None:
            super().keyPressEvent(event)
        elif key in steps:
            last = len(self._offer.front) - 1
            start = self._cursor if self._cursor >= 0 else self._nearest_to_now()
            self._cursor = min(max(0, start + steps[Qt.Key(key)]), last)
            self.plot.show_hit(self._cursor)
            self.read_out.set_full(f"{self.describe(self._cursor)}  ·  Enter applies")
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._cursor >= 0:
            self.apply(self._cursor)
        else:
            super().keyPressEvent(event)

    def _nearest_to_now(self) -> int:
        assert self._offer is not None
        present = self.plot.present
        size = 0.0 if present is None else 8 * present.size
        return int(np.argmin(np.abs(self._offer.front.bits - size)))

    def table(self) -> Table | None:
        """Return the front, the uniform and the kept assignments as rows."""
        offer = self._offer
        if offer is None or self.is_empty:
            return None
        names = ["best trade-off"] * len(offer.front)
        size, error = (offer.front.bits / 8).tolist(), offer.front.cost.tolist()
        stderr = offer.stderr.tolist()
        for candidate in (*offer.uniform, *offer.kept):
            names.append(candidate.name)
            size.append(candidate.size)
            error.append(candidate.error)
            stderr.append(candidate.stderr)
        bits = (8 * np.array(size) / max(offer.parameters, 1)).tolist()
        unit = f" [{self._unit}]" if self._unit else ""
        titles = (
            "assignment",
            "size [bytes]",
            "average bits per weight",
            f"predicted error, layers added up{unit}",
            f"standard error{unit}",
        )
        return Table(titles, (names, size, bits, error, stderr))
