"""Walking over large matrices in pieces that fit the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CPU_TILE = 1 << 15
"""Elements per tile: 128 KiB in float32, so that the input, the output and one
temporary stay in the second-level cache, while the cost of a torch call (about a
microsecond) is spread over enough elements. It is also the most that torch handles
without waking its other threads, and waiting for them costs more than they save."""
OTHER_TILE = 1 << 25
"""Elements per tile on an accelerator, where launches are dear and memory is fast."""


def tiles(matrix: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield the row and column ranges that cover `matrix`, `[rows, columns]`."""
    size = CPU_TILE if matrix.device.type == "cpu" else OTHER_TILE
    rows, columns = matrix.shape
    height = max(1, size // columns)
    width = columns if columns <= size else size
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, min(top + height, rows)), slice(left, left + width)
