"""Names for the places of a network that can be quantized."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

SiteRole = Literal["input", "operand", "output"]


NO_VALUES = "holds no values"
"""Why a parameter without elements is no layer."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A parameter that can be quantized, with the op that uses it: a table row.

    Attributes:
        name: Module path as in `named_modules()`; `<path>.<parameter>` when the
            parameter is not called `weight` (3-D experts, packed projections).
        parameter: Full name as in `named_parameters()`.
        kind: `linear`, `conv`, `transposed_conv`, `embedding`, `experts`,
            `recurrent`, `attention_projection` or `other`.
        shape: Shape of the parameter.
        dtype: Stored type, without the `torch.` prefix ("float32", "bfloat16").
        channel_axes: Axes that index output channels; the remaining axes are
            summed over by the op. `(0,)` for linear, `(1,)` for HF Conv1D,
            `(0, 1)` for experts `[expert, out, in]`.
        macs: Multiply-adds per sample seen while tracing; 0 before a trace.
    """

    name: str
    parameter: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    channel_axes: tuple[int, ...] = (0,)
    macs: int = 0

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Site:
    """A place where an activation can be quantized.

    Attributes:
        name: `<module path>` for the input of a layer (equal to the layer's
            name), `<module path>:softmax`, `<module path>:matmul.0` ... elsewhere.
        op: Canonical op name (`linear`, `conv`, `matmul`, `softmax`, `gelu` ...).
        role: `input` of a layer, `operand` of an op on two activations, or
            `output` of an activation-only op.
        layer: Name of the layer for role `input`, else None.
        shape: Shape seen in the trace, batch axis included.
    """

    name: str
    op: str
    role: SiteRole
    layer: str | None
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A parameter of two or more dimensions that is not a layer, and why."""

    parameter: str
    shape: tuple[int, ...]
    reason: str
