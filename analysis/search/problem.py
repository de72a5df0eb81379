"""The question every search answers: one scheme per layer, within limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.search.budget import Budget, Limit
from quant_core.assignment import Assignment
from quant_core.cost import LayerSizes
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from quant_core.targets import Target, get_target

if TYPE_CHECKING:
    from analysis.project import Project

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Ties = Sequence[Sequence[int]]

MEASURE = "predicted_error"

PROVEN = 1e-9
"""Relative gap that sums in double precision cannot tell from none."""

ROUNDING = 1e-12
"""Relative slack of a limit: sums in another order differ by this much."""


@dataclass(frozen=True)
class CostTable:
    """What every choice costs, layer by layer.

    A search returns indices into `palette`; `assign` turns them into an assignment.

    Attributes:
        layers: The L layers, in table order.
        palette: The P schemes to choose from; the first is None, the stored float.
        cost: `[L, P]` own predicted error, in the unit of the task, zero or more; inf
            where a scheme is not offered.
        bits: `[L, P]` storage with scales and zero points (bits).
        bops: `[L, P]` bit operations per sample, or None when the multiply-adds of
            the layers are not known.
        ties: Groups of layer indices that must get the same scheme.

    Raises:
        AnalysisError: the arrays do not fit layers and palette.
    """

    layers: tuple[Layer, ...]
    palette: tuple[Scheme | None, ...]
    cost: Floats
    bits: Floats
    bops: Floats | None = None
    ties: tuple[tuple[int, ...], ...] = field(default=())

    def __post_init__(self) -> None:
        shape = len(self.layers), len(self.palette)
        for name in ("cost", "bits", "bops"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise AnalysisError(
                    f"The {name} of a search must be one number per layer and scheme.",
                    value=array.shape,
                    allowed=f"{shape[0]} layers x {shape[1]} schemes",
                )
        if not self.palette or self.palette[0] is not None:
            raise AnalysisError("The palette of a search must start with the float.")

    @property
    def parameters(self) -> int:
        """Number of weights in all layers."""
        return sum(layer.parameters for layer in self.layers)

    def stored(self, limit: Limit) -> float:
        """Return what the model needs as it is stored, in the unit of `limit`."""
        if limit.quantity == "error":
            return 0.0
        if limit.quantity != "bops":
            return float(self.bits[:, 0].sum()) / self.per_unit(limit)
        if self.bops is None:
            raise AnalysisError(
                "The bit operations of this model are not known.",
                value=str(limit),
                allowed="limits on bits, size and error",
                hint="Analyse the model with data first: a forward pass counts the "
                "multiply-adds of every layer.",
            )
        return float(self.bops[:, 0].sum())

    def per_unit(self, limit: Limit) -> float:
        """Return how many bits, bit operations ... one unit of `limit` stands for."""
        return {"size": 8.0, "bits": float(self.parameters or 1)}.get(
            limit.quantity, 1.0
        )

    def assign(self, base: Assignment, choice: NDArray[np.integer]) -> Assignment:
        """Return `base` with the weights of all layers as chosen.

        Args:
            base: Assignment of the same layers; inputs, sites and locks stay.
            choice: `[L]` indices into `palette`.
        """
        return base.with_choice(choice, self.palette)

    def total(self, array: Floats, choice: NDArray[np.integer]) -> float:
        """Return the sum of `array` over the chosen schemes."""
        return float(array[np.arange(len(self.layers)), choice].sum())


@dataclass(frozen=True)
class Groups:
    """A cost table with tied layers merged: G groups that choose independently.

    Attributes:
        of_layer: `[L]` group of each layer.
        cost: `[G, P]`, inf where a scheme is not offered to the whole group.
        bits: `[G, P]`, likewise.
        bops: `[G, P]`, likewise, or None.
    """

    of_layer: Indices
    cost: Floats
    bits: Floats
    bops: Floats | None

    def expand(self, option: NDArray[np.integer]) -> NDArray[np.int16]:
        """Return the choice of every layer from the choice of every group."""
        return option[self.of_layer].astype(np.int16)


def merge(
    table: CostTable,
    locked: NDArray[np.bool_] | None = None,
    choice: NDArray[np.integer] | None = None,
    ties: Ties = (),
) -> Groups:
    """Return `table` with tied layers merged and locked layers held.

    Args:
        table: The costs; its own ties always hold.
        locked: `[L]` layers that keep what `choice` says.
        choice: `[L]` indices into the palette; read where `locked`.
        ties: Further groups of layers that must share a scheme.

    Raises:
        AnalysisError: a group has no scheme left, with the layers it is made of.
    """
    cost = table.cost
    if not (cost >= 0).all():
        raise AnalysisError("A cost of a search is not a number of zero or more.")
    if locked is not None and locked.any():
        if choice is None:
            raise AnalysisError("Locked layers need the choice they are locked to.")
        held = np.flatnonzero(locked)
        own = cost[held, choice[held]]
        cost = cost.copy()
        cost[held] = np.inf
        cost[held, choice[held]] = np.where(np.isfinite(own), own, 0.0)
    of_layer = _group_of_layer(len(table.layers), [*table.ties, *ties])
    total = _sum(cost, of_layer)
    offered = np.isfinite(total)
    groups = Groups(
        of_layer,
        total,
        np.where(offered, _sum(table.bits, of_layer), np.inf),
        None
        if table.bops is None
        else np.where(offered, _sum(table.bops, of_layer), np.inf),
    )
    stuck = np.flatnonzero(~offered.any(1))
    if len(stuck):
        names = [table.layers[i].name for i in np.flatnonzero(of_layer == stuck[0])]
        raise AnalysisError(
            "No scheme is left that all of these layers may take."
            if len(names) > 1
            else f"No scheme is left for {names[0]}.",
            value=", ".join(names[:6]) + (" ..." if len(names) > 6 else ""),
            allowed="at least one scheme offered to every layer of a tie",
            hint="Unlock one of them, analyse more formats, or choose another target.",
        )
    return groups


def _group_of_layer(layers: int, ties: Ties) -> Indices:
    """Return `[L]` group numbers; overlapping ties become one group."""
    pairs = [(tie[0], other) for tie in ties for other in tie[1:]]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    label = np.arange(layers)
    while True:
        lower = label.copy()
        least = np.minimum(label[first], label[second])
        np.minimum.at(lower, first, least)
        np.minimum.at(lower, second, least)
        if np.array_equal(lower, label):
            return np.unique(label, return_inverse=True)[1].astype(np.int64)
        label = lower


def _sum(values: Floats, of_layer: Indices) -> Floats:
    out = np.zeros((int(of_layer.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(out, of_layer, values)
    return out


@dataclass(frozen=True, slots=True)
class Row:
    """One limit as a sum over groups: `sum(amount[g, option[g]]) <= most`.

    Attributes:
        limit: As the user gave it.
        amount: `[G, P]` bits, bit operations or error.
        most: The limit in the unit of `amount`.
        per_unit: How much of `amount` is one unit of the limit (8 for bytes).
    """

    limit: Limit
    amount: Floats
    most: float
    per_unit: float

    def holds(self, option: NDArray[np.integer]) -> bool:
        """Return whether a choice of every group keeps the limit."""
        return self.total(option) <= self.most * (1 + ROUNDING)

    def total(self, option: NDArray[np.integer]) -> float:
        """Return the sum of `amount` over a choice of every group."""
        return float(self.amount[np.arange(len(self.amount)), option].sum())


def rows_of(table: CostTable, groups: Groups, budget: Budget) -> tuple[Row, ...]:
    """Return the limits of `budget` as rows, in the order they were given."""
    rows = []
    for limit in budget.limits:
        per_unit = table.per_unit(limit)
        most = limit.absolute(table.stored(limit)) * per_unit
        if limit.quantity == "error":
            amount = groups.cost
        elif limit.quantity == "bops" and groups.bops is not None:
            amount = groups.bops
        else:
            amount = groups.bits
        rows.append(Row(limit, amount, most, per_unit))
    return tuple(rows)


def check_reachable(table: CostTable, rows: Sequence[Row], budget: Budget) -> None:
    """Refuse a budget with a limit that no assignment keeps even on its own.

    Raises:
        AnalysisError: naming the smallest possible value.
    """
    for row in rows:
        smallest = float(row.amount.min(1).sum())
        if smallest > row.most * (1 + ROUNDING):
            raise unreachable(table, row, smallest, Budget((row.limit,)), budget)


def unreachable(
    table: CostTable, row: Row, smallest: float, beside: Budget, budget: Budget
) -> AnalysisError:
    """Return the error for a limit below the smallest possible amount.

    Args:
        table: The costs.
        row: The limit that cannot be met.
        smallest: Least amount any choice reaches, in the unit of `row.amount`.
        beside: The limits under which `smallest` is the least.
        budget: The budget as given.
    """
    possible = row.limit.write(smallest / row.per_unit, table.stored(row.limit))
    others = ", ".join(str(x) for x in beside.limits if x is not row.limit)
    direction = "more" if row.limit.quantity == "error" else "fewer"
    return AnalysisError(
        f"No assignment keeps {row.limit}{f' together with {others}' * bool(others)}.",
        value=str(budget),
        allowed=f"{possible} or more, the smallest possible with the schemes offered",
        hint=f"Raise the limit, analyse formats of {direction} bits, or unlock layers.",
    )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        choice: `[L]` indices into the palette of the cost table.
        cost: Predicted error of the choice, summed over layers.
        bits: Storage of the choice (bits).
        gap: How much better the best assignment could be at most, as a share of what
            was minimised (the error, or the bits when only the error is limited).
        proven: Whether no assignment can be better by more than was asked for.
    """

    choice: NDArray[np.int16]
    cost: float
    bits: float
    gap: float
    proven: bool


def relative_gap(value: float, bound: float) -> float:
    """Return how far `value` lies above a lower bound, as a share of it."""
    return max(0.0, (value - bound) / value) if value > 0 else 0.0


def result(
    table: CostTable, choice: NDArray[np.int16], gap: float, proven: bool
) -> SearchResult:
    """Return a choice with its totals, summed layer by layer."""
    cost = np.where(np.isfinite(table.cost), table.cost, 0.0)
    return SearchResult(
        choice, table.total(cost, choice), table.total(table.bits, choice), gap, proven
    )


def table_from_project(project: Project) -> CostTable:
    """Return the costs of a project's layers by its predicted error.

    Offered are the schemes that were analysed, unless the project's target refuses
    them. Locked layers, and layers that were not analysed at all (NaN in their
    weights), keep the scheme they have now. Bit operations count the inputs as they
    are assigned now. Ties are those of the model and of the target.

    Raises:
        AnalysisError: the predicted error of no layer is known.
    """
    now, target = project.assignment, get_target(project.target)
    layers = now.layers
    keys = project.formats(MEASURE, "error", "weight")
    if not keys:
        raise AnalysisError(
            "A search needs the predicted error of the layers.",
            hint=f"Run the measure {MEASURE} first.",
        )
    analysed = (None, *map(parse_scheme, keys))
    palette = tuple(dict.fromkeys((*analysed, *now.used())))
    cost = np.full((len(layers), len(palette)), np.inf)
    for option, key in enumerate(keys, start=1):
        cost[:, option] = project.values(MEASURE, format=key)
    cost[~np.isfinite(cost)] = np.inf
    known = np.isfinite(cost[:, 1:]).any(1)
    cost[:, 0] = 0.0
    bits, bops = _amounts(now, palette)
    entry = {scheme: option for option, scheme in enumerate(palette)}
    current = np.array([entry.get(scheme, 0) for scheme in now.palette])[now.weight]
    held = np.flatnonzero(now.locked | ~known)
    kept = cost[held, current[held]]
    cost[_refused(target, layers, palette) | ~np.isfinite(bits)] = np.inf
    cost[held] = np.inf
    cost[held, current[held]] = np.where(np.isfinite(kept), kept, 0.0)
    ties = (*project.info.ties, *target.ties([layer.name for layer in layers]))
    return CostTable(layers, palette, cost, bits, bops, ties)


def _refused(
    target: Target, layers: Sequence[Layer], palette: Sequence[Scheme | None]
) -> NDArray[np.bool_]:
    """Return `[L, P]` what the target cannot run; layers of one shape are alike."""
    first: dict[object, int] = {}
    alike = [
        first.setdefault((x.kind, x.shape, x.channel_axes, x.dtype), i)
        for i, x in enumerate(layers)
    ]
    refused = np.zeros((len(layers), len(palette)), dtype=bool)
    for i in first.values():
        reasons = [target.refuses(scheme, layers[i], "weight") for scheme in palette]
        refused[i] = [reason is not None for reason in reasons]
    return refused[alike]


def _amounts(
    now: Assignment, palette: Sequence[Scheme | None]
) -> tuple[Floats, Floats | None]:
    """Return `[L, P]` bits, and bit operations with the inputs as they are now."""
    sizes = LayerSizes.of(now.layers)
    bits = np.stack([sizes.weight_bits(scheme) for scheme in palette], axis=1)
    if not sizes.macs.any():
        return bits, None

    def widths(schemes: Sequence[Scheme | None]) -> Floats:
        own = [
            sizes.stored if s is None else np.full(len(bits), s.bits) for s in schemes
        ]
        return np.stack(own, axis=1).astype(np.float64)

    rows = np.arange(len(bits))
    operand = widths(now.palette)[rows, now.input]
    return bits, (sizes.macs * operand)[:, None] * widths(palette)
