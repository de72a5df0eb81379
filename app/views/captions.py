"""The sentences under a plot's title: what is shown, and on how much data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app.models.level_grid import SHARED
from app.widgets.format import significant

if TYPE_CHECKING:
    from analysis.project import RunInfo
    from app.models.level_grid import LevelGrid
    from quant_core.scheme import Scheme

_STATUS = {
    "running": "Still running: {percent:.0f} % done.",
    "cancelled": "Cancelled at {percent:.0f} %.",
    "failed": "Failed at {percent:.0f} %; what was finished is shown.",
    "interrupted": "Interrupted at {percent:.0f} %; it can be resumed.",
}


def run_caption(run: RunInfo | None, unit: str) -> str:
    """Return unit, samples, state of the other layers and status of a run."""
    if run is None:
        return ""
    parts = [f"Unit: {unit}" if unit else "No unit"]
    if run.better in ("lower", "higher"):
        parts[0] += f", {run.better} is better"
    if run.samples:
        plural = "" if run.samples == 1 else "s"
        parts.append(f"{run.samples:,} calibration sample{plural}")
    if run.state:
        parts.append(f"other layers {run.state}")
    text = " · ".join(parts) + "."
    percent = 100 * run.done / run.total if run.total else 0.0
    note = _STATUS.get(run.status, "").format(percent=percent)
    return f"{text} {note}".rstrip()


def grid_caption(scheme: Scheme, grid: LevelGrid, *, by_hand: bool = False) -> str:
    """Return how many levels a scheme has, how far apart, and what they cost.

    Args:
        scheme: The scheme.
        grid: Its levels.
        by_hand: Whether a person chose the range, one for the whole tensor.
    """
    name = f"{scheme.format} in a range by hand" if by_hand else scheme.key
    text = f"{name}: {len(grid.levels)} levels"
    text += f", step {significant(grid.step)}"
    if grid.channel != SHARED:
        low, high = map(significant, grid.steps)
        text += f" in channel {grid.channel} ({low} to {high} over the channels)"
    if math.isfinite(grid.zeroed):
        text += f", {100 * grid.zeroed:.1f} % become zero"
        text += f", {100 * grid.clipped:.2f} % are clipped"
    return text
