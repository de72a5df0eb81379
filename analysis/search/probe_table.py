"""The kept probe projections beside a cost table: what layers do to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.prediction import outputs_of
from analysis.search.objective import Objective
from analysis.search.problem import MEASURE, CostTable, Floats, Probes
from analysis.search.setup import Setup

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme

Columns = dict[tuple[str, str, str], int]

_PARTS = ("input", "output")


def with_probes(
    project: Project, setup: Setup, table: CostTable, base: Assignment | None = None
) -> CostTable:
    """Return the table with the projections its errors were made of.

    Args:
        project: Must hold a run of predicted_error that kept them.
        setup: The objective must be predicted error alone.
        table: Of this project and setup.
        base: Assignment whose inputs stay unless inputs are chosen; the current one
            if None.

    Raises:
        AnalysisError: another objective, or no projections were kept.
    """
    if setup.objective != Objective.parse(MEASURE):
        raise AnalysisError(
            "Interactions between layers are known for the predicted error only.",
            value=str(setup.objective),
            allowed=MEASURE,
        )
    wanted = setup.runs.get(MEASURE)
    run = project.latest_run(MEASURE) if wanted is None else None
    number = run.id if run is not None else wanted
    arrays = {} if number is None else project.run_arrays(number)
    v = arrays.get(f"{MEASURE}/v")
    if v is None:
        raise AnalysisError(
            "The projections of the predicted error were not kept.",
            hint="Run predicted_error again with fewer samples, probes or formats: "
            "they are dropped when they grow too large. The search `exact` does "
            "without them.",
        )
    told = np.asarray(arrays[f"{MEASURE}/columns"], dtype=np.str_).tolist()
    columns: Columns = {(p, t, k): i for i, (p, t, k) in enumerate(told)}
    now = project.assignment if base is None else base
    projections = np.asarray(v, dtype=np.float32)
    _, cluster = np.unique(arrays[f"{MEASURE}/sample"], return_inverse=True)
    probes = Probes(
        projections,
        np.asarray(arrays[f"{MEASURE}/weight"], dtype=np.float64),
        cluster.astype(np.int64),
        _columns_of(table, columns),
        _kept(table, columns, projections, now),
        outputs=outputs_of(arrays),
    )
    return replace(table, probes=probes)


def _columns_of(table: CostTable, columns: Columns) -> NDArray[np.int64]:
    """Return `[R, P, 2]` columns of the weight and of the input, -1 for none."""

    def number(parts: Sequence[str], name: str, scheme: Scheme | None) -> int:
        if scheme is None:
            return -1
        found = (columns.get((part, name, scheme.key), -1) for part in parts)
        return max(found, default=-1)

    count = len(table.layers)
    at = np.full((*table.cost.shape, 2), -1, dtype=np.int64)
    for i, layer in enumerate(table.layers):
        for p, scheme in enumerate(table.palette):
            at[i, p, 0] = number(("weight",), layer.name, scheme)
    inputs = table.inputs or ()
    for p, scheme in enumerate(inputs):
        for i, layer in enumerate(table.layers):
            at[i, p, 1] = number(("input",), layer.name, scheme)
        for i, site in enumerate(table.sites, start=count):
            at[i, p, 1] = number(_PARTS, site, scheme)
    return at


def _kept(
    table: CostTable,
    columns: Columns,
    projections: NDArray[np.float32],
    now: Assignment,
) -> Floats:
    """Return `[rows]` the sum of what the search does not choose."""
    used: list[int] = []
    if table.inputs is None:
        for i, layer in enumerate(now.layers):
            scheme = now.input_of(i)
            if scheme is not None:
                used.append(columns.get(("input", layer.name, scheme.key), -1))
    for site, scheme in now.sites.items():
        if site not in table.sites:
            found = (columns.get((p, site, scheme.key), -1) for p in _PARTS)
            used.append(max(found))
    chosen = [column for column in used if column >= 0]
    return np.asarray(projections[:, chosen].sum(1, dtype=np.float64))
