from __future__ import annotations

import dataclasses
import errno
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from psygnal.testing import assert_emitted_once_with, assert_not_emitted

from analysis import journal, replace
from analysis.errors import AnalysisError
from analysis.lock import FileLock
from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from quant_core.assignment import Assignment
from quant_core.errors import QuantError
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site, Unlisted
from tests.budget import assert_within, clock, spent
from tests.killing import breeding

INT4, INT8 = Scheme("int4"), Scheme("int8")
NAN = float("nan")


def model(layers: int = 6, digest: str = "d" * 64) -> ModelInfo:
    names = [f"block.{i // 3}.{'qkv'[i % 3]}_proj" for i in range(layers)]
    return ModelInfo(
        "tiny",
        "example:tiny",
        digest,
        tuple(Layer(n, f"{n}.weight", "linear", (8, 16), "float32") for n in names),
        (Unlisted("pos", (4, 4), "not a matrix of weights"),),
        tuple(tuple(range(i, i + 3)) for i in range(0, layers - 2, 3)),
        "TinyModel",
        (Site("block.0:softmax", "softmax", "output", None, (1, 4, 4)),),
        ("a note",),
    )


def update(*names: str, value: float = 1.0, **more: object) -> Update:
    rows = tuple(Row(name, "int4", value, 0.5) for name in names)
    return Update(1.0, 2.0, rows=rows, **more)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.qscope"


@pytest.fixture
def project(path: Path) -> Iterator[Project]:
    project = Project.create(model(), path)
    yield project
    project.close()


def reopened(project: Project) -> Project:
    path = project.path
    assert path is not None
    project.close()
    return Project.open(path)


def crash(project: Project) -> None:
    """Let go of the files as a killed process does: nothing more is written."""
    file = project._file
    assert file is not None
    if file._journal is not None:
        file._journal.close()
    file.store.close()
    assert file._lock is not None
    file._lock.release()
    project._file = None


# -- results -------------------------------------------------------------------------


def test_results_are_read_as_arrays(project: Project) -> None:
    run = project.begin_run("predicted_error", unit="nats", samples=2, params={"k": 1})
    rows = (
        Row("block.0.q_proj", "int4", 1.0, 0.1),
        Row("block.0.q_proj", "int8", 0.1),
        Row("block.1.k_proj", "int4", 2.0, 0.2),
        Row("block.0:softmax", "int8", 3.0, 0.3, part="output"),
        Row("block.0.q_proj", None, 9.0, quantity="kurtosis"),
        Row("", None, 0.5, quantity="top1", part="model"),
        Row("block.0.q_proj", "int4", 5.0, 0.4),
    )
    project.apply(run, Update(1, 4, "half", rows, samples=7, warnings=("w", "w")))
    project.apply(run, Update(4, 4, "", warnings=("w", "x"), samples=3))
    np.testing.assert_array_equal(
        project.values("predicted_error", "int4"), [5, NAN, NAN, NAN, 2, NAN]
    )
    np.testing.assert_array_equal(
        project.stderrs("predicted_error", "int4"), [0.4, NAN, NAN, NAN, 0.2, NAN]
    )
    assert np.isnan(project.values("predicted_error", "int2")).all()
    assert np.isnan(project.values("weights", None, "kurtosis")).all()
    assert project.formats("predicted_error") == ("int4", "int8")
    assert project.formats("predicted_error", "kurtosis") == ()
    sites = project.site_values("predicted_error", "int8", part="output")
    assert sites == {"block.0:softmax": 3.0}
    errors = project.site_stderrs("predicted_error", "int8", part="output")
    assert errors == {"block.0:softmax": 0.3}
    whole = project.site_values("predicted_error", None, "top1", "model")
    assert whole == {"": 0.5}
    assert [r.value for r in project.rows("predicted_error")] == [5, 0.1, 9, 2, 3, 0.5]
    info = project.latest_run("predicted_error")
    assert info is not None
    assert (info.done, info.total, info.samples) == (4, 4, 7)
    assert info.warnings == ("w", "x")
    assert info.params == {"k": 1}
    assert project.runs == (info,)


def test_rows_of_nan_are_rows(project: Project) -> None:
    run = project.begin_run("weights")
    project.apply(run, Update(1, 1, rows=(Row("block.0.q_proj", "int4", NAN),)))
    assert len(project.rows("weights")) == 1
    assert list(project.done_rows(run)) == [
        ("block.0.q_proj", "int4", "error", "weight")
    ]


def test_everything_survives_reopening(project: Project) -> None:
    run = project.begin_run("predicted_error", unit="nats", seed=3, params={"a": [1]})
    arrays = {"predicted_error/x": np.arange(3), "predicted_error/v": np.eye(2)}
    project.apply(run, update("block.0.q_proj", "", arrays=arrays, samples=5))
    project.end_run(run)
    other = project.begin_run("weights")
    project.apply(other, update("block.0.v_proj", value=8.0))
    project.end_run(other, "cancelled")
    project.set_weight([0], INT4)
    project.set_input([4], INT8, ties=False)
    project.set_locked([5], True)
    project.keep_assignment("a/b ü")
    project.add_assignment("second", project.assignment, {"budget": "bits<=4"})
    project.target = "vllm-like"
    project.record_measured(project.assignment, 0.5, 0.01, "nats", 9, {"top1": 0.9})
    project.save()
    runs, rows = project.runs, project.rows("predicted_error")
    before = project.assignment.to_json()

    again = reopened(project)
    assert again.info == model()
    assert again.runs == runs
    assert again.rows("predicted_error") == rows
    assert again.latest_run("weights").status == "cancelled"  # type: ignore[union-attr]
    for name, array in arrays.items():
        np.testing.assert_array_equal(again.array(name), array)
    assert again.array_names("predicted_error/") == sorted(arrays)
    assert dict(again.run_arrays(run)).keys() == arrays.keys()
    assert again.assignment.to_json() == before
    assert list(again.assignments) == ["a/b ü", "second"]
    assert again.find_assignment("second").provenance == {"budget": "bits<=4"}
    assert again.target == "vllm-like"
    assert again.measured is not None
    assert again.measured["metrics"] == {"top1": 0.9}
    assert again.last_measured == {
        **again.measured,
        "digest": again.assignment.digest,
    }
    assert not again.dirty
    assert not again.recovered
    assert again.notices == ()
    again.close()


def test_only_project_files_are_left_after_closing(
    project: Project, path: Path
) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ["p.qscope", "p.qscope.journal", "p.qscope.lock"]
    project.end_run(run)
    project.close()
    assert [p.name for p in path.parent.iterdir()] == ["p.qscope"]


def test_a_cancelled_run_does_not_hide_a_complete_one(project: Project) -> None:
    first = project.begin_run("weights")
    project.apply(first, update("block.0.q_proj", arrays={"weights/x": np.zeros(1)}))
    project.end_run(first)
    second = project.begin_run("weights")
    assert project.latest_run("weights").id == first  # type: ignore[union-attr]
    new = {"weights/x": np.ones(1), "weights/y": np.ones(1)}
    project.apply(second, update("block.0.k_proj", value=3.0, arrays=new))
    assert project.latest_run("weights").id == second  # type: ignore[union-attr]
    assert project.array_names("weights/") == ["weights/x", "weights/y"]
    project.end_run(second, "cancelled")
    assert project.latest_run("weights").id == first  # type: ignore[union-attr]
    assert project.resumable_run("weights").id == second  # type: ignore[union-attr]
    assert project.array_names("weights/") == ["weights/x"]
    np.testing.assert_array_equal(project.array("weights/x"), [0])
    np.testing.assert_array_equal(project.array("weights/x", second), [1])
    assert len(project.rows("weights", second)) == 1
    project.delete_run(first)
    assert project.latest_run("weights").id == second  # type: ignore[union-attr]
    again = reopened(project)
    assert [run.id for run in again.runs] == [second]
    again.close()


def test_resuming_continues_the_same_run(project: Project) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    project.end_run(run, "cancelled")
    with pytest.raises(AnalysisError, match="has ended"):
        project.apply(run, update("block.0.k_proj"))
    project.resume_run(run)
    project.apply(run, update("block.0.k_proj"))
    project.end_run(run)
    assert len(project.rows("weights")) == 2
    assert project.begin_run("weights") == run + 1


def test_wrong_use_of_runs_is_told(project: Project) -> None:
    with pytest.raises(AnalysisError, match="no such run"):
        project.rows("weights", 7)
    with pytest.raises(AnalysisError, match="description of a run is damaged"):
        project.begin_run("weights", colour="red")
    run = project.begin_run("weights")
    with pytest.raises(AnalysisError, match="cannot be kept"):
        project.apply(run, Update(1, 1, arrays={"x": np.array([None])}))
    assert project.array("x") is None


# -- signals -------------------------------------------------------------------------


def test_signals_say_what_changed(project: Project) -> None:
    with assert_emitted_once_with(project.runs_changed):
        run = project.begin_run("weights")
    with assert_emitted_once_with(project.rows_added, "weights"):
        project.apply(run, update("block.0.q_proj"))
    with assert_not_emitted(project.rows_added):
        project.apply(run, Update(1, 2, "working"))
    seen: list[list[int]] = []
    dirty: list[bool] = []
    project.assignment_changed.connect(lambda layers: seen.append(layers.tolist()))
    project.dirty_changed.connect(dirty.append)
    project.set_weight([1], INT4)
    project.set_weight([1], INT4)
    project.set_locked(np.array([4]), True)
    project.save()
    assert seen == [[0, 1, 2], [4]]
    assert dirty == [True, False]
    with assert_emitted_once_with(project.assignments_changed):
        project.keep_assignment("one")
    with assert_emitted_once_with(project.assignments_changed):
        project.delete_assignment("one")


# -- assignment ----------------------------------------------------------------------


def test_ties_and_locks(project: Project) -> None:
    np.testing.assert_array_equal(project.set_weight([4], INT4), [3, 4, 5])
    np.testing.assert_array_equal(project.set_weight([0], INT4, ties=False), [0])
    project.set_locked([0], True)
    # A locked layer holds those tied to it: they could not stay equal.
    assert project.set_weight([0, 1, 2], INT8).tolist() == []
    assert project.set_weight([0, 1], INT8, ties=False).tolist() == [1]
    assert project.set_weight(range(6), None).tolist() == [3, 4, 5]
    project.set_ties([(1, 4)])
    assert project.set_weight([4], INT8).tolist() == [4]
    assert project.info.ties == ((1, 4),)
    with pytest.raises(AnalysisError, match="one tie only"):
        project.set_ties([(0, 1), (1, 2)])
    with pytest.raises(AnalysisError, match="no layer with this index"):
        project.set_weight([6], INT4)


def test_ties_of_the_target_hold(path: Path) -> None:
    info = model()
    project = Project.create(ModelInfo(info.name, "", info.digest, info.layers))
    assert project.set_weight([0], INT4).tolist() == [0]
    assert project.ties == ()
    project.target = "vllm-like"
    assert (0, 1, 2) in project.ties
    assert project.set_weight([0], INT8).tolist() == [0, 1, 2]
    assert project.refused(Scheme("int3"), 0) is not None
    assert project.refused(INT8, 0) is None
    with pytest.raises(QuantError, match="no such target"):
        project.target = "toaster"


def test_undo_is_a_swap(project: Project) -> None:
    before = project.assignment
    project.set_weight(range(6), INT4)
    after = project.assignment
    assert project.set_assignment(before).tolist() == list(range(6))
    assert project.assignment is before
    project.set_assignment(after)
    assert project.assignment is after
    assert project.totals.average_bits < 8


def test_name_clash_is_refused(project: Project) -> None:
    project.keep_assignment("mine")
    project.set_weight([0], INT4)
    with pytest.raises(AnalysisError, match="exists already"):
        project.keep_assignment("mine")
    assert project.find_assignment("mine").scheme_of(0) is None
    project.keep_assignment("mine", overwrite=True)
    assert project.find_assignment("mine").scheme_of(0) == INT4
    with pytest.raises(AnalysisError, match="needs a name"):
        project.keep_assignment("  ")
    with pytest.raises(AnalysisError, match="no assignment of this name"):
        project.delete_assignment("yours")


def test_assignment_of_another_model_is_refused(project: Project) -> None:
    other = model(digest="e" * 64)
    foreign = Assignment.float(other.layers, other.name, other.digest)
    with pytest.raises(AnalysisError, match="made for another model"):
        project.set_assignment(foreign)
    short = Assignment.float(model(3).layers, "tiny", "d" * 64)
    with pytest.raises(AnalysisError, match="other layers"):
        project.add_assignment("x", short)


def test_equal_assignment_made_elsewhere_is_taken(project: Project) -> None:
    info = model()
    made = Assignment.float(info.layers, info.name, info.digest)
    made = made.with_weight([0], INT4).with_site("block.0:softmax", INT8)
    assert project.set_assignment(made).tolist() == [0]
    assert project.assignment.sites == {"block.0:softmax": INT8}
    assert project.dirty


def test_project_of_another_model_is_refused(project: Project) -> None:
    project.check_model(model())
    with pytest.raises(AnalysisError, match="made for another model"):
        project.check_model(model(digest="e" * 64))
    with pytest.raises(AnalysisError, match="have other names"):
        project.update_model(model(3))


def test_layers_that_differ_are_named(project: Project) -> None:
    info = model()
    renamed = [dataclasses.replace(x, name=f"model.{x.name}") for x in info.layers]
    with pytest.raises(AnalysisError, match="other names") as caught:
        project.update_model(dataclasses.replace(info, layers=tuple(renamed)))
    assert str(caught.value.value).startswith("model.block.0.q_proj, ")
    assert str(caught.value.allowed).startswith("block.0.q_proj, ")
    turned = dataclasses.replace(info, layers=info.layers[::-1])
    with pytest.raises(AnalysisError, match="in another order"):
        project.update_model(turned)


def test_a_full_disk_opens_read_only_and_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.path
    assert path is not None
    project.save()
    project.close()

    def full(_: FileLock) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FileLock, "acquire", full)
    with Project.open(path) as found:
        assert "Free some space" in found.read_only
        with pytest.raises(AnalysisError, match="open read-only"):
            found.begin_run("weights")


def test_more_of_the_same_model_is_taken_over(project: Project) -> None:
    project.set_weight([0], INT4)
    info = model()
    traced = tuple(
        Layer(x.name, x.parameter, x.kind, x.shape, x.dtype, x.channel_axes, 99)
        for x in info.layers
    )
    more = ModelInfo(info.name, info.source, info.digest, traced, ties=info.ties)
    with assert_emitted_once_with(project.layers_reset):
        project.update_model(more)
    assert project.assignment.scheme_of(0) == INT4
    assert project.totals.bops > 0
    project.save()
    again = reopened(project)
    assert again.info == more
    again.close()


# -- prediction and measurement --------------------------------------------------------


def predicted(project: Project) -> None:
    names = [layer.name for layer in project.info.layers]
    rng = np.random.default_rng(0)
    arrays = {
        "predicted_error/v": rng.normal(size=(8, len(names))).astype(np.float32),
        "predicted_error/weight": np.ones(8),
        "predicted_error/sample": np.arange(8),
        "predicted_error/columns": np.array([["weight", n, "int4"] for n in names]),
    }
    run = project.begin_run("predicted_error")
    project.apply(run, update(*names, arrays=arrays))
    project.end_run(run)


def test_prediction_follows_the_assignment(project: Project) -> None:
    assert project.prediction is None
    predicted(project)
    assert project.prediction is not None
    assert project.prediction.value == 0
    project.set_weight(range(6), INT4)
    value = project.prediction.value
    assert value > 0
    project.save()
    again = reopened(project)
    assert again.prediction is not None
    assert again.prediction.value == pytest.approx(value)
    zero = Assignment.float(model().layers, "tiny", model().digest)
    assert again.predict(zero).value == 0  # type: ignore[union-attr]
    again.close()


def test_a_run_without_projections_predicts_nothing(project: Project) -> None:
    columns = np.array([["weight", "block.0.q_proj", "int4"]])
    run = project.begin_run("predicted_error")
    arrays = {"predicted_error/columns": columns}
    project.apply(run, update("block.0.q_proj", arrays=arrays))
    project.end_run(run, "cancelled")
    assert project.prediction is None


def test_measured_score_belongs_to_its_assignment(project: Project, path: Path) -> None:
    project.set_weight([0], INT4)
    first = project.assignment
    project.record_measured(first, 0.5, 0.1, "nats", 4)
    project.set_weight([0], INT8)
    assert project.measured is None
    assert project.last_measured is not None
    assert project.last_measured["value"] == 0.5
    assert project.measured_of(first) is not None
    crash(project)
    again = Project.open(path)
    assert again.measured_of(first) is not None
    again.close()


# -- files -----------------------------------------------------------------------------


def test_unsaved_project_is_dirty_once_it_has_results() -> None:
    project = Project.create(model())
    assert not project.dirty
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj", arrays={"weights/x": np.ones(2)}))
    project.end_run(run)
    assert project.dirty
    assert project.array("weights/x") is not None
    with pytest.raises(AnalysisError, match="no file yet"):
        project.save()
    project.close()


def test_existing_file_is_not_overwritten_unasked(
    project: Project, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.qscope"
    other.write_text("precious")
    with pytest.raises(AnalysisError, match="exists already"):
        project.save(other)
    with pytest.raises(AnalysisError, match="exists already"):
        Project.create(model(), other)
    assert other.read_text() == "precious"
    project.save(other, overwrite=True)
    assert project.path == other
    assert Project.open(path).read_only == ""


def test_only_projects_are_replaced_whatever_is_asked(
    project: Project, tmp_path: Path
) -> None:
    other, data = tmp_path / "other", tmp_path / "data.h5"
    Project.create(model(), other).close()
    project.save(other, overwrite=True)
    with h5py.File(data, "w") as file:
        file["x"] = np.ones(3)
    precious = data.read_bytes()
    with pytest.raises(AnalysisError, match="to replace is not a Quantscope project"):
        project.save(data, overwrite=True)
    assert data.read_bytes() == precious
    assert project.path == other


def test_save_as_takes_everything_along(
    project: Project, path: Path, tmp_path: Path
) -> None:
    first = project.begin_run("weights")
    project.apply(first, update("block.0.q_proj", arrays={"weights/x": np.ones(2)}))
    project.end_run(first)
    second = project.begin_run("weights")
    project.apply(second, update("block.0.k_proj", arrays={"weights/y": np.ones(2)}))
    project.set_weight([0], INT4)
    project.checkpoint()
    target = tmp_path / "copy.qscope"
    project.save(target)
    assert project.path == target
    project.apply(second, update("block.0.v_proj"))
    project.end_run(second)
    project.close()
    with Project.open(target) as copy:
        assert [len(copy.rows("weights", r)) for r in (first, second)] == [1, 2]
        assert copy.array("weights/x", first) is not None
        assert copy.array("weights/y", second) is not None
        assert copy.assignment.scheme_of(0) == INT4
    with Project.open(path) as old:
        # The edits went with the copy; the run stopped here.
        assert old.assignment.scheme_of(0) is None
        assert not old.recovered
        assert [run.status for run in old.runs] == ["complete", "interrupted"]


def test_unsaved_edits_are_given_up_by_closing(project: Project) -> None:
    project.set_weight([0], INT4)
    project.checkpoint()
    again = reopened(project)
    assert again.assignment.scheme_of(0) is None
    again.close()


def test_unsaved_edits_come_back_after_a_crash(project: Project, path: Path) -> None:
    project.set_weight([0], INT4)
    project.keep_assignment("kept")
    project.checkpoint()
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    crash(project)
    for _ in range(2):
        again = Project.open(path)
        assert again.recovered
        assert again.dirty
        assert again.assignment.scheme_of(0) == INT4
        assert list(again.assignments) == ["kept"]
        assert again.latest_run("weights").status == "interrupted"  # type: ignore[union-attr]
        crash(again)


def test_undoing_leads_back_to_what_was_saved(project: Project, path: Path) -> None:
    saved = project.assignment
    project.set_weight([0], INT4)
    later = project.assignment
    project.checkpoint()
    project.set_assignment(saved)
    assert not project.dirty
    project.checkpoint()
    crash(project)
    with Project.open(path) as again:
        assert not again.recovered
        assert again.assignment.scheme_of(0) is None
        again.set_assignment(later)
        again.save()
        again.set_locked([2], True)
        assert again.dirty
        again.set_assignment(later)
        assert not again.dirty
        again.keep_assignment("one")
        again.set_locked([2], True)
        again.set_assignment(later)
        # The name is still news.
        assert again.dirty


def test_what_is_learnt_of_the_model_is_no_edit(project: Project) -> None:
    project.update_model(dataclasses.replace(project.info, ties=((0, 1),)))
    before = project.assignment
    project.set_weight([0], INT4)
    project.set_assignment(before)
    assert not project.dirty


def test_edits_kept_before_a_run_ended_survive_a_crash(
    project: Project, path: Path
) -> None:
    project.set_weight([0], INT4)
    project.checkpoint()
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    project.end_run(run)
    crash(project)
    with Project.open(path) as again:
        assert again.assignment.scheme_of(0) == INT4


def test_a_draft_keeps_that_an_edit_was_undone(path: Path) -> None:
    project = Project.create(model())
    first = project.assignment
    project.set_weight([0], INT4)
    project.begin_draft(path)
    project.set_assignment(first)
    assert not project.dirty
    project.checkpoint()
    crash(project)
    with Project.open(path, draft=True) as again:
        assert again.assignment.scheme_of(0) is None
        assert again.dirty


def test_a_run_that_ends_does_not_save_edits(project: Project) -> None:
    project.set_weight([0], INT4)
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    project.end_run(run)
    again = reopened(project)
    assert again.assignment.scheme_of(0) is None
    assert len(again.rows("weights")) == 1
    again.close()


def test_second_opener_gets_it_read_only(project: Project, path: Path) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj", arrays={"weights/x": np.ones(2)}))
    with Project.open(path) as second:
        assert f"process {os.getpid()} on" in second.read_only
        assert len(second.rows("weights")) == 1
        assert second.latest_run("weights").status == "running"  # type: ignore[union-attr]
        assert second.array("weights/x") is not None
        second.set_weight([0], INT4)
        with pytest.raises(AnalysisError, match="open read-only"):
            second.begin_run("weights")
        with pytest.raises(AnalysisError, match="open read-only"):
            second.save()
        with pytest.raises(AnalysisError, match="cannot be written here"):
            Project.create(model(), path, overwrite=True)
        second.save(path.with_name("copy.qscope"))
        assert not second.read_only
    project.apply(run, update("block.0.k_proj"))
    project.end_run(run)
    again = reopened(project)
    assert not again.read_only
    assert len(again.rows("weights")) == 2
    again.close()


def test_folder_without_write_permission_opens_read_only(
    project: Project, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.close()

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("analysis.lock.os.open", refuse)
    with Project.open(path) as second:
        assert "Permission denied" in second.read_only


def test_journal_of_another_project_is_left_alone(project: Project, path: Path) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    crash(project)
    other = path.with_name("other.qscope")
    Project.create(model(), other).close()
    log = path.with_name("other.qscope.journal")
    log.write_bytes(path.with_name("p.qscope.journal").read_bytes())
    before = log.read_bytes()
    with Project.open(other) as opened:
        assert opened.runs == ()
        assert "belongs to another project" in opened.notices[0]
        with pytest.raises(AnalysisError, match="read-only"):
            opened.begin_run("weights")
    assert log.read_bytes() == before


def test_journal_that_was_merged_is_not_merged_again(
    project: Project, path: Path
) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    log = path.with_name("p.qscope.journal")
    merged = log.read_bytes()
    project.end_run(run)
    project.delete_run(run)
    project.close()
    # As if the process had died between the new file and the end of the journal.
    log.write_bytes(merged)
    with Project.open(path) as again:
        assert again.runs == ()


def test_file_deleted_while_open_is_written_again(project: Project, path: Path) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))
    project.end_run(run)
    path.unlink()
    project.set_weight([0], INT4)
    project.save()
    again = reopened(project)
    assert len(again.rows("weights")) == 1
    assert again.assignment.scheme_of(0) == INT4
    again.close()


def test_full_disk_loses_nothing(
    project: Project, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project.begin_run("weights")
    project.apply(run, update("block.0.q_proj"))

    def full(file: io.FileIO, data: memoryview) -> int:
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_some", full)
        patch.setattr(h5py.Group, "copy", no_copy)
        with pytest.raises(AnalysisError, match="disk is full"):
            project.apply(run, update("block.0.k_proj"))
        with pytest.raises(AnalysisError, match="disk is full"):
            project.end_run(run)
        project.set_weight([0], INT4)
        with pytest.raises(AnalysisError, match="disk is full"):
            project.save()
        assert project.dirty
        assert len(project.rows("weights")) == 2
    assert path.read_bytes() == before
    project.save()
    again = reopened(project)
    assert len(again.rows("weights")) == 2
    assert again.latest_run("weights").status == "complete"  # type: ignore[union-attr]
    assert again.assignment.scheme_of(0) == INT4
    again.close()


def test_disk_that_stays_full_keeps_what_the_journal_has(
    project: Project, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = project.begin_run("weights")
    with monkeypatch.context() as patch:
        patch.setattr(h5py.Group, "copy", no_copy)
        project.apply(run, update("block.0.q_proj"))
        with pytest.raises(AnalysisError, match="disk is full"):
            project.end_run(run)
        project.close()
        again = Project.open(path)
        assert "disk is full" in again.notices[0]
        assert len(again.rows("weights")) == 1
        again.close()
    with Project.open(path) as later:
        assert later.latest_run("weights").status == "complete"  # type: ignore[union-attr]
        assert later.notices == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the check beforehand, HDF5 itself runs into the end of the disk.
    monkeypatch.setattr(replace, "MARGIN", -(1 << 40))
    path = small_disk / "p.qscope"
    project = Project.create(model(), path)
    run = project.begin_run("weights")
    number = 0

    def fill() -> None:
        nonlocal number
        for number in range(100):  # noqa: B007 - read below
            big = {f"weights/{number}": np.random.default_rng(0).random(5000)}
            project.apply(run, update("block.0.q_proj", value=number, arrays=big))

    with pytest.raises(AnalysisError, match="disk is full"):
        fill()
    kept = number - 1
    assert kept > 0
    with pytest.raises(AnalysisError, match="disk is full"):
        project.end_run(run)
    target = small_disk.parent / "elsewhere.qscope"
    project.save(target)
    assert project.array(f"weights/{kept + 1}") is not None
    project.close()
    with Project.open(path) as left:
        assert left.values("weights", "int4")[0] == kept
    with Project.open(target) as saved:
        assert saved.values("weights", "int4")[0] == kept + 1


# -- speed -----------------------------------------------------------------------------


def test_sixty_thousand_layers_are_edited_at_once() -> None:
    project = Project.create(model(60_000))
    project.set_weight([0], INT8)
    seconds = []
    for scheme in (INT4, INT8, INT4):
        start = clock()
        changed = project.set_weight(np.arange(60_000), scheme)
        seconds.append(clock() - start)
        assert len(changed) > 59_000
    assert_within(0.05, seconds)
    rows = tuple(Row(x.name, "int4", 1.0) for x in project.info.layers)
    run = project.begin_run("predicted_error")
    update = Update(1, 1, rows=rows)
    assert_within(0.2, [spent(lambda: project.apply(run, update))])
    assert project.values("predicted_error", "int4").sum() == 60_000


# -- kill test -------------------------------------------------------------------------

WRITER = """
import os
import numpy as np
from analysis.method import Row, Update
from analysis.project import Project
from quant_core.scheme import Scheme

def work(path, acks):
    log = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    project = Project.open(path)
    os.write(log, b"open 0 0\\n")
    names = [layer.name for layer in project.info.layers]
    bits = 2
    while True:
        run = project.begin_run("fake")
        for step in range(6):
            rows = tuple(Row(n, "int4", 1000.0 * run + step) for n in names)
            arrays = {f"fake/{step}": np.full(50, step)}
            arrays["fake/v"] = np.full((40, 40), step)
            project.apply(run, Update(step, 6, rows=rows, arrays=arrays))
            os.write(log, f"step {run} {step}\\n".encode())
        project.end_run(run)
        os.write(log, f"end {run} 0\\n".encode())
        if run % 2:
            bits = 2 + run % 7
            project.set_weight([0], Scheme(f"int{bits}"))
            project.checkpoint()
            project.save()
            os.write(log, f"save {run} {bits}\\n".encode())
        for old in project.runs[:-3]:
            project.delete_run(old.id)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_at_any_moment_it_opens_again(path: Path, tmp_path: Path) -> None:
    Project.create(model(), path).close()
    acks, dice = tmp_path / "acks", random.Random(0)
    saved = None
    with breeding(WRITER) as writers:
        for _ in range(20):
            acks.unlink(missing_ok=True)
            writers.start(path, acks)
            writers.wait_for(lambda: acks.exists() and acks.stat().st_size > 0)
            time.sleep(dice.uniform(0, 0.12))
            writers.kill()
            lines = acks.read_text().split("\n")[:-1]
            with Project.open(path) as project:
                saved = check_killed(project, [line.split() for line in lines], saved)


def check_killed(
    project: Project, acks: list[list[str]], saved: int | None
) -> int | None:
    """Everything acknowledged is there, and at most one step more."""
    assert project.read_only == ""
    assert project.notices == ()
    runs = {run.id: run for run in project.runs}
    newest = max(runs, default=0)
    steps: dict[int, int] = {}
    for kind, run, number in acks:
        if kind == "step":
            steps[int(run)] = int(number)
        elif kind == "save":
            saved = int(number)
        elif kind == "end" and int(run) in runs:
            assert runs[int(run)].status == "complete"
    for run, last in steps.items():
        if run not in runs:
            assert run < newest - 2, "only old runs are deleted"
            continue
        value = project.rows("fake", run)[0].value - 1000.0 * run
        assert last <= value <= last + 1
        for step in range(int(value) + 1):
            array = project.array(f"fake/{step}", run)
            np.testing.assert_array_equal(array, np.full(50, step))
        whole = np.full((40, 40), int(value))
        np.testing.assert_array_equal(project.array("fake/v", run), whole)
    assert all(run.status in ("complete", "interrupted") for run in runs.values())
    scheme = project.assignment.scheme_of(0)
    if saved is not None and not project.recovered:
        assert scheme is not None
        # The save at hand may have reached the file before its acknowledgement.
        assert saved == scheme.bits or newest % 2
        saved = int(scheme.bits)
    project.save()
    return None if scheme is None else int(scheme.bits)
