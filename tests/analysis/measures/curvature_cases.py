"""Tiny networks with curvatures formed the slow way, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from analysis.data.batch import Batch, Data
from analysis.measures.context import MeasureContext
from analysis.measures.hessian_loss import Loss
from analysis.measures.hessian_products import Curvature, Operator, differentiable
from analysis.model import LoadedModel, ModelInfo
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from quant_core.layers import layers_of
from quant_core.scheme import parse_scheme


class DoubleKl(Kl):
    """KL of an output that keeps its float64."""

    def output(self, raw: Any, batch: Batch) -> Tensor:
        return raw


class DoubleMse(Mse):
    """Relative squared error of an output that keeps its float64."""

    def output(self, raw: Any, batch: Batch) -> Tensor:
        return raw


def network(activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    """Return two layers of 12 and 9 weights, in float64."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), activation(), nn.Linear(3, 3)).double().eval()


def samples(count: int = 6) -> Data:
    """Return `count` inputs of four numbers with labels of three classes."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return Data((x,), labels=torch.randint(0, 3, (count,), generator=generator))


def context_of(
    module: nn.Module, data: Data, task: Any, *schemes: str, **more: Any
) -> MeasureContext:
    """Return everything a measure needs to run on a network."""
    layers, unlisted = layers_of(module)
    info = ModelInfo("tiny", "tiny", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module, lambda n: parameters[n].detach(), task)
    return MeasureContext(model, data, tuple(map(parse_scheme, schemes)), **more)


def weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are layers."""
    return {n: p for n, p in module.named_parameters() if p.dim() > 1}


def dense(
    module: nn.Module, data: Data, loss: Loss, operator: Operator, size: int = 0
) -> Tensor:
    """Return the whole matrix, column by column from products."""
    parameters = list(weights(module).values())
    batches = list(data.batches(size or len(data)))
    curvature = Curvature(module, batches, loss, operator, parameters)
    with differentiable(parameters):
        columns = [curvature.flat(e) for e in torch.eye(curvature.size).double()]
    return torch.stack(columns, 1)


def _outputs(
    module: nn.Module, data: Data
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the function from all weights, as one vector, to the outputs."""
    named = weights(module)
    sizes = [p.numel() for p in named.values()]

    def run(flat: Tensor) -> Tensor:
        parts = torch.split(flat, sizes)
        pairs = zip(named.items(), parts, strict=True)
        new = {name: part.view(p.shape) for (name, p), part in pairs}
        return functional_call(module, new, data.args)

    return run, torch.cat([p.detach().flatten() for p in named.values()])


def true_hessian(module: nn.Module, data: Data, loss: str, task: Any) -> Tensor:
    """Return the Hessian of the mean loss by autograd on the loss as it is written."""
    run, at = _outputs(module, data)
    z = run(at).detach()

    def value(flat: Tensor) -> Tensor:
        q = run(flat)
        if loss == "labels":
            return F.cross_entropy(q, data.labels)
        if isinstance(task, Kl):
            p = z.log_softmax(-1)
            return (p.exp() * (p - q.log_softmax(-1))).sum(-1).mean()
        return (q - z).square().sum() / z.square().sum()

    return torch.autograd.functional.hessian(value, at)


def true_ggn(module: nn.Module, data: Data, task: Any) -> Tensor:
    """Return `sum_n J_n^T H_n J_n / weight` from the whole Jacobian."""
    run, at = _outputs(module, data)
    z = run(at).detach()
    jacobian = torch.autograd.functional.jacobian(run, at)
    total = torch.zeros(len(at), len(at), dtype=torch.float64)
    for j, out in zip(jacobian, z, strict=True):
        if isinstance(task, Kl):
            p = out.softmax(-1)
            inner = (torch.diag(p) - torch.outer(p, p)) / len(z)
        else:
            inner = 2 * torch.eye(len(out)).double() / z.square().sum()
        total += j.T @ inner @ j
    return total
