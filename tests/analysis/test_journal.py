from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import journal
from analysis.errors import AnalysisError
from analysis.journal import Journal, Record, encode, read_journal

RECORDS = (
    Record("begin", {"id": 1, "measure": "weights"}),
    Record(
        "rows",
        {"note": "ünï", "value": float("inf")},
        {
            "numbers": np.arange(12.0).reshape(3, 4),
            "text": np.array([["a", "bc"]]),
            "flags": np.array([True, False]),
            "one": np.array(3, dtype=np.int16),
            "none": np.empty((0, 4), dtype=np.int32),
        },
    ),
    Record("status", {"run": 1}),
)


def written(path: Path, keep: int = 0) -> bytes:
    log = Journal(path, "owner:3", keep)
    for record in RECORDS:
        log.append(record)
    log.close()
    return path.read_bytes()


def same(first: Record, second: Record) -> None:
    assert (first.kind, first.data) == (second.kind, second.data)
    assert list(first.arrays) == list(second.arrays)
    for name, array in first.arrays.items():
        assert second.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(second.arrays[name], array)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path / "j")
    found = read_journal(tmp_path / "j")
    assert found.owner == "owner:3"
    assert found.size == (tmp_path / "j").stat().st_size
    assert len(found.records) == len(RECORDS)
    for first, second in zip(RECORDS, found.records, strict=True):
        same(first, second)


def test_missing_and_foreign_files_read_as_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none").owner == ""
    (tmp_path / "other").write_bytes(b"something else entirely")
    assert read_journal(tmp_path / "other").records == ()


def test_no_file_before_the_first_record(tmp_path: Path) -> None:
    log = Journal(tmp_path / "j", "o")
    log.close(remove=True)
    assert not (tmp_path / "j").exists()


def test_cut_anywhere_loses_only_the_record_cut(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = written(path)
    ends = [len(journal.MAGIC)]
    for record in (Record("journal", {"owner": "owner:3"}), *RECORDS):
        ends.append(ends[-1] + len(encode(record)))
    assert ends[-1] == len(whole)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        complete = max(0, sum(end <= cut for end in ends) - 2)
        assert len(read_journal(path).records) == complete


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    damaged = bytearray(written(path))
    damaged[place % len(damaged)] ^= flip
    path.write_bytes(damaged)
    found = read_journal(path)
    for first, second in zip(RECORDS, found.records, strict=False):
        same(first, second)
    assert len(found.records) < len(RECORDS)


def test_goes_on_after_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = written(path)
    path.write_bytes(whole[:-5])
    kept = read_journal(path)
    log = Journal(path, "owner:3", kept.size)
    log.append(RECORDS[2])
    log.close()
    assert path.read_bytes() == whole


def test_objects_are_refused(tmp_path: Path) -> None:
    log = Journal(tmp_path / "j", "o")
    with pytest.raises(AnalysisError, match="cannot be kept"):
        log.append(Record("rows", {}, {"bad": np.array([object()])}))
    log.append(RECORDS[0])
    log.close()
    assert len(read_journal(tmp_path / "j").records) == 1


def test_full_disk_keeps_order_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    log = Journal(path, "owner:3")
    log.append(RECORDS[0])

    def full(file: io.FileIO, data: memoryview) -> int:
        file.write(data[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_some", full)
        with pytest.raises(AnalysisError, match="disk is full"):
            log.append(RECORDS[1])
    # The half frame is gone: the file can be read as it is.
    assert len(read_journal(path).records) == 1
    log.append(RECORDS[2])
    log.close()
    kinds = [record.kind for record in read_journal(path).records]
    assert kinds == ["begin", "rows", "status"]


def test_partial_writes_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "write_some", lambda file, data: file.write(data[:3]))
    written(tmp_path / "j")
    assert len(read_journal(tmp_path / "j").records) == len(RECORDS)
