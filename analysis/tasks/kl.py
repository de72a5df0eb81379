"""KL divergence between the float and the quantized distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from analysis.data.batch import Batch
from analysis.errors import AnalysisError
from analysis.tasks.outputs import LOGITS, attended, pick

_CHUNK = 1 << 20  # logits judged at once; bounds the float64 temporaries
_KEPT = 1 << 22  # logits whose float64 distribution is kept for many comparisons
_IGNORED = -100  # label of positions without a target, as in torch's cross_entropy


@dataclass(frozen=True)
class Kl:
    """KL(p || p_q) of class or token distributions, in nats.

    `p` is the softmax of the float network, `p_q` that of the quantized one; the
    unit is nats per sample for logits `[N, C]` and nats per position for logits
    `[N, T, C]` (attended tokens) and `[N, C, H, W]` (pixels). Labels are not needed.

    To second order KL = d^T (diag(p) - p p^T) d / 2 for a change `d` of the logits:
    half the Fisher matrix of the softmax.

    Attributes:
        causal: Labels are the inputs themselves and position t predicts t + 1.
        mask: Keyword argument that marks the positions to judge.
        class_axis: Axis of the classes; 1 for pixel maps, else -1.
    """

    key: ClassVar[str] = "kl"
    title: ClassVar[str] = "KL divergence of the outputs"
    unit: ClassVar[str] = "nats"

    causal: bool = False
    mask: str = "attention_mask"
    class_axis: int = -1

    def output(self, raw: Any, batch: Batch) -> torch.Tensor:
        """Return the logits `[N, ..., C]` in float32, classes last."""
        return pick(raw, LOGITS).movedim(self.class_axis, -1)

    def error(
        self, reference: torch.Tensor, quantized: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return KL summed over positions, and the number of positions, per sample."""
        return self.against(reference, batch)(quantized)

    def weight(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the number of positions per sample."""
        return self._positions(output, batch).sum(1, dtype=torch.float64)

    def against(
        self, reference: torch.Tensor, batch: Batch
    ) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Return `error` as a function of the quantized output alone.

        The distribution of a small reference is computed once for all of them.
        """
        classes = reference.shape[-1]
        p, keep = reference.reshape(-1, classes), self._positions(reference, batch)
        weight = self.weight(reference, batch)
        rows = max(1, _CHUNK // classes)
        keeps = p.numel() <= _KEPT
        known = [_Floats.of(some) for some in torch.split(p, rows)] if keeps else []

        def error(quantized: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            q = quantized.reshape(-1, classes)
            floats = known or map(_Floats.of, torch.split(p, rows))
            parts = [
                one.divergence(some)
                for one, some in zip(floats, torch.split(q, rows), strict=True)
            ]
            # Padding may hold anything, NaN included.
            divergence = torch.cat(parts).view(keep.shape).masked_fill(~keep, 0.0)
            return divergence.sum(1), weight

        return error

    def probe(
        self, output: torch.Tensor, batch: Batch, signs: torch.Tensor
    ) -> torch.Tensor:
        """Return `u = (sqrt(p) e - p (sqrt(p) . e)) / sqrt(2)`, `e` = +-1 per class.

        Its covariance is exactly (diag(p) - p p^T) / 2 at every judged position,
        and positions are independent. The square root of the Fisher matrix keeps
        the tails light where sampled labels would not.
        """
        u = _fisher_factor(output, signs) * 0.5**0.5
        keep = self._positions(output, batch).view(output.shape[:-1])
        return torch.where(keep.unsqueeze(-1), u, 0.0)

    def label_loss(
        self, output: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return cross entropy summed over targets, and their number, per sample.

        None without labels that fit the logits. Differentiable twice.
        """
        found = self._targets(output, batch)
        if found is None:
            return None
        logits, labels = found
        nll = F.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            reduction="none",
            ignore_index=_IGNORED,
        ).view(labels.shape)
        return nll.sum(1, dtype=torch.float64), _count(labels)

    def label_probe(
        self, output: torch.Tensor, batch: Batch, signs: torch.Tensor
    ) -> torch.Tensor:
        """Return `u` whose covariance is the Hessian of the cross entropy.

        diag(p) - p p^T at every position that has a target, whatever the target.
        """
        found = self._targets(output, batch)
        keep = torch.zeros(output.shape[:-1], dtype=torch.bool, device=output.device)
        if found is not None:
            valid = found[1] != _IGNORED
            keep.view(len(keep), -1)[:, : valid.shape[1]] = valid
        return torch.where(keep.unsqueeze(-1), _fisher_factor(output, signs), 0.0)

    def drawn(
        self, output: torch.Tensor, batch: Batch, uniform: torch.Tensor
    ) -> torch.Tensor:
        """Return slopes of log p(y) by the logits with the Fisher matrix as covariance.

        Labels y are drawn in proportion to `p_y |onehot(y) - p|^2`, not to p, and the
        slope `onehot(y) - p` is weighted by the root of the ratio of the two, which
        keeps the covariance diag(p) - p p^T and gives every draw the length that the
        mean has. Drawn from p, a network that is sure of itself would show next to
        nothing in most draws and very much in a few. Random signs keep the slopes of
        different positions uncorrelated.

        Args:
            output: Logits `[N, ..., C]`.
            batch: What they were computed from.
            uniform: Numbers in [0, 1), `[N, ...]`, one for each position.

        Returns:
            `[N, ..., C]`, 0 at positions that are not judged.
        """
        p = output.detach().double().softmax(-1)
        square = p.square()
        # |onehot(y) - p|^2, without 1 - 2 p_y + sum p^2, which cancels.
        length = (1 - p).square() + (square.sum(-1, keepdim=True) - square).clamp(min=0)
        sums = (p * length).cumsum(-1)
        trace = sums[..., -1:]
        # One bit of the number is the sign, the others pick the label.
        sign = torch.where(uniform < 0.5, -1.0, 1.0).unsqueeze(-1)
        place = (2 * uniform.unsqueeze(-1)) % 1 * trace
        # Rounding may leave the last sum below the whole.
        y = torch.searchsorted(sums, place, right=True).clamp_(max=p.shape[-1] - 1)
        slope = (-p).scatter_add_(-1, y, torch.ones_like(y, dtype=p.dtype))
        known = length.gather(-1, y)
        factor = torch.where(known > 0, (trace / known).sqrt(), 0.0)
        slope = slope * (factor * sign)
        keep = self._positions(output, batch).view(output.shape[:-1])
        return torch.where(keep.unsqueeze(-1), slope.to(output.dtype), 0.0)

    def _targets(
        self, output: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return logits `[N, T, C]` and labels `[N, T]` of the positions to hit."""
        if batch.labels is None:
            return None
        logits, labels = output, batch.labels
        if self.causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        if labels.shape != logits.shape[:-1]:
            return None
        labels = labels.reshape(len(labels), -1)
        return logits.reshape(*labels.shape, -1), labels

    def check_labels(self, output: torch.Tensor, labels: torch.Tensor) -> None:
        """Refuse labels that are no classes of an output `[N, ..., C]`.

        Raises:
            AnalysisError: they are not whole numbers, or name a class there is not.
        """
        if labels.is_floating_point():
            raise AnalysisError(
                "The labels have the wrong type.",
                value=str(labels.dtype).removeprefix("torch."),
                allowed="integer numbers of classes",
                hint="Leave them out if they are no classes: no error needs labels.",
            )
        named, classes = labels[labels != _IGNORED], output.shape[-1]
        if len(named) and not 0 <= int(named.min()) <= int(named.max()) < classes:
            raise AnalysisError(
                "The labels name classes that the network does not have.",
                value=f"{int(named.min())} to {int(named.max())}",
                allowed=f"0 to {classes - 1}, or {_IGNORED} for none",
                hint="Number the classes as in training.",
            )

    def metrics(self, output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Return `top1` (share correct) and `nll` (nats per target), `[N]` each.

        The exponential of the mean `nll` is the perplexity. A sample without any
        target is NaN. Empty when there are no labels.
        """
        found, loss = self._targets(output, batch), self.label_loss(output, batch)
        if found is None or loss is None:
            return {}
        logits, labels = found
        right = (logits.argmax(-1) == labels) & (labels != _IGNORED)
        return {
            "top1": right.sum(1, dtype=torch.float64) / loss[1],
            "nll": loss[0] / loss[1],
        }

    def _positions(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return which positions are judged, `[N, positions]`."""
        positions = output.shape[:-1]
        mask = attended(positions, batch, name=self.mask)
        if mask is None:
            mask = torch.ones(positions, dtype=torch.bool, device=output.device)
        return mask.reshape(len(output), -1)


def _count(labels: torch.Tensor) -> torch.Tensor:
    """Return the number of targets per sample."""
    return (labels != _IGNORED).sum(1, dtype=torch.float64)


def _fisher_factor(output: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """Return `sqrt(p) e - p (sqrt(p) . e)`, of covariance diag(p) - p p^T."""
    p = output.detach().softmax(-1)
    signed = p.sqrt() * signs
    return signed - p * signed.sum(-1, keepdim=True)


@dataclass(frozen=True)
class _Floats:
    """Distributions of the float network, one per row, in float64.

    Attributes:
        log_p: Logarithms; 0 for a class that is ruled out (logit -inf).
        p: Probabilities.
    """

    log_p: torch.Tensor
    p: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor) -> _Floats:
        """Return the distributions of logits `[rows, classes]`."""
        log_p = logits.double().log_softmax(-1)
        p = log_p.exp()
        return cls(log_p.masked_fill(torch.isneginf(log_p), 0.0), p)

    def divergence(self, logits: torch.Tensor) -> torch.Tensor:
        """Return KL per row in float64: the terms nearly cancel at 8 bits.

        A class that is ruled out contributes nothing.
        """
        log_q = logits.double().log_softmax(-1)
        difference = self.log_p - log_q
        return torch.where(self.p != 0, self.p * difference, 0.0).sum(-1)
