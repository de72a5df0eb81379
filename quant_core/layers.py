"""Which parameters of a network are layers, and which are not and why."""

from __future__ import annotations

from torch import fx, nn

from quant_core.sites import NO_VALUES, Layer, Unlisted

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)

_GRAPH_KINDS = {
    "linear": ("linear", (0,)),
    "addmm": ("linear", (1,)),
    "mm": ("linear", (1,)),
    "matmul": ("linear", (1,)),
    "embedding": ("embedding", (0,)),
    "conv1d": ("conv", (0,)),
    "conv2d": ("conv", (0,)),
    "conv3d": ("conv", (0,)),
    "convolution": ("conv", (0,)),
    "conv_transpose1d": ("transposed_conv", (1,)),
    "conv_transpose2d": ("transposed_conv", (1,)),
    "conv_transpose3d": ("transposed_conv", (1,)),
    "lstm": ("recurrent", (0,)),
    "gru": ("recurrent", (0,)),
}


def layers_of(module: nn.Module) -> tuple[tuple[Layer, ...], tuple[Unlisted, ...]]:
    """Return the layers of a network and the parameters that are none.

    A parameter of two or more dimensions is a layer unless it is a constant that
    is added to activations, a normalisation scale, or not a number that can be
    rounded. Tied parameters appear once, under their first name. Vectors (biases,
    norm scales) are in neither list: they stay float everywhere.

    Args:
        module: The network; not run and not changed.

    Returns:
        Layers in the order of `named_parameters()`, and the rest with reasons.
    """
    owners = dict(module.named_modules())
    graph_kinds = _kinds_in_graph(module)
    layers: list[Layer] = []
    unlisted: list[Unlisted] = []
    for name, parameter in module.named_parameters():
        if parameter.dim() < 2:
            continue
        path, _, leaf = name.rpartition(".")
        shape = tuple(parameter.shape)
        reason = _why_not(owners[path], leaf, shape)
        if parameter.numel() == 0:
            reason = NO_VALUES
        elif not parameter.is_floating_point():
            reason = f"stored as {str(parameter.dtype).removeprefix('torch.')}"
        if reason is not None:
            unlisted.append(Unlisted(name, shape, reason))
            continue
        kind, axes = graph_kinds.get(name) or _kind(owners[path], leaf, shape)
        layers.append(
            Layer(
                name=path if leaf == "weight" and path else name,
                parameter=name,
                kind=kind,
                shape=shape,
                dtype=str(parameter.dtype).removeprefix("torch."),
                channel_axes=axes,
            )
        )
    return tuple(layers), tuple(unlisted)


def _why_not(owner: nn.Module, leaf: str, shape: tuple[int, ...]) -> str | None:
    """Return why a parameter is not a layer, or None when it is one."""
    if isinstance(owner, _NORMS):
        return "normalisation scale, kept in float"
    if isinstance(owner, nn.MultiheadAttention) and leaf in {"bias_k", "bias_v"}:
        return "attention bias vector, added to the activations"
    if isinstance(owner, (nn.Linear, nn.Embedding, *_CONV, *_TRANSPOSED)):
        return None
    if shape[0] == 1 and len(shape) >= 3:
        return "learned constant added to the activations, kept in float"
    return None


def _kind(
    owner: nn.Module, leaf: str, shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return the kind of a parameter and its output-channel axes."""
    if isinstance(owner, nn.MultiheadAttention):
        return "attention_projection", (0,)
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding", (0,)
    if isinstance(owner, _CONV):
        return "conv", (0,)
    if isinstance(owner, _TRANSPOSED):
        return "transposed_conv", (1,)
    if isinstance(owner, (nn.RNNBase, nn.RNNCellBase)):
        return "recurrent", (0,)
    # transformers' Conv1D stores [in, out]; recognised by name so that the
    # library need not be installed.
    if type(owner).__name__ == "Conv1D" and leaf == "weight":
        return "linear", (1,)
    if len(shape) == 2 and leaf == "weight":
        return "linear", (0,)
    if len(shape) == 3:
        return "experts", _expert_axes(owner)
    return "other", (0,)


def _expert_axes(owner: nn.Module) -> tuple[int, ...]:
    """Return the channel axes of `[expert, ...]` weights.

    transformers marks classes that store `[expert, in, out]` with
    `is_transposed`; the usual layout is `[expert, out, in]`.
    """
    return (0, 2) if getattr(owner, "is_transposed", False) else (0, 1)


def _kinds_in_graph(module: nn.Module) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return kinds by parameter for traced programs, whose owners are bare modules."""
    if not isinstance(module, fx.GraphModule):
        return {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for node in module.graph.nodes:
        if node.op != "get_attr":
            continue
        for user in node.users:
            op = str(getattr(user.target, "__name__", user.target))
            known = _GRAPH_KINDS.get(op.split(".")[0])
            if known is not None:
                kinds[str(node.target)] = known
    return kinds
