"""The tap: one mechanism that sees and changes what flows through any network.

A `TorchFunctionMode` sees every call the model makes, a stack of module paths tells
where it was made. Each op that uses a parameter and each activation-only op of
`quant_core.ops` is a *site* with a stable name. Weights are exchanged by parameter
name, activations by site name; the model's modules are never replaced.

What a mode cannot see by itself and what is done about it: torch's fused
transformer-encoder path is switched off; the inside of `nn.MultiheadAttention` is run
under the mode; scaled dot-product attention is written out when a listener wants its
inside. The inside of recurrent kernels stays closed: their weights are layers, their
gates are not sites.
"""

from quant_core.tap.fused import explicit_attention
from quant_core.tap.listener import Call, Listener, WeightUse
from quant_core.tap.tap import Tap

__all__ = ["Call", "Listener", "Tap", "WeightUse", "explicit_attention"]
