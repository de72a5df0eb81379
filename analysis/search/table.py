"""The cost table of what a project has measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.measures import NAMES
from analysis.search.cost_file import FLOAT
from analysis.search.objective import Objective, Term, objectives_of
from analysis.search.problem import CostTable, Floats
from analysis.search.rules import allowed
from analysis.search.setup import Setup
from quant_core.assignment import Assignment
from quant_core.cost import LayerSizes
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from quant_core.targets import Target, get_target

if TYPE_CHECKING:
    from analysis.project import Project

Schemes = tuple[Scheme | None, ...]


def table_from_project(
    project: Project, setup: Setup | None = None, base: Assignment | None = None
) -> CostTable:
    """Return the costs of a project's layers.

    Offered are the schemes for which every measure of the objective has a number,
    unless the project's target or a rule refuses them, or a cost table does not list
    them. Locked layers, and layers that were not analysed at all (NaN in their
    weights), keep what they have. Unless inputs are chosen as well, bit operations
    count the inputs as they are assigned. Ties are those of the model and of the
    target.

    Args:
        project: Must hold runs of the measures.
        setup: Objective, rules and cost tables; predicted error alone if None.
        base: Assignment that tells locks and what is kept; the current one if None.

    Raises:
        AnalysisError: a measure has no numbers for the layers, a rule or a cost table
            does not fit the model, or a locked layer is missing in a cost table.
    """
    setup = setup or Setup()
    now = project.assignment if base is None else base
    parts = _Parts.read(project, setup, now)
    weights, inputs = parts.weights.schemes, parts.inputs.schemes
    layers, target = now.layers, get_target(project.target)
    sizes, alike = now.sizes, now.alike
    fits = ~_refused(target, layers, alike, weights, "weight")
    fits &= allowed(setup.rules, layers, weights)
    storage = np.stack([sizes.weight_bits(scheme) for scheme in weights], axis=1)
    own = np.where(fits & np.isfinite(storage), parts.weights.cost, np.inf)
    taken = np.where(
        _refused(target, layers, alike, inputs, "input"), np.inf, parts.inputs.cost
    )
    bops = _bops(now, sizes, weights, inputs if setup.inputs else None)
    count = len(inputs)
    no_size = np.zeros((len(parts.sites), len(weights) * count))
    table = CostTable(
        layers,
        tuple(scheme for scheme in weights for _ in inputs),
        np.concatenate([_pairs(own, taken), parts.site_cost]),
        np.concatenate([np.repeat(storage, count, axis=1), no_size]),
        None if bops is None else np.concatenate([bops, no_size]),
        project.ties,
        inputs * len(weights) if setup.inputs else None,
        tuple(parts.sites),
        {},
        np.sqrt(
            np.concatenate(
                [_pairs(parts.weights.variance, parts.inputs.variance), no_size]
            )
        ),
        objective=str(setup.objective),
    )
    return _held(_with_costs(table, setup, now), now, parts.known)


@dataclass(frozen=True)
class _Part:
    """Own errors of the weights or of the inputs.

    Attributes:
        schemes: The W schemes, None first.
        cost: `[L, W]`, inf where not analysed, 0 for float.
        variance: `[L, W]` squared standard error of `cost`, 0 where exact.
    """

    schemes: Schemes
    cost: Floats
    variance: Floats


@dataclass(frozen=True)
class _Parts:
    """What the measures tell.

    Attributes:
        weights: Of the layers' weights.
        inputs: Of their inputs; one scheme (float, at no cost) when inputs stay.
        sites: Names of further sites that were analysed.
        site_cost: `[S, P]` errors of these, P pairs of weights and inputs.
        known: `[L]` layers with a number in some scheme.
    """

    weights: _Part
    inputs: _Part
    sites: tuple[str, ...]
    site_cost: Floats
    known: NDArray[np.bool_]

    @classmethod
    def read(cls, project: Project, setup: Setup, now: Assignment) -> _Parts:
        objective, layers = setup.objective, len(now.layers)
        keys = _common(project, setup, "weight")
        if not keys:
            raise _nothing_to_search_by(project, objective)
        weights = _part(project, setup, "weight", keys, now.used())
        known = _any_known(weights.cost)
        if not setup.inputs:
            stay = _Part((None,), np.zeros((layers, 1)), np.zeros((layers, 1)))
            return cls(weights, stay, (), np.zeros((0, len(weights.schemes))), known)
        used = tuple(now.palette[i] for i in np.unique(now.input))
        own = (*used, *now.sites.values())
        keys = _common(project, setup, "input")
        if not keys:
            raise AnalysisError(
                "The inputs of the layers were not analysed.",
                value=str(objective),
                hint="Run the measure with formats for the inputs, or choose formats "
                "of the weights only.",
            )
        inputs = _part(project, setup, "input", keys, own)
        inputs = _kept_inputs(inputs, now)
        sites, cost = _sites(project, setup, inputs.schemes, now)
        shape = len(sites), len(weights.schemes), len(inputs.schemes)
        offered = np.full(shape, np.inf)
        offered[:, 0] = cost  # a site has no weights to store otherwise
        pairs = offered.reshape(shape[0], shape[1] * shape[2])
        return cls(weights, inputs, sites, pairs, known)


def _any_known(cost: Floats) -> NDArray[np.bool_]:
    """Return which rows have a number for something else than float."""
    return np.asarray(np.isfinite(cost[:, 1:]).any(1))


def _nothing_to_search_by(project: Project, objective: Objective) -> AnalysisError:
    """Return why an objective has no numbers: not run yet, or there are none."""
    ran = {run.measure for run in project.runs}
    missing = [t.measure for t in objective.terms if t.measure not in ran]
    choices = "a measure with one number for each layer and format"
    if missing and missing[0] in NAMES:
        return AnalysisError(
            f"A search needs the {missing[0].replace('_', ' ')} of the layers.",
            value=str(objective),
            allowed=choices,
            hint=f"Run the measure {missing[0]} first.",
        )
    known = ", ".join(objectives_of(project)) or "none is known yet"
    return AnalysisError(
        "The project holds no such number of its layers.",
        value=str(objective),
        allowed=f"{choices}: {known}",
    )


def _common(project: Project, setup: Setup, part: str) -> tuple[str, ...]:
    """Return the scheme keys for which every measure has numbers, in order."""
    per_term = [
        project.formats(t.measure, t.quantity, part, setup.runs.get(t.measure))
        for t in setup.objective.terms
    ]
    return tuple(key for key in per_term[0] if all(key in keys for keys in per_term))


def _part(
    project: Project,
    setup: Setup,
    part: str,
    keys: Sequence[str],
    kept: Sequence[Scheme | None],
) -> _Part:
    """Return the summed measures of one part; `kept` schemes have no numbers."""
    schemes = tuple(dict.fromkeys((None, *map(parse_scheme, keys), *kept)))
    shape = len(project.assignment.layers), len(schemes)
    total, variance = np.zeros(shape), np.zeros(shape)
    for term in setup.objective.terms:
        run = setup.runs.get(term.measure)
        values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
        for column, key in enumerate(keys, start=1):
            given = term.measure, key, term.quantity, part, run
            values[:, column] = project.values(*given)
            errors[:, column] = project.stderrs(*given)
        factor = _factor(project, setup, term)
        cost = term.loss(values) * factor
        cost[:, 0] = 0.0
        total += np.where(np.isfinite(cost), cost, np.inf)
        if term.loss(np.array(2.0)) == 2.0:  # the spread of a transformed value is not
            variance += np.nan_to_num(errors * factor) ** 2
    return _Part(schemes, total, variance)


def _factor(project: Project, setup: Setup, term: Term) -> float:
    """Return what a measure is multiplied by; see `Objective`."""
    if len(setup.objective.terms) == 1:
        return term.weight
    run, largest = setup.runs.get(term.measure), 0.0
    for part in ("weight", "input") if setup.inputs else ("weight",):
        for key in project.formats(term.measure, term.quantity, part, run):
            values = project.values(term.measure, key, term.quantity, part, run)
            loss = term.loss(values)
            largest = max(largest, loss.max(initial=0.0, where=np.isfinite(loss)))
    return term.weight / largest if largest > 0 else 0.0


def _kept_inputs(inputs: _Part, now: Assignment) -> _Part:
    """Let inputs that were never analysed keep what they have, at no cost."""
    cost = inputs.cost.copy()
    unknown = np.flatnonzero(~_any_known(cost))
    entry = [inputs.schemes.index(scheme) for scheme in _own(now)]
    cost[unknown] = np.inf
    cost[unknown, np.array(entry, dtype=np.int64)[now.input[unknown]]] = 0.0
    return _Part(inputs.schemes, cost, inputs.variance)


def _own(now: Assignment) -> list[Scheme | None]:
    """Return the assignment's palette, None for entries that no input uses."""
    used = set(np.unique(now.input).tolist())
    return [s if i in used else None for i, s in enumerate(now.palette)]


def _sites(
    project: Project, setup: Setup, schemes: Schemes, now: Assignment
) -> tuple[tuple[str, ...], Floats]:
    """Return further sites that were analysed, and `[S, I]` their errors."""
    names = [site.name for site in project.info.sites if site.layer is None]
    cost = np.zeros((len(names), len(schemes)))
    place = {name: i for i, name in enumerate(names)}
    target = get_target(project.target)
    for column, scheme in enumerate(schemes[1:], start=1):
        assert scheme is not None
        for term in setup.objective.terms:
            values = np.full(len(names), np.nan)
            for part in ("input", "output"):
                run = setup.runs.get(term.measure)
                told = project.site_values(
                    term.measure, scheme.key, term.quantity, part, run
                )
                for name in place.keys() & told.keys():
                    values[place[name]] = told[name]
            cost[:, column] += term.loss(values) * _factor(project, setup, term)
        # What a target can run at a site does not depend on the layer.
        if now.layers and target.refuses(scheme, now.layers[0], "output") is not None:
            cost[:, column] = np.nan
    known = _any_known(cost)
    cost[~np.isfinite(cost)] = np.inf
    return tuple(n for n, k in zip(names, known, strict=True) if k), cost[known]


def _pairs(weights: Floats, inputs: Floats) -> Floats:
    """Return `[L, W * I]` sums of `[L, W]` and `[L, I]`."""
    return (weights[:, :, None] + inputs[:, None, :]).reshape(len(weights), -1)


def _refused(
    target: Target,
    layers: Sequence[Layer],
    alike: NDArray[np.int64],
    schemes: Schemes,
    part: str,
) -> NDArray[np.bool_]:
    """Return `[L, W]` what the target cannot run, asked once of layers alike."""
    refuses: Callable[..., str | None] = target.refuses
    refused = np.zeros((len(layers), len(schemes)), dtype=bool)
    for i in np.flatnonzero(alike == np.arange(len(layers))).tolist():
        reasons = [refuses(scheme, layers[i], part) for scheme in schemes]
        refused[i] = [reason is not None for reason in reasons]
    return refused[alike]


def _bops(
    now: Assignment, sizes: LayerSizes, weights: Schemes, inputs: Schemes | None
) -> Floats | None:
    """Return `[L, W * I]` bit operations; inputs as they are now where None."""
    if not sizes.macs.any():
        return None

    def widths(schemes: Sequence[Scheme | None]) -> Floats:
        own = [
            sizes.stored if s is None else np.full(len(now.layers), s.bits)
            for s in schemes
        ]
        return np.stack(own, axis=1).astype(np.float64)

    if inputs is None:
        rows = np.arange(len(now.layers))
        operand = widths(now.palette)[rows, now.input][:, None]
    else:
        operand = widths(inputs)
    products = widths(weights)[:, :, None] * operand[:, None, :]
    return np.asarray(sizes.macs[:, None] * products.reshape(len(now.layers), -1))


def _with_costs(table: CostTable, setup: Setup, now: Assignment) -> CostTable:
    """Return the table with the cost files laid beside it."""
    if not setup.costs:
        return table

    def key(scheme: Scheme | None) -> str:
        return FLOAT if scheme is None else scheme.key

    names = [*(layer.name for layer in table.layers), *table.sites]
    options = [key(scheme) for scheme in table.palette]
    if table.inputs is not None:
        inputs = [[key(scheme) for scheme in table.inputs]] * len(names)
    else:
        own = [key(now.input_of(i)) for i in range(len(table.layers))]
        inputs = [[name] * len(options) for name in own]
    costs = {
        name: file.amounts(names, options, inputs) for name, file in setup.costs.items()
    }
    cost = table.cost.copy()
    for amounts in costs.values():
        cost[~np.isfinite(amounts)] = np.inf
    return replace(table, cost=cost, costs=costs)


def _held(table: CostTable, now: Assignment, known: NDArray[np.bool_]) -> CostTable:
    """Return the table with nothing but their present option for held layers."""
    current = table.choice_of(now)
    assert current is not None  # the palette holds what is in use
    count = len(table.layers)
    held = np.flatnonzero(now.locked | ~known)
    at = held, current[:count][held]
    for name, amounts in table.costs.items():
        lacking = np.flatnonzero(~np.isfinite(amounts[at]))
        if len(lacking):
            layer = table.layers[int(held[lacking[0]])].name
            option = table.name_of(int(at[1][lacking[0]]))
            raise AnalysisError(
                f"The cost table {name} does not list what a layer keeps.",
                value=f"{layer} in {option}",
                hint="Add it to the table, or unlock the layer.",
            )
    cost = table.cost.copy()
    own = cost[at]
    cost[held] = np.inf
    cost[at] = np.where(np.isfinite(own), own, 0.0)
    return replace(table, cost=cost)
