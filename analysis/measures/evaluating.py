"""The state a network is measured in, and the way back out of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch evaluation mode on and parameter gradients off, then restore both.

    Args:
        module: The network; its flags are as before after the block, however it
            ends.
    """
    gradients = [(p, p.requires_grad) for p in module.parameters()]
    modes = [(m, m.training) for m in module.modules()]
    try:
        for child, _ in modes:
            child.training = False
        for parameter, _ in gradients:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in gradients:
            parameter.requires_grad_(flag)
        for child, mode in modes:
            child.training = mode


def overwrites_saved(output: Tensor) -> bool:
    """Tell whether a network overwrote what autograd had saved on the way to `output`.

    Allowed in inference, refused by the backward pass, so one is tried.

    Args:
        output: With the graph that leads to it, which is used up.

    Raises:
        RuntimeError: the backward pass fails for another reason.
    """
    if not output.requires_grad:
        return False
    try:
        torch.autograd.backward(output, torch.zeros_like(output))
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return True
    return False


def copied_saved_tensors(module: nn.Module) -> saved_tensors_hooks:
    """Make autograd keep copies of the activations it saves.

    For networks that overwrite what they have used, which inference allows and a
    backward pass refuses.

    Args:
        module: The network, whose parameters are not copied.
    """
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}

    def pack(x: Tensor) -> Tensor:
        return x if x.untyped_storage().data_ptr() in weights else x.clone()

    return saved_tensors_hooks(pack, lambda x: x)
