"""The functions the tap understands, under one name each.

A model reaches the same operation by many doors (`F.linear`, `x @ w`,
`aten.linear.default` of an exported program). `OPS` maps every door to an `Op`,
and `Op.split` finds activation and weight among the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F

aten = torch.ops.aten

OpClass = Literal["weight", "product", "output", "attention"]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation as called through one door.

    Attributes:
        name: Canonical name.
        family: `weight` (one operand may be a parameter), `product` (the same
            ops on two activations share this entry), `output` (activation-only,
            its result is a site) or `attention` (scaled dot product).
        left: Position and keyword of the first operand (activation).
        right: Position and keyword of the second operand (weight).
    """

    name: str
    family: OpClass
    left: tuple[int, str] = (0, "input")
    right: tuple[int, str] = (1, "weight")

    def operand(
        self, side: tuple[int, str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Return the operand at `side`, or None."""
        position, keyword = side
        if position < len(args):
            return args[position]
        return kwargs.get(keyword)

    def replace(
        self,
        side: tuple[int, str],
        value: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call's arguments with the operand at `side` exchanged."""
        position, keyword = side
        if position < len(args):
            return (*args[:position], value, *args[position + 1 :]), dict(kwargs)
        return args, {**kwargs, keyword: value}


def _table() -> dict[Callable[..., Any], Op]:
    tensor = torch.Tensor
    table: dict[Callable[..., Any], Op] = {}

    def add(op: Op, *functions: Callable[..., Any]) -> None:
        table.update(dict.fromkeys(functions, op))

    add(Op("linear", "weight"), F.linear, aten.linear.default)
    add(
        Op("addmm", "weight", (1, "mat1"), (2, "mat2")),
        torch.addmm,
        tensor.addmm,
        aten.addmm.default,
    )
    add(
        Op("matmul", "weight", right=(1, "other")),
        torch.matmul,
        tensor.matmul,
        tensor.__matmul__,
        aten.matmul.default,
    )
    add(
        Op("matmul", "weight", right=(1, "mat2")),
        torch.mm,
        tensor.mm,
        aten.mm.default,
        torch.bmm,
        tensor.bmm,
        aten.bmm.default,
    )
    # Experts of a mixture in one call; which door exists depends on the release.
    grouped = [getattr(torch, "_grouped_mm", None), getattr(F, "grouped_mm", None)]
    add(
        Op("grouped_mm", "weight", right=(1, "mat2")),
        *[function for function in grouped if function is not None],
    )
    for n in (1, 2, 3):
        conv = getattr(F, f"conv{n}d")
        add(Op(f"conv{n}d", "weight"), conv, getattr(aten, f"conv{n}d").default)
        up = getattr(F, f"conv_transpose{n}d")
        overloads = getattr(aten, f"conv_transpose{n}d")
        exported = getattr(overloads, "default" if n == 1 else "input")
        add(Op(f"conv_transpose{n}d", "weight"), up, exported)
    add(Op("embedding", "weight", (0, "input"), (1, "weight")), F.embedding)
    add(
        Op("embedding", "weight", (1, "indices"), (0, "weight")),
        torch.embedding,
        aten.embedding.default,
    )
    add(
        Op("attention", "attention", (0, "query"), (1, "key")),
        F.scaled_dot_product_attention,
        aten.scaled_dot_product_attention.default,
    )
    for name, functions in _output_ops().items():
        add(Op(name, "output"), *functions)
    return table


def _output_ops() -> dict[str, tuple[Callable[..., Any], ...]]:
    tensor = torch.Tensor
    return {
        "softmax": (F.softmax, torch.softmax, tensor.softmax, aten.softmax.int),
        "gelu": (F.gelu, aten.gelu.default),
        "silu": (F.silu, aten.silu.default),
        "relu": (F.relu, torch.relu, tensor.relu, aten.relu.default),
        "layer_norm": (F.layer_norm, aten.layer_norm.default),
        "rms_norm": (F.rms_norm, aten.rms_norm.default),
        "group_norm": (F.group_norm, aten.group_norm.default),
        "batch_norm": (F.batch_norm, aten.batch_norm.default),
    }


OPS: dict[Callable[..., Any], Op] = _table()
"""Every function the tap reacts to."""


_INPLACE_FLAG = frozenset(
    "relu relu6 elu selu celu leaky_relu rrelu hardtanh hardswish hardsigmoid silu "
    "mish threshold".split()
)
_WRITING_OPERATORS = frozenset(
    f"__i{name}__"
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and")
) | {"__ior__", "__ixor__", "__ilshift__", "__irshift__", "__setitem__"}


def writes_in_place(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Tell whether a call writes into its first argument."""
    name = getattr(func, "__name__", "").split(".")[0]
    if name in _WRITING_OPERATORS:
        return True
    if name.endswith("_") and not name.endswith("__"):
        return True
    # F.relu(x, inplace=True) and its relatives, whose modules give it by position.
    flag = name in _INPLACE_FLAG and len(args) > 1 and args[-1] is True
    return kwargs.get("inplace") is True or flag


_SAME = {"radd": "add", "rmul": "mul", "truediv": "div", "rtruediv": "rdiv"}


def plain_name(func: Callable[..., Any]) -> str:
    """Return the name of a function, the same through every door.

    >>> plain_name(torch.Tensor.__iadd__), plain_name(torch.relu_)
    ('add', 'relu')
    >>> plain_name(torch.Tensor.__rsub__), plain_name(aten.add.Tensor)
    ('rsub', 'add')
    """
    name = getattr(func, "__name__", type(func).__name__).split(".")[0]
    if name in _WRITING_OPERATORS and name != "__setitem__":
        name = f"__{name[3:-2]}__"
    if name.startswith("__") and name.endswith("__"):
        plain = name[2:-2]
        # x + y and y.__radd__(x) are the same, x - y and y.__rsub__(x) are not.
        return _SAME.get(plain, plain)
    return name.rstrip("_")


def tensors_in(values: Any) -> list[torch.Tensor]:
    """Return the tensors among call arguments, lists and tuples included."""
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, (list, tuple)):
        return [t for v in values for t in tensors_in(v)]
    if isinstance(values, dict):
        return [t for v in values.values() for t in tensors_in(v)]
    return []
