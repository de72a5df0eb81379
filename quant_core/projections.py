"""Projections of weight changes onto output gradients, one number per sample.

For a layer that is linear in its weight, `y = op(x, W)`, and the gradient `g` of some
scalar with respect to `y`, the change of that scalar under `W + dW` is to first order
`v = <g, op(x, dW)>`. These functions return `v` for every sample and every candidate
`dW` without looping over candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_GRADIENT_BYTES = 4 << 20
"""Per-sample gradients formed at a time, and patches of a convolution; more leaves the
cache and is slower."""
_OTHER_GRADIENT_BYTES = 64 << 20
"""The same on an accelerator, where launches are dear and memory is fast."""
_SAMPLES_TOGETHER = 8
"""How many samples should share a reading of the candidates. Layers too large for that
are gone through in parts, so that gradients and candidates of a part fit the cache."""


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
    rows = x.unsqueeze(1)
    columns = g.transpose(1, 2).unsqueeze(1)
    return _projected(columns, lambda part: rows[part], deltas.unsqueeze(1))


def _projected(
    columns: Tensor,
    rows: Callable[[slice], Tensor],
    candidates: Tensor,
    patches: int = 0,
) -> Tensor:
    """Return `v[n, f] = <columns[n] @ rows[n], candidates[f]>`, group by group.

    Args:
        columns: Output gradients `[N, groups, O, T]`.
        rows: What some samples show to each output, `[n, groups, T, W]`.
        candidates: `[F, groups, O, *W]`.
        patches: Numbers formed for the rows of a sample, 0 when these exist.

    Returns:
        `[N, F]` float32.
    """
    n, _, out, _ = columns.shape
    v = torch.zeros(n, len(candidates), device=columns.device)
    room = _GRADIENT_BYTES if v.device.type == "cpu" else _OTHER_GRADIENT_BYTES
    room //= 4
    most = max(1, min(n, room // max(1, patches)))
    each = candidates[0, :, 0].numel()
    height = max(1, room // (min(most, _SAMPLES_TOGETHER) * each))
    buffer = columns.new_empty(0)
    for outputs in _ranges(out, height):
        some = candidates[:, :, outputs].flatten(1).T
        step = max(1, min(most, room // len(some)))
        for part in _ranges(n, step):
            a, b = columns[part, :, outputs].flatten(0, 1), rows(part).flatten(0, 1)
            gradient = torch.bmm(
                a, b, out=buffer.resize_(len(a), a.shape[1], b.shape[2])
            )
            v[part].addmm_(gradient.view(-1, len(some)), some)
    return v


def _ranges(count: int, step: int) -> Iterator[slice]:
    """Yield the ranges of at most `step` that make up `count`."""
    for start in range(0, count, step):
        yield slice(start, start + step)


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

    The gradient of a sample by the weight is `g` times what each position sees. A
    transposed convolution is the adjoint of a convolution: call with `x` and `g`
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
    n, kernel, size = len(g), deltas.shape[3:], g.shape[2:]
    if is_depthwise(x, groups):
        slides = stride, padding, dilation
        gradient = depthwise_gradients(x, g, kernel, *slides, groups)
        return gradient.flatten(1) @ deltas.flatten(1).T

    def rows(part: slice) -> Tensor:
        seen = x[part].float()
        return conv_rows(seen, kernel, stride, padding, dilation, groups, size)

    candidates = deltas.reshape(len(deltas), groups, -1, *deltas.shape[2:])
    candidates = candidates.movedim(3, -1)  # as in `conv_rows`
    columns = g.float().reshape(n, groups, -1, math.prod(size))
    patches = math.prod(kernel) * x.shape[1] * columns.shape[3]
    return _projected(columns, rows, candidates, patches)


def depthwise_gradients(
    x: Tensor,
    g: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Return the gradient of every sample by the weight of a depthwise convolution.

    Each output sees a single channel, which makes matrix products tiny; but the
    gradient is itself a convolution, of each channel of `x` with its `g`.

    Args:
        x: Inputs `[N, C, *size]`.
        g: Output gradients `[N, O, *size']`.
        kernel: Size of the kernel, per spatial axis.
        stride: As in `conv_projections`.
        padding: As in `conv_projections`.
        dilation: As in `conv_projections`.
        groups: Number of groups, `C`.

    Returns:
        `[N, O, 1, *kernel]` float32.
    """
    n, out = g.shape[:2]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
    # Strides and dilations change places: the kernel is where `g` slid along.
    found = convolve(
        x.float().reshape(1, -1, *x.shape[2:]),
        g.float().reshape(n * out, 1, *g.shape[2:]),
        stride=tuple(dilation),
        padding=tuple(padding),
        dilation=tuple(stride),
        groups=n * groups,
    )
    for axis, size in enumerate(kernel):
        found = found.narrow(2 + axis, 0, size)
    return found.reshape(n, out, 1, *kernel)


def is_depthwise(x: Tensor, groups: int) -> bool:
    """Tell whether every group of a convolution of `x` has one channel of several."""
    return groups > 1 and x.shape[1] == groups


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

    What each output position sees of `x`. Copied in runs along the kernel and its
    channels or along the positions, whichever lie together for longer: the result is
    laid out in memory accordingly.

    Args:
        x: Inputs `[N, C, *size]`.
        kernel: Size of the kernel, per spatial axis.
        stride: As in `conv_projections`.
        padding: As in `conv_projections`.
        dilation: As in `conv_projections`.
        groups: Number of groups.
        size: Positions of the output, per spatial axis.
    """
    axes, n = len(kernel), len(x)
    split = x.reshape(n, groups, -1, *x.shape[2:])
    if math.prod(kernel) == 1 and not any(padding) and set(stride) == {1}:
        return split.flatten(3).transpose(2, 3)
    channels = split.shape[2]
    across = channels * (kernel[-1] if dilation[-1] == 1 else 1)
    along = size[-1] if stride[-1] == 1 else 1
    if along > across:
        view = F.pad(split, [p for q in reversed(padding) for p in (q, q)])
        view = view.movedim(2, -1)
    else:
        padded = [s + 2 * p for s, p in zip(x.shape[2:], padding, strict=True)]
        view = inside = x.new_zeros(n, groups, *padded, channels)
        for axis, (width, p) in enumerate(zip(x.shape[2:], padding, strict=True)):
            inside = inside.narrow(2 + axis, p, width)
        inside.copy_(split.movedim(2, -1))
    for axis in range(axes):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        view = view.unfold(2 + axis, span, stride[axis]).narrow(2 + axis, 0, size[axis])
        view = view[..., :: dilation[axis]]
    view = view.movedim(2 + axes, -1)  # [N, groups, *size, *kernel, C / groups]
    positions = math.prod(size)
    if along > across:
        view = view.movedim(tuple(range(2, 2 + axes)), tuple(range(-axes, 0)))
        return view.reshape(n, groups, -1, positions).transpose(2, 3)
    return view.reshape(n, groups, positions, -1)


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
