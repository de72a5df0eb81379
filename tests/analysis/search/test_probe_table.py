"""The projections beside a project's cost table say what the project predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from analysis.search.objective import Objective
from analysis.search.of_project import run, search
from analysis.search.probe_table import with_probes
from analysis.search.setup import Setup
from analysis.search.table import table_from_project
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site

LAYERS = tuple(
    Layer(name, f"{name}.weight", "linear", (16, 32), "float32")
    for name in ("up", "gate", "down")
)
SITES = tuple(Site(x.name, x.kind, "input", x.name, (1, 32)) for x in LAYERS) + (
    Site("add", "add", "output", None, (1, 8)),
)
KEYS = ("int4", "int8")
INPUT = Scheme("int8", "tensor")
COLUMNS = [
    *(("weight", layer.name, key) for layer in LAYERS for key in KEYS),
    *(("input", layer.name, INPUT.key) for layer in LAYERS),
    ("output", "add", INPUT.key),
]


def rows(keep: bool) -> Update:
    """Return what a run of predicted_error leaves behind."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(32, len(COLUMNS))).astype(np.float32)
    v[:, 0:6:2] *= 4
    weight = rng.uniform(1, 2, 32)
    own = (v.astype(float) ** 2).sum(0) / weight.sum()
    found = tuple(
        Row(target, key, float(e), 0.1 * float(e), "error", part)  # type: ignore[arg-type]
        for (part, target, key), e in zip(COLUMNS, own, strict=True)
    )
    arrays = {
        "predicted_error/columns": np.array(COLUMNS),
        "predicted_error/weight": weight,
        "predicted_error/sample": np.repeat([7, 3, 9, 1, 4, 2, 8, 5], 4),
        "predicted_error/own": np.stack([own, own]),
    }
    if keep:
        arrays["predicted_error/v"] = v
    return Update(1, 1, "", found, arrays)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    yield from made(tmp_path, keep=True)


def made(folder: Path, *, keep: bool) -> Iterator[Project]:
    info = ModelInfo(
        name="tiny", digest="0" * 64, source="t", layers=LAYERS, sites=SITES
    )
    project = Project.create(info, folder / "p.qscope")
    number = project.begin_run("predicted_error", unit="nats")
    project.apply(number, rows(keep))
    project.end_run(number)
    yield project
    project.close()


@pytest.mark.parametrize("inputs", [False, True])
def test_the_error_of_any_choice_is_that_of_the_project(
    project: Project, inputs: bool
) -> None:
    project.set_input([0, 2], INPUT)
    project.set_assignment(project.assignment.with_site("add", INPUT))
    setup = Setup(inputs=inputs)
    table = with_probes(project, setup, table_from_project(project, setup))
    assert table.probes is not None
    rng = np.random.default_rng(1)
    for _ in range(20):
        offered = [np.flatnonzero(np.isfinite(row)) for row in table.cost]
        choice = np.array([rng.choice(row) for row in offered])
        told = project.predict(table.assign(project.assignment, choice))
        assert told is not None
        whole = told.additive + told.interaction
        assert table.probes.error(choice) == pytest.approx(whole, rel=1e-5)


def test_a_search_keeps_its_method_and_can_be_made_again(project: Project) -> None:
    found = search(project, "bits<=6", method="interacting", params={"start": "front"})
    assert found.totals().average_bits <= 6
    assert found.provenance["search"] == "interacting"
    assert found.provenance["params"] == {"start": "front", "moves": 1000}
    again, result = run(project, Setup(), "bits<=6", "interacting", {"start": "front"})
    assert again.digest == found.digest
    assert result.interaction is not None
    assert result.interaction.before_alone > 0


def test_other_objectives_have_no_interactions(project: Project) -> None:
    setup = Setup(Objective.parse("predicted_error*2"))
    with pytest.raises(AnalysisError, match="known for the predicted error only"):
        with_probes(project, setup, table_from_project(project, setup))


def test_rows_that_were_dropped_are_asked_for(tmp_path: Path) -> None:
    for project in made(tmp_path, keep=False):
        with pytest.raises(AnalysisError, match=r"were not kept.*fewer samples"):
            search(project, "bits<=6", method="interacting")
