"""Projects whose every number is chosen, so that the right finding is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from quant_core.sites import Layer

ROWS = 1024
Errors = Mapping[tuple[str, str], Sequence[float]]
"""(part, scheme key) -> predicted error of every layer."""


def info(layers: int, ties: tuple[tuple[int, ...], ...] = ()) -> ModelInfo:
    """Return a model of linear layers `l0`, `l1` ... of 16 x 32 weights."""
    listed = tuple(
        Layer(f"l{i}", f"l{i}.weight", "linear", (16, 32), "float32")
        for i in range(layers)
    )
    return ModelInfo("made", "tests:made", "d" * 64, listed, ties=ties)


def hadamard(size: int) -> np.ndarray:
    """Return Sylvester's matrix of +-1 with orthogonal columns."""
    found = np.ones((1, 1))
    while len(found) < size:
        found = np.block([[found, found], [found, -found]])
    return found


def add_errors(
    project: Project,
    errors: Errors,
    *,
    samples: int = ROWS,
    stderr: float = 0.01,
    in_step: bool = False,
    **meta: object,
) -> int:
    """Record predicted errors with projections that give exactly these.

    Args:
        project: Where.
        errors: What.
        samples: What the run says it saw.
        stderr: Relative standard error of each row.
        in_step: Whether all layers move the output the same way, so that their
            errors reinforce each other; otherwise they do not interact.
        **meta: Further fields of the run.
    """
    names = [layer.name for layer in project.info.layers]
    signs = hadamard(ROWS)
    columns, v, rows = [], [], []
    for (part, key), values in errors.items():
        for i, value in enumerate(values):
            if not np.isfinite(value):
                continue
            # Column 0 is constant: it would favour one sign.
            sign = 1 if in_step else 1 + i + len(names) * (part == "input")
            columns.append((part, names[i], key))
            v.append(np.sqrt(value) * signs[:, sign])
            rows.append(Row(names[i], key, value, stderr * value, "error", part))
    arrays = {
        "predicted_error/v": np.array(v, np.float32).T,
        "predicted_error/weight": np.ones(ROWS),
        "predicted_error/sample": np.arange(ROWS),
        "predicted_error/columns": np.array(columns),
    }
    meta = {"data_source": "calibration", "data_digest": "1", **meta}
    run = project.begin_run(
        "predicted_error",
        unit="nats",
        samples=samples,
        params={"schemes": [key for part, key in errors if part == "weight"]},
        **meta,
    )
    project.apply(run, Update(1, 1, rows=tuple(rows), arrays=arrays, samples=samples))
    project.end_run(run)
    return run


def add_statistics(
    project: Project,
    measure: str,
    values: Mapping[str, Sequence[float]],
    ranges: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    **meta: object,
) -> int:
    """Record statistics of every layer's weights or inputs.

    Args:
        project: Where.
        measure: "weights" or "activations".
        values: Quantity -> one number per layer, NaN to leave one out.
        ranges: Name -> smallest and largest values of its channels.
        **meta: Further fields of the run.
    """
    part = "weight" if measure == "weights" else "input"
    rows = tuple(
        Row(layer.name, None, float(value), quantity=quantity, part=part)
        for quantity, numbers in values.items()
        for layer, value in zip(project.info.layers, numbers, strict=True)
        if np.isfinite(value)
    )
    arrays = {
        f"{measure}/{name}/channel_{end}": np.array(found, np.float32)
        for name, both in (ranges or {}).items()
        for end, found in zip(("min", "max"), both, strict=True)
    }
    run = project.begin_run(measure, **{"samples": 64, **meta})
    project.apply(run, Update(1, 1, rows=rows, arrays=arrays, samples=64))
    project.end_run(run)
    return run


def made(layers: int, errors: Errors | None = None, **options: object) -> Project:
    """Return a project of `layers` layers with predicted errors, when given."""
    project = Project.create(info(layers))
    if errors is not None:
        add_errors(project, errors, **options)
    return project
