"""Projections against one op call per candidate and sample."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from quant_core.projections import (
    activation_projections,
    conv_projections,
    conv_rows,
    embedding_projections,
    linear_projections,
)


@pytest.mark.parametrize("positions", [1, 2, 7])
def test_linear(positions: int) -> None:
    x = torch.randn(3, positions, 6)
    g = torch.randn(3, positions, 4)
    deltas = torch.randn(2, 4, 6)
    v = linear_projections(x, g, deltas)
    for n in range(3):
        for f in range(2):
            truth = (g[n] * F.linear(x[n], deltas[f])).sum()
            torch.testing.assert_close(v[n, f], truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [0, 1, 2, 9])
def test_linear_does_not_depend_on_the_chunk(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, g, deltas = torch.randn(9, 5, 6), torch.randn(9, 5, 4), torch.randn(3, 4, 6)
    whole = linear_projections(x, g, deltas)
    # So many rows of the gradient of 8 samples, or of one row of one.
    monkeypatch.setattr("quant_core.projections._GRADIENT_BYTES", 4 * 6 * 8 * rows)
    torch.testing.assert_close(linear_projections(x, g, deltas), whole)


def test_embedding() -> None:
    index = torch.randint(0, 5, (3, 4))
    g, deltas = torch.randn(3, 4, 6), torch.randn(2, 5, 6)
    v = embedding_projections(index, g, deltas)
    truth = torch.stack([(F.embedding(index, d) * g).sum((1, 2)) for d in deltas], 1)
    torch.testing.assert_close(v, truth)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("groups", "out"), [(1, 6), (2, 6), (4, 8), (4, 4)])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 2)])
@pytest.mark.parametrize("transposed", [False, True])
def test_conv(
    axes: int,
    groups: int,
    out: int,
    stride: int,
    padding: int,
    dilation: int,
    transposed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, kernel = (7, 6, 8)[:axes], (3, 2, 3)[:axes]
    name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
    conv = getattr(F, name)
    how = {
        "stride": (stride,) * axes,
        "padding": (padding,) * axes,
        "dilation": (dilation,) * axes,
        "groups": groups,
    }
    x = torch.randn(3, 4, *size)
    shape = (4, out // groups) if transposed else (out, 4 // groups)
    deltas = torch.randn(2, *shape, *kernel)
    extra = {"output_padding": stride - 1} if transposed else {}
    g = torch.randn_like(conv(x, deltas[0], **how, **extra))
    first, second = (g, x) if transposed else (x, g)
    v = conv_projections(first, second, deltas, **how)
    outputs = [conv(x, delta, **how, **extra) for delta in deltas]
    truth = torch.stack([(y * g).flatten(1).sum(1) for y in outputs], 1)
    torch.testing.assert_close(v, truth, rtol=1e-3, atol=1e-3)
    for room in (1, 2000):  # one sample and output at a time, and a few
        monkeypatch.setattr("quant_core.projections._GRADIENT_BYTES", room)
        parts = conv_projections(first, second, deltas, **how)
        torch.testing.assert_close(parts, v, rtol=1e-4, atol=1e-4)


def test_activation() -> None:
    change, gradient = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    v = activation_projections(change, gradient)
    torch.testing.assert_close(v, (change * gradient).sum((1, 2)))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [
        ((9,), (3,), (2,), (1,), (2,)),
        ((7, 6), (3, 2), (2, 1), (1, 0), (1, 2)),
        ((5, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
        ((5, 6), (1, 1), (2, 2), (0, 0), (1, 1)),
        ((5, 4, 6), (3, 2, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2)),
    ],
)
def test_rows_of_a_convolution_are_what_each_position_sees(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    x = torch.randn(3, 4, *size)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(size) - 1]
    weight = torch.randn(8, 4 // groups, *kernel)
    y = convolve(x, weight, None, stride, padding, dilation, groups)
    rows = conv_rows(x, kernel, stride, padding, dilation, groups, y.shape[2:])
    columns = weight.unflatten(0, (groups, -1)).movedim(2, -1).flatten(2)
    found = columns @ rows.transpose(-1, -2)
    torch.testing.assert_close(found.reshape(y.shape), y, rtol=1e-4, atol=1e-5)
