"""Which formula turns the gradient at the output of a weight use into projections."""

from __future__ import annotations

from typing import Any

from quant_core.tap import WeightUse

_CONV = {f"conv{n}d" for n in (1, 2, 3)}
TRANSPOSED = {f"conv_transpose{n}d" for n in (1, 2, 3)}
"""Names of the transposed convolutions."""


def formula_of(use: WeightUse) -> str | None:
    """Return which projection formula a use has; None leaves it to autograd."""
    name, dims = use.op.name, use.weight.dim()
    if name in {"linear", "addmm", "matmul"}:
        plain = dims == 2 and use.x.is_floating_point()
        return name if plain else None
    if name == "embedding":
        return name if use.weight.is_contiguous() else None
    if name in _CONV | TRANSPOSED:
        batched = use.x.dim() == use.weight.dim()
        return "conv" if batched and conv_args(use)[1] is not None else None
    return None


def conv_args(use: WeightUse) -> tuple[Any, Any, Any, Any]:
    """Return stride, padding, dilation and groups of a convolution call.

    Padding is None when it is not the same on both sides.
    """
    names = ["input", "weight", "bias", "stride", "padding"]
    if use.op.name in TRANSPOSED:
        names += ["output_padding", "groups", "dilation"]
    else:
        names += ["dilation", "groups"]
    given = dict(zip(names, use.args, strict=False)) | use.kwargs
    kernel = use.weight.shape[2:]

    def each_axis(name: str, default: int) -> tuple[int, ...]:
        value = given.get(name, default)
        values = (value,) if isinstance(value, int) else tuple(value)
        return values * len(kernel) if len(values) == 1 else values

    stride, dilation = each_axis("stride", 1), each_axis("dilation", 1)
    padding: tuple[int, ...] | None
    if given.get("padding") == "valid":
        padding = (0,) * len(kernel)
    elif given.get("padding") == "same":
        spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        even = all(span % 2 == 0 for span in spans)
        padding = tuple(span // 2 for span in spans) if even else None
    else:
        padding = each_axis("padding", 0)
    return stride, padding, dilation, given.get("groups", 1)
