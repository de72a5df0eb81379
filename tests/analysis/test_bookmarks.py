"""Bookmarks on layers: kept in the project, absent from files written before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.project import Project
from quant_core.scheme import Scheme
from tests.analysis.test_project import crash
from tests.app.helpers import model_info


@pytest.fixture
def project() -> Iterator[Project]:
    project = Project.create(model_info(12))
    yield project
    project.close()


def test_setting_tells_what_changed(project: Project) -> None:
    told: list[list[int]] = []
    project.starred_changed.connect(lambda changed: told.append(changed.tolist()))
    assert project.set_starred([7, 2], True).tolist() == [2, 7]
    assert project.set_starred([2, 3], True).tolist() == [3]
    assert project.set_starred([9], False).tolist() == []
    assert told == [[2, 7], [3]]
    assert np.flatnonzero(project.starred).tolist() == [2, 3, 7]
    assert project.dirty
    with pytest.raises(ValueError, match="read-only"):
        project.starred[0] = True


def test_unknown_layers_are_refused(project: Project) -> None:
    with pytest.raises(AnalysisError, match="no layer with this index"):
        project.set_starred([12], True)


def test_bookmarks_survive_saving_and_what_is_learnt_of_the_model(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "p.qscope"
    project.set_starred([4, 11], True)
    project.update_model(dataclasses.replace(project.info, ties=((0, 1),)))
    project.save(path)
    project.close()
    with Project.open(path) as again:
        assert np.flatnonzero(again.starred).tolist() == [4, 11]


def test_unsaved_bookmarks_come_back_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "p.qscope"
    project = Project.create(model_info(6), path)
    project.save(path)
    project.set_starred([5], True)
    project.checkpoint()
    project.set_starred([2], True)
    project.checkpoint()
    crash(project)
    with Project.open(path) as again:
        assert again.recovered
        assert np.flatnonzero(again.starred).tolist() == [2, 5]


def test_files_without_bookmarks_open(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "p.qscope"
    project.set_starred([4], True)
    project.set_weight([8], Scheme("int4"))
    project.save(path)
    project.close()
    with h5py.File(path, "r+") as file:
        del file["document/starred"]
    with Project.open(path) as again:
        assert not again.starred.any()
        assert again.assignment.scheme_of(8) == Scheme("int4")


def test_damaged_bookmarks_are_told(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "p.qscope"
    project.save(path)
    project.close()
    with h5py.File(path, "r+") as file:
        del file["document/starred"]
        file["document/starred"] = np.array([True])
    with pytest.raises(AnalysisError, match="the array starred has the shape"):
        Project.open(path)


def test_tie_groups_hold_the_ties_of_model_and_target(project: Project) -> None:
    model = dataclasses.replace(model_info(12), ties=((0, 3),))
    project.update_model(model)
    group = project.tie_groups
    assert group[0] == group[3]
    assert len(set(group.tolist())) == 11
    group[:] = 0
    assert len(set(project.tie_groups.tolist())) == 11
