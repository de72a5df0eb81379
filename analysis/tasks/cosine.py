"""Cosine distance between the float and the quantized output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from analysis.data.batch import Batch
from analysis.tasks.mse import Mse


@dataclass(frozen=True)
class Cosine(Mse):
    """Cosine distance 1 - cos(z, z_q) of output vectors, without unit.

    Vectors are tokens when the output is `[N, T, D]` with padding masked
    (`tokens`), else whole samples. A change of length alone costs nothing.

    To second order the distance is ||P d||^2 / (2 ||z||^2) for a change `d`, where
    `P` removes the part along `z`.
    """

    key = "cosine"
    title = "Cosine distance of the output"
    unit = "1 - cos"

    def error(
        self, reference: torch.Tensor, quantized: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return distances summed over vectors, and their number, per sample."""
        z, q = self._vectors(reference).double(), self._vectors(quantized).double()
        # Half the squared chord: 1 - cos without its cancellation, 0 when equal.
        chord = F.normalize(z, dim=-1) - F.normalize(q, dim=-1)
        distance = chord.square().sum(-1).div(2)
        distance = distance.masked_fill(~self._real(reference), 0.0)
        return distance.sum(1), self.weight(reference, batch)

    def weight(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the number of vectors per sample."""
        del batch
        return self._real(output).sum(1, dtype=torch.float64)

    def probe(
        self, output: torch.Tensor, batch: Batch, signs: torch.Tensor
    ) -> torch.Tensor:
        """Return `u = P e / (sqrt(2) ||z||)`, `e` = +-1 per element."""
        signs = self._vectors(signs)
        z = self._vectors(output.detach())
        length = z.norm(dim=-1, keepdim=True)
        unit = F.normalize(z, dim=-1)
        u = signs - unit * (unit * signs).sum(-1, keepdim=True)
        u = torch.where(length > 0, u / (length * 2**0.5), 0.0)
        return u.reshape(output.shape)

    def _real(self, output: torch.Tensor) -> torch.Tensor:
        """Return which vectors are no padding, which was set to zero."""
        return self._vectors(output).double().square().sum(-1) > 0

    def _vectors(self, output: torch.Tensor) -> torch.Tensor:
        """Return the output as `[N, vectors, D]`."""
        if self.tokens and self.pooling is None and output.dim() == 3:
            return output
        return output.reshape(len(output), 1, -1)
