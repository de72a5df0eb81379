"""Traces, eigenvalues and spectra against curvlinops and PyHessian.

`python -m tests.peers.test_curvature` writes what the peers say to `references/`.
"""

from __future__ import annotations

import json
import pathlib
from importlib.metadata import version
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.data.batch import Data
from analysis.measures.hessian_lanczos import lanczos
from analysis.measures.hessian_loss import choose_loss
from analysis.measures.hessian_products import Operator
from tests.analysis.measures.curvature_cases import (
    DoubleKl,
    dense,
    network,
    samples,
    weights,
)

REFERENCES = pathlib.Path(__file__).parent / "references" / "curvature.json"


def ours(operator: Operator) -> Tensor:
    """Return our matrix of the label loss on the tiny network."""
    module, data = network(), samples()
    return dense(module, data, choose_loss("labels", DoubleKl(), data), operator)


def curvlinops_matrix(peer: ModuleType, operator: Operator) -> Tensor:
    """Return the matrix of curvlinops on the same network, loss and samples."""
    module, data = network(), samples()
    assert data.labels is not None
    kind = {"ggn": peer.GGNLinearOperator, "hessian": peer.HessianLinearOperator}
    linear = kind[operator](
        module,
        nn.CrossEntropyLoss(),
        list(weights(module).values()),
        [(data.args[0], data.labels)],
    )
    return linear @ torch.eye(21, dtype=torch.float64)


def pyhessian_of(peer: ModuleType, module: nn.Module, data: Data) -> object:
    """Return PyHessian's view of the label loss, biases frozen as we leave them."""
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.dim() > 1)
    batch = (data.args[0], data.labels)
    return peer.hessian(module, F.cross_entropy, data=batch, cuda=False)


@pytest.mark.peer("curvlinops")
@pytest.mark.parametrize("operator", ["ggn", "hessian"])
def test_the_matrices_of_curvlinops(peer: ModuleType, operator: Operator) -> None:
    theirs = curvlinops_matrix(peer, operator)
    torch.testing.assert_close(ours(operator), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.peer("pyhessian")
def test_the_eigenvalue_and_trace_of_pyhessian(peer: ModuleType) -> None:
    matrix = ours("hessian")
    view = pyhessian_of(peer, network(), samples())
    torch.manual_seed(0)
    values, _ = view.eigenvalues(maxIter=500, tol=1e-8)  # type: ignore[attr-defined]
    *_, ritz = lanczos(lambda v: matrix @ v, torch.ones(21).double(), 21)
    assert values[0] == pytest.approx(ritz.values[ritz.leading()], rel=1e-5)
    forms = view.trace(maxIter=2000, tol=0)  # type: ignore[attr-defined]
    noise = np.std(forms, ddof=1) / np.sqrt(len(forms))
    assert abs(np.mean(forms) - float(matrix.trace())) <= 3 * noise


def test_what_the_peers_said() -> None:
    kept = json.loads(REFERENCES.read_text())["values"]
    for operator in ("ggn", "hessian"):
        matrix = ours(operator)
        eigenvalues = torch.linalg.eigvalsh(matrix).tolist()
        np.testing.assert_allclose(
            eigenvalues, kept[operator]["eigenvalues"], rtol=1e-7, atol=1e-10
        )
        blocks = [float(matrix[:12, :12].trace()), float(matrix[12:, 12:].trace())]
        assert blocks == pytest.approx(kept[operator]["traces"], rel=1e-8)


def main() -> None:
    """Write the references."""
    import curvlinops

    values = {}
    for operator in ("ggn", "hessian"):
        matrix = curvlinops_matrix(curvlinops, operator)  # type: ignore[arg-type]
        values[operator] = {
            "eigenvalues": torch.linalg.eigvalsh((matrix + matrix.T) / 2).tolist(),
            "traces": [
                float(matrix[:12, :12].trace()),
                float(matrix[12:, 12:].trace()),
            ],
        }
    names = ("curvlinops-for-pytorch", "torch")
    document = {"versions": {n: version(n) for n in names}, "values": values}
    REFERENCES.parent.mkdir(exist_ok=True)
    REFERENCES.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
