"""What every task offers: an output, an error, and probes for its prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch

from analysis.data.batch import Batch


class Task(Protocol):
    """What "error" means for a model.

    An error over a data set is a ratio of sums, `sum(numerator) / sum(weight)`:
    KL summed over positions by the number of positions, squared distance by
    signal power. `probe` makes `u` with `E[u u^T] = M`, where
    `numerator ~ d^T M d` to second order for an output change `d`; so
    `(u . d)^2` is an unbiased estimate of the numerator.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]

    def output(self, raw: Any, batch: Batch) -> torch.Tensor:
        """Return the tensor that is judged, `[N, ...]`, float32, differentiable."""
        ...

    def error(
        self, reference: torch.Tensor, quantized: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `(numerator [N], weight [N])` in float64."""
        ...

    def weight(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weight of `error` for a float output, `[N]` in float64."""
        ...

    def against(
        self, reference: torch.Tensor, batch: Batch
    ) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Return `error` as a function of the quantized output alone.

        For many comparisons with one reference: what it alone decides is made once.
        """
        ...

    def probe(
        self, output: torch.Tensor, batch: Batch, signs: torch.Tensor
    ) -> torch.Tensor:
        """Return the probe `u` that independent random signs make, without gradient.

        Args:
            output: The float output, `[N, ...]`.
            batch: What it was computed from.
            signs: +-1 with equal probability, of the shape and type of `output`.
        """
        ...

    def metrics(self, output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Return per-sample metrics that need labels (`top1`, `nll`); may be {}."""
        ...
