"""The positions at which the input of a layer is largest: tokens, pixels, samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.models.kept import INPUT
from app.widgets.data_table import Table
from app.widgets.format import significant

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.sites import Layer

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class TopPositions:
    """What was kept of the leading positions of one layer's input.

    Attributes:
        values: The value of largest magnitude at each, largest magnitude first.
        channels: The channel it is in.
        samples: The calibration sample it is of, counted from 0.
        places: `[listed, axes]` where in the sample, counted from 0; no axes when a
            sample has one position.
        axes: What the axes are called.
        tokens: The vocabulary's entry at each; empty without a vocabulary.
    """

    values: NDArray[np.float32]
    channels: Numbers
    samples: Numbers
    places: Numbers
    axes: tuple[str, ...]
    tokens: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """What the positions are."""
        if self.tokens:
            return "tokens"
        return "positions" if self.axes else "samples"

    def table(self) -> Table:
        """Return all of them, one per row."""
        titles = ["token"] * bool(self.tokens)
        titles += ["value", "channel", "sample", *self.axes]
        columns: list[list[object]] = [list(self.tokens)] if self.tokens else []
        columns += [self.values.tolist(), self.channels.tolist()]
        columns += [self.samples.tolist(), *self.places.T.tolist()]
        return Table(tuple(titles), tuple(columns))

    def describe(self, row: int) -> str:
        """Return one of them as a phrase: the value, and where it is."""
        parts = [significant(float(self.values[row]))]
        if self.tokens:
            parts.append(f"token {self.tokens[row]}")
        where = [("channel", self.channels[row]), ("sample", self.samples[row])]
        where += zip(self.axes, self.places[row], strict=True)
        return ", ".join(parts + [f"{name} {place}" for name, place in where])


def kept_positions(project: Project, layer: Layer) -> TopPositions | None:
    """Return the leading positions of a layer's input, None when none were kept."""
    names = ("values", "channels", "numbers", "shape")
    prefix = f"{INPUT}/{layer.name}/position_"
    kept = [project.array(prefix + name) for name in names]
    found = [array for array in kept if array is not None]
    if len(found) < len(names) or not len(found[0]):
        return None
    values, channels, numbers, shape = found
    sizes = tuple(int(n) for n in shape)
    sample, place = np.divmod(numbers.astype(np.int64), math.prod(sizes))
    at = np.unravel_index(place, sizes) if sizes else ()
    texts = project.array(prefix + "tokens")
    return TopPositions(
        values.astype(np.float32),
        channels.astype(np.int64),
        sample,
        np.array(at, np.int64).reshape(len(sizes), len(values)).T,
        _axes(layer.kind, len(sizes)),
        () if texts is None else tuple(map(str, texts)),
    )


def _axes(kind: str, count: int) -> tuple[str, ...]:
    if count == 1:
        return ("position",)
    if count == 2 and kind.startswith("conv"):
        return ("row", "column")
    return tuple(f"position {i + 1}" for i in range(count))
