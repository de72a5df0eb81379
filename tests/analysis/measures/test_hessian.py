"""Traces and products against whole matrices, and their behaviour as a job."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Data, call
from analysis.errors import AnalysisError
from analysis.measures.evaluating import copied_saved_tensors, evaluating
from analysis.measures.hessian import Hessian
from analysis.measures.hessian_hutchpp import hutchpp_trace
from analysis.measures.hessian_loss import choose_loss
from analysis.measures.hessian_norms import factors_of, square_norms
from analysis.measures.hessian_rows import TraceSums
from analysis.measures.random_signs import sample_signs
from analysis.measures.sample_layout import SampleAxis
from analysis.method import Row, Update
from quant_core.quantizer import Quantizer
from quant_core.scheme import parse_scheme
from quant_core.tap import Listener, Tap, WeightUse
from tests.analysis.measures.curvature_cases import (
    DoubleKl,
    DoubleMse,
    context_of,
    dense,
    network,
    samples,
    true_ggn,
    true_hessian,
)
from tests.cases import CASES, context

BLOCKS = (slice(0, 12), slice(12, 21))


def _rows(updates: list[Update], quantity: str = "trace") -> dict[Any, Row]:
    return {
        (r.target, r.format): r
        for u in updates
        for r in u.rows
        if r.quantity == quantity
    }


@pytest.mark.parametrize("task", [DoubleKl(), DoubleMse()], ids=["kl", "mse"])
@pytest.mark.parametrize("batch", [0, 4])
def test_products_are_those_of_the_whole_matrix(task: Any, batch: int) -> None:
    module, data = network(), samples()
    loss = choose_loss("task", task, data)
    truth = true_ggn(module, data, task)
    found = dense(module, data, loss, "ggn", batch)
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-12)
    # At the float weights the residual of the task is zero.
    torch.testing.assert_close(
        true_hessian(module, data, "task", task), truth, rtol=1e-9, atol=1e-12
    )
    exact = dense(module, data, loss, "hessian", batch)
    torch.testing.assert_close(exact, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_the_label_loss_has_two_curvatures(activation: type[nn.Module]) -> None:
    module, data, task = network(activation), samples(), DoubleKl()
    loss = choose_loss("labels", task, data)
    hessian, ggn = (dense(module, data, loss, name) for name in ("hessian", "ggn"))
    truth = true_hessian(module, data, "labels", task)
    torch.testing.assert_close(hessian, truth, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ggn, true_ggn(module, data, task), rtol=1e-9, atol=1e-12)
    assert (hessian - ggn).abs().max() > 1e-3
    same = [torch.allclose(hessian[b, b], ggn[b, b], atol=1e-12) for b in BLOCKS]
    # The last layer is linear in its weight whatever comes before it.
    assert same == [activation is nn.ReLU, True]


@pytest.mark.parametrize("name", sorted(CASES))
def test_norms_are_those_of_per_sample_gradients(name: str) -> None:
    ctx = context(name)
    module = ctx.model.module
    assert module is not None
    assert ctx.data is not None
    assert ctx.task is not None
    ctx.data = ctx.data.take(4)
    *_, last = Hessian(probes=1).run(ctx)
    loss = choose_loss("task", ctx.task, ctx.data)
    named = dict(module.named_parameters())
    layers = [x for x in ctx.model.info.layers if named[x.parameter].dim() > 1]
    parameters = [named[x.parameter] for x in layers]
    # This one overwrites a tensor that autograd needs.
    copies = copied_saved_tensors(module) if name == "cnn" else contextlib.nullcontext()
    total = torch.zeros(len(layers), dtype=torch.float64)
    weight = 0.0
    with evaluating(module), copies:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for batch in ctx.data.batches(1):
            z = loss.task.output(call(module, batch), batch)
            signs = sample_signs(z.detach(), first=batch.first, seed=0, probe=0)
            u = loss.probe(z.detach(), batch, signs)
            found = torch.autograd.grad(z, parameters, u, allow_unused=True)
            total += torch.tensor(
                [0.0 if g is None else float(g.double().square().sum()) for g in found]
            )
            weight += float(loss.value(z.detach(), batch)[1].sum())
    rows = _rows([last])
    got = torch.tensor([rows[x.name, None].value for x in layers]).double()
    tolerance = 3e-2 if name == "bf16" else 2e-4
    torch.testing.assert_close(got, total / weight, rtol=tolerance, atol=1e-9)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("outputs", [4, 8])
def test_depthwise_gradients_are_formed_or_taken_by_position(
    outputs: int, transposed: bool
) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    conv = kind(4, outputs, 3, stride=2, padding=1, groups=4, bias=False)
    seen: list[tuple[WeightUse, Tensor]] = []

    class Catch(Listener):
        sees_weights = True

        def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
            seen.append((use, result))
            return result

    with Tap(conv).session(Catch()):
        conv(torch.randn(6, 4, 7, 7))  # two samples of three frames
    ((use, y),) = seen
    g = torch.randn_like(y)
    truth = []
    for frames in (slice(0, 3), slice(3, 6)):
        (slope,) = torch.autograd.grad(
            conv(use.x[frames]), conv.weight, g[frames].detach()
        )
        truth.append(slope.square().sum())
    for by_position in (False, True):
        factors = factors_of(use, use.x, g, SampleAxis(0), 2, by_position=by_position)
        found = square_norms([factors])
        torch.testing.assert_close(found, torch.stack(truth), rtol=1e-4, atol=1e-4)
    positions = factors.columns.shape[2]
    assert positions == 3 * (7 * 7 if transposed else g[0, 0].numel())


def _replicates(sums: TraceSums, size: int, clusters: list[tuple[int, int]]) -> Any:
    """Return values and standard errors of groups of `size` clusters."""
    found = [
        sums.only(clusters[i : i + size]).result()
        for i in range(0, len(clusters), size)
    ]
    return np.array([f[0] for f in found]), np.array([f[1] for f in found])


@pytest.mark.parametrize(
    ("operator", "loss", "size", "truth"),
    [
        ("ggn", "task", 1, true_ggn),
        ("ggn", "labels", 1, true_ggn),
        pytest.param("hessian", "labels", 2, true_hessian, marks=pytest.mark.slow),
    ],
)
def test_unbiased_and_honest_about_its_error(
    operator: str, loss: str, size: int, truth: Callable[..., Tensor]
) -> None:
    """A thousand seeds, as a thousand independent draws of samples and signs."""
    module, data, task = network(), samples(40), DoubleKl()
    arguments = (loss, task) if operator == "hessian" else (task,)
    matrix = truth(module, data, *arguments)
    expected = np.array([float(matrix[b, b].trace()) for b in BLOCKS])
    per_seed, seeds = 12, 1000
    chosen = torch.randint(0, 40, (per_seed * seeds * size,))
    assert data.labels is not None
    many = Data((data.args[0][chosen],), labels=data.labels[chosen])
    job = Hessian(operator=operator, loss=loss, probes=1)
    *_, last = job.run(
        context_of(module, many, task, batch_size=size if size > 1 else 0)
    )
    sums = TraceSums.from_arrays(last.arrays, "hessian", 2)
    starts = [(i, size) for i in range(0, len(many), size)]
    value, stderr = _replicates(sums, per_seed, starts)
    assert len(value) == seeds
    spread = value.std(0, ddof=1)
    assert (np.abs(value.mean(0) - expected) <= 3 * spread / math.sqrt(seeds)).all()
    reported = np.sqrt((stderr**2).mean(0))
    assert reported == pytest.approx(spread, rel=0.15)


def test_the_noise_of_probes_is_told_apart_from_the_choice_of_samples() -> None:
    dice = np.random.default_rng(0)
    means = dice.uniform(1, 9, (30, 2))
    found, told = [], []
    for _ in range(500):
        sums = TraceSums(2)
        for cluster, mean in enumerate(means):
            for _probe in range(3):
                value = mean + dice.normal(0, [0.5, 2.0])
                sums.update([cluster], value[None], np.ones(1), [1])
        found.append(sums.result()[0])
        told.append(sums.noise())
    np.testing.assert_allclose(np.mean(told, 0), np.std(found, 0), rtol=0.15)
    assert (sums.result()[1] > sums.noise()).all()
    known = TraceSums.from_arrays(sums.arrays("x"), "x", 2)
    known.merge(TraceSums(2))
    np.testing.assert_array_equal(known.noise(), sums.noise())
    single = TraceSums(2)
    single.update([0], means[:1], np.ones(1), [1])
    assert np.isnan(single.noise()).all()


def test_hutchpp_is_exact_for_a_low_rank_and_unbiased_else() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(30, 4, generator=generator)
    low = factor @ factor.T
    found, _ = hutchpp_trace(lambda v: low @ v, 30, 12, generator)
    assert found == pytest.approx(float(low.trace()), rel=1e-4)
    full = low + torch.diag(torch.rand(30, generator=generator))
    full[0, 1] = full[1, 0] = 3.0
    many = np.array(
        [hutchpp_trace(lambda v: full @ v, 30, 6, generator) for _ in range(1000)]
    )
    spread = many[:, 0].std(ddof=1)
    truth = float(full.trace())
    assert abs(many[:, 0].mean() - truth) <= 3 * spread / math.sqrt(len(many))


@pytest.mark.parametrize("operator", ["ggn", "hessian"])
def test_hutchpp_takes_the_blocks_of_layers(operator: str) -> None:
    module, data, task = network(), samples(), DoubleKl()
    job = Hessian(loss="labels", operator=operator, estimator="hutch++", probes=36)
    rows = _rows(list(job.run(context_of(module, data, task))))
    if operator == "ggn":
        matrix = true_ggn(module, data, task)
    else:
        matrix = true_hessian(module, data, "labels", task)
    for name, block in zip(("0", "2"), BLOCKS, strict=True):
        truth = float(matrix[block, block].trace())
        # 12 products span the whole block.
        assert rows[name, None].value == pytest.approx(truth, rel=1e-4)


def test_a_score_is_the_average_trace_times_the_squared_rounding_error() -> None:
    module, data = network(), samples(16)
    ctx = context_of(module, data, DoubleMse(), "int4", "int8/tensor")
    updates = list(Hessian(probes=2).run(ctx))
    trace, average = _rows(updates), _rows(updates, "average_trace")
    scores = _rows(updates, "hawq_v2")
    assert len(scores) == 4
    for (name, key), row in scores.items():
        assert key is not None
        weight = dict(module.named_parameters())[f"{name}.weight"].detach()
        square = float(Quantizer(parse_scheme(key)).error(weight, (0,)).square().sum())
        assert average[name, None].value * weight.numel() == pytest.approx(
            trace[name, None].value
        )
        assert row.value == pytest.approx(average[name, None].value * square, rel=1e-5)
        assert row.stderr == pytest.approx(
            average[name, None].stderr * square, rel=1e-5
        )


@pytest.mark.parametrize("operator", ["ggn", "hessian"])
@pytest.mark.parametrize("name", ["bert", "cnn", "mixtral"])
def test_shards_add_up_and_resuming_ends_the_same(name: str, operator: str) -> None:
    job = Hessian(operator=operator, probes=2)
    whole = context(name, batch_size=4 if operator == "hessian" else 0)
    assert whole.data is not None
    *_, single = job.run(whole)
    count = len(whole.model.info.layers)
    merged, parts = TraceSums(count), []
    for start, stop in ((0, 8), (8, 16)):
        shard = context(name, first_sample=start, batch_size=whole.batch_size)
        shard.data = whole.data.slice(start, stop)
        *_, last = job.run(shard)
        parts.append(last)
        merged.merge(TraceSums.from_arrays(last.arrays, "hessian", count))
    truth = TraceSums.from_arrays(single.arrays, "hessian", count).result()
    for got, expected in zip(merged.result(), truth, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-9)
    resumed = context(name, batch_size=whole.batch_size)
    resumed.arrays = parts[0].arrays
    resumed.done = {(r.target, r.format, r.quantity, r.part): r for r in parts[0].rows}
    updates = list(job.run(resumed))
    assert updates[-1].samples == 16
    values = _rows(updates[-1:])
    got = [values[x.name, None].value for x in whole.model.info.layers]
    np.testing.assert_allclose(got, truth[0], rtol=2e-3, atol=1e-9)
    if operator == "hessian" or name == "mixtral":
        assert not any(u.note.startswith("batch 1 ") for u in updates)


def test_stops_at_the_requested_precision() -> None:
    ctx = context("called_twice")
    updates = list(Hessian(probes=500, precision=0.5).run(ctx))
    assert updates[-1].note == "precise enough"
    rows = _rows(updates[-1:]).values()
    assert np.median([row.stderr / row.value for row in rows]) <= 0.5


def test_a_layer_with_nan_is_named_and_bad_samples_are_left_out() -> None:
    module, data = network().float(), samples(8)
    x = data.args[0].float()
    x[3, 0] = math.inf
    ctx = context_of(module, Data((x,)), DoubleMse())
    for operator in ("ggn", "hessian"):
        ctx.batch_size = 1 if operator == "hessian" else 0
        updates = list(Hessian(operator=operator).run(ctx))
        told = " ".join(w for u in updates for w in u.warnings)
        assert "1 sample meets NaN or infinity, first at 0;" in told
        assert updates[-1].samples == 7
        assert all(math.isfinite(row.value) for row in updates[-1].rows)
    with torch.no_grad():
        module[0].weight[0, 0] = math.nan
    updates = list(Hessian().run(ctx))
    assert any("0 holds NaN" in w for u in updates for w in u.warnings)
    assert {target for target, _ in _rows(updates)} == {"2"}


def test_what_is_missing_is_said() -> None:
    with pytest.raises(AnalysisError, match=r"the label loss needs logits and labels"):
        next(Hessian(loss="labels").run(context("bert")))
    with pytest.raises(AnalysisError, match="hessian.operator has an unknown value"):
        Hessian(operator="fisher")
    job = Hessian(estimator="hutch++", probes=2)
    with pytest.raises(AnalysisError, match=r"splits its products in three"):
        next(job.run(context_of(network(), samples(), DoubleKl())))
