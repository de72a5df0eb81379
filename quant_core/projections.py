"""Projections of weight changes onto output gradients, one number per sample.

For a layer that is linear in its weight, `y = op(x, W)`, and the gradient `g` of some
scalar with respect to `y`, the change of that scalar under `W + dW` is to first order
`v = <g, op(x, dW)>`. These functions return `v` for every sample and every candidate
`dW` without looping over candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_GRADIENT_BYTES = 4 << 20
"""Per-sample gradients formed at a time, and patches of a convolution; more leaves the
cache and is slower."""


def linear_projections(x: Tensor, g: Tensor, deltas: Tensor) -> Tensor:
    """Return `v[n, f] = sum_t g[n, t] . (deltas[f] x[n, t])`.

    Two routes to the same number: for one or two positions the candidates are
    applied to `x`; for more, the per-sample gradient `g^T x` is formed once and
    multiplied with every candidate, which makes many formats cost hardly more
    than one.

    Args:
        x: Inputs `[N, T, in]`.
        g: Output gradients `[N, T, out]`.
        deltas: Weight changes `[F, out, in]`.

    Returns:
        `[N, F]` float32.
    """
    n, positions, width = x.shape
    formats, out, _ = deltas.shape
    x, g = x.float(), g.float()
    if positions <= 2:
        changed = F.linear(x, deltas.reshape(formats * out, width))
        changed = changed.view(n, positions, formats, out)
        return torch.einsum("ntfo,nto->nf", changed, g)
    v = torch.empty(n, formats, device=x.device)
    candidates = deltas.flatten(1).T
    step = max(1, min(n, _GRADIENT_BYTES // (4 * out * width)))
    buffer = torch.empty(step, out, width, device=x.device)
    for start in range(0, n, step):
        stop = min(start + step, n)
        gradient = buffer[: stop - start]
        torch.bmm(g[start:stop].transpose(1, 2), x[start:stop], out=gradient)
        torch.mm(gradient.flatten(1), candidates, out=v[start:stop])
    return v


def embedding_projections(index: Tensor, g: Tensor, deltas: Tensor) -> Tensor:
    """Return `v[n, f] = sum_t g[n, t] . deltas[f, index[n, t]]`.

    Args:
        index: Rows looked up, `[N, T]`.
        g: Output gradients `[N, T, D]`.
        deltas: Changes of the rows, `[F, rows, D]`.

    Returns:
        `[N, F]` float32.
    """
    g = g.float()
    return torch.stack([(delta[index] * g).sum((1, 2)) for delta in deltas], dim=1)


def conv_projections(
    x: Tensor,
    g: Tensor,
    deltas: Tensor,
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Return `v[n, f] = <g[n], conv(x[n], deltas[f])>`.

    A transposed convolution is the adjoint of a convolution: call with `x` and `g`
    exchanged.

    Args:
        x: Inputs `[N, C, *size]` with one, two or three spatial axes.
        g: Output gradients `[N, O, *size']`.
        deltas: Weight changes `[F, O, C / groups, *kernel]`.
        stride: Per spatial axis.
        padding: Zeros added on both sides, per spatial axis.
        dilation: Per spatial axis.
        groups: Number of groups.

    Returns:
        `[N, F]` float32.
    """
    n, kernel = len(g), deltas.shape[3:]
    candidates = deltas.flatten(1).T
    patches = math.prod(kernel) * x.shape[1] * math.prod(g.shape[2:])
    unfolded = 0 if is_depthwise(x, groups) else patches
    step = max(1, _GRADIENT_BYTES // (4 * max(1, len(candidates), unfolded)))
    v = torch.empty(n, len(deltas), device=x.device)
    for start in range(0, n, step):
        part = slice(start, start + step)
        gradient = conv_gradients(
            x[part],
            g[part],
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        torch.mm(gradient.flatten(1), candidates, out=v[part])
    return v


def conv_gradients(
    x: Tensor,
    g: Tensor,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Return the gradient of every sample by the weight of a convolution.

    Patches of `x` turn the convolution into a matrix product whose gradient is `g`
    times them. Where each output sees a single channel these products are tiny; there
    the gradient is itself a convolution, of each channel of `x` with its `g`.

    Args:
        x: Inputs `[N, C, *size]`.
        g: Output gradients `[N, O, *size']`.
        kernel: Size of the kernel, per spatial axis.
        stride: As in `conv_projections`.
        padding: As in `conv_projections`.
        dilation: As in `conv_projections`.
        groups: Number of groups.

    Returns:
        `[N, O, C / groups, *kernel]` float32.
    """
    x, g = x.float(), g.float()
    n, out = g.shape[:2]
    if is_depthwise(x, groups):
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
        # Strides and dilations change places: the kernel is where `g` slid along.
        found = convolve(
            x.reshape(1, -1, *x.shape[2:]),
            g.reshape(n * out, 1, *g.shape[2:]),
            stride=tuple(dilation),
            padding=tuple(padding),
            dilation=tuple(stride),
            groups=n * groups,
        )
        for axis, size in enumerate(kernel):
            found = found.narrow(2 + axis, 0, size)
        return found.reshape(n, out, 1, *kernel)
    patches = conv_patches(x, kernel, stride, padding, dilation, g.shape[2:])
    patches = patches.reshape(n, groups, -1, patches.shape[-1])
    g = g.reshape(n, groups, out // groups, -1)
    return (g @ patches.transpose(-1, -2)).reshape(n, out, -1, *kernel)


def is_depthwise(x: Tensor, groups: int) -> bool:
    """Tell whether every group of a convolution of `x` has one channel of several."""
    return groups > 1 and x.shape[1] == groups


def conv_patches(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    size: Sequence[int],
) -> Tensor:
    """Return `[N, C, kernel elements, positions]`: what each output position sees."""
    axes = len(kernel)
    if all(k == s == 1 for k, s in zip(kernel, stride, strict=True)) and not any(
        padding
    ):
        return x.flatten(2).unsqueeze(2)  # each its own input, and no copy of it
    pad = [p for q in reversed(padding) for p in (q, q)]
    view = F.pad(x, pad)
    for axis in range(axes):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        view = view.unfold(2 + axis, span, stride[axis])
        view = view.narrow(2 + axis, 0, size[axis])
    for axis, step in enumerate(dilation):
        steps = [slice(None)] * view.dim()
        steps[2 + axes + axis] = slice(None, None, step)
        view = view[tuple(steps)]
    order = [0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes)]
    view = view.permute(order)
    n, channels = view.shape[:2]
    return view.reshape(n, channels, math.prod(kernel), -1)


def conv_rows(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    size: Sequence[int],
) -> Tensor:
    """Return `[N, groups, positions, kernel elements * C / groups]`, channels fastest.

    The same numbers as `conv_patches`, position by position. With the channels
    together in memory, a row is copied in a few runs instead of element by element.
    """
    axes, n = len(kernel), len(x)
    split = x.reshape(n, groups, -1, *x.shape[2:])
    if math.prod(kernel) == 1 and not any(padding) and set(stride) == {1}:
        return split.flatten(3).transpose(2, 3)
    padded = x.new_zeros(
        n,
        groups,
        *[s + 2 * p for s, p in zip(x.shape[2:], padding, strict=True)],
        split.shape[2],
    )
    inside = padded
    for axis, (width, p) in enumerate(zip(x.shape[2:], padding, strict=True)):
        inside = inside.narrow(2 + axis, p, width)
    inside.copy_(split.movedim(2, -1))
    view = padded
    for axis in range(axes):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        view = view.unfold(2 + axis, span, stride[axis]).narrow(2 + axis, 0, size[axis])
        view = view[..., :: dilation[axis]]
    channels = 2 + axes
    return view.movedim(channels, -1).reshape(n, groups, math.prod(size), -1)


def activation_projections(x_change: Tensor, gradient: Tensor) -> Tensor:
    """Return `v[n] = <gradient[n], x_change[n]>` for changes of an activation.

    Args:
        x_change: `Q(x) - x`, `[N, ...]`.
        gradient: Gradient at the site, `[N, ...]`.

    Returns:
        `[N]` float32.
    """
    n = x_change.shape[0]
    change, slope = x_change.reshape(n, -1), gradient.float().reshape(n, -1)
    return torch.einsum("ni,ni->n", change, slope)
