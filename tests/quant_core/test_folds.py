"""Patches of a block against slow truths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quant_core.folds import folds_of

SHAPES = [
    (1, 1, 1),
    (7, 3, 1),
    (2000, 6, 1),
    (2003, 17, 1),
    (40, 5, 9),
    (501, 24, 64),
    (3, 4, 1536),
    (5, 2, 257),
    (1, 3, 20),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_patches_hold_every_value_once(shape: tuple[int, int, int]) -> None:
    rows, channels, inner = shape
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    flat, memory = x.view(-1), torch.empty(x.numel())
    seen = np.zeros((rows * inner, channels), np.int64)
    by_position = x.movedim(1, -1).reshape(-1, channels).numpy()
    totals = np.zeros(3)
    for fold in folds_of(*shape):
        patches = fold.reduced(flat, memory)
        totals += patches.total, patches.cubes, patches.fourths
        size = patches.low.size
        values = fold.select(flat, np.arange(size))
        g1, channel, g2 = np.unravel_index(np.arange(size), fold.shape)
        k = np.repeat(np.arange(fold.depth)[:, None], size, 1)
        positions = fold.positions(k, g1, g2)
        np.testing.assert_array_equal(values, by_position[positions, channel])
        np.add.at(seen, (positions, channel), 1)
        np.testing.assert_array_equal(patches.low.ravel(), values.min(0))
        np.testing.assert_array_equal(patches.high.ravel(), values.max(0))
        energy = (values.astype(np.float64) ** 2).sum(0)
        np.testing.assert_allclose(patches.squares.ravel(), energy, rtol=1e-5)
    assert (seen == 1).all()
    wide = flat.double()
    truth = [float((wide**power).sum()) for power in (1, 3, 4)]
    np.testing.assert_allclose(totals, truth, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_position_lies_in_two_groups(shape: tuple[int, int, int]) -> None:
    rows, _, inner = shape
    found: list[int] = []
    for fold in folds_of(*shape):
        k, g1, g2 = np.indices((fold.depth, fold.shape[0], fold.shape[2]))
        found += fold.positions(k, g1, g2).ravel().tolist()
    assert sorted(found) == list(range(rows * inner))


def test_large_blocks_have_groups_enough_to_find_positions() -> None:
    for shape in [(8500, 64, 1), (34000, 17, 1), (500, 24, 64), (2, 8, 50176)]:
        main = folds_of(*shape)[0]
        assert main.shape[0] * main.shape[2] >= 32
        assert main.depth >= 16
