"""Hutch++: the trace of one layer's block, its leading part taken exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.measures.hessian_products import Curvature, Operator, differentiable
from analysis.measures.trace_job import TraceJob
from analysis.method import Update

_BASIS_BYTES = 1 << 30
_BATCH = 64


def hutchpp_trace(
    product: Callable[[Tensor], Tensor],
    size: int,
    products: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> tuple[float, float]:
    """Return the trace of a symmetric matrix and its standard error.

    With m products: `Q = orth(A S)` for m/3 random sign vectors `S`, the trace of
    `Q^T A Q` exactly, and m/3 probes of what is left (Meyer et al., arXiv
    2010.09649, algorithm 1). Exact for a rank up to m/3.

    Args:
        product: Multiplies a vector `[size]` with the matrix.
        size: Its order.
        products: m; rounded down to a multiple of 3.
        generator: Source of the signs, on the CPU.
        device: Where the vectors live.
    """
    count = min(products // 3, size)

    def signs() -> Tensor:
        bits = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8)
        return bits.to(device, torch.float32).mul_(2).sub_(1)

    sketch = torch.stack([product(signs()) for _ in range(count)], 1)
    basis = torch.linalg.qr(sketch).Q
    exact = sum(float(q @ product(q)) for q in basis.unbind(1))
    left = []
    for _ in range(count):
        g = signs()
        g -= basis @ (basis.T @ g)
        left.append(float(g @ product(g)))
    spread = np.std(left, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return exact + float(np.mean(left)), float(spread)


def hutchpp(job: TraceJob, operator: Operator, products: int) -> Iterator[Update]:
    """Yield the trace of one layer after the other; those in `done` stay.

    The standard error is that of the probes alone, the samples taken as given.

    Args:
        job: What to judge.
        operator: `ggn` or `hessian`.
        products: Products per layer.

    Yields:
        Rows of each layer as it is done.

    Raises:
        AnalysisError: fewer than three products.
    """
    if products < 3:
        raise AnalysisError(
            "Hutch++ splits its products in three.",
            value=f"hessian.probes={products}",
            allowed="at least 3; 30 is a good start",
        )
    yield from job.scores.prepare()
    batches = job.batches(_BATCH)
    samples = len(job.data)
    work = float(sum(layer.parameters for layer in job.layers))
    done = 0.0
    for number, layer in enumerate(job.layers):
        done += layer.parameters
        if (layer.name, None, "trace", "weight") in job.context.done:
            continue
        if 4 * layer.parameters * (products // 3) * 2 > _BASIS_BYTES:
            job.warnings.append(
                f"{layer.name} is too large for hutch++ with {products} products: it "
                "has no result. Lower hessian.probes or take hutchinson."
            )
            continue
        parameter = job.parameters[layer.parameter]
        curvature = Curvature(job.tap.module, batches, job.loss, operator, [parameter])
        generator = torch.Generator().manual_seed(
            (job.context.seed * 1_000_003 + number) % 2**63
        )
        yield Update(done - layer.parameters, work, f"hutch++ of {layer.name}")
        with differentiable([parameter]):
            value, stderr = hutchpp_trace(
                curvature.flat, layer.parameters, products, generator, parameter.device
            )
        rows = job.rows(np.array([value]), np.array([stderr]), [layer])
        yield Update(done, work, layer.name, rows, warnings=job.told(), samples=samples)
    yield Update(work, work, "", warnings=job.told(), samples=samples)
