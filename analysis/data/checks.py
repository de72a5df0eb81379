"""Checks of data against the inputs of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from analysis.errors import AnalysisError
from analysis.load.inputs import InputSpec


def check_length(tensors: Sequence[torch.Tensor], labels: torch.Tensor | None) -> int:
    """Return the number of samples.

    Raises:
        AnalysisError: there are none, or tensors differ in their number.
    """
    every = [*tensors, *([] if labels is None else [labels])]
    if any(t.dim() == 0 for t in every):
        raise AnalysisError(
            "The data hold a single number where samples are expected.",
            allowed="arrays with the sample axis first",
        )
    counts = {len(t) for t in every}
    if len(counts) > 1:
        raise AnalysisError(
            "The arrays of the data differ in their number of samples.",
            value=", ".join(map(str, sorted(counts))),
            allowed="one first dimension, the same for all, labels included",
        )
    if not counts or 0 in counts or any(t.numel() == 0 for t in tensors):
        raise AnalysisError(
            "The data are empty.", allowed="at least one sample", value="0 samples"
        )
    return counts.pop()


def check_values(
    args: Sequence[torch.Tensor],
    kwargs: Mapping[str, torch.Tensor],
    specs: Sequence[InputSpec],
) -> None:
    """Check shape, type, finiteness and token range of every input.

    Raises:
        AnalysisError: naming the input, what was given and what is allowed.
    """
    positional = [s for s in specs if not s.keyword]
    by_name = {s.name: s for s in specs if s.keyword}
    for index, value in enumerate(args):
        spec = positional[index] if index < len(positional) else None
        _check(f"input {index}" if spec is None else spec.name, value, spec)
    for name, value in kwargs.items():
        _check(name, value, by_name.get(name))
    for name in (n for n in kwargs if n.endswith("attention_mask")):
        ids = kwargs.get(name.replace("attention_mask", "input_ids"))
        _check_mask(name, kwargs[name], ids)


def _check_mask(name: str, mask: torch.Tensor, ids: torch.Tensor | None) -> None:
    """Check that a mask says of every token whether it counts, and that some do.

    Networks broadcast or cut a mask of another length without a word. Masks that are
    added to scores, or that tell pairs of tokens, are the business of the network.
    """
    if mask.is_floating_point() or mask.dim() != 2:
        return
    if ids is not None and mask.shape != ids.shape:
        raise AnalysisError(
            f"{name} has another shape than the tokens it belongs to.",
            value=str(list(mask.shape)),
            allowed=str(list(ids.shape)),
        )
    _refuse(
        ~mask.bool().any(1),
        f"{name} attend to no token",
        "at least one 1 in every sample",
        "Leave these samples out.",
    )


def _check(name: str, value: torch.Tensor, spec: InputSpec | None) -> None:
    if value.is_floating_point():
        bad = (
            (~torch.isfinite(value)).flatten(1).any(1)
            if value.dim() > 1
            else (~torch.isfinite(value))
        )
        _refuse(
            bad,
            f"{name} hold NaN or inf",
            "finite numbers",
            "Leave these samples out or repair the preprocessing.",
        )
    if spec is None:
        return
    _check_shape(name, value, spec)
    if spec.kind == "int" and spec.high is not None:
        _check_range(name, value, spec.high)


def _refuse(bad: torch.Tensor, what: str, allowed: str, hint: str) -> None:
    """Raise `AnalysisError` when any sample is bad, bool `[samples]`."""
    if bad.any():
        raise AnalysisError(
            f"{int(bad.sum())} of {len(bad)} samples of {what}.",
            value=f"sample {int(bad.nonzero()[0, 0])} is the first",
            allowed=allowed,
            hint=hint,
        )


def _check_shape(name: str, value: torch.Tensor, spec: InputSpec) -> None:
    shape = tuple(value.shape[1:])
    fits = len(shape) == len(spec.shape) and all(
        want in (None, have) for have, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in spec.shape)
        raise AnalysisError(
            f"{name} has the wrong shape.",
            value=f"[{', '.join(map(str, value.shape))}]",
            allowed=f"[samples{', ' * bool(wanted)}{wanted}]",
        )


def _check_range(name: str, value: torch.Tensor, high: int) -> None:
    low, top = int(value.min()), int(value.max())
    if low < 0 or top >= high:
        raise AnalysisError(
            f"{name} holds indices out of range.",
            value=f"{low} to {top}",
            allowed=f"0 to {high - 1}",
            hint="Use the tokenizer that belongs to this model."
            if name.endswith("input_ids")
            else None,
        )
