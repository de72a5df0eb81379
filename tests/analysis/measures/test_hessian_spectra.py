"""Eigenvalues and densities against whole matrices, and their behaviour as jobs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from analysis.errors import AnalysisError
from analysis.measures.hessian_eigenvalues import HessianEigenvalues
from analysis.measures.hessian_lanczos import lanczos, spectral_density
from analysis.measures.hessian_spectrum import HessianSpectrum
from analysis.method import Row, Update
from tests.analysis.measures.curvature_cases import (
    DoubleKl,
    context_of,
    network,
    samples,
    true_ggn,
    true_hessian,
)
from tests.cases import context

BLOCKS = (slice(0, 12), slice(12, 21))


def _rows(updates: list[Update], quantity: str) -> dict[str, Row]:
    rows = [row for update in updates for row in update.rows]
    return {r.target: r for r in rows if r.quantity == quantity}


def _symmetric(size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return a + a.T


def test_lanczos_to_the_end_gives_every_eigenvalue() -> None:
    matrix = _symmetric(20)
    *_, last = lanczos(lambda v: matrix @ v, torch.ones(20).double(), 50)
    truth = torch.linalg.eigvalsh(matrix).numpy()
    np.testing.assert_allclose(last.values, truth, atol=1e-9)
    assert last.weights.sum() == pytest.approx(1)
    diagonal = torch.diag(torch.tensor([3.0, 3.0, -5.0, 1.0]).double())
    # Three different eigenvalues: the space is exhausted after three products.
    steps = list(lanczos(lambda v: diagonal @ v, torch.ones(4).double(), 4))
    assert len(steps) == 3
    np.testing.assert_allclose(steps[-1].values, [-5, 1, 3], atol=1e-9)
    assert steps[-1].values[steps[-1].leading()] == pytest.approx(-5)


def test_residuals_bound_the_distance_to_an_eigenvalue() -> None:
    matrix = _symmetric(30)
    truth = torch.linalg.eigvalsh(matrix).numpy()
    for ritz in lanczos(lambda v: matrix @ v, torch.ones(30).double(), 12):
        distance = np.abs(ritz.values[:, None] - truth).min(1)
        assert (distance <= ritz.residuals + 1e-9).all()


def test_the_extremes_survive_without_the_basis(monkeypatch) -> None:
    import analysis.measures.hessian_lanczos as module

    monkeypatch.setattr(module, "BASIS_BYTES", 0)
    matrix = torch.diag(torch.linspace(0, 1, 200).double())
    matrix[-1, -1] = 9.0
    *_, last = lanczos(lambda v: matrix @ v, torch.ones(200).double(), 60)
    assert last.values[-1] == pytest.approx(9)
    assert last.values[0] == pytest.approx(0, abs=1e-2)


def test_a_density_has_unit_area_and_the_moments_of_its_nodes() -> None:
    nodes, weights = np.array([-1.0, 0.5, 4.0]), np.array([0.2, 0.7, 0.1])
    grid, density = spectral_density(nodes, weights)
    step = grid[1] - grid[0]
    assert density.sum() * step == pytest.approx(1, rel=1e-3)
    mean = (grid * density).sum() * step
    assert mean == pytest.approx(float(nodes @ weights), abs=1e-2)


@pytest.mark.parametrize("operator", ["ggn", "hessian"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_eigenvalues_are_those_of_the_blocks(
    operator: str, activation: type[nn.Module]
) -> None:
    module, data, task = network(activation), samples(), DoubleKl()
    job = HessianEigenvalues(loss="labels", operator=operator, tolerance=1e-4)
    ctx = context_of(module, data, task, "int4")
    updates = list(job.run(ctx))
    matrix = true_ggn(module, data, task)
    if operator == "hessian":
        matrix = true_hessian(module, data, "labels", task)
    eigenvalues, scores = _rows(updates, "eigenvalue"), _rows(updates, "hawq")
    for name, block in zip(("0", "2"), BLOCKS, strict=True):
        values = torch.linalg.eigvalsh(matrix[block, block])
        truth = float(values[values.abs().argmax()])
        assert eigenvalues[name].value == pytest.approx(truth, rel=1e-4)
        assert scores[name].value == pytest.approx(truth / len(values), rel=1e-4)
        assert eigenvalues[name].stderr <= 1e-4 * abs(truth)
    assert _rows(updates, "hawq_error").keys() == {"0", "2"}


def test_layers_that_are_done_are_not_done_again() -> None:
    ctx = context_of(network(), samples(), DoubleKl())
    job = HessianEigenvalues()
    full = list(job.run(ctx))
    first = [row for update in full for row in update.rows if row.target == "0"]
    ctx.done = {(r.target, r.format, r.quantity, r.part): r for r in first}
    again = _rows(list(job.run(ctx)), "eigenvalue")
    assert again.keys() == {"2"}
    assert again["2"] == _rows(full, "eigenvalue")["2"]


def test_an_eigenvalue_that_is_not_known_is_told() -> None:
    ctx = context("bert")
    job = HessianEigenvalues(products=2, tolerance=1e-6, samples=2)
    told = " ".join(w for u in job.run(ctx) for w in u.warnings)
    assert "is not known to 1e-06 after 2 products" in told


@pytest.mark.parametrize(("layer", "block"), [("", slice(0, 21)), ("2", BLOCKS[1])])
def test_the_spectrum_has_the_moments_of_the_matrix(layer: str, block: slice) -> None:
    module, data, task = network(), samples(), DoubleKl()
    matrix = true_hessian(module, data, "labels", task)[block, block].numpy()
    size = len(matrix)
    settings = {"loss": "labels", "operator": "hessian", "layer": layer}
    job = HessianSpectrum(**settings, products=size, starts=200)
    updates = list(job.run(context_of(module, data, task)))
    arrays = updates[-1].arrays
    nodes, weights = arrays["hessian_spectrum/ritz"]
    start = arrays["hessian_spectrum/start"]
    for power in (1, 2, 3):
        found = np.bincount(start, weights * nodes**power)
        truth = np.trace(np.linalg.matrix_power(matrix, power)) / size
        noise = found.std(ddof=1) / np.sqrt(len(found))
        assert abs(found.mean() - truth) <= 3.5 * noise
    truth = np.linalg.eigvalsh(matrix)
    assert _rows(updates, "largest")[layer].value == pytest.approx(truth[-1], rel=1e-4)
    smallest = _rows(updates, "smallest")[layer].value
    assert smallest == pytest.approx(truth[0], rel=1e-3, abs=1e-6)
    area = np.trapezoid(
        arrays["hessian_spectrum/density"], arrays["hessian_spectrum/grid"]
    )
    assert area == pytest.approx(1, rel=1e-3)


def test_starts_that_are_done_are_not_done_again() -> None:
    ctx = context_of(network(), samples(), DoubleKl())
    *_, short = HessianSpectrum(starts=1).run(ctx)
    *_, full = HessianSpectrum(starts=3).run(ctx)
    ctx.arrays = short.arrays
    ctx.done = {(r.target, r.format, r.quantity, r.part): r for r in short.rows}
    updates = list(HessianSpectrum(starts=3).run(ctx))
    assert not any(u.note.startswith("start 1,") for u in updates)
    for name, expected in full.arrays.items():
        np.testing.assert_array_equal(updates[-1].arrays[name], expected)


def test_an_unknown_layer_is_refused() -> None:
    ctx = context_of(network(), samples(), DoubleKl())
    with pytest.raises(AnalysisError, match="no such layer to take a spectrum of"):
        list(HessianSpectrum(layer="9").run(ctx))
