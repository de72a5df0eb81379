"""Scores of other tools against their formulas, written out sample by sample."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Data, call
from analysis.measures.context import MeasureContext
from analysis.measures.tool_inputs import SAMPLEWISE, InputScores
from analysis.measures.tool_scores import ToolScores
from analysis.method import Row
from quant_core.layers import layers_of
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from quant_core.tap import Tap
from tests.cases import context

Rows = dict[tuple[str, str], Row]


def run(ctx: MeasureContext) -> tuple[Rows, dict[str, np.ndarray], str]:
    updates = list(ToolScores().run(ctx))
    assert updates[-1].done == updates[-1].total
    rows = {(row.target, row.quantity): row for u in updates for row in u.rows}
    told = " ".join(w for u in updates for w in u.warnings)
    return rows, updates[-1].arrays, told


def inputs_of(ctx: MeasureContext, layer: str) -> list[np.ndarray]:
    """Return the attended tokens of each sample, `[T, C]`, as a layer gets them."""
    module, data, _ = ctx.need_run("test")
    found: list[Tensor] = []
    batch = next(data.batches(len(data)))
    with (
        torch.no_grad(),
        Tap(module).watch(lambda s, x: found.append(x) if s.name == layer else None),
    ):
        call(module, batch)
    (x,) = found
    mask = batch.kwargs.get("attention_mask")
    samples = x.double().numpy()
    if mask is None or samples.ndim != 3:
        return [one.reshape(-1, one.shape[-1]) for one in samples]
    return [one[keep] for one, keep in zip(samples, mask.bool().numpy(), strict=True)]


def worst_error(weight: Tensor) -> float:
    error = Quantizer(Scheme("uint8")).error(weight.detach())
    return float(error.square().flatten(1).mean(1).max())


LAYER = "encoder.layer.1.intermediate.dense"


@pytest.fixture(scope="module")
def bert() -> tuple[MeasureContext, Rows, dict[str, np.ndarray], str]:
    ctx = context("bert", "int2", "int8", batch_size=5)
    return ctx, *run(ctx)


def test_nncf_metrics_equal_their_formulas(bert) -> None:
    ctx, rows, _, _ = bert
    weight = ctx.model.module.get_submodule(LAYER).weight
    x = inputs_of(ctx, LAYER)
    ease = 1 / (worst_error(weight) + np.finfo(np.float32).eps)
    truth = {
        "weight_error": ease,
        "mean_activation_variance": ease * np.mean([s.var(0).mean() for s in x]),
        "max_activation_variance": ease * np.mean([s.var(0).max() for s in x]),
        "mean_activation_magnitude": ease
        * np.mean([np.abs(s).max(0).mean() for s in x]),
    }
    norm = float(Quantizer(Scheme("uint8")).error(weight).norm())
    size = np.mean([s.size for s in x])
    squares = sum((s**2).sum() for s in x)
    truth["hessian_input"] = norm * 2 / (len(x) * size) * squares
    running = 0.0
    for sample in x:
        running = (running + (sample**2).sum()) / sample.size
    truth["hessian_input_as_run"] = norm * 2 * running / len(x)
    for name, value in truth.items():
        row = rows[LAYER, f"nncf_{name}"]
        assert row.value == pytest.approx(value, rel=1e-4), name
        assert row.part == "weight"
    stderr = np.std([s.var(0).mean() for s in x], ddof=1) / math.sqrt(len(x))
    row = rows[LAYER, "nncf_mean_activation_variance"]
    assert row.stderr == pytest.approx(ease * stderr, rel=1e-4)


def test_embeddings_score_0_where_nncf_uses_data(bert) -> None:
    _, rows, _, _ = bert
    name = "embeddings.word_embeddings"
    assert rows[name, "nncf_max_activation_variance"].value == 0
    assert rows[name, "nncf_weight_error"].value > 0
    assert (name, "imatrix_mean") not in rows


def test_msmodelslim_scores_equal_their_formulas(bert) -> None:
    ctx, rows, _, _ = bert
    x = inputs_of(ctx, LAYER)
    absmax = max(np.abs(s).max() for s in x)
    middles = [s - (s.max(0) + s.min(0)) / 2 for s in x]
    quantile, kurtosis = [], []
    for sample in x:
        ordered = np.sort(sample.ravel())
        n = len(ordered)
        assert n < 1000
        middle = ordered[3 * (n // 4)] - ordered[n // 4]
        quantile.append(2 * np.abs(sample).max() / 254 / (middle + 1e-10))
        deviation = ordered - ordered.mean()
        kurtosis.append((deviation**4).mean() / (deviation**2).mean() ** 2 - 3)
    truth = {
        "std": absmax / max(m.std() for m in middles),
        "quantile": np.mean(quantile),
        "kurtosis": np.mean(kurtosis),
    }
    for name, value in truth.items():
        row = rows[LAYER, f"msmodelslim_{name}"]
        assert row.value == pytest.approx(value, rel=1e-4), name
        assert row.part == "input"


def test_importance_and_its_error_equal_their_formulas(bert) -> None:
    ctx, rows, arrays, _ = bert
    x = np.concatenate(inputs_of(ctx, LAYER))
    importance = (x**2).mean(0)
    kept = arrays[f"tool_scores/{LAYER}/imatrix"]
    np.testing.assert_allclose(kept, importance, rtol=1e-5)
    share = importance / importance.sum()
    entropy = -(share * np.log2(share)).sum()
    assert rows[LAYER, "imatrix_entropy"].value == pytest.approx(entropy, rel=1e-5)
    weight = ctx.model.module.get_submodule(LAYER).weight
    error = Quantizer(Scheme("int8")).error(weight).double().numpy()
    assert rows[LAYER, "imatrix_error"].format == "int8"
    truth = (error**2 * importance).sum()
    assert rows[LAYER, "imatrix_error"].value == pytest.approx(truth, rel=1e-5)


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, groups=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(1)


def test_importance_meets_the_right_channels_of_a_grouped_convolution() -> None:
    ctx = context("cnn", "int3")
    torch.manual_seed(0)
    module = Grouped().eval()
    info = dataclasses.replace(ctx.model.info, layers=layers_of(module)[0])
    ctx.model = dataclasses.replace(ctx.model, info=info, module=module)
    x = torch.randn(3, 4, 5, 5) * torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None, None]
    ctx.data = Data((x,))
    rows, arrays, _ = run(ctx)
    importance = x.square().mean((0, 2, 3)).double()
    np.testing.assert_allclose(arrays["tool_scores/conv/imatrix"], importance, 1e-5)
    error = Quantizer(Scheme("int3")).error(module.conv.weight).double()
    truth = 0.0
    for out in range(6):
        for channel in range(2):
            met = importance[2 * (out // 3) + channel]
            truth += float(met * error[out, channel].square().sum())
    assert rows["conv", "imatrix_error"].value == pytest.approx(truth, rel=1e-5)


def test_conv1d_of_gpt2_has_its_input_channels_first() -> None:
    ctx = context("gpt2", "int3")
    rows, arrays, _ = run(ctx)
    name = "transformer.h.0.mlp.c_fc"
    importance = torch.from_numpy(arrays[f"tool_scores/{name}/imatrix"])
    assert ctx.model.module is not None
    weight = ctx.model.module.get_submodule(name).weight
    assert weight.shape[0] == len(importance) != weight.shape[1]
    error = Quantizer(Scheme("int3")).error(weight.detach(), (1,)).double()
    truth = float((error.square() * importance[:, None]).sum())
    assert rows[name, "imatrix_error"].value == pytest.approx(truth, rel=1e-5)


# -- the checks of the method cards --------------------------------------------------


def scores(*samples: Tensor) -> InputScores:
    found = InputScores()
    for sample in samples:
        found.update(sample.unsqueeze(0))
    return found


def test_scores_of_msmodelslim_do_not_depend_on_scale() -> None:
    x = torch.randn(200, 16)
    one, two = scores(x), scores(7 * x)
    assert two.range_over_std == pytest.approx(one.range_over_std, rel=1e-5)
    for name in ("quantile", "kurtosis"):
        assert two.mean(name)[0] == pytest.approx(one.mean(name)[0], rel=1e-4)
    assert two.mean("mean_activation_variance")[0] == pytest.approx(
        49 * one.mean("mean_activation_variance")[0], rel=1e-5
    )
    assert two.mean("mean_activation_magnitude")[0] == pytest.approx(
        7 * one.mean("mean_activation_magnitude")[0], rel=1e-5
    )


def test_uniform_inputs_have_the_scores_of_the_card() -> None:
    x = torch.linspace(-1, 1, 100_001)[:100_000].reshape(-1, 10)
    found = scores(x)
    assert found.mean("kurtosis")[0] == pytest.approx(-1.2, abs=0.01)
    assert found.mean("quantile")[0] == pytest.approx(2 / 254, rel=1e-3)
    hot = x.clone()
    hot[0, 0] = 50.0
    one = scores(hot)
    assert one.mean("quantile")[0] > 40 * found.mean("quantile")[0]
    assert one.range_over_std > 3 * found.range_over_std


def test_kurtosis_takes_every_hundredth_value_in_order() -> None:
    x = torch.randn(1500, 2)
    chosen = np.sort(x.double().numpy().ravel())[50::100]
    deviation = chosen - chosen.mean()
    truth = (deviation**4).mean() / (deviation**2).mean() ** 2 - 3
    assert scores(x).mean("kurtosis")[0] == pytest.approx(truth, rel=1e-4)


def test_entropy_of_equal_and_of_one_hot_energy() -> None:
    assert scores(torch.ones(5, 8)).entropy == pytest.approx(3.0)
    one_hot = torch.zeros(5, 8)
    one_hot[:, 2] = 3.0
    assert scores(one_hot).entropy == 0


def test_shards_join_in_order() -> None:
    samples = [torch.randn(6, 4) * (1 + n) for n in range(7)]
    whole = scores(*samples)
    first, second = scores(*samples[:3]), InputScores()
    second.update(torch.stack(samples[3:]))
    first.merge(second)
    np.testing.assert_allclose(first.importance, whole.importance)
    assert first.hessian_recursive == pytest.approx(whole.hessian_recursive)
    assert first.range_over_std == whole.range_over_std
    for name in SAMPLEWISE:
        assert first.mean(name) == pytest.approx(whole.mean(name))


def test_inputs_without_samples_are_told() -> None:
    ctx = context("called_twice", "int4")
    assert ctx.data is not None
    ctx.data.args[0][2] = math.nan
    rows, _, told = run(ctx)
    assert "The inputs of shared, out are not finite" in told
    assert ("out", "nncf_weight_error") in rows
    assert ("out", "imatrix_mean") not in rows
