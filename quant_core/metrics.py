"""How far two tensors are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_core.errors import QuantError

if TYPE_CHECKING:
    from torch import Tensor

Axes = int | tuple[int, ...] | None


def _pair(reference: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64, checked to have one shape."""
    if reference.shape != other.shape:
        raise QuantError(
            "Two tensors of different shapes cannot be compared.",
            value=f"{tuple(reference.shape)} and {tuple(other.shape)}",
            allowed="equal shapes",
        )
    return reference.detach().double(), other.detach().double()


def _sum(x: Tensor, dim: Axes) -> Tensor:
    return x.sum() if dim is None else x.sum(dim)


def mse(reference: Tensor, other: Tensor, dim: Axes = None) -> Tensor:
    """Return the mean squared difference, float64.

    Args:
        reference: Any shape.
        other: Of the same shape.
        dim: Axes to reduce; all when None. The same for the functions below.

    Raises:
        QuantError: the shapes differ. The same for the functions below.
    """
    a, b = _pair(reference, other)
    square = (a - b).square_()
    return square.mean() if dim is None else square.mean(dim)


def max_error(reference: Tensor, other: Tensor, dim: Axes = None) -> Tensor:
    """Return the largest absolute difference, float64."""
    a, b = _pair(reference, other)
    difference = (a - b).abs_()
    return difference.amax() if dim is None else difference.amax(dim)


def relative_error(reference: Tensor, other: Tensor, dim: Axes = None) -> Tensor:
    """Return `sum (other - reference)^2 / sum reference^2`, float64.

    Equal tensors give 0, also when all values are 0; a difference from an all-zero
    reference gives inf.
    """
    a, b = _pair(reference, other)
    noise, power = _sum((a - b).square_(), dim), _sum(a.square(), dim)
    return (noise / power).masked_fill(noise == 0, 0.0)


def sqnr_db(reference: Tensor, other: Tensor, dim: Axes = None) -> Tensor:
    """Return the signal to quantization noise ratio [dB], float64.

    `10 log10(sum reference^2 / sum (other - reference)^2)`; inf for equal tensors.
    """
    return -10 * relative_error(reference, other, dim).log10()


def cosine(reference: Tensor, other: Tensor, dim: Axes = None) -> Tensor:
    """Return the cosine of the angle between two tensors, float64, -1 to 1.

    Two zero vectors count as equal (1), one zero vector as unrelated (0).
    """
    a, b = _pair(reference, other)
    squares = _sum(a.square(), dim), _sum(b.square(), dim)
    # Roots before the product: squares of small values would underflow in it.
    norm = squares[0].sqrt() * squares[1].sqrt()
    both_zero = (squares[0] == 0) & (squares[1] == 0)
    value = (_sum(a * b, dim) / norm).masked_fill(norm == 0, 0.0)
    return value.clamp(-1, 1).masked_fill(both_zero, 1.0)


def kl(reference_logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return KL(p || q) of two softmax distributions [nats], float64.

    Args:
        reference_logits: Logits of p, `[..., classes]`; -inf excludes a class.
        other_logits: Logits of q, `[..., classes]`.

    Returns:
        Shape `[...]`, never negative; inf where q excludes what p allows.
    """
    import torch

    a, b = _pair(reference_logits, other_logits)
    log_p, log_q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
    p = log_p.exp()
    terms = torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p))
    return terms.sum(-1).clamp(min=0)
