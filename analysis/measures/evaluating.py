"""The state a network is measured in, and the way back out of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


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
