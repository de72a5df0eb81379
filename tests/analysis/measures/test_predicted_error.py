"""Predicted error against exact second-order terms, and its behaviour as a job."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.data.batch import Batch, Data
from analysis.errors import AnalysisError
from analysis.measures.context import MeasureContext
from analysis.measures.measured_error import MeasuredError
from analysis.measures.predicted_error import PredictedError
from analysis.method import Row, Update
from analysis.model import LoadedModel, ModelInfo
from analysis.prediction import Predictor
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from quant_core.assignment import Assignment
from quant_core.layers import layers_of
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from tests.cases import context

INT3, INT4 = Scheme("int3"), Scheme("int4")


def _context(
    module: nn.Module, x: Tensor, task: Any, *schemes: Scheme, **more: Any
) -> MeasureContext:
    module.eval()
    layers, unlisted = layers_of(module)
    info = ModelInfo("tiny", "tiny", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module, lambda n: parameters[n].detach(), task)
    return MeasureContext(model, Data((x,)), schemes, **more)


def _rows(updates: list[Update]) -> dict[tuple[str, str | None], Row]:
    return {(r.target, r.format): r for u in updates for r in u.rows}


@dataclass(frozen=True)
class Basis(Mse):
    """Probes that walk over a basis: D of them make the prediction exact."""

    size: int = 4

    def probe(self, output: Tensor, batch: Batch, signs: Tensor) -> Tensor:
        index = Basis.calls % self.size
        Basis.calls += 1
        u = torch.zeros_like(output)
        u[:, index] = math.sqrt(self.size)
        return u


def test_a_linear_network_is_predicted_exactly_over_a_basis() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    x = torch.randn(8, 6)
    Basis.calls = 0  # type: ignore[attr-defined]
    ctx = _context(module, x, Basis(), INT3, INT4)
    predicted = _rows(list(PredictedError(probes=4).run(ctx)))
    measured = _rows(list(MeasuredError().run(ctx)))
    for key, row in measured.items():
        assert predicted[key].value == pytest.approx(row.value, rel=1e-4)


def test_probes_as_many_as_outputs_are_exact() -> None:
    """Three classes in a basis of four: the curvature of the KL, without noise."""
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    ctx = _context(module, torch.randn(9, 6), Kl(), INT3)
    few, many = (_rows(list(PredictedError(probes=n).run(ctx))) for n in (4, 512))
    for key, row in many.items():
        assert few[key].value == pytest.approx(row.value, rel=1e-5)
    *_, last = PredictedError(probes=4).run(ctx)
    predictor = Predictor.from_arrays(last.arrays)
    assert predictor is not None
    layers = ctx.model.info.layers
    plan = Assignment.float(layers, "tiny").with_weight(range(2), INT3)
    assert predictor.predict(plan).shrinkage == 1


def test_the_joint_error_of_a_chain_includes_the_cross_term() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 4, bias=False))
    x = torch.randn(64, 6)
    Basis.calls = 0  # type: ignore[attr-defined]
    ctx = _context(module, x, Basis(), INT3)
    *_, last = PredictedError(probes=4).run(ctx)
    predictor = Predictor.from_arrays(last.arrays)
    assert predictor is not None
    assignment = Assignment.float(ctx.model.info.layers, "tiny", "0" * 64)
    assignment = assignment.with_weight(np.arange(2), INT3)
    found = predictor.predict(assignment)
    with torch.no_grad():
        first, second = (layer.weight for layer in module)
        d1, d2 = (Quantizer(INT3).error(w, (0,)) for w in (first, second))
        z = x @ first.T @ second.T
        # Second order in the parameters leaves out the product of both changes.
        moved = x @ d1.T @ second.T + x @ first.T @ d2.T
        truth = float(moved.square().sum() / z.square().sum())
    raw = found.additive + found.interaction
    assert raw == pytest.approx(truth, rel=1e-4)
    assert abs(found.additive - truth) > 0.02 * truth


def test_scaling_the_change_by_c_scales_the_error_by_c_squared() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    x = torch.randn(8, 6)
    results = []
    for factor in (1.0, 3.0):
        ctx = _context(module, x, Mse(), INT3)
        with pytest.MonkeyPatch.context() as patch:
            import analysis.measures.candidates as candidates

            honest = candidates.errors

            def scaled(
                w: Tensor,
                schemes: Any,
                axes: Any,
                out: Tensor,
                factor: float = factor,
                honest: Any = honest,
            ) -> Tensor:
                return honest(w, schemes, axes, out).mul_(factor)

            patch.setattr(candidates, "errors", scaled)
            results.append(_rows(list(PredictedError(probes=2).run(ctx))))
    for key, row in results[0].items():
        assert results[1][key].value == pytest.approx(9 * row.value, rel=1e-4)


def test_a_classifier_agrees_with_the_taylor_term_of_kl() -> None:
    module = nn.Sequential(nn.Linear(6, 5))
    x = torch.randn(32, 6)
    ctx = _context(module, x, Kl(), INT4)
    row = _rows(list(PredictedError(probes=400).run(ctx)))["0", "int4"]
    weight, bias = module[0].weight.detach(), module[0].bias.detach()
    p = F.linear(x, weight, bias).log_softmax(-1)
    delta = Quantizer(INT4).error(weight, (0,)).flatten()

    def divergence(flat: Tensor) -> Tensor:
        q = F.linear(x, flat.view_as(weight), bias).log_softmax(-1)
        return (p.exp() * (p - q)).sum(-1).mean()

    hessian = torch.autograd.functional.hessian(divergence, weight.flatten())
    truth = float(0.5 * delta @ hessian @ delta)
    # 400 probes of 32 samples: the noise of the probes is about 1.5 %.
    assert row.value == pytest.approx(truth, rel=0.06)


def test_unbiased_over_seeds() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    x = torch.randn(4, 5)
    exact = _context(module, x, Basis(size=3), INT3)
    Basis.calls = 0  # type: ignore[attr-defined]
    truth = _rows(list(PredictedError(probes=3).run(exact)))
    values: dict[Any, list[float]] = {key: [] for key in truth}
    for seed in range(150):
        ctx = _context(module, x, Mse(), INT3, seed=seed)
        for key, row in _rows(list(PredictedError(probes=2).run(ctx))).items():
            values[key].append(row.value)
    for key, found in values.items():
        spread = np.std(found) / math.sqrt(len(found))
        assert np.mean(found) == pytest.approx(truth[key].value, abs=3.5 * spread)


@pytest.mark.parametrize("name", ["bert", "cnn", "mixtral"])
def test_two_shards_equal_the_single_run(name: str) -> None:
    whole = context(name, "int4")
    *_, single = PredictedError(probes=2).run(whole)
    assert whole.data is not None
    parts = []
    for start, stop in ((0, 6), (6, 16)):
        shard = context(name, "int4", first_sample=start)
        shard.data = whole.data.slice(start, stop)
        *_, last = PredictedError(probes=2).run(shard)
        parts.append(last.arrays)
    key = ("predicted_error/sample", "predicted_error/v")
    order = np.argsort(single.arrays[key[0]], kind="stable")
    sample = np.concatenate([p[key[0]] for p in parts])
    joined = np.concatenate([p[key[1]] for p in parts])
    again = np.argsort(sample, kind="stable")
    assert np.array_equal(sample[again], single.arrays[key[0]][order])
    scale = np.abs(single.arrays[key[1]]).max(0) + 1e-12
    difference = (joined[again] - single.arrays[key[1]][order]) / scale
    assert np.abs(difference).max() < 1e-3


def test_resuming_keeps_finished_samples_and_gives_the_same_result() -> None:
    settings = {"batch_size": 4}
    *_, full = PredictedError(probes=2).run(context("bert", "int4", **settings))
    job = PredictedError(probes=2).run(context("bert", "int4", **settings))
    cut = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.measures.predicted_error._ROWS_EVERY_SECONDS", -1.0)
        for update in job:
            if update.rows:
                cut = update
            if "batch 2" in update.note:
                break
        job.close()
    assert cut is not None
    assert 0 < cut.samples < 16
    resumed = context("bert", "int4", **settings)
    resumed.arrays = cut.arrays
    resumed.done = {(r.target, r.format, r.quantity, r.part): r for r in cut.rows}
    updates = list(PredictedError(probes=2).run(resumed))
    assert updates[-1].samples == 16
    notes = {u.note.split(",")[0] for u in updates if "probe" in u.note}
    assert "batch 1 of 4" not in notes
    expected = _rows([full])
    for key, row in _rows(updates).items():
        assert row.value == pytest.approx(expected[key].value, rel=1e-4)


def test_stops_at_the_requested_precision() -> None:
    ctx = context("called_twice", "int4")
    updates = list(PredictedError(probes=500, precision=0.5).run(ctx))
    rows = len(updates[-1].arrays["predicted_error/weight"])
    assert rows < 500 * 16
    assert updates[-1].done == updates[-1].total
    found = list(_rows([updates[-1]]).values())
    relative = np.median([row.stderr / row.value for row in found])
    assert relative <= 0.5


def test_a_layer_with_nan_is_named_and_the_others_are_judged() -> None:
    ctx = context("bert", "int8")
    assert ctx.model.module is not None
    clean = _rows(list(PredictedError(probes=2).run(ctx)))
    broken = "encoder.layer.1.output.dense"
    weight = dict(ctx.model.module.named_parameters())[f"{broken}.weight"]
    with torch.no_grad():
        weight[0, 0] = math.nan
    updates = list(PredictedError(probes=2).run(ctx))
    told = [w for u in updates for w in u.warnings]
    assert any(broken in w and "NaN" in w for w in told)
    found = _rows(updates)
    assert (broken, "int8") not in found
    assert set(found) == {key for key in clean if key[0] != broken}
    assert all(math.isfinite(row.value) for row in found.values())
    assert math.isnan(weight.detach()[0, 0])


def test_samples_that_give_nan_are_left_out_and_told() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    x = torch.randn(8, 6)
    x[3, 0] = math.inf
    updates = list(PredictedError(probes=2).run(_context(module, x, Mse(), INT4)))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "1 sample meets NaN or infinity, first at 0;" in told
    assert updates[-1].samples == 7
    assert all(math.isfinite(row.value) for row in updates[-1].rows)


def test_a_layer_that_always_overflows_is_named_and_the_others_are_judged() -> None:
    class Overflows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            huge = torch.tanh(self.b(torch.exp(1e3 + x)))
            return self.c(torch.tanh(self.a(x))) + 0 * huge.nan_to_num()

    ctx = _context(Overflows(), torch.randn(8, 4), Mse(), INT4)
    updates = list(PredictedError(probes=2).run(ctx))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "b meets NaN or infinity in every sample" in told
    found = _rows(updates[-1:])
    assert {target for target, _ in found} == {"a", "c"}
    assert all(row.value > 0 for row in found.values())
    assert updates[-1].samples == 8


def test_data_that_never_give_a_finite_output_are_refused() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    ctx = _context(module, torch.full((4, 6), math.inf), Mse(), INT4)
    for measure in (PredictedError(probes=2), MeasuredError()):
        with pytest.raises(AnalysisError, match="for every sample.*first at 0"):
            list(measure.run(ctx))


def test_schemes_that_do_not_fit_are_told_and_left_out() -> None:
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    ctx = _context(module, torch.randn(8, 6), Mse(), Scheme("int4", "group(8)"))
    updates = list(PredictedError(probes=2).run(ctx))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "int4/group(8) does not fit 1 layer (0)" in told
    assert set(_rows(updates)) == {("2", "int4/group(8)")}


def test_what_is_missing_is_said() -> None:
    ctx = context("bert", "int4")
    ctx.data = None
    with pytest.raises(AnalysisError, match="Predicted error needs calibration data"):
        next(PredictedError().run(ctx))
    ctx = context("bert", "int4")
    ctx.model.module = None
    with pytest.raises(AnalysisError, match="only its tensors were opened"):
        next(PredictedError().run(ctx))
    with pytest.raises(AnalysisError, match=r"predicted_error.probes is out of range"):
        PredictedError(probes=0)
    ctx = context("bert")
    ctx.input_schemes = (Scheme("uint8", "channel"),)
    with pytest.raises(ValueError, match="one range per tensor or per token"):
        list(PredictedError().run(ctx))
