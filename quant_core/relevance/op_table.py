"""Which rule an op has, by its name; what is missing may only move values."""

from __future__ import annotations

from quant_core.relevance.op_rules import (
    OpRule,
    added,
    alike,
    contracted,
    divided,
    group_norm,
    layer_norm,
    linear_op,
    multiplied,
    powered,
    scale_only,
    softmax,
)
from quant_core.relevance.weighted import batch_norm, weighted

_NAMES: dict[OpRule, str] = {
    weighted: "linear addmm matmul grouped_mm conv1d conv2d conv3d conv_transpose1d "
    "conv_transpose2d conv_transpose3d",
    contracted: "einsum",
    added: "add sub rsub",
    multiplied: "mul multiply",
    divided: "div divide true_divide rdiv reciprocal",
    linear_op: "sum mean cumsum index_add scatter_add avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d interpolate",
    softmax: "softmax",
    layer_norm: "layer_norm",
    group_norm: "group_norm instance_norm",
    batch_norm: "batch_norm",
    scale_only: "sqrt rsqrt var std norm vector_norm linalg_vector_norm linalg_norm",
    powered: "pow",
    alike: "relu relu6 leaky_relu elu celu selu gelu silu mish softplus softsign "
    "hardtanh hardswish hardsigmoid sigmoid logsigmoid tanh erf sin cos exp abs neg "
    "square clamp clip clamp_min clamp_max nan_to_num rms_norm normalize "
    "threshold tanhshrink softshrink hardshrink",
}

RULES: dict[str, OpRule] = {
    name: rule for rule, names in _NAMES.items() for name in names.split()
}
"""Rule by name of the op (`quant_core.ops.plain_name`)."""
