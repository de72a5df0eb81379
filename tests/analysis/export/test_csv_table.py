from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.export.base import Subject
from analysis.export.csv_table import COLUMNS, CsvTable
from quant_core.cost import weight_bits
from tests.analysis.export.test_json_assignment import LAYERS, plan


def errors(key: str, what: str) -> NDArray[np.float64]:
    found = np.full(len(LAYERS), np.nan)
    if key == "nf4":
        found[1] = 0.25 if what == "value" else 0.125
    return found


def written(subject: Subject, path: Path) -> list[dict[str, str]]:
    updates = list(CsvTable().run(subject, path))
    assert len(updates) >= 2
    assert updates[-1].done == updates[-1].total
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_one_row_per_layer_then_sites(tmp_path: Path) -> None:
    rows = written(Subject(plan()), tmp_path / "a.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == [
        "encoder.0",
        "encoder.1",
        "head",
        "encoder.0:softmax",
    ]
    assert rows[0]["weight_scheme"] == "int4/group(32)/percentile(99.9)"
    assert rows[0]["input_scheme"] == "uint8/tensor"
    assert rows[2]["weight_scheme"] == ""
    assert rows[3]["input_scheme"] == "fp8_e4m3/token"
    assert [row["locked"] for row in rows[:3]] == ["0", "1", "0"]


def test_sizes_are_those_of_the_cost_model(tmp_path: Path) -> None:
    assignment = plan()
    rows = written(Subject(assignment), tmp_path / "a.csv")
    for index, layer in enumerate(LAYERS):
        bits = weight_bits(layer, assignment.scheme_of(index))
        assert int(rows[index]["size_bytes"]) == math.ceil(bits / 8)
    total = sum(int(row["size_bytes"]) for row in rows[:3])
    assert total == assignment.totals().bytes


def test_errors_are_those_of_the_chosen_scheme(tmp_path: Path) -> None:
    rows = written(Subject(plan(), errors=errors, unit="nats"), tmp_path / "a.csv")
    assert rows[0]["predicted_error"] == ""
    assert (rows[1]["predicted_error"], rows[1]["predicted_error_stderr"]) == (
        "0.25",
        "0.125",
    )
    # A layer that stays float moves nothing.
    assert rows[2]["predicted_error"] == "0"
    assert rows[1]["predicted_error_unit"] == "nats"
