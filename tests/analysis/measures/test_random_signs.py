"""Signs of probes: random each, orthogonal together, the same in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.measures.random_signs import probe_signs, sample_signs


def signs(samples: int, size: int, probes: int, first: int = 0) -> torch.Tensor:
    """Return `[K, N, size]`."""
    like = torch.zeros(samples, size)
    return torch.stack(
        [probe_signs(like, first=first, seed=3, probe=k) for k in range(probes)]
    )


@pytest.mark.parametrize(
    ("size", "probes"), [(1, 1), (2, 2), (10, 16), (16, 16), (64, 64), (33, 128)]
)
def test_a_basis_gives_the_identity_exactly(size: int, probes: int) -> None:
    u = signs(3, size, probes)
    for sample in range(3):
        covariance = u[:, sample].T @ u[:, sample] / probes
        assert torch.equal(covariance, torch.eye(size))


@pytest.mark.parametrize("size", [100, 1000])
def test_larger_outputs_get_as_much_noise_as_independent_signs_give(size: int) -> None:
    """Of two elements in 16 columns, the mean over 16 probes has variance 1 if both
    are in the same column, else none: about 1/16, at any distance."""
    u = signs(200, size, 16)
    for apart in (1, 16, 64, 99):
        products = (u[:, :, apart:] * u[:, :, :-apart]).mean(0)
        assert abs(float(products.mean())) < 0.02
    pairs = np.random.default_rng(0).integers(0, size, (2, 4000))
    pairs = pairs[:, pairs[0] != pairs[1]]
    products = (u[:, :, pairs[0]] * u[:, :, pairs[1]]).mean(0)
    same = (size / 16 - 1) / (size - 1)
    assert same <= 1 / 16
    assert float(products.square().mean()) == pytest.approx(same, rel=0.15)


def test_the_first_probe_is_that_of_independent_signs() -> None:
    like = torch.zeros(4, 5, 6)
    u = probe_signs(like, first=7, seed=1, probe=0)
    assert torch.equal(u, sample_signs(like, first=7, seed=1, probe=0))


def test_batches_draw_what_the_whole_draws() -> None:
    whole = signs(8, 20, 5)
    parts = [signs(5, 20, 5), signs(3, 20, 5, first=5)]
    assert torch.equal(whole, torch.cat(parts, 1))
    assert set(whole.unique().tolist()) == {-1.0, 1.0}
