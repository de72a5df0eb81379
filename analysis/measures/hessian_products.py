"""Products of curvature matrices with vectors, for any set of layers.

Both operators are taken by reverse mode alone. The Hessian differentiates the
gradient once more (Pearlmutter, 1994). The generalised Gauss-Newton matrix (GGN)
`J^T H_out J` needs `J v`, which is the derivative by w of `v . J^T w`: linear in w, so
it does not matter at which w. Forward mode would give `J v` directly, but torch lacks
it for grouped products, recurrent kernels and the backward of SiLU.

Attention runs in its mathematical form: the fused kernels have no second derivative.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from analysis.data.batch import Batch, call
from analysis.measures.evaluating import copied_saved_tensors
from analysis.measures.hessian_loss import Loss, output_product

Operator = Literal["ggn", "hessian"]
Vectors = list[Tensor]
"""One tensor per parameter, of its shape."""


@contextlib.contextmanager
def differentiable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let gradients reach `parameters`, then restore their flags."""
    kept = [p.requires_grad for p in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in zip(parameters, kept, strict=True):
            parameter.requires_grad_(flag)


class BatchCurvature:
    """The curvature of a batch's summed loss, from one graph for many products.

    Args:
        module: The network, in evaluation mode.
        batch: The samples.
        loss: Whose curvature.
        operator: `ggn` or `hessian`.
        parameters: Parameters of the matrix, in the order of its blocks; they must
            require gradients (`differentiable`).
        copies: Keep copies of what autograd saves, for networks that overwrite it.

    Attributes:
        weight: `[N]` weights of the loss.
        finite: Whether the loss is.
    """

    def __init__(
        self,
        module: nn.Module,
        batch: Batch,
        loss: Loss,
        operator: Operator,
        parameters: Sequence[nn.Parameter],
        *,
        copies: bool = False,
    ) -> None:
        self._parameters = list(parameters)
        self._batch, self._loss = batch, loss
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(sdpa_kernel([SDPBackend.MATH]))
            if copies:
                stack.enter_context(copied_saved_tensors(module))
            output = loss.task.output(call(module, batch), batch)
            numerator, weight = loss.value(output, batch)
            self.weight = weight.detach()
            self.finite = bool(torch.isfinite(numerator).all())
            self._output = output
            self._probe: Tensor | None = None
            self._gradient: tuple[Tensor, ...] = ()
            if output.requires_grad and operator == "ggn":
                self._probe = torch.zeros_like(output, requires_grad=True)
                self._gradient = self._slopes(output, self._probe)
            elif output.requires_grad:  # else none of the parameters is used
                self._gradient = self._slopes(numerator.sum(), None)

    def product(self, v: Sequence[Tensor]) -> Vectors:
        """Return the matrix times `v`.

        Args:
            v: One tensor per parameter.
        """
        slope = sum(
            ((g * x).sum() for g, x in zip(self._gradient, v, strict=False)),
            torch.zeros((), device=self._output.device),
        )
        if not slope.requires_grad:  # linear in the parameters
            return [torch.zeros_like(p) for p in self._parameters]
        if self._probe is None:
            found = torch.autograd.grad(
                slope, self._parameters, retain_graph=True, materialize_grads=True
            )
            return list(found)
        (moved,) = torch.autograd.grad(
            slope, self._probe, retain_graph=True, materialize_grads=True
        )
        back = output_product(self._loss, self._output, self._batch, moved)
        return list(
            torch.autograd.grad(
                self._output,
                self._parameters,
                back,
                retain_graph=True,
                materialize_grads=True,
            )
        )

    def _slopes(self, output: Tensor, at: Tensor | None) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            output, self._parameters, at, create_graph=True, materialize_grads=True
        )


def needs_copies(
    module: nn.Module, batch: Batch, loss: Loss, parameters: Sequence[nn.Parameter]
) -> bool:
    """Tell whether the network overwrites what autograd has saved.

    Allowed in inference, refused by a backward pass, so it is tried once.
    """
    try:
        with differentiable(parameters):
            BatchCurvature(module, batch, loss, "ggn", parameters)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return True
    return False


class Curvature:
    """The curvature of a loss over a data set, block by block of parameters.

    The graph is kept between products when the data are one batch and made anew for
    each product when they are several, so that memory is that of one batch.

    Args:
        module: The network, in evaluation mode.
        batches: The data.
        loss: Whose curvature.
        operator: `ggn` or `hessian`.
        parameters: Parameters of the matrix; see `differentiable`.
    """

    def __init__(
        self,
        module: nn.Module,
        batches: Sequence[Batch],
        loss: Loss,
        operator: Operator,
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self._module, self._batches, self._loss = module, batches, loss
        self._operator, self._parameters = operator, list(parameters)
        self._copies = needs_copies(module, batches[0], loss, self._parameters)
        self._kept: BatchCurvature | None = None

    @property
    def size(self) -> int:
        """Order of the matrix."""
        return sum(p.numel() for p in self._parameters)

    def batch(self, batch: Batch) -> BatchCurvature:
        """Return the curvature of one batch's summed loss."""
        return BatchCurvature(
            self._module,
            batch,
            self._loss,
            self._operator,
            self._parameters,
            copies=self._copies,
        )

    def product(self, v: Sequence[Tensor]) -> Vectors:
        """Return the matrix of the mean loss times `v`; see `BatchCurvature`."""
        total = [torch.zeros_like(x) for x in v]
        weight = 0.0
        for batch in self._batches:
            one = self._kept or self.batch(batch)
            if len(self._batches) == 1:
                self._kept = one
            for mine, part in zip(total, one.product(v), strict=True):
                mine += part
            weight += float(one.weight.sum())
        return [mine / weight for mine in total]

    def flat(self, v: Tensor) -> Tensor:
        """Return the product with all parameters in one vector `[size]`."""
        parts = torch.split(v, [p.numel() for p in self._parameters])
        shaped = [
            part.view(p.shape).to(p.dtype)
            for part, p in zip(parts, self._parameters, strict=True)
        ]
        found = self.product(shaped)
        return torch.cat([part.reshape(-1).to(v.dtype) for part in found])
