"""A search that counts what layers of a block cost together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.network_blocks import BLOCK_ERROR, block_arrays
from analysis.project import Project
from analysis.search.of_project import rerun, search
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Layer

LAYERS = tuple(
    Layer(
        f"h.{i // 3}.{name}", f"h.{i // 3}.{name}.weight", "linear", (8, 8), "float32"
    )
    for i, name in enumerate(("q", "k", "v") * 2)
)
BUDGET = "bits<=7.5"  # half of the layers at 2 bits, scales counted
HOW = {"generations": 40, "seed": 1}


def joint(seed: int) -> list[NDArray[np.float64]]:
    """Return the costs of two blocks, far from adding up."""
    rng = np.random.default_rng(seed)
    found = [rng.uniform(0.1, 1.0, 8) for _ in range(2)]
    for cost in found:
        cost[0] = 0.0
    return found


def add_blocks(project: Project, costs: list[NDArray[np.float64]]) -> None:
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, cost in enumerate(costs):
        arrays |= block_arrays(number, range(3 * number, 3 * number + 3), cost)
    rows = tuple(Row(x.name, "int2", 0.1, np.nan, "error", "weight") for x in LAYERS)
    number = project.begin_run(BLOCK_ERROR, unit="nats")
    project.apply(number, Update(1, 1, "", rows, arrays))
    project.end_run(number)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    info = ModelInfo(name="t", digest="0" * 64, source="t", layers=LAYERS, sites=())
    with Project.create(info, tmp_path / "p.qscope") as project:
        number = project.begin_run("predicted_error", unit="nats")
        rows = tuple(
            Row(x.name, key, value, 0.0, "error", "weight")
            for i, x in enumerate(LAYERS)
            for key, value in (("int2", 0.5 + 0.01 * i), ("int8", 0.01))
        )
        project.apply(number, Update(1, 1, "", rows))
        project.end_run(number)
        yield project


def error_of(found: Assignment, costs: list[NDArray[np.float64]]) -> float:
    """Return the error of an assignment, blocks counted."""
    keys = [getattr(found.scheme_of(i), "key", None) for i in range(len(LAYERS))]
    inside = np.array([key == "int2" for key in keys]).reshape(2, 3) @ [1, 2, 4]
    together = sum(float(cost[m]) for cost, m in zip(costs, inside, strict=True))
    return together + 0.01 * keys.count("int8")


def best(start: Assignment, costs: list[NDArray[np.float64]]) -> float:
    """Return the least error of all assignments within the budget."""
    palette = (None, Scheme("int2"), Scheme("int8"))
    every = (
        start.with_choice(np.array(choice, np.int16), palette)
        for choice in itertools.product(range(3), repeat=len(LAYERS))
    )
    fitting = (x for x in every if x.totals().average_bits <= 7.5)
    return min(error_of(x, costs) for x in fitting)


def genetic(project: Project) -> Assignment:
    return search(project, BUDGET, method="genetic", params=HOW)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_best_by_blocks_is_found(project: Project, seed: int) -> None:
    costs = joint(seed)
    alone = genetic(project)
    assert set(alone.provenance["runs"]) == {"predicted_error"}
    add_blocks(project, costs)
    found = genetic(project)
    assert set(found.provenance["runs"]) == {"predicted_error", BLOCK_ERROR}
    least = best(project.assignment, costs)
    assert error_of(found, costs) == pytest.approx(least, rel=1e-9)
    assert error_of(alone, costs) > least * 1.01
    # Other searches go by the layers alone, and still prove what they find.
    assert search(project, BUDGET).digest == alone.digest


def test_a_search_is_repeated_with_the_blocks_it_had(project: Project) -> None:
    alone = genetic(project)
    add_blocks(project, joint(0))
    found = genetic(project)
    add_blocks(project, joint(7))
    assert rerun(project, alone).digest == alone.digest
    assert rerun(project, found).digest == found.digest
    assert len({alone.digest, found.digest, genetic(project).digest}) == 3
