"""What a project keeps of a tensor's distribution, ready for the plot panels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from app.models.level_grid import Distribution

if TYPE_CHECKING:
    from analysis.project import Project

WEIGHTS, INPUT = "weights", "activations"
SOURCES = {WEIGHTS: "Weights", INPUT: "Input activations"}
"""Measures that keep distributions -> what the window calls them."""
OUTLIERS = 8
"""Outlier channels marked in a plot."""
_WORDS = re.compile(r"[\s,:]+")


def kept_distribution(project: Project, source: str, name: str) -> Distribution | None:
    """Return what was kept of a layer's tensor, None when something is missing.

    Args:
        project: Where it is kept.
        source: `WEIGHTS` or `INPUT`.
        name: Name of the layer.
    """
    parts = ("hist_counts", "hist_edges", "channel_min", "channel_max")
    found = [project.array(f"{source}/{name}/{part}") for part in parts]
    arrays = [array for array in found if array is not None and len(array)]
    if len(arrays) < len(parts):
        return None
    counts, edges, low, high = arrays
    top = project.array(f"{source}/{name}/top_channels")
    binned = project.array(f"{source}/{name}/hist_binned")
    return Distribution(
        counts=np.asarray(counts, dtype=np.int64),
        edges=np.asarray(edges, dtype=np.float64),
        low=np.asarray(low, dtype=np.float64),
        high=np.asarray(high, dtype=np.float64),
        top_channels=np.zeros(0, np.int64) if top is None else top[:OUTLIERS],
        binned=None if binned is None else int(binned.item()),
    )


def why_missing(project: Project, source: str, name: str) -> tuple[str, str]:
    """Return title and text of an empty state: what is missing and the first step."""
    run = project.latest_run(source)
    what = "weight statistics" if source == WEIGHTS else "activations"
    need = "Analyse" if source == WEIGHTS else "Choose calibration data and analyse"
    text = (
        f"{need} the model to see how the values of {name} are "
        "spread and where its levels would lie."
    )
    if run is not None and run.status == "running":
        text = f"The running job has not reached {name} yet."
    elif run is not None:
        own = [text for text in run.warnings if name in _WORDS.split(text)]
        if own:
            return f"No {what}", " ".join(own)
        text = f"The last run kept nothing for {name}: see its warnings under Jobs."
    return f"No {what} yet", text
