"""Ranges of the channels of a layer, and how far each stands out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.models.kept import INPUT, OUTLIERS, WEIGHTS, kept_distribution
from app.models.level_grid import Distribution
from app.widgets.data_table import Table

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.sites import Layer

INPUTS = "weight_inputs"
SOURCES = {
    WEIGHTS: "Weights, output channels",
    INPUTS: "Weights, input channels",
    INPUT: "Input activations",
}
"""Channels that can be shown -> what the window calls them."""


@dataclass(frozen=True)
class ChannelRanges:
    """What was kept of the channels of one tensor.

    Attributes:
        data: The distribution; its `low` and `high` are those of the channels.
        squares: Sum of squares of each channel; None where it was not kept.
        hits: Positions of each channel with `|x|` at the outlier threshold or above;
            None for weights.
        positions: Positions looked at.
    """

    data: Distribution
    squares: NDArray[np.float64] | None = None
    hits: NDArray[np.int64] | None = None
    positions: int = 0

    @property
    def order(self) -> NDArray[np.int64]:
        """Channels by their largest magnitude, widest first."""
        return np.argsort(-self.data.extent, kind="stable")

    @property
    def median(self) -> float:
        """Median magnitude of the channels that are not all zero; 0 without any."""
        used = self.data.extent[self.data.extent > 0]
        return float(np.median(used)) if len(used) else 0.0

    @property
    def spread(self) -> float:
        """Largest over median channel magnitude, 1 when everything is zero."""
        median = self.median
        return float(self.data.extent.max()) / median if median else 1.0

    @property
    def titles(self) -> tuple[str, ...]:
        """Titles of the columns of `table`."""
        titles = ["channel", "smallest", "largest", "× median"]
        titles += ["share of energy [%]"] * (self.squares is not None)
        titles += ["outlier values", "positions [%]"] * (self.hits is not None)
        return tuple(titles)

    def table(self, channels: NDArray[np.int64]) -> Table:
        """Return ranges and shares of some channels, in the order given."""
        low, high = self.data.low[channels], self.data.high[channels]
        ratio = self.data.extent[channels] / (self.median or np.nan)
        columns: list[list[object]] = [
            channels.tolist(),
            low.tolist(),
            high.tolist(),
            ratio.tolist(),
        ]
        if self.squares is not None:
            total = float(self.squares.sum()) or np.nan
            columns.append((100 * self.squares[channels] / total).tolist())
        if self.hits is not None:
            hits = self.hits[channels]
            columns.append(hits.tolist())
            columns.append((100 * hits / max(self.positions, 1)).tolist())
        return Table(self.titles, tuple(columns))


def kept_ranges(project: Project, source: str, layer: Layer) -> ChannelRanges | None:
    """Return what was kept of the channels of a layer, None when it was not.

    Args:
        project: Where it is kept.
        source: A key of `SOURCES`.
        layer: The layer.
    """
    measure = INPUT if source == INPUT else WEIGHTS
    data = kept_distribution(project, measure, layer.name)
    if data is None:
        return None
    name = f"{measure}/{layer.name}"
    if source == WEIGHTS:
        squares = project.array(f"{name}/channel_squares")
        return ChannelRanges(_with_top(data), squares)
    if source == INPUTS:
        low, high = (project.array(f"{name}/input_{end}") for end in ("min", "max"))
        if low is None or high is None:
            return None
        data = replace(data, low=low.astype(np.float64), high=high.astype(np.float64))
        return ChannelRanges(_with_top(data), project.array(f"{name}/input_squares"))
    hits, positions = (
        project.array(f"{name}/{part}") for part in ("outlier_hits", "positions")
    )
    squares = project.array(f"{name}/channel_squares")
    if hits is None or positions is None:
        return ChannelRanges(data, squares)
    # Channels past the last one with an outlier are not listed.
    whole = np.zeros(len(data.low), np.int64)
    whole[: len(hits)] = hits[: len(whole)]
    return ChannelRanges(data, squares, whole, int(positions[0]))


def _with_top(data: Distribution) -> Distribution:
    """Return a distribution whose widest channels are marked."""
    order = np.argsort(-data.extent, kind="stable")[:OUTLIERS]
    return replace(data, top_channels=order)
