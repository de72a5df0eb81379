from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from quant_core import metrics
from quant_core.errors import QuantError


def test_against_plain_sums() -> None:
    a, b = torch.randn(5, 6), torch.randn(5, 6)
    x, y = a.double().numpy(), b.double().numpy()
    noise, power = ((x - y) ** 2).sum(), (x**2).sum()
    assert float(metrics.mse(a, b)) == pytest.approx(noise / 30)
    assert float(metrics.relative_error(a, b)) == pytest.approx(noise / power)
    assert float(metrics.sqnr_db(a, b)) == pytest.approx(10 * np.log10(power / noise))
    angle = (x * y).sum() / np.sqrt(power * (y**2).sum())
    assert float(metrics.cosine(a, b)) == pytest.approx(angle)
    assert float(metrics.max_error(a, b)) == pytest.approx(np.abs(x - y).max())


@pytest.mark.parametrize(
    "name", ["mse", "relative_error", "sqnr_db", "cosine", "max_error"]
)
def test_axes(name: str) -> None:
    measure = getattr(metrics, name)
    a, b = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    rows = measure(a, b, (1, 2))
    assert torch.allclose(rows, torch.stack([measure(a[i], b[i]) for i in range(3)]))
    assert measure(a, b, 0).shape == (4, 5)


def test_equal_and_zero_tensors() -> None:
    x, zero = torch.randn(7), torch.zeros(7)
    assert float(metrics.mse(x, x)) == float(metrics.relative_error(x, x)) == 0
    assert float(metrics.relative_error(zero, zero)) == 0
    assert float(metrics.relative_error(zero, x)) == math.inf
    assert float(metrics.sqnr_db(x, x)) == math.inf
    assert float(metrics.cosine(x, x)) == pytest.approx(1)
    assert float(metrics.cosine(x, -x)) == pytest.approx(-1)
    assert float(metrics.cosine(zero, zero)) == 1
    assert float(metrics.cosine(x, zero)) == 0
    tiny = x.double() * 1e-150
    assert float(metrics.cosine(tiny, tiny)) == pytest.approx(1)


def test_half_precision_is_summed_in_double() -> None:
    a = torch.full((100_000,), 100.0, dtype=torch.float16)
    b = a + 1
    assert float(metrics.mse(a, b)) == 1
    assert float(metrics.sqnr_db(a, b)) == pytest.approx(40)


def test_kl_of_softmax() -> None:
    a, b = torch.randn(4, 3, 9), torch.randn(4, 3, 9)
    p, q = softmax(a.double().numpy(), -1), softmax(b.double().numpy(), -1)
    assert np.allclose(metrics.kl(a, b), rel_entr(p, q).sum(-1))
    assert not metrics.kl(a, a + 5).gt(1e-12).any()
    masked = a.clone()
    masked[..., 0] = -torch.inf
    assert torch.isfinite(metrics.kl(masked, b)).all()
    assert torch.isfinite(metrics.kl(masked, masked)).all()
    assert torch.isinf(metrics.kl(b, masked)).all()


def test_shapes_must_agree() -> None:
    with pytest.raises(QuantError, match="different shapes cannot be compared"):
        metrics.mse(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(QuantError, match="different shapes cannot be compared"):
        metrics.kl(torch.zeros(2, 3), torch.zeros(3))
