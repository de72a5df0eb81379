from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from analysis import replace
from analysis.errors import AnalysisError
from analysis.layout import Tree, json_text
from analysis.replace import replacing
from analysis.store import Changes, Header, ResultStore

HEADER = Header("u" * 32, 0, "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00")
ARRAYS = {
    "weights/a.b/hist_counts": np.arange(5),
    "weights/a.b/hist_edges": np.linspace(0, 1, 6),
    "weights//hist_counts": np.arange(3),
    "weights/./hist_counts": np.arange(0),
    "weights/x/y%z ü/hist_counts": np.array([7]),
    "predicted_error/v": np.ones((3, 4), dtype=np.float32),
    "predicted_error/columns": np.array([["weight", "ä.b", "int4/group(64)"]] * 4),
    "flags": np.array([True, False]),
    "scalar": np.array(2.5),
    "long": np.arange(70000, dtype=np.int32),
}


def tree() -> Tree:
    return Tree(
        {"name": "mödel", "count": 3, "seconds": 0.5},
        {"text": np.array(["a", "", "ü"]), "value": np.array([1.0, np.nan])},
        {"inner": Tree(items={"none": np.empty(0, dtype=np.str_)})},
        {"value": "nats"},
    )


def changes(arrays: dict[str, np.ndarray] | None = None) -> Changes:
    new = ARRAYS if arrays is None else arrays
    return Changes(tree(), tree(), json_text({"a": 1}), {1: tree()}, {1: new})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "p.qscope"
    store = ResultStore(path)
    store.commit(HEADER, changes(), None)
    store.close()
    return path


def test_round_trip(path: Path) -> None:
    store = ResultStore(path)
    stored = store.read()
    assert stored.header == HEADER
    run = stored.runs[1]
    assert run.attrs == tree().attrs
    np.testing.assert_array_equal(run.items["text"], tree().items["text"])
    np.testing.assert_array_equal(run.items["value"], tree().items["value"])
    assert run.groups["inner"].items["none"].shape == (0,)
    assert set(stored.array_names[1]) == set(ARRAYS)
    for name, array in ARRAYS.items():
        found = store.array(1, name)
        assert found is not None
        assert found.dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(found, array)
    assert store.array(1, "weights/other") is None
    assert store.array(2, "flags") is None
    store.close()


def test_file_explains_itself(path: Path) -> None:
    with h5py.File(path) as file:
        assert file.attrs["format"] == "quantscope-project"
        assert file["runs/1/value"].attrs["units"] == "nats"
        assert file["runs/1/stacks/hist_counts.int64/values"].shape == (9,)


def test_later_arrays_are_added_and_replace(path: Path) -> None:
    store = ResultStore(path)
    store.read()
    new = {
        "weights/a.b/hist_counts": np.arange(2),
        "weights/c/hist_counts": np.arange(4),
        "predicted_error/v": np.zeros((9, 4), dtype=np.float32),
    }
    store.commit(HEADER, changes(new), store)
    again = ResultStore(path)
    again.read()
    for name, array in (ARRAYS | new).items():
        for reader in (store, again):
            np.testing.assert_array_equal(reader.array(1, name), array)
    store.close()
    again.close()


def test_replaced_results_do_not_pile_up(path: Path) -> None:
    store = ResultStore(path)
    sizes = []
    for commit in range(12):
        big = {"predicted_error/v": np.ones((100 + commit % 2, 1000))}
        store.commit(HEADER, changes(big), store)
        sizes.append(path.stat().st_size)
    store.close()
    assert max(sizes[6:]) <= max(sizes[:6]) + (1 << 16)


def test_deleted_runs_are_gone(path: Path) -> None:
    store = ResultStore(path)
    store.read()
    before = path.stat().st_size
    store.commit(HEADER, Changes(deleted=(1, 7)), store)
    assert store.read().runs == {}
    assert store.array(1, "flags") is None
    store.close()
    assert path.stat().st_size < before - sum(a.nbytes for a in ARRAYS.values())


@pytest.mark.parametrize("persist", [False, True])
def test_free_room_is_never_listed_in_the_file(path: Path, persist: bool) -> None:
    # Closing a file with such a list made HDF5 2.0 spin for ever now and then.
    with (
        h5py.File(path) as old,
        h5py.File(path.with_suffix(".h5"), "w", fs_persist=persist) as new,
    ):
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
    path.with_suffix(".h5").replace(path)
    store = ResultStore(path)
    store.read()
    store.commit(HEADER, changes(), store)
    np.testing.assert_array_equal(store.array(1, "flags"), ARRAYS["flags"])
    store.close()
    with h5py.File(path) as file:
        _, listed, _ = file.id.get_create_plist().get_file_space_strategy()
    assert not listed


def test_copy_for_another_path(path: Path, tmp_path: Path) -> None:
    store, other = ResultStore(path), ResultStore(tmp_path / "q.qscope")
    store.read()
    other.commit(HEADER, Changes(), store)
    np.testing.assert_array_equal(other.array(1, "flags"), ARRAYS["flags"])
    assert set(other.read().array_names[1]) == set(ARRAYS)
    store.close()
    other.close()


# -- foreign files -------------------------------------------------------------------


def soft_link(file: h5py.File) -> None:
    file["runs/2"] = h5py.SoftLink("/runs/1")


def external_link(file: h5py.File) -> None:
    file["runs/1/rows"] = h5py.ExternalLink("/etc/other.h5", "/")


def hidden_external_link(file: h5py.File) -> None:
    file["runs/1/arrays/deep/er"] = h5py.ExternalLink("other.h5", "/")


def object_reference(file: h5py.File) -> None:
    del file["model/value"]
    file["model/value"] = np.array([file["runs"].ref], dtype=h5py.ref_dtype)


def region_reference(file: h5py.File) -> None:
    region = file["model/value"].regionref[:]
    file["document/region"] = np.array([region], dtype=h5py.regionref_dtype)


def reference_attribute(file: h5py.File) -> None:
    file["model"].attrs["name"] = file["runs"].ref


def external_data(file: h5py.File) -> None:
    del file["model/value"]
    file.create_dataset("model/value", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual_data(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    del file["model/value"]
    file.create_virtual_dataset("model/value", layout)


def compound_data(file: h5py.File) -> None:
    file["model/odd"] = np.zeros(2, dtype=[("a", "f8")])


def variable_text(file: h5py.File) -> None:
    file["model/odd"] = "text of any length"


@pytest.mark.parametrize(
    "spoil",
    [
        soft_link,
        external_link,
        hidden_external_link,
        object_reference,
        region_reference,
        reference_attribute,
        external_data,
        virtual_data,
        compound_data,
        variable_text,
    ],
    ids=lambda f: f.__name__,
)
def test_foreign_content_is_refused(
    path: Path, spoil: Callable[[h5py.File], None]
) -> None:
    with h5py.File(path, "r+") as file:
        spoil(file)
    store = ResultStore(path)
    with pytest.raises(AnalysisError, match="which a project never does"):
        store.read()
    store.close()


def test_external_array_is_refused_when_read(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        arrays = file["runs/1/arrays"]
        arrays.create_dataset("x", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    store = ResultStore(path)
    store.read()
    with pytest.raises(AnalysisError, match="lie in another file"):
        store.array(1, "x")
    store.close()


def claims_too_much(file: h5py.File) -> None:
    file.create_dataset("model/huge", (1 << 40,), "f8", chunks=(1024,))


def loops(file: h5py.File) -> None:
    file["model/inner/again"] = file["model"]


def no_runs(file: h5py.File) -> None:
    del file["runs"]


def odd_run(file: h5py.File) -> None:
    file.create_group("runs/one")


def wrong_stack(file: h5py.File) -> None:
    file["runs/1/stacks/hist_counts.int64/start"][-1] = 10**6


def data_for_group(file: h5py.File) -> None:
    del file["document"]
    file["document"] = 3


@pytest.mark.parametrize(
    "spoil",
    [claims_too_much, loops, no_runs, odd_run, wrong_stack, data_for_group],
    ids=lambda f: f.__name__,
)
def test_damage_is_told(path: Path, spoil: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        spoil(file)
    store = ResultStore(path)
    with pytest.raises(AnalysisError, match="damaged|cannot be read"):
        store.read()
    store.close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no project file"):
        ResultStore(tmp_path / "none").read()
    with pytest.raises(AnalysisError, match="A folder was given"):
        ResultStore(tmp_path).read()
    text = tmp_path / "text"
    text.write_text("not HDF5")
    with pytest.raises(AnalysisError, match="cannot be read as a Quantscope"):
        ResultStore(text).read()
    with h5py.File(tmp_path / "h", "w") as file:
        file["x"] = 1
    store = ResultStore(tmp_path / "h")
    with pytest.raises(AnalysisError, match="is not a Quantscope project"):
        store.read()
    store.close()


def test_newer_version_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 99
    store = ResultStore(path)
    with pytest.raises(AnalysisError, match="another version"):
        store.read()
    store.close()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file_is_told(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(AnalysisError, match="cannot be read|damaged"):
        ResultStore(path).read()


# -- full disk -----------------------------------------------------------------------


def left_beside(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def test_too_little_space_is_seen_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    usage = shutil.disk_usage(path.parent)._replace(free=1000)
    monkeypatch.setattr(replace.shutil, "disk_usage", lambda folder: usage)
    store = ResultStore(path)
    with pytest.raises(AnalysisError, match="disk is full"):
        store.commit(HEADER, changes(), store)
    assert path.read_bytes() == before
    assert left_beside(path) == []


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="needs a device that is always full"
)
def test_failing_write_leaves_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def copy_to_full(*_: object) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(h5py.Group, "copy", copy_to_full)
    store = ResultStore(path)
    with pytest.raises(AnalysisError, match="disk is full"):
        store.commit(HEADER, changes(), store)
    assert path.read_bytes() == before
    assert left_beside(path) == []


def test_replacing_restores_on_errors_of_hdf5(tmp_path: Path) -> None:
    target = tmp_path / "t"
    target.write_text("old")

    def fail() -> None:
        with replacing(target, target, 0) as copy:
            copy.write_text("half")
            raise RuntimeError("Can't decrement id ref count")

    with pytest.raises(AnalysisError, match="cannot be written; it is as it was"):
        fail()
    assert target.read_text() == "old"
    assert left_beside(target) == []
