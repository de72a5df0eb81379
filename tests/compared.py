"""A project that several measures have judged, for tests of their comparison."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from quant_core.sites import Layer

KEYS = ("int2", "int4")


def layers_info(layers: int) -> ModelInfo:
    """Return a model of square layers called block.0, block.1 ..."""
    names = [f"block.{i}" for i in range(layers)]
    listed = tuple(
        Layer(name, f"{name}.weight", "linear", (8, 8), "float32") for name in names
    )
    return ModelInfo("made-up", "tests:made-up", "c" * 64, listed)


def add_run(
    project: Project,
    measure: str,
    columns: Mapping[tuple[str, str | None], NDArray[np.float64]],
    *,
    unit: str = "nats",
    share: float = 0.1,
    arrays: Mapping[str, NDArray] | None = None,
    **meta: object,
) -> int:
    """Record numbers `[layers]` by quantity and format; NaN is left out."""
    run = project.begin_run(measure, unit=unit, samples=32, total=1.0, **meta)
    names = [layer.name for layer in project.info.layers]
    rows = tuple(
        Row(names[i], key, float(value), abs(share * float(value)), quantity)
        for (quantity, key), values in columns.items()
        for i, value in enumerate(values)
        if not np.isnan(value)
    )
    kept = dict(arrays or {})
    project.apply(run, Update(1.0, 1.0, rows=rows, arrays=kept, samples=32))
    project.end_run(run)
    return run


def truth(layers: int) -> NDArray[np.float64]:
    """Return errors of the layers that fall with their number."""
    return 10.0 ** -np.linspace(1.0, 4.0, max(layers, 1))[:layers]


def compared(layers: int) -> Project:
    """Return a project with an exact, a fair, a blind and a reversed measure.

    `predicted_error` is twice the measured error, `hessian` swaps neighbours, and the
    SQNR of `weights` falls as the error grows, so that it orders perfectly too.
    """
    project = Project.create(layers_info(layers))
    if not layers:
        return project
    error = truth(layers)
    swapped = error.copy()
    even = layers // 2 * 2
    swapped[:even] = error[:even].reshape(-1, 2)[:, ::-1].ravel()
    scale = {"int2": 16.0, "int4": 1.0}
    by_key = {("error", key): scale[key] * error for key in KEYS}
    add_run(project, "weights", {("sqnr", key): -np.log10(error) for key in KEYS},
            unit="dB", better="higher")  # fmt: skip
    add_run(project, "predicted_error", {k: 2 * x for k, x in by_key.items()})
    add_run(
        project,
        "hessian",
        {("trace", None): swapped} | {("hawq_v2", k): swapped for k in KEYS},
    )
    seconds = {"measured_error/forward_seconds": np.array([0.5])}
    add_run(project, "measured_error", by_key, arrays=seconds)
    return project
