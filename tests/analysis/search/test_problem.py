from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.runs import RunInfo
from analysis.search import SEARCHES
from analysis.search.budget import Budget
from analysis.search.problem import CostTable
from analysis.search.question import merge
from analysis.search.table import table_from_project
from quant_core.assignment import Assignment
from quant_core.cost import bops, weight_bits
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from quant_core.targets import get_target
from tests.analysis.search.cases import random_table

LAYERS = tuple(
    Layer(name, f"{name}.weight", kind, shape, "float32", macs=macs)
    for name, kind, shape, macs in [
        ("block.q_proj", "linear", (64, 64), 1000),
        ("block.k_proj", "linear", (32, 64), 500),
        ("block.v_proj", "linear", (32, 64), 500),
        ("block.o_proj", "linear", (64, 64), 1000),
        ("embed", "embedding", (100, 48), 0),
    ]
)
KEYS = ("int4", "int4/group(32)", "int8", "fp4_e2m1")


@dataclass
class FakeProject:
    """What `table_from_project` reads of a project."""

    error: dict[str, NDArray[np.float64]]
    assignment: Assignment = field(default_factory=lambda: Assignment.float(LAYERS))
    target: str = "any"
    model_ties: tuple[tuple[int, ...], ...] = ()
    runs: tuple[RunInfo, ...] = ()

    @property
    def info(self) -> SimpleNamespace:
        return SimpleNamespace(ties=self.model_ties, layers=LAYERS)

    @property
    def ties(self) -> tuple[tuple[int, ...], ...]:
        names = [layer.name for layer in LAYERS]
        return (*self.model_ties, *get_target(self.target).ties(names))

    def formats(
        self, measure: str, quantity: str, part: str, run: int | None = None
    ) -> tuple[str, ...]:
        assert (measure, quantity, part) == ("predicted_error", "error", "weight")
        return tuple(self.error)

    def values(
        self,
        measure: str,
        format: str,  # noqa: A002
        quantity: str,
        part: str,
        run: int | None = None,
    ) -> NDArray[np.float64]:
        assert measure == "predicted_error"
        return self.error[format]

    def stderrs(self, *given: object) -> NDArray[np.float64]:
        return np.full(len(LAYERS), np.nan)


def project(**changes: object) -> FakeProject:
    rng = np.random.default_rng(0)
    made = FakeProject({key: rng.random(len(LAYERS)) for key in KEYS})
    return replace(made, **changes)  # type: ignore[arg-type]


def table_of(fake: FakeProject) -> CostTable:
    return table_from_project(fake)  # type: ignore[arg-type]


def offered(table: CostTable, layer: int) -> list[str | None]:
    open_ = np.flatnonzero(np.isfinite(table.cost[layer]))
    return [s and s.key for s in (table.palette[i] for i in open_)]


def test_costs_and_amounts_are_those_of_the_project() -> None:
    fake = project()
    table = table_of(fake)
    assert table.palette == (None, *map(parse_scheme, KEYS))
    for i, layer in enumerate(LAYERS):
        for p, scheme in enumerate(table.palette):
            if not np.isfinite(table.cost[i, p]):
                continue
            expected = 0.0 if scheme is None else fake.error[scheme.key][i]
            assert table.cost[i, p] == expected
            assert table.bits[i, p] == weight_bits(layer, scheme)
            assert table.bops is not None
            assert table.bops[i, p] == bops(layer, scheme, None)


def test_group_sizes_that_do_not_divide_are_not_offered() -> None:
    assert offered(table_of(project()), 4) == [None, "int4", "int8", "fp4_e2m1"]


def test_operations_count_the_inputs_as_they_are() -> None:
    int8 = Scheme("int8", "tensor")
    now = Assignment.float(LAYERS).with_input([1], int8)
    table = table_of(project(assignment=now))
    assert table.bops is not None
    assert table.bops[1, 3] == bops(LAYERS[1], Scheme("int8"), int8)


def test_operations_are_unknown_before_a_trace() -> None:
    layers = tuple(replace(layer, macs=0) for layer in LAYERS)
    assert table_of(project(assignment=Assignment.float(layers))).bops is None


def test_target_refusals_are_not_offered() -> None:
    table = table_of(project(target="vllm-like"))
    target = get_target("vllm-like")
    for i, layer in enumerate(LAYERS):
        allowed = [s for s in table.palette if not target.refuses(s, layer, "weight")]
        assert offered(table, i) == [s and s.key for s in allowed]
    assert len(offered(table, 0)) > 1
    assert (0, 1, 2) in table.ties


def test_locked_layers_are_offered_what_they_have() -> None:
    now = Assignment.float(LAYERS).with_weight([3], Scheme("int8"))
    now = now.with_weight([4], Scheme("int2")).with_locked([3, 4], True)
    fake = project(assignment=now)
    table = table_of(fake)
    assert offered(table, 3) == ["int8"]
    assert table.cost[3, 3] == fake.error["int8"][3]
    # Analysed or not: what is locked stays.
    assert offered(table, 4) == ["int2"]
    assert table.cost[4, -1] == 0


def test_a_lock_outlasts_the_target() -> None:
    now = Assignment.float(LAYERS).with_weight([0], Scheme("fp4_e2m1"))
    fake = project(assignment=now.with_locked([0], True), target="int8-symmetric")
    assert offered(table_of(fake), 0) == ["fp4_e2m1"]


def test_layers_that_were_not_analysed_keep_their_scheme() -> None:
    fake = project()
    for values in fake.error.values():
        values[2] = np.nan
    fake.assignment = fake.assignment.with_weight([2], Scheme("int8"))
    assert offered(table_of(fake), 2) == ["int8"]


def test_formats_missing_for_a_layer_are_not_offered() -> None:
    fake = project()
    fake.error["int4"][0] = np.nan
    assert offered(table_of(fake), 0) == [None, "int4/group(32)", "int8", "fp4_e2m1"]


def test_a_search_needs_the_predicted_error() -> None:
    with pytest.raises(AnalysisError, match="needs the predicted error"):
        table_of(project(error={}))


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.key)
def test_from_project_to_assignment(search: type) -> None:
    now = Assignment.float(LAYERS).with_weight([3], Scheme("int8"))
    now = now.with_locked([3], True)
    fake = project(assignment=now, model_ties=((0, 1, 2),))
    table = table_of(fake)
    found = search().run(table, Budget.parse("bits<=7"))
    chosen = table.assign(now, found.choice)
    assert chosen.totals().weight_bits_total == found.bits
    assert chosen.totals().average_bits <= 7
    assert chosen.scheme_of(3) == Scheme("int8")
    assert len({chosen.scheme_of(i) for i in (0, 1, 2)}) == 1


def test_overlapping_ties_are_one_group() -> None:
    table = random_table(0, 6, ties=((0, 1), (4, 5)))
    groups = merge(table, ties=((1, 4),))
    assert len(set(groups.of_row[[0, 1, 4, 5]])) == 1
    assert len(set(groups.of_row)) == 3
    group = groups.of_row[0]
    np.testing.assert_allclose(groups.bits[group], table.bits[[0, 1, 4, 5]].sum(0))
    assert (
        groups.expand(np.array([1, 2, 3]))[0] == groups.expand(np.array([1, 2, 3]))[5]
    )


def test_ties_offer_only_what_all_of_them_may_take() -> None:
    table = random_table(0, 3, ties=((0, 2),))
    table.cost[2, 1] = np.inf
    groups = merge(table)
    assert np.isinf(groups.cost[groups.of_row[0], 1])


def test_tied_layers_locked_to_different_schemes() -> None:
    table = random_table(0, 3, ties=((0, 2),))
    locked = np.array([True, False, True])
    with pytest.raises(AnalysisError, match=r"all of these layers.*l0, l2.*Unlock"):
        merge(table, locked, np.array([1, 0, 2]))


def test_a_layer_without_any_scheme() -> None:
    table = random_table(0, 3)
    table.cost[1] = np.inf
    with pytest.raises(AnalysisError, match="No scheme is left for l1"):
        merge(table)


def test_locks_need_a_choice() -> None:
    with pytest.raises(AnalysisError, match="choice they are locked to"):
        merge(random_table(0, 3), np.ones(3, dtype=bool))


@pytest.mark.parametrize("bad", [np.nan, -np.inf, -1.0])
def test_costs_must_be_numbers(bad: float) -> None:
    table = random_table(0, 3)
    table.cost[1, 1] = bad
    with pytest.raises(AnalysisError, match="not a number of zero or more"):
        merge(table)


def test_arrays_must_fit() -> None:
    table = random_table(0, 3)
    with pytest.raises(AnalysisError, match="bits of a search must be one number"):
        CostTable(table.layers, table.palette, table.cost, table.bits[:2])
    with pytest.raises(AnalysisError, match="must start with the float"):
        CostTable(table.layers, table.palette[::-1], table.cost, table.bits)
