"""A measure shared out among processes gives what one process gives."""

from __future__ import annotations

import multiprocessing
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from analysis.data import load_data
from analysis.errors import AnalysisError
from analysis.jobs import analyze
from analysis.load import load
from analysis.measures.context import MeasureContext
from analysis.measures.measured_error import MeasuredError
from analysis.measures.sharing import _context, _share, shared
from analysis.method import Row, Update
from analysis.project import Project
from analysis.quality import FORWARD_SECONDS
from quant_core.scheme import Scheme

pytestmark = pytest.mark.usefixtures("one_thread")
"""Compare with as many threads as each of two processes gets."""
MEASURE = MeasuredError(["alone", "all_but_one", "cumulative", "local"], ["sqnr"])


def cnn(batch_size: int = 0) -> MeasureContext:
    model = load("example:digits-cnn", device="cpu")
    data = load_data("example", model, samples=12)
    schemes = (Scheme("int3"), Scheme("int8"))
    inputs = (Scheme("uint4", "tensor"),)
    return MeasureContext(model, data, schemes, inputs, batch_size=batch_size)


def results(updates: list[Update]) -> tuple[list[Row], dict[str, np.ndarray]]:
    rows: dict[tuple[str, str | None, str, str], Row] = {}
    arrays: dict[str, np.ndarray] = {}
    for update in updates:
        for row in update.rows:
            rows[row.target, row.format, row.quantity, row.part] = row
        arrays |= update.arrays
    arrays.pop(FORWARD_SECONDS)
    return list(rows.values()), arrays


def test_two_processes_give_the_numbers_of_one() -> None:
    ctx = cnn(batch_size=5)
    rows, arrays = results(list(MEASURE.run(ctx)))
    updates = list(shared(MEASURE, ctx, 2))
    found, kept = results(updates)
    assert [repr(row) for row in found] == [repr(row) for row in rows]
    assert kept.keys() == arrays.keys()
    assert all(np.array_equal(kept[name], arrays[name]) for name in arrays)
    assert updates[-1].done == updates[-1].total
    assert multiprocessing.active_children() == []


def test_shares_are_disjoint_and_add_up() -> None:
    ctx = cnn()
    rows, _ = results(list(MEASURE.run(ctx)))
    shares = [
        results(list(MEASURE.run(replace(ctx, shard=(n, 3)))))[0] for n in (0, 1, 2)
    ]
    assert all(shares)
    assert sorted(map(repr, sum(shares, []))) == sorted(map(repr, rows))


def test_what_another_process_cannot_open_is_told() -> None:
    ctx = cnn()
    ctx.model.info = replace(ctx.model.info, digest="0" * 64)
    with pytest.raises(AnalysisError, match="other processes cannot open it"):
        _context(_share(MeasuredError(), ctx, 0, 1))


def test_closing_early_ends_the_processes() -> None:
    with closing(shared(MEASURE, cnn(), 1)) as updates:  # type: ignore[type-var]
        next(updates)
        assert len(multiprocessing.active_children()) == 1
    assert multiprocessing.active_children() == []


def test_a_measure_that_cannot_be_shared_runs_here(monkeypatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("shared out")

    monkeypatch.setattr("analysis.measures.sharing.shared", never)
    ctx = cnn()
    project = Project.create(ctx.model.info)
    jobs = analyze(ctx.model, ctx.data, ["weights"], project=project, workers=2)
    assert any(update.rows for _, update in jobs)
    with pytest.raises(AssertionError, match="shared out"):
        list(analyze(ctx.model, ctx.data, ["measured_error"], workers=2))
