"""The plots of the report: errors, trade-off, distributions of the worst layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.report.svg import ACCENT, INK, MARK, Axes, heatmap, text_of
from analysis.search.front import front
from analysis.search.table import table_from_project

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

Floats = NDArray[np.float64]
MEASURE = "predicted_error"
HEAT_ROWS = 200
"""Layers in the picture of errors; of more, those with the largest errors."""
FRONT_POINTS = 400
WORST = 6
"""Layers whose distributions are shown."""
BINS = 160
_SMALL = (420.0, 200.0)


def errors(project: Project) -> str:
    """Return the picture of predicted errors, layer by format; "" before there are."""
    run = project.latest_run(MEASURE)
    keys = project.formats(MEASURE)
    if run is None or not keys:
        return ""
    values = np.stack([project.values(MEASURE, key) for key in keys], 1)
    known = np.flatnonzero(np.isfinite(values).any(1))
    note = ""
    if len(known) > HEAT_ROWS:
        largest = np.argsort(-np.nansum(values[known], 1), kind="stable")[:HEAT_ROWS]
        note = f"The {HEAT_ROWS} of {len(known):,} layers with the largest errors. "
        known = np.sort(known[largest])
    names = [project.info.layers[i].name for i in known]
    title = f"Predicted error of each layer alone [{run.unit}]"
    shown = heatmap(names, keys, values[known], run.unit, title)
    caption = (
        f"{note}Each layer alone in each format, other layers float; unit {run.unit}, "
        f"lower is better; {run.samples:,} samples. "
        "Blank: not analysed, or without any effect."
    )
    return f'<div class="wide">{shown}</div><p class="muted">{text_of(caption)}</p>'


def trade_off(project: Project, plan: Assignment, name: str) -> str:
    """Return size against error with the front; "" before there is one."""
    run = project.latest_run(MEASURE)
    if run is None or not project.formats(MEASURE):
        return ""
    try:
        line = front(table_from_project(project, base=plan))
    except AnalysisError as refusal:  # locks or target leave no choice
        return f'<p class="muted">{text_of(refusal)}</p>'
    few = np.unique(np.linspace(0, len(line.bits) - 1, FRONT_POINTS).astype(int))
    size, cost = line.bits[few] / 8e6, line.cost[few]
    marks = [(name or "this assignment", *_point(project, plan), MARK)]
    marks += [
        (kept, *_point(project, assignment), INK)
        for kept, assignment in project.assignments.items()
        if assignment.digest != plan.digest
    ]
    heights = np.array([*cost, *(error for _, _, error, _ in marks)])
    heights = heights[heights > 0]
    if not len(heights):
        return ""
    across = [*size, *(x for _, x, _, _ in marks)]
    axes = Axes(
        (min(across), max(across)),
        (float(heights.min()), float(heights.max())),
        "Size of all weights [MB]",
        f"Predicted error, summed over layers [{run.unit}]",
    )
    positive = cost > 0
    axes.line(size[positive].tolist(), cost[positive].tolist(), ACCENT)
    for told, x, error, fill in marks:
        axes.mark(x, error, told, fill)
    caption = (
        "Line: the best that any mixture of the analysed formats reaches at each size, "
        "within ties, locks and target. An error of 0 lies on the lower edge."
    )
    shown = axes.svg("Size against predicted error")
    return f'{shown}<p class="muted">{text_of(caption)}</p>'


def _point(project: Project, plan: Assignment) -> tuple[float, float]:
    """Return size [MB] and additive error of a plan's weights, inputs float."""
    plan = plan.with_input(range(len(plan)), None)
    for site in tuple(plan.sites):
        plan = plan.with_site(site, None)
    found = project.predict(plan)
    return plan.totals().bytes / 1e6, 0.0 if found is None else found.additive


def distributions(project: Project, layers: list[int]) -> str:
    """Return histograms of the weights and inputs of layers."""
    shown = []
    for index in layers:
        name = project.info.layers[index].name
        plots = [
            _histogram(project, measure, name, what)
            for measure, what in (("weights", "weight"), ("activations", "input"))
        ]
        if any(plots):
            body = "".join(plots)
            shown.append(f'<h3>{text_of(name)}</h3><div class="row">{body}</div>')
    return "".join(shown)


def _histogram(project: Project, measure: str, name: str, what: str) -> str:
    counts = project.array(f"{measure}/{name}/hist_counts")
    edges = project.array(f"{measure}/{name}/hist_edges")
    if counts is None or edges is None or not counts.sum():
        return ""
    heights, edges = _fewer(counts.astype(float), edges.astype(float))
    positive = heights[heights > 0]
    axes = Axes(
        (float(edges[0]), float(edges[-1])),
        # A bin of one value must stand above the lower edge.
        (float(positive.min()) / 2, float(positive.max())),
        f"Value of the {what}",
        "Values per bin",
        _SMALL,
    )
    told = f"{what} of {name}: {int(counts.sum()):,} values"
    axes.bars(edges, heights, told)
    return axes.svg(told)


def _fewer(counts: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Return a histogram of `BINS` bins at most, empty ends cut off."""
    filled = np.flatnonzero(counts)
    first, last = int(filled[0]), int(filled[-1]) + 1
    counts, edges = counts[first:last], edges[first : last + 1]
    group = -(-len(counts) // BINS)
    starts = np.arange(0, len(counts), group)
    ends = np.append(edges[starts], edges[-1])
    return np.add.reduceat(counts, starts), ends
