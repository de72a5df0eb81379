"""Convolutions on the CPU in the layout that their kernels are fastest in.

With the weights of 2-D convolutions laid out with the channels last, their outputs
are, and so is what follows; oneDNN then neither reorders activations around every call
nor fills up the channels of small groups. Values differ by rounding only. PyTorch
recommends the layout ("Channels last memory format"), but does not choose it itself.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from analysis.data.batch import call
from analysis.measures.context import MeasureContext

_TOLERANCE = 1e-3
"""Largest difference of outputs, relative to the largest output; rounding is below."""

_Shapes = tuple[torch.Size, ...]
_known: weakref.WeakKeyDictionary[nn.Module, dict[_Shapes, bool]] = (
    weakref.WeakKeyDictionary()
)
"""Which networks take the layout, for inputs of which shapes: tried once."""


@contextlib.contextmanager
def channels_last(context: MeasureContext, module: nn.Module) -> Iterator[None]:
    """Lay the weights of convolutions out with the channels last inside the block.

    Networks that depend on how tensors lie in memory (`x.view(...)` behind a
    convolution) stay as they are: a pass over a sample is tried.

    Args:
        context: Needs data and a task.
        module: The network, in evaluation mode; as it was after the block.
    """
    weights = _weights(module)
    if weights and _takes(context, module, weights):
        with _laid_out(weights):
            yield
    else:
        yield


def _weights(module: nn.Module) -> list[Tensor]:
    """Return the weights of 2-D convolutions that lie on the CPU and alone."""
    found = [
        inner.weight
        for inner in module.modules()
        if isinstance(inner, (nn.Conv2d, nn.ConvTranspose2d))
        and isinstance(inner._parameters.get("weight"), nn.Parameter)
    ]
    return [
        w
        for w in dict.fromkeys(found)
        if w.device.type == "cpu"
        and w.is_contiguous()
        and w.untyped_storage().nbytes() == w.numel() * w.element_size()
    ]


@contextlib.contextmanager
def _laid_out(weights: Sequence[Tensor]) -> Iterator[None]:
    kept = [w.data for w in weights]
    try:
        for w in weights:
            # `contiguous` leaves one channel or one kernel element as it is, whose
            # strides would then speak for the plain layout.
            moved = torch.empty_like(w.data, memory_format=torch.channels_last)
            w.data = moved.copy_(w.data)
        yield
    finally:
        for w, data in zip(weights, kept, strict=True):
            w.data = data


def _takes(
    context: MeasureContext, module: nn.Module, weights: Sequence[Tensor]
) -> bool:
    """Tell whether a network gives the same output in the layout."""
    data, task = context.data, context.model.task
    assert data is not None
    assert task is not None
    size = int(context.model.input_hints.get("batch_size") or 1)
    head = next(data.take(size).batches(size)).to(context.device)
    shapes = tuple(x.shape[1:] for x in (*head.args, *head.kwargs.values()))
    known = _known.setdefault(module, {})
    if shapes not in known:
        try:
            with torch.no_grad():
                plain = task.output(call(module, head), head)
                with _laid_out(weights):
                    moved = task.output(call(module, head), head)
            known[shapes] = _alike(plain, moved)
        except Exception:  # noqa: BLE001 - a network may raise anything
            # A single sample, or the layout, is not for it: the measure itself tells.
            known[shapes] = False
    return known[shapes]


def _alike(plain: Tensor, moved: Tensor) -> bool:
    """Tell whether two outputs differ by rounding only."""
    if plain.shape != moved.shape:
        return False
    largest = float(plain.abs().max())
    return float((plain - moved).abs().max()) <= _TOLERANCE * largest
