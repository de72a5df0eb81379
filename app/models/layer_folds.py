"""Which layer stands in which row of the layer table, folded blocks included."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def _nothing() -> Indices:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of layers; a folded block is one row, where its first layer would be.

    Attributes:
        listed: `[n]` layers that the filter shows, from the top, folded or not.
        place: `[layers]` place of each layer in `listed`, -1 when filtered out.
        order: `[rows]` the layer of each row; of a folded block the first.
        row: `[layers]` row of each layer, that of its block when folded; -1 when
            filtered out.
        folded: `[rows]` which rows stand for several layers; None when none does.
        grouped: `[n]` the layers of `listed` row by row; not read without folds.
        starts: `[rows + 1]` where each row begins in `grouped`.
    """

    listed: Indices
    place: Indices
    order: Indices
    row: Indices
    folded: NDArray[np.bool_] | None = None
    grouped: Indices = field(default_factory=_nothing)
    starts: Indices = field(default_factory=_nothing)

    @classmethod
    def of(
        cls, listed: Indices, blocks: Indices, folded: NDArray[np.bool_] | None
    ) -> Rows:
        """Return the rows of layers.

        Args:
            listed: Layers that the filter shows, in the order asked for.
            blocks: `[layers]` number of each layer's block; not read without folds.
            folded: `[blocks]` which are folded; None for none.
        """
        total = len(blocks)
        place = np.full(total, -1, dtype=np.int64)
        place[listed] = np.arange(len(listed))
        if folded is None or not folded.any():
            return cls(listed, place, listed, place)
        mine = blocks[listed]
        starts, counts = np.unique(mine, return_index=True, return_counts=True)[1:]
        # A block of which the filter leaves one layer is that layer.
        is_one_row = folded & False
        is_one_row[mine[starts]] = folded[mine[starts]] & (counts > 1)
        is_shown = ~is_one_row[mine]
        is_shown[starts] = True
        order = listed[is_shown]
        numbers = np.cumsum(is_shown) - 1
        first = np.zeros(len(folded), dtype=np.int64)
        first[mine[starts]] = numbers[starts]
        row = np.full(total, -1, dtype=np.int64)
        row[listed] = np.where(is_one_row[mine], first[mine], numbers)
        rows = row[listed]
        grouped = listed[np.argsort(rows, kind="stable")]
        begins = np.append(0, np.cumsum(np.bincount(rows, minlength=len(order))))
        is_block = is_one_row[mine[is_shown]]
        return cls(listed, place, order, row, is_block, grouped, begins)

    def members(self, row: int) -> Indices:
        """Return the layers of one row, from the top."""
        if self.folded is None:
            return self.order[row : row + 1]
        return self.grouped[self.starts[row] : self.starts[row + 1]]

    def layers_at(self, rows: Indices) -> Indices:
        """Return the layers of rows, from the top; all of a folded block."""
        if self.folded is None:
            return self.order[rows]
        chosen = np.zeros(len(self.order), dtype=np.bool_)
        chosen[rows] = True
        return self.listed[chosen[self.row[self.listed]]]

    def is_folded(self, row: int) -> bool:
        """Return whether a row stands for several layers."""
        return self.folded is not None and bool(self.folded[row])

    def cut(self, layers: Indices) -> Indices:
        """Return one layer of each folded block of which only some are given."""
        if self.folded is None:
            return np.zeros(0, dtype=np.int64)
        rows = self.row[layers[layers < len(self.row)]]
        given = np.bincount(rows[rows >= 0], minlength=len(self.order))
        every = np.bincount(self.row[self.listed], minlength=len(self.order))
        return self.order[self.folded & (given > 0) & (given < every)]
