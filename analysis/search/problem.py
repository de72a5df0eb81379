"""The question every search answers: one option per layer, within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.prediction import probe_noise
from analysis.search.budget import UNITS, Budget, Limit
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Layer

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Choice = NDArray[np.int16]
Ties = Sequence[Sequence[int]]

MEASURE = "predicted_error"
"""What is minimised unless something else is asked for."""


@dataclass(frozen=True)
class BlockCosts:
    """Measured costs of the layers of one block, not one by one but together.

    BRECQ (arXiv 2102.05426) measures every subset of a block's layers at the lowest
    width, because there layers interact most.

    Attributes:
        layers: Indices of the n layers of the block.
        option: The option that the subsets are at.
        cost: `[2^n]`, entry m for the subset whose layer k is in it when bit k of m
            is set. Stands in for the own costs of these layers at `option`.

    Raises:
        AnalysisError: the number of costs is not 2^n.
    """

    layers: tuple[int, ...]
    option: int
    cost: Floats

    def __post_init__(self) -> None:
        if self.cost.shape != (2 ** len(self.layers),):
            raise AnalysisError(
                "A block of n layers needs one cost for each of its 2^n subsets.",
                value=self.cost.shape,
                allowed=f"({2 ** len(self.layers)},)",
            )

    def beyond(self, own: Floats, choice: NDArray[np.integer]) -> Floats:
        """Return what the block adds to the sum of own costs.

        Args:
            own: `[L, P]` own costs.
            choice: `[..., L]` options.

        Returns:
            `[...]`, negative where the layers hurt less together.
        """
        members = list(self.layers)
        inside = choice[..., members] == self.option
        subset = inside @ (1 << np.arange(len(members)))
        alone = np.where(inside, own[members, self.option], 0.0).sum(-1)
        return np.asarray(self.cost[subset] - alone)


@dataclass(frozen=True)
class Probes:
    """Projections of what every option does to the output; see `analysis.prediction`.

    To second order the error of an assignment is `sum((kept + chosen)^2)` over rows,
    by the sum of the weights, `chosen` being the sum of its columns.

    Attributes:
        v: `[n, C]` one row for each sample and probe.
        weight: `[n]` weights of the task.
        cluster: `[n]` sample of each row, counted from 0.
        column: `[R, P, 2]` columns of the weight and of the input of an option; -1
            for none.
        kept: `[n]` sum of the columns of what is not chosen.
        factor: `[R, P]` what the columns of an option are multiplied by, where runs
            of the model have shown another error than they predict; None for ones.
        outputs: Elements of the output of a sample, if its probes are orthogonal.

    Raises:
        AnalysisError: the arrays do not fit each other.
    """

    v: NDArray[np.float32]
    weight: Floats
    cluster: Indices
    column: Indices
    kept: Floats
    factor: Floats | None = None
    outputs: float = np.inf

    def __post_init__(self) -> None:
        rows = len(self.v)
        lengths = {len(self.weight), len(self.cluster), len(self.kept)}
        if lengths != {rows} or self.column.max(initial=-1) >= self.v.shape[1]:
            raise AnalysisError(
                "The projections of a search do not fit its rows and columns.",
                value=f"{self.v.shape}, {sorted(lengths)}",
            )

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Probes:
        """Return probes that know nothing, for a table of `[R, P]` options."""
        zero, cluster = np.zeros((1, 1), np.float32), np.zeros(1, np.int64)
        return cls(zero, np.ones(1), cluster, np.full((*shape, 2), -1), np.zeros(1))

    def column_of(self, row: int, option: int) -> Floats:
        """Return `[n]` the projections of one option of one row."""
        used = self.column[row, option]
        factor = 1.0 if self.factor is None else self.factor[row, option]
        return np.asarray(self.v[:, used[used >= 0]].sum(1, dtype=np.float64) * factor)

    def of(self, choice: NDArray[np.integer]) -> Floats:
        """Return `[n]` the summed projections of a choice, with what is kept."""
        place = np.arange(len(choice)), choice
        used = self.column[place]
        factor = np.ones(used.shape)
        if self.factor is not None:
            factor *= self.factor[place][:, None]
        there = used >= 0
        return np.asarray(self.kept + self.v[:, used[there]] @ factor[there])

    def error(self, choice: NDArray[np.integer]) -> float:
        """Return the second-order error of a choice, cross terms included."""
        return float((self.of(choice) ** 2).sum() / self.weight.sum())

    def interaction(self, choice: NDArray[np.integer]) -> float:
        """Return the sum of the cross terms over the sum of the own errors.

        Shrunk by the noise of the probes, as predictions are (`Predictor.predict`).
        Factors change both sums alike, near enough, and are left out.
        """
        used = self.column[np.arange(len(choice)), choice]
        columns = np.where(used >= 0, self.v[:, used], 0.0).sum(-1, dtype=np.float64)
        own = (columns**2).sum(1) + self.kept**2
        cross = (self.kept + columns.sum(1)) ** 2 - own
        if not (own.sum() > 0 and cross.sum()):
            return 0.0
        noise = probe_noise(cross, self.weight, self.cluster, self.outputs)
        share = max(0.0, 1.0 - (noise * self.weight.sum() / cross.sum()) ** 2)
        return float(share * cross.sum() / own.sum())


@dataclass(frozen=True)
class CostTable:
    """What every choice costs, layer by layer.

    A row is a layer or, after the L layers, a further activation site. An option is
    a scheme of the weights and, when `inputs` is given, one of the input activations
    as well: it is part of the option because bit operations multiply the two. A
    search returns one option per row; `assign` turns them into an assignment.

    Attributes:
        layers: The L layers, in table order.
        palette: Scheme of the weights of each of the P options; the first is None,
            the stored float.
        cost: `[R, P]` own error in the unit of the objective, zero or more; inf where
            an option is not offered. R is L plus the number of `sites`.
        bits: `[R, P]` storage with scales and zero points (bits).
        bops: `[R, P]` bit operations per sample, or None when the multiply-adds of
            the layers are not known.
        ties: Groups of layer indices that must get the same option.
        inputs: Scheme of the inputs of each option; None when the inputs of all
            layers stay as they are assigned.
        sites: Names of the further sites; there an option is its scheme in `inputs`.
        costs: `[R, P]` by name: latency, energy or whatever else may be limited; inf
            where a table does not tell.
        stderr: `[R, P]` standard error of `cost`, NaN where exact; None if unknown.
        blocks: Costs of layers together; only some searches use them.
        objective: What `cost` is, as it would be asked for ("predicted_error").
        probes: What the errors were made of; only some searches use it.

    Raises:
        AnalysisError: the arrays do not fit rows and options.
    """

    layers: tuple[Layer, ...]
    palette: tuple[Scheme | None, ...]
    cost: Floats
    bits: Floats
    bops: Floats | None = None
    ties: tuple[tuple[int, ...], ...] = field(default=())
    inputs: tuple[Scheme | None, ...] | None = None
    sites: tuple[str, ...] = ()
    costs: Mapping[str, Floats] = field(default_factory=dict)
    stderr: Floats | None = None
    blocks: tuple[BlockCosts, ...] = ()
    objective: str = MEASURE
    probes: Probes | None = None

    def __post_init__(self) -> None:
        shape = len(self.layers) + len(self.sites), len(self.palette)
        given: dict[str, Floats | None] = {
            name: getattr(self, name) for name in ("cost", "bits", "bops", "stderr")
        }
        for name, array in {**given, **self.costs}.items():
            if array is not None and array.shape != shape:
                raise AnalysisError(
                    f"The {name} of a search must be one number per layer and scheme.",
                    value=array.shape,
                    allowed=f"{shape[0]} layers x {shape[1]} schemes",
                )
        taken = sorted(set(self.costs) & set(UNITS))
        if taken:
            raise AnalysisError("A cost table has a name that is taken.", value=taken)
        if self.probes is not None and self.probes.column.shape != (*shape, 2):
            raise AnalysisError("Every option of a search needs its projections.")
        if self.inputs is not None and len(self.inputs) != shape[1]:
            raise AnalysisError("Every option of a search needs an input scheme.")
        if not self.palette or any(s is not None for s in self._schemes(0)):
            raise AnalysisError("The palette of a search must start with the float.")

    def _schemes(self, option: int) -> tuple[Scheme | None, Scheme | None]:
        """Return the schemes of weights and inputs of an option."""
        own = None if self.inputs is None else self.inputs[option]
        return self.palette[option], own

    def name_of(self, option: int) -> str:
        """Return what an option is called: "int4", "int4 x int8/tensor", "float"."""
        weight, own = ("float" if s is None else s.key for s in self._schemes(option))
        return weight if self.inputs is None else f"{weight} x {own}"

    @cached_property
    def parameters(self) -> int:
        """Number of weights in all layers; plots ask for it with every edit."""
        return sum(layer.parameters for layer in self.layers)

    def amount(self, limit: Limit) -> Floats:
        """Return the `[R, P]` numbers whose sum a limit is about.

        Raises:
            AnalysisError: it is not known.
        """
        if limit.quantity == "error":
            return self.cost
        if limit.quantity in self.costs:
            return self.costs[limit.quantity]
        if limit.quantity not in UNITS:
            raise AnalysisError(
                f"There is no cost table called {limit.quantity}.",
                value=str(limit),
                allowed=", ".join([*UNITS, *self.costs]),
            )
        if limit.quantity != "bops":
            return self.bits
        if self.bops is None:
            raise AnalysisError(
                "The bit operations of this model are not known.",
                value=str(limit),
                allowed="limits on bits, size, compression and error",
                hint="Analyse the model with data first: a forward pass counts the "
                "multiply-adds of every layer.",
            )
        return self.bops

    def stored(self, limit: Limit) -> float:
        """Return what the model needs as it is stored, in the unit of `limit`.

        Raises:
            AnalysisError: it is not known.
        """
        if limit.quantity == "error":
            return 0.0
        stored = float(self.amount(limit)[:, 0].sum()) / self.per_unit(limit)
        if limit.relative and not np.isfinite(stored):
            raise AnalysisError(
                f"The {limit.quantity} of the stored model is not known.",
                value=str(limit),
                hint="Give the limit as a number, or add float to the cost table.",
            )
        return stored

    def per_unit(self, limit: Limit) -> float:
        """Return how many bits, bit operations ... one unit of `limit` stands for."""
        if limit.quantity == "bits":
            return float(self.parameters or 1)
        return 8.0 if limit.quantity == "size" else 1.0

    def assign(self, base: Assignment, choice: NDArray[np.integer]) -> Assignment:
        """Return `base` with all layers and sites as chosen.

        Args:
            base: Assignment of the same layers; what is not chosen stays.
            choice: `[R]` options.
        """
        count = len(self.layers)
        made = base.with_choice(choice[:count], self.palette)
        if self.inputs is None:
            return made
        for option in np.unique(choice[:count]):
            made = made.with_input(choice[:count] == option, self.inputs[option])
        for site, option in zip(self.sites, choice[count:], strict=True):
            made = made.with_site(site, self.inputs[option])
        return made

    def choice_of(self, assignment: Assignment) -> Choice | None:
        """Return an assignment as `[R]` options, None when it is outside the palette.

        Args:
            assignment: Of the same layers.
        """
        entry: dict[tuple[Scheme | None, Scheme | None], int] = {}
        for option in range(len(self.palette)):
            entry.setdefault(self._schemes(option), option)
        weights, own = assignment.palette, assignment.palette
        if self.inputs is None:
            own = (None,)
        lookup = np.array([[entry.get((w, i), -1) for i in own] for w in weights])
        column = assignment.input if self.inputs is not None else 0
        choice = lookup[assignment.weight, column]
        at_sites = [entry.get((None, assignment.sites.get(s)), -1) for s in self.sites]
        choice = np.concatenate([choice, at_sites]).astype(np.int16)
        return None if (choice < 0).any() else choice

    def total(self, array: Floats, choice: NDArray[np.integer]) -> float:
        """Return the sum of `array` over the chosen options."""
        return float(array[np.arange(len(choice)), choice].sum())

    def error(self, choice: NDArray[np.integer]) -> float:
        """Return the objective of a choice, blocks included; nothing for inf."""
        own = np.where(np.isfinite(self.cost), self.cost, 0.0)
        beyond = sum(float(block.beyond(own, choice)) for block in self.blocks)
        return self.total(own, choice) + beyond


@dataclass(frozen=True, slots=True)
class Baseline:
    """The best that one option for all layers does within a budget.

    Attributes:
        name: What the option is called.
        choice: `[R]`; layers that cannot take the option have the next larger one.
        cost: Objective of the choice.
        bits: Storage of the choice (bits).
    """

    name: str
    choice: Choice
    cost: float
    bits: float


@dataclass(frozen=True, slots=True)
class Interaction:
    """How much the errors of layers fail to add up, before and after a refinement.

    Attributes:
        share: Share of the estimated cross terms that cross-validation believes.
        before: Predicted error of the additive solution, cross terms included.
        before_alone: Sum of its layers' own errors.
        after: Predicted error of the refined solution, cross terms included.
        after_alone: Sum of its layers' own errors.
        gain: What refining saves on rows it has not seen, a share of the error of the
            additive solution there; 0 when nothing is believed.
        gain_stderr: Standard error of `gain`, NaN when it cannot be told.
    """

    share: float
    before: float
    before_alone: float
    after: float
    after_alone: float
    gain: float
    gain_stderr: float

    def describe(self) -> str:
        """Return one sentence for people."""
        off = self.before / self.before_alone if self.before_alone > 0 else 1.0
        said = f"layers together do {off:.3g} times what they do alone"
        if not self.share:
            return f"{said}; no exchange is better beyond the noise of the probes"
        return (
            f"{said}; exchanges change the predicted error from {self.before:.4g} to "
            f"{self.after:.4g}, on unseen rows by {-100 * self.gain:+.2g} %"
        )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        choice: `[R]` options of the cost table.
        cost: Objective of the choice, summed over layers.
        bits: Storage of the choice (bits).
        gap: How much better the best assignment could be at most, as a share of what
            was minimised (the error, or the bits when only the error is limited).
            NaN when the search cannot tell.
        proven: Whether no assignment can be better by more than was asked for.
        uniform: One option for all under the same budget, for comparison; None when
            no single option keeps it.
        interaction: What layers do to each other, where the search looked at it.
    """

    choice: Choice
    cost: float
    bits: float
    gap: float
    proven: bool
    uniform: Baseline | None = None
    interaction: Interaction | None = None


class SearchMethod(Protocol):
    """What every search offers; see `analysis/search`.

    Attributes:
        reconstruction: Which parts of a published method are not taken from its
            source but rebuilt, one sentence; "" when none are.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int]
    reconstruction: ClassVar[str]

    def run(self, problem: CostTable, budget: Budget) -> SearchResult:
        """Return an assignment within the budget."""
        ...
