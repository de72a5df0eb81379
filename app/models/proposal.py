"""A point of the front as a proposal beside the present assignment, without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.models.trade_off import Choice, Offer, current_choice

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A format that a layer could have, with all that is tied to it.

    Attributes:
        name: Of the format.
        size: Storage [bytes].
        error: Own predicted errors.
        total: Error plus the price of the storage: what the search makes small.
        is_chosen: Whether the proposal has it.
    """

    name: str
    size: float
    error: float
    total: float
    is_chosen: bool


@dataclass(frozen=True)
class Proposal:
    """What a point of the front would make of every layer.

    Attributes:
        offer: What can be chosen.
        point: Of the front.
        mine: `[layers]` present options, None when one is outside the palette.
        choice: `[layers]` proposed options.
        size: Storage [bytes].
        error: Sum of the layers' own errors.
    """

    offer: Offer
    point: int
    mine: Choice | None
    choice: Choice
    size: float
    error: float

    @classmethod
    def of(cls, project: Project, offer: Offer, point: int) -> Proposal:
        """Return the proposal of a point."""
        line = offer.front
        choice = line.choice(point)
        size, error = float(line.bits[point]) / 8, float(line.cost[point])
        mine = current_choice(project, offer.table)
        return cls(offer, point, mine, choice, size, error)

    @cached_property
    def _next_steps(self) -> tuple[Floats, Floats]:
        return self.offer.front.next_steps(self.choice)

    @property
    def spent(self) -> Floats:
        """`[layers]` bytes of the next step up, NaN without one."""
        return self._next_steps[0] / 8

    @property
    def bought(self) -> Floats:
        """`[layers]` fall of the error that the next step up buys, NaN without one."""
        return self._next_steps[1]

    @property
    def average_bits(self) -> float:
        """Bits per weight, scales included."""
        return 8 * self.size / max(self.offer.parameters, 1)

    @cached_property
    def _changed(self) -> Indices:
        if self.mine is None:
            return np.arange(len(self.choice))
        return np.flatnonzero(self.mine != self.choice)

    def changed(self) -> Indices:
        """Return the layers that would get another format."""
        return self._changed

    def changes_among(self, layers: Indices) -> int:
        """Return how many of some layers would get another format."""
        layers = layers[layers < len(self.choice)]
        if self.mine is None:
            return len(layers)
        return int(np.count_nonzero(self.mine[layers] != self.choice[layers]))

    def error_change(self) -> Floats:
        """Return `[layers]` how the own errors would change, NaN where not known."""
        return self._change(self.offer.table.cost)

    def size_change(self) -> Floats:
        """Return `[layers]` how the storage would change [bytes]."""
        return self._change(self.offer.table.bits) / 8

    def _change(self, values: Floats) -> Floats:
        if self.mine is None:
            return np.full(len(self.choice), np.nan)
        rows = np.arange(len(self.choice))
        before, after = values[rows, self.mine], values[rows, self.choice]
        known = np.isfinite(before) & np.isfinite(after)
        return np.where(known, after, np.nan) - np.where(known, before, 0.0)

    def name(self, layer: int, *, mine: bool) -> str:
        """Return the format of a layer, "" when it is outside the palette."""
        choice = self.mine if mine else self.choice
        table = self.offer.table
        return "" if choice is None else table.name_of(int(choice[layer]))

    def alternatives(self, layer: int) -> tuple[Alternative, ...]:
        """Return what a layer could have, smallest first, at the price of the point."""
        line, table = self.offer.front, self.offer.table
        bits, error = line.options_of(layer)
        price = line.price(self.point)
        offered = np.flatnonzero(np.isfinite(error) & np.isfinite(bits))
        return tuple(
            Alternative(
                table.name_of(int(option)),
                float(bits[option]) / 8,
                float(error[option]),
                float(error[option] + price * bits[option]),
                bool(option == self.choice[layer]),
            )
            for option in offered[np.argsort(bits[offered], kind="stable")]
        )

    def tied(self, layer: int) -> int:
        """Return how many layers choose together with one, itself among them."""
        return len(self.offer.front.tied_to(layer))

    def assignment(self, base: Assignment) -> Assignment:
        """Return the proposal as an assignment; what is not chosen is as in `base`."""
        return self.offer.table.assign(base, self.choice)
