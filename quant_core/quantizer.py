"""One scheme applied to tensors: fit, code, decode, and the error it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from quant_core.errors import QuantError
from quant_core.granularity import group, ungroup
from quant_core.ranges import Extrema, QParams, get_range
from quant_core.ranges.base import params_of_ranges
from quant_core.ranges.minmax import extrema
from quant_core.rounding.nearest import Grid
from quant_core.scheme import Scheme
from quant_core.tiles import CPU_TILE, tiles

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Stores tensors in one scheme. Arithmetic is float32; inputs never change.

    Tensors may have any floating-point type, shape and memory layout. Channel axes
    are those of `quant_core.sites.Layer`: `(0,)` for `[out, in]`. Activations use the
    granularities "tensor" and "token", which ignore them.

    Args:
        scheme: Format, granularity, range and rounding.
    """

    scheme: Scheme

    def fit(
        self,
        x: Tensor,
        channel_axes: Sequence[int] = (0,),
        bounds: Extrema | None = None,
    ) -> QParams:
        """Return scale and zero point of every group of `x`.

        Args:
            x: Values to fit.
            channel_axes: Axes that index channels.
            bounds: `extrema(group(x, ...))` if known from another scheme of the
                same granularity.

        Raises:
            QuantError: NaN, infinite values, an empty tensor, a group size that
                does not divide, or a type that is not floating point.
        """
        x = _floating(x)
        grouped = group(x, self.scheme.granularity, channel_axes)
        estimator = get_range(self.scheme.range)
        return estimator.fit(grouped, self.scheme.number_format, bounds)

    def codes(
        self, x: Tensor, params: QParams, channel_axes: Sequence[int] = (0,)
    ) -> Tensor:
        """Return the stored codes of `x`, in its shape (see `Format.codes`)."""
        number_format = self.scheme.number_format
        values = self._grouped(x, params, channel_axes).float()
        if number_format.scaled:
            values = values / params.scale
        if params.zero_point is not None:
            values = values.round_().add_(params.zero_point)
        codes = number_format.codes(values.contiguous())
        return ungroup(codes, self.scheme.granularity, channel_axes, x.shape)

    def dequantize(
        self,
        codes: Tensor,
        params: QParams,
        shape: Sequence[int] | None = None,
        channel_axes: Sequence[int] = (0,),
    ) -> Tensor:
        """Return the float32 values of stored codes.

        Args:
            codes: As `codes` returns them.
            params: Scale and zero point they were made with.
            shape: Shape of the result, that of `codes` by default.
            channel_axes: Axes that index channels.
        """
        codes = codes if shape is None else codes.reshape(tuple(shape))
        grouped = self._grouped(codes, params, channel_axes)
        values = self.scheme.number_format.from_codes(grouped.contiguous())
        if params.zero_point is not None:
            values = values - params.zero_point
        if self.scheme.number_format.scaled:
            values = values * params.scale
        return ungroup(values, self.scheme.granularity, channel_axes, codes.shape)

    def fake_quantize(
        self,
        x: Tensor,
        channel_axes: Sequence[int] = (0,),
        params: QParams | None = None,
    ) -> Tensor:
        """Return `x` as it reads after being stored, in the type of `x`.

        Args:
            x: Values.
            channel_axes: Axes that index channels.
            params: Scale and zero point; fitted to `x` when None. Given ones are
                trusted: NaN then stays NaN.

        Raises:
            QuantError: as in `fit`.
        """
        import torch

        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        with torch.no_grad():
            _run(x, [(self.scheme, params)], channel_axes, out[None], errors=False)
        return out

    def error(
        self,
        x: Tensor,
        channel_axes: Sequence[int] = (0,),
        params: QParams | None = None,
    ) -> Tensor:
        """Return what storing `x` adds to it, float32, in its shape.

        The stored value is first cast to the type of `x`, as a runtime that computes
        in this type would.

        Args:
            x: Values.
            channel_axes: Axes that index channels.
            params: As in `fake_quantize`.

        Raises:
            QuantError: as in `fit`.
        """
        import torch

        out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        with torch.no_grad():
            _run(x, [(self.scheme, params)], channel_axes, out[None], errors=True)
        return out

    def _grouped(
        self, x: Tensor, params: QParams, channel_axes: Sequence[int]
    ) -> Tensor:
        grouped = group(x.detach(), self.scheme.granularity, channel_axes)
        _check_params(params, len(grouped))
        return grouped


def errors(
    x: Tensor,
    schemes: Sequence[Scheme],
    channel_axes: Sequence[int] = (0,),
    out: Tensor | None = None,
) -> Tensor:
    """Return `Quantizer(scheme).error(x)` of many schemes, `[schemes, *x.shape]`.

    Schemes of one granularity share the pass that finds the extrema, and each tile
    of `x` is read from memory once for all of them.

    Args:
        x: Values, any floating-point type and layout.
        schemes: What to try.
        channel_axes: Axes that index channels.
        out: float32 `[schemes, *x.shape]` to write to, which saves the system the
            zeroing of fresh memory when many layers are done in turn.

    Raises:
        QuantError: as in `Quantizer.fit`.
    """
    import torch

    if out is None:
        shape = (len(schemes), *x.shape)
        out = torch.empty(shape, dtype=torch.float32, device=x.device)
    with torch.no_grad():
        jobs = [(scheme, None) for scheme in schemes]
        _run(x, jobs, channel_axes, out, errors=True)
    return out


def fake_quantized(
    x: Tensor, schemes: Sequence[Scheme], channel_axes: Sequence[int] = (0,)
) -> Tensor:
    """Return `Quantizer(scheme).fake_quantize(x)` of many schemes, bit for bit.

    Args:
        x: Values.
        schemes: What to try; those of one granularity share work, as in `errors`.
        channel_axes: Axes that index channels.

    Returns:
        `[schemes, *x.shape]` in the type of `x`.

    Raises:
        QuantError: as in `Quantizer.fit`.
    """
    import torch

    out = torch.empty((len(schemes), *x.shape), dtype=x.dtype, device=x.device)
    with torch.no_grad():
        jobs = [(scheme, None) for scheme in schemes]
        _run(x, jobs, channel_axes, out, errors=False)
    return out


def _floating(x: Tensor) -> Tensor:
    """Return `x` without its graph, in a type torch can compare."""
    if not x.is_floating_point():
        raise QuantError(
            "Only floating-point tensors can be quantized.",
            value=str(x.dtype).removeprefix("torch."),
            allowed="float64, float32, bfloat16, float16",
        )
    x = x.detach()
    return x.float() if x.dtype.itemsize == 1 else x


def _check_params(params: QParams, groups: int) -> None:
    if params.scale.shape not in ((groups, 1), (1, 1)):
        raise QuantError(
            "These scales belong to a tensor with another number of groups.",
            value=tuple(params.scale.shape),
            allowed=f"({groups}, 1)",
        )


def _run(
    x: Tensor,
    jobs: Sequence[tuple[Scheme, QParams | None]],
    channel_axes: Sequence[int],
    out: Tensor,
    *,
    errors: bool,
) -> None:
    """Write what `x` is stored as, or the errors, into `out` `[jobs, *x.shape]`."""
    stored_type = x.dtype
    x = _floating(x)
    bounds: dict[str, Extrema] = {}
    start = 0
    for granularity, some in groupby(jobs, lambda job: job[0].granularity):
        grouped = group(x, granularity, channel_axes)
        together = list(some)
        params = _fitted(grouped, together, granularity, bounds)
        for one in params:
            _check_params(one, len(grouped))
        grid = Grid.of(params, [scheme.number_format for scheme, _ in together])
        part = out[start : start + len(together)]
        _run_granularity(
            grouped, granularity, channel_axes, grid, part, stored_type, errors
        )
        start += len(together)


def _fitted(
    grouped: Tensor,
    jobs: Sequence[tuple[Scheme, QParams | None]],
    granularity: str,
    bounds: dict[str, Extrema],
) -> list[QParams]:
    """Return the given scales and zero points, and the others fitted."""
    if granularity not in bounds and any(params is None for _, params in jobs):
        bounds[granularity] = extrema(grouped)
    plain = [
        scheme.number_format
        for scheme, params in jobs
        if params is None and scheme.range == "minmax"
    ]
    ends = bounds.get(granularity)
    whole = iter(params_of_ranges(ends.low, ends.high, plain) if ends and plain else ())
    found = []
    for scheme, params in jobs:
        if params is None and scheme.range == "minmax":
            params = next(whole)
        elif params is None:
            estimator = get_range(scheme.range)
            params = estimator.fit(grouped, scheme.number_format, ends)
        found.append(params)
    return found


def _run_granularity(
    grouped: Tensor,
    granularity: str,
    channel_axes: Sequence[int],
    grid: Grid,
    out: Tensor,
    stored_type: torch.dtype,
    errors: bool,
) -> None:
    """Do the jobs of one granularity, tile by tile."""
    import torch

    one = group(out[0], granularity, channel_axes)
    # The groups of some layouts cannot be written in place.
    copied = one.data_ptr() != out.data_ptr()
    if copied:
        stack = torch.empty((len(out), *one.shape), device=out.device)
    else:
        stack = out.as_strided((len(out), *one.shape), (out.stride(0), *one.stride()))
    target = stack
    # Channels that lie next to each other in memory are walked along memory.
    transposed = grouped.stride(0) == 1 and grouped.stride(1) != 1
    if transposed:
        grouped, target = grouped.t(), target.transpose(1, 2)
    for rows, columns in tiles(grouped):
        groups = columns if transposed else rows
        block = grouped[rows, columns]
        if stored_type.itemsize < 4:
            block = block.float()
        # Small blocks take several formats at a time, which saves calls.
        step = max(1, min(len(out), CPU_TILE // block.numel()))
        buffer = torch.empty((step, *block.shape), device=block.device)
        for first in range(0, len(out), step):
            some = slice(first, first + step)
            part = grid.part(groups, some, transposed=transposed)
            values = part.round(block, buffer[: len(part.formats)])
            tile = target[some, rows, columns]
            if errors:
                if stored_type.itemsize < 4:
                    values.copy_(values.to(stored_type))
                torch.sub(values, block, out=tile)
            else:
                tile.copy_(values)
    if copied:
        for own, values in zip(out, stack, strict=True):
            own.copy_(ungroup(values, granularity, channel_axes, own.shape))
