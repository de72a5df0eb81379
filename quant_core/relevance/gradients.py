"""Gradients at the places where relevance is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from quant_core.tap import Call, Listener


class GradientPass(Listener):
    """Keeps the gradient of every result that `wanted` picks.

    Args:
        wanted: Picks calls by themselves.
        samples: Samples of the batch.

    Attributes:
        gradients: Gradient by number of the call, after a backward pass. The calls of
            a `RelevancePass` over the same batch have the same numbers.
    """

    inside_attention = True
    makes_calls = True

    def __init__(self, wanted: Callable[[Call], bool], samples: int = 1) -> None:
        self._samples = samples
        self.gradients: dict[int, Tensor] = {}
        self._wanted = wanted

    def call(self, call: Call) -> Any:
        """See `Listener.call`."""
        result = call.run()
        if isinstance(result, Tensor) and self._wanted(call):
            if call.name == "embedding" and not result.requires_grad:
                # Looked-up rows are where the graph begins, as in a relevance pass.
                if len(result) == 1 < self._samples:
                    result = result.expand(self._samples, *result.shape[1:])
                result.requires_grad_()
            index = call.index

            def keep(gradient: Tensor) -> None:
                self.gradients[index] = gradient

            if result.requires_grad:
                result.register_hook(keep)  # type: ignore[no-untyped-call]
        return result
