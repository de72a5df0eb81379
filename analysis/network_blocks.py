"""The repeating parts of a network, by the names of its layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK_ERROR = "block_error"
"""Key of the measure that quantizes subsets of blocks."""

_BLOCK = re.compile(r"(?:[^.]*\.)*?\d+(?=\.|$)")


def block_of(name: str) -> str:
    """Return a module path up to its first number, else its parent.

    Example:
        >>> block_of("encoder.layer.3.output.dense")
        'encoder.layer.3'
        >>> block_of("embeddings.word_embeddings")
        'embeddings'
    """
    numbered = _BLOCK.match(name)
    return numbered[0] if numbered else name.rpartition(".")[0] or name


def split(names: Sequence[str], most: int) -> list[list[int]]:
    """Return the places of names by block, in order; long blocks are cut.

    Args:
        names: Of layers.
        most: Layers of a part at most.

    Example:
        >>> split(["emb", "h.0.q", "h.0.k", "h.1.q", "h.0.v"], 2)
        [[0], [1, 2], [4], [3]]
    """
    blocks: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        blocks.setdefault(block_of(name), []).append(place)
    return [
        found[first : first + most]
        for found in blocks.values()
        for first in range(0, len(found), most)
    ]


def block_arrays(
    number: int, layers: Sequence[int], cost: Floats
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays that keep the costs of a block.

    Args:
        number: Of the block.
        layers: Indices of its n layers.
        cost: `[2^n]`, entry m for the subset whose layer k is in it when bit k is set.
    """
    return {
        f"{BLOCK_ERROR}/{number}/layers": np.array(layers, np.int32),
        f"{BLOCK_ERROR}/{number}/cost": cost.copy(),
    }


def blocks_of(
    arrays: Mapping[str, NDArray[np.generic]],
) -> list[tuple[list[int], Floats]]:
    """Return layers and costs of the blocks that were measured to the end."""
    found: list[tuple[list[int], Floats]] = []
    while f"{BLOCK_ERROR}/{len(found)}/cost" in arrays:
        name = f"{BLOCK_ERROR}/{len(found)}"
        layers = np.asarray(arrays[f"{name}/layers"], np.int64).tolist()
        found.append((layers, np.asarray(arrays[f"{name}/cost"], np.float64)))
    return found
