"""What the one row of a folded block shows: sums, common values, ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.models.layer_cells import cell_text, is_muted
from app.models.layer_data import LayerData
from app.models.layer_roles import (
    BITS_ROLE,
    DISPLAY,
    INK,
    LAYER_ROLE,
    SPOKEN,
    TIP,
)
from app.widgets.format import DASH, count, integer, significant, size

MIXED = "mixed"
FOLDED = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
_TEXTS = ("bits", "kind", "shape", "block", "proposed")
_SUMS = ("size", "parameters", "error", "share", "error_share")

Indices = NDArray[np.int64]


class BlockCells:
    """Remembers what folded blocks show: one may have thousands of layers.

    Args:
        data: The layers; once their numbers change, another object is needed.
    """

    def __init__(self, data: LayerData) -> None:
        """Remember nothing yet."""
        self._data = data
        self._told: dict[tuple[int, str, int], object] = {}

    def tell(self, row: int, layers: Indices, key: str, role: int) -> object:
        """Return one aspect of a cell; of its ink, whether it is muted.

        Args:
            row: Of the block.
            layers: Of the block.
            key: Of the column.
            role: One of `app.models.layer_roles`.
        """
        if (row, key, role) not in self._told:
            self._told[row, key, role] = self._find(layers, key, role)
        return self._told[row, key, role]

    def _find(self, layers: Indices, key: str, role: int) -> object:
        data = self._data
        if role == DISPLAY:
            return block_text(data, layers, key)
        if role == INK:
            return all(is_muted(data, layer, key) for layer in layers.tolist())
        if role == BITS_ROLE:
            widths = np.unique(data.bits[layers])
            is_one = len(widths) == 1 and bool(data.scheme[layers].all())
            return float(widths[0]) if is_one else None
        if role in (TIP, SPOKEN):
            tell = block_tip if role == TIP else block_spoken
            return tell(data, layers, key)
        return int(layers[0]) if role == LAYER_ROLE else None


def block_text(data: LayerData, layers: Indices, key: str) -> str:
    """Return what a column shows of the layers of a folded block."""
    if key == "name":
        block = data.blocks[int(layers[0])]
        return f"{FOLDED} {block} ({integer(len(layers))})"
    if key in ("locked", "starred"):
        return key if getattr(data, key)[layers].all() else ""
    if key in _TEXTS:
        texts = {cell_text(data, layer, key) for layer in layers.tolist()}
        return texts.pop() if len(texts) == 1 else MIXED
    values = data.numbers(key)[layers]
    if key in _SUMS:
        return _sum_text(float(values.sum()), key)
    known = values[np.isfinite(values)]
    if not len(known):
        return DASH
    ends = [significant(float(end)) for end in (known.min(), known.max())]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} … {ends[1]}"


def _sum_text(total: float, key: str) -> str:
    if not np.isfinite(total):
        return DASH
    if key == "size":
        return size(total)
    if key == "parameters":
        return integer(int(total))
    return significant(total) if key == "error" else f"{total:.2f}"


def block_tip(data: LayerData, layers: Indices, key: str) -> str:
    """Return what a cell of a folded block says when the mouse rests on it."""
    what = "The layers' own errors added up" if key == "error" else "Added up"
    if key not in _SUMS:
        what = "What they have in common, or from the least to the largest"
    told = "" if key == "name" else f"\n{what}."
    return (
        f"{count(len(layers), 'layer')} of {data.blocks[int(layers[0])]}, folded.{told}"
        "\nWhat is done to this row is done to all of them."
    )


def block_spoken(data: LayerData, layers: Indices, key: str) -> str:
    """Return a cell of a folded block for a screen reader."""
    if key == "name":
        block = data.blocks[int(layers[0])]
        return f"{block}, folded, {count(len(layers), 'layer')}"
    if key in ("locked", "starred"):
        return f"{int(getattr(data, key)[layers].sum())} of {len(layers)} {key}"
    text = block_text(data, layers, key)
    return "not known" if text == DASH else text.replace("…", "to")
