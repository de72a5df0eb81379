"""A project keeps the newest pictures of rounding errors, not every one ever made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.error_picture import (
    KEPT_WEIGHTS,
    MEASURE,
    find_picture,
    picture_name,
    prune_pictures,
)
from analysis.jobs import Analyze, Ended, Progress, Recorder, Started
from analysis.method import Row, Update
from analysis.project import Project
from quant_core.scheme import Scheme
from tests.analysis.diagnosis.projects import info

INT4, INT8 = Scheme("int4"), Scheme("int8")


def picture(layer: str, scheme: Scheme, side: int = 10) -> dict[str, np.ndarray]:
    prefix = picture_name(layer, scheme)
    return {
        f"{prefix}/level0": np.zeros((side, side), np.float32),
        f"{prefix}/weight": np.zeros((side, side), np.float32),
        f"{prefix}/row_max": np.zeros(side, np.float32),
        f"{prefix}/row_rms": np.zeros(side, np.float32),
        f"{prefix}/scale": np.array([1.0, 1.0, 0.5]),
    }


def record(project: Project, *pictures: dict[str, np.ndarray], end: bool = True) -> int:
    run = project.begin_run(MEASURE)
    arrays = {name: x for one in pictures for name, x in one.items()}
    project.apply(run, Update(1.0, 1.0, arrays=arrays))
    if end:
        project.end_run(run)
    return run


@pytest.fixture
def project() -> Project:
    return Project.create(info(4))


def names(project: Project) -> list[str]:
    return [layer.name for layer in project.info.layers]


def runs(project: Project) -> list[int]:
    return [run.id for run in project.runs if run.measure == MEASURE]


def test_a_picture_made_again_replaces_the_old_one(project: Project) -> None:
    a, b, *_ = names(project)
    old = record(project, picture(a, INT4))
    other = record(project, picture(a, INT8), picture(b, INT4))
    new = record(project, picture(a, INT4))
    assert prune_pictures(project) == (old,)
    assert runs(project) == [other, new]
    found = find_picture(project, a, INT4)
    assert found is not None
    assert found.run == new
    assert find_picture(project, b, INT4) is not None


def test_a_run_stays_while_one_of_its_pictures_is_shown(project: Project) -> None:
    a, b, *_ = names(project)
    first = record(project, picture(a, INT4), picture(b, INT4))
    second = record(project, picture(a, INT4))
    assert prune_pictures(project) == ()
    assert runs(project) == [first, second]
    third = record(project, picture(b, INT4))
    assert prune_pictures(project) == (first,)
    assert runs(project) == [second, third]


def test_the_newest_stay_up_to_the_limit(project: Project) -> None:
    made = [record(project, picture(name, INT4)) for name in names(project)]
    assert prune_pictures(project, limit=250) == (made[1], made[0])
    assert runs(project) == made[2:]
    # One that is larger than the limit alone is kept: somebody has just asked for it.
    huge = record(project, picture(names(project)[0], INT4, side=20))
    assert prune_pictures(project, limit=250) == (made[3], made[2])
    assert runs(project) == [huge]
    assert prune_pictures(project, limit=0) == ()


def test_unfinished_and_other_runs(project: Project) -> None:
    a, *_ = names(project)
    weights = project.begin_run("weights")
    project.apply(weights, Update(1.0, 1.0, rows=(Row(a, "int4", 1.0),)))
    project.end_run(weights)
    cancelled = record(project)
    at_work = record(project, end=False)
    assert prune_pictures(project) == (cancelled,)
    assert runs(project) == [at_work]
    assert [run.id for run in project.runs] == [weights, at_work]


def test_a_job_that_makes_a_picture_clears_up(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, *_ = names(project)
    assert KEPT_WEIGHTS >= 4096 * 14336
    path = tmp_path / "p.qscope"
    project.save(path)
    try:
        for _ in range(3):
            recorder = Recorder(project, Analyze((MEASURE,)))
            recorder.take(Started(MEASURE, {}))
            update = Update(1.0, 1.0, arrays=picture(a, INT4))
            recorder.take(Progress(MEASURE, update))
            recorder.take(Ended(MEASURE))
            assert len(runs(project)) == 1
        (last,) = runs(project)
    finally:
        project.close()
    with Project.open(path) as again:
        assert runs(again) == [last]
        assert find_picture(again, a, INT4) is not None
