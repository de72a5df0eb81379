"""Batch-norms in evaluation keep their result to the bit, and their gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from analysis.measures.evaluating import evaluating
from analysis.measures.frozen_norms import FrozenNorms


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_frozen_norms_are_the_same_function(
    shape: tuple[int, ...], affine: bool
) -> None:
    kind = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[len(shape) - 2]
    norm = kind(3, affine=affine)
    norm(torch.randn(shape) * 3 + 1)  # statistics of its own
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x, upstream = torch.randn(shape, requires_grad=True), torch.randn(shape)
    with evaluating(norm):
        expected = norm(x)
        (slope,) = torch.autograd.grad(expected, x, upstream)
        with FrozenNorms():
            found = norm(x)
        assert "Frozen" in str(found.grad_fn)
        assert torch.equal(found, expected)
        (got,) = torch.autograd.grad(found, x, upstream)
    torch.testing.assert_close(got, slope)


@pytest.mark.parametrize("case", ["training", "no statistics", "trained", "no graph"])
def test_other_norms_are_left_to_torch(case: str) -> None:
    norm = nn.BatchNorm1d(3, track_running_stats=case != "no statistics")
    norm.train(case == "training")
    if case != "trained":
        for parameter in norm.parameters():
            parameter.requires_grad_(False)
    with FrozenNorms():
        found = norm(torch.randn(4, 3, requires_grad=case != "no graph"))
    assert "Frozen" not in str(found.grad_fn)
