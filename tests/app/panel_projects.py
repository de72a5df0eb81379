"""Projects with made-up results, for the tests of the plot panels."""

from __future__ import annotations

import numpy as np

from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from quant_core.scheme import parse_scheme
from quant_core.sites import Layer

KEYS = ("int2", "int3", "int4", "int4/group(64)", "nf4", "int6", "int8", "fp8_e4m3")
_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)


def make_info(
    layers: int, ties: tuple[tuple[int, ...], ...] = (), side: int = 128
) -> ModelInfo:
    """Return an encoder's layer names with square weights."""
    names = [f"encoder.layer.{i // 6}.{_PARTS[i % 6]}" for i in range(layers)]
    table = tuple(
        Layer(name, f"{name}.weight", "linear", (side, side), "float32")
        for name in names
    )
    return ModelInfo("encoder", "made-up", "0123abcd", table, ties=ties)


def make_errors(layers: int, keys: tuple[str, ...] = KEYS) -> np.ndarray:
    """Return log-normal errors `[layers, keys]` that fall fourfold per bit."""
    rng = np.random.default_rng(0)
    base = 10 ** rng.normal(-3.2, 0.6, layers)
    bits = np.array([parse_scheme(key).bits for key in keys])
    spread = 10 ** rng.normal(0, 0.1, (layers, len(keys)))
    return base[:, None] * 4.0 ** (4 - bits) * spread


def add_errors(
    project: Project,
    values: np.ndarray,
    keys: tuple[str, ...] = KEYS,
    *,
    share: float = 0.1,
    end: bool = True,
) -> int:
    """Record a run of the predicted error; NaN cells are left out."""
    run = project.begin_run(
        "predicted_error", unit="relative squared error", samples=64, total=1.0
    )
    rows = tuple(
        Row(layer.name, key, float(values[i, j]), share * float(values[i, j]))
        for i, layer in enumerate(project.info.layers)
        for j, key in enumerate(keys)
        if np.isfinite(values[i, j])
    )
    project.apply(run, Update(1.0, 1.0, rows=rows, samples=64))
    if end:
        project.end_run(run)
    return run


def analysed(layers: int, **options: object) -> Project:
    """Return a project whose every layer has an error in every format."""
    project = Project.create(make_info(layers, **options))
    add_errors(project, make_errors(layers))
    return project


def histogram(x: np.ndarray, bins: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and edges with zero among the edges, as measures keep them."""
    width = 2.0 ** np.ceil(np.log2(np.abs(x).max() / (bins // 2)))
    first, last = np.floor(x.min() / width), np.floor(x.max() / width) + 1
    edges = np.arange(first, last + 1) * width
    return np.histogram(x, edges)[0].astype(np.int64), edges


def add_distribution(
    project: Project,
    measure: str,
    name: str,
    x: np.ndarray,
    axis: int,
    binned: int | None = None,
) -> None:
    """Record a tensor's `distribution` as a run of its own."""
    run = project.begin_run(measure, samples=32 if measure == "activations" else 0)
    kept = distribution(measure, name, x, axis, binned)
    row = Row(name, None, 3.0, quantity="kurtosis")
    project.apply(run, Update(1.0, 1.0, rows=(row,), arrays=kept, samples=32))
    project.end_run(run)


def distribution(
    measure: str, name: str, x: np.ndarray, axis: int, binned: int | None = None
) -> dict[str, np.ndarray]:
    """Return the histogram (of `binned` values) and the channel ranges of a tensor."""
    counts, edges = histogram(x)
    low, high = x.min(axis=1 - axis), x.max(axis=1 - axis)
    arrays = {
        "hist_counts": counts,
        "hist_edges": edges,
        "channel_min": low.astype(np.float32),
        "channel_max": high.astype(np.float32),
    }
    if measure == "activations":
        extent = np.maximum(np.abs(low), np.abs(high))
        top = np.argsort(-extent)[:4]
        arrays["top_channels"] = top.astype(np.int64)
        arrays["top_absmax"] = extent[top].astype(np.float32)
        arrays["hist_binned"] = np.array([x.size if binned is None else binned])
    return {f"{measure}/{name}/{key}": array for key, array in arrays.items()}
