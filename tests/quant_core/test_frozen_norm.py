"""Batch normalisation with a quick gradient, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quant_core.frozen_norm import frozen_batch_norm


def arguments(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return an input and running statistics, weight and bias of its channels."""
    channels = shape[1]
    x = (3 * torch.randn(shape) + 1).to(dtype).requires_grad_()
    mean, var = torch.randn(channels), torch.rand(channels) + 0.1
    return x, mean, var, torch.randn(channels), torch.randn(channels)


def both(
    x: Tensor, *settings: object, **more: object
) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """Return output and gradient of ours and of torch's."""
    found = []
    for function in (frozen_batch_norm, F.batch_norm):
        wanted = [
            x,
            *(s for s in settings if isinstance(s, Tensor) and s.requires_grad),
        ]
        y = function(x, *settings, **more)
        g = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y.dtype)
        found.append((y.detach(), torch.autograd.grad(y, wanted, g)))
    return found


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 7), (3, 5, 4, 2), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_the_same_bits_and_the_same_gradient(
    shape: tuple[int, ...], affine: bool
) -> None:
    x, mean, var, weight, bias = arguments(shape, torch.float32)
    more = (weight, bias) if affine else ()
    (ours, (slope,)), (theirs, (known,)) = both(x, mean, var, *more, eps=1e-3)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(slope, known)


def test_half_precision_keeps_its_type() -> None:
    x, *settings = arguments((4, 5, 6), torch.bfloat16)
    (ours, (slope,)), (theirs, (known,)) = both(x, *settings)
    assert torch.equal(ours, theirs)
    assert slope.dtype == torch.bfloat16
    torch.testing.assert_close(slope, known, rtol=1e-2, atol=1e-2)


def test_statistics_of_the_batch_are_left_to_torch() -> None:
    x, *settings = arguments((4, 5, 6), torch.float32)
    kept = [s.clone() for s in settings[:2]]
    y = frozen_batch_norm(x, *settings, training=True)
    expected = F.batch_norm(x, *kept, *settings[2:], training=True)
    assert torch.equal(y, expected)
    assert torch.equal(settings[0], kept[0])  # both have moved on alike
    (slope,) = torch.autograd.grad(y.square().sum(), x)
    (known,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(slope, known)


def test_a_weight_that_has_a_gradient_gets_it() -> None:
    x, mean, var, weight, bias = arguments((4, 5, 6), torch.float32)
    (_, ours), (_, theirs) = both(x, mean, var, weight.requires_grad_(), bias)
    assert len(ours) == 2
    for slope, known in zip(ours, theirs, strict=True):
        torch.testing.assert_close(slope, known)


def test_without_a_graph_there_is_none() -> None:
    x, *settings = arguments((4, 5), torch.float32)
    assert not frozen_batch_norm(x.detach(), *settings).requires_grad
