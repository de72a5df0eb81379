"""The activations measure against values caught by hand, and its conduct."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Data, call
from analysis.errors import AnalysisError
from analysis.measures import activations as activations_module
from analysis.measures.activations import Activations
from analysis.measures.context import MeasureContext
from analysis.method import Row, Update
from analysis.model import LoadedModel, ModelInfo
from analysis.tasks.mse import Mse
from quant_core.layers import layers_of
from quant_core.stats import TensorStats
from quant_core.tap import Tap
from tests import cases


class Attention(nn.Module):
    """One head of attention over tokens, its activations kept for comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.up, self.act, self.down = nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.table(input_ids)
        x[..., 3] *= 12
        self.x = x.clone()
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        masked = scores.masked_fill(~attention_mask[:, None].bool(), -1e9)
        y = torch.softmax(masked, -1) @ self.v(x)
        self.y = y
        return self.down(self.act(self.up(y)))


def tokens(samples: int = 6, length: int = 5) -> Data:
    ids = torch.randint(0, 20, (samples, length))
    mask = torch.ones_like(ids)
    mask[1:, 3:] = 0
    return Data((), {"input_ids": ids, "attention_mask": mask})


def context_of(module: nn.Module, data: Data, **settings: Any) -> MeasureContext:
    layers, unlisted = layers_of(module)
    info = ModelInfo("test", "test", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module.eval(), lambda name: parameters[name], Mse())
    return MeasureContext(model, data, **settings)


def run(context: MeasureContext, **params: Any) -> list[Update]:
    return list(Activations(**params).run(context))


def rows_of(updates: list[Update]) -> dict[tuple[str, str], Row]:
    return {(r.target, r.quantity): r for update in updates for r in update.rows}


def arrays_of(updates: list[Update]) -> dict[str, np.ndarray]:
    return {name: array for update in updates for name, array in update.arrays.items()}


def test_statistics_are_those_of_the_attended_tokens() -> None:
    module, data = Attention(), tokens()
    updates = run(context_of(module, data), bins=512)
    rows, arrays = rows_of(updates), arrays_of(updates)
    attended = data.kwargs["attention_mask"].bool()
    for site, values in {
        "q": module.x[attended],
        "v": module.x[attended],
        "up": module.y[attended],
        "act:gelu": module.act(module.up(module.y))[attended],
    }.items():
        values = values.detach().double()
        prefix = f"activations/{site}/"
        deviation = values - values.mean()
        variance = (deviation**2).mean()
        kurtosis = float((deviation**4).mean() / variance**2)
        assert rows[site, "mean"].value == pytest.approx(float(values.mean()), abs=1e-5)
        assert rows[site, "std"].value == pytest.approx(
            float(variance.sqrt()), rel=1e-4
        )
        assert rows[site, "kurtosis"].value == pytest.approx(kurtosis, rel=1e-3)
        largest = float(values.abs().max())
        assert rows[site, "absmax"].value == pytest.approx(largest, rel=1e-6)
        counts, edges = arrays[prefix + "hist_counts"], arrays[prefix + "hist_edges"]
        assert counts.sum() == values.numel()
        np.testing.assert_allclose(
            arrays[prefix + "channel_min"], values.amin(0), rtol=1e-5
        )
        assert edges[0] <= values.min() <= values.max() < edges[-1]
        part = "output" if site == "act:gelu" else "input"
        assert rows[site, "absmax"].part == part


def test_outliers_are_counted_as_in_llm_int8() -> None:
    module, data = Attention(), tokens()
    updates = run(context_of(module, data), top=3)
    rows, arrays = rows_of(updates), arrays_of(updates)
    x = module.x[data.kwargs["attention_mask"].bool()].abs()
    reached = x >= 6
    assert reached.any()
    assert rows["q", "outlier_values"].value == reached.sum()
    assert rows["q", "outlier_columns"].value == reached.any(0).sum()
    systematic = (reached.double().mean(0) >= 0.06).sum()
    assert rows["q", "systematic_columns"].value == systematic
    order = x.amax(0).argsort(descending=True)[:3]
    np.testing.assert_array_equal(arrays["activations/q/top_channels"], order)
    assert arrays["activations/q/top_channels"].dtype == np.int64
    np.testing.assert_allclose(
        arrays["activations/q/top_absmax"], x.amax(0)[order].detach(), rtol=1e-6
    )


def test_without_a_mask_every_token_counts() -> None:
    data = tokens()
    data.kwargs["attention_mask"].fill_(1)
    arrays = arrays_of(run(context_of(Attention(), data)))
    assert arrays["activations/q/hist_counts"].sum() == 6 * 5 * 8


def test_a_tensor_that_several_sites_share_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []
    update = TensorStats.update

    def counted(self: TensorStats, x: Tensor, *more: Any) -> None:
        shapes.append(tuple(x.shape))
        update(self, x, *more)

    monkeypatch.setattr(TensorStats, "update", counted)
    updates = run(context_of(Attention(), tokens()))
    rows = rows_of(updates)
    # Input of q, k and v; q; k; softmax, at once the first operand; v; input of up;
    # GELU, at once the input of down.
    assert len(shapes) == 7
    sites = {site for site, _ in rows}
    assert {"q", "k", "v", "up", "act:gelu", "down"} < sites
    assert len(sites) == 11
    assert rows["q", "kurtosis"].value == rows["v", "kurtosis"].value


class Copying(nn.Module):
    """Gives its second layer a copy, and its third what overwrote the original."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        original = x.clone()
        y = self.a(original) + self.b(original.clone())
        original.zero_()
        return y + self.c(x)


def test_a_copy_is_found_again_and_an_overwritten_tensor_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = []
    update = TensorStats.update

    def counting(self: TensorStats, x: Tensor, *more: Any) -> None:
        counted.append(x)
        update(self, x, *more)

    monkeypatch.setattr(TensorStats, "update", counting)
    rows = rows_of(run(context_of(Copying(), Data((torch.randn(8, 4),)))))
    assert len(counted) == 2
    values = [rows[site, "kurtosis"].value for site in ("a", "b", "c")]
    assert len(set(values)) == 1


class Overwriting(nn.Module):
    """Changes the input of its first layer in place before the second one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        y = self.a(x)
        x.mul_(100)
        return y + self.b(x)


def test_a_tensor_that_changed_meanwhile_is_another_one() -> None:
    rows = rows_of(run(context_of(Overwriting(), Data((torch.randn(8, 4),)))))
    ratio = rows["b", "absmax"].value / rows["a", "absmax"].value
    assert ratio == pytest.approx(100, rel=1e-5)


def test_channels_of_images_are_their_second_axis() -> None:
    module, data = cases.build("cnn")
    arrays = arrays_of(run(context_of(module, data)))
    widths = {
        "stem": 3,
        "norm:batch_norm": 8,
        "relu:relu": 8,
        "depthwise": 8,
        "up": 8,
        "head": 4,
    }
    for site, width in widths.items():
        assert len(arrays[f"activations/{site}/channel_min"]) == width, site
    images = data.args[0]
    np.testing.assert_array_equal(
        arrays["activations/stem/channel_max"], images.amax((0, 2, 3))
    )


def test_features_are_the_channels_of_transposed_keys() -> None:
    arrays = arrays_of(run(context_of(Attention(), tokens())))
    (name,) = [n for n in arrays if n.endswith("matmul.0.b/channel_min")]
    assert len(arrays[name]) == 8


def test_batches_add_up() -> None:
    module, data = Attention(), tokens()
    whole = run(context_of(module, data, batch_size=6))
    split = run(context_of(module, data, batch_size=1))
    left, right = arrays_of(whole), arrays_of(split)
    assert left.keys() == right.keys()
    for name, array in left.items():
        if name.split("/")[-1] in {"outlier_hits", "positions", "samples"}:
            np.testing.assert_array_equal(array, right[name])
        elif name.endswith("hist_counts"):
            assert array.sum() == right[name].sum()
        elif name.endswith("channel_max"):
            np.testing.assert_allclose(array, right[name], rtol=1e-4, atol=1e-5)
    for key, row in rows_of(whole).items():
        other = rows_of(split)[key].value
        assert row.value == pytest.approx(other, rel=1e-3, abs=1e-4), key


def test_progress_is_honest_and_results_come_at_the_end() -> None:
    data = tokens()
    updates = run(context_of(Attention(), data, batch_size=2))
    assert [update.samples for update in updates] == [0, 2, 4, 6]
    assert [update.done / update.total for update in updates] == [0, 1 / 3, 2 / 3, 1]
    assert not any(update.rows for update in updates[:-1])
    assert updates[-1].note == "samples 6 of 6"


def test_batches_fit_the_program_and_the_machine() -> None:
    context = context_of(Attention(), tokens(), batch_size=4)
    context.model.input_hints["batch_size"] = 3
    assert [update.samples for update in run(context)] == [0, 3, 6]
    context = context_of(Attention(), tokens())
    large = (replace(context.model.info.layers[0], macs=10_000_000_000),)
    context.model.info = replace(context.model.info, layers=large)
    assert [update.samples for update in run(context)] == [0, 2, 4, 6]


def test_an_interrupted_run_goes_on_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activations_module, "_KEEP_SECONDS", -1.0)
    module, data = Attention(), tokens()
    whole = run(context_of(module, data, batch_size=2))
    job = Activations().run(context_of(module, data, batch_size=2))
    updates = [next(job) for _ in range(3)]
    job.close()
    done = {
        (r.target, r.format, r.quantity, r.part): r for u in updates for r in u.rows
    }
    resumed = run(
        context_of(module, data, batch_size=2, done=done, arrays=arrays_of(updates))
    )
    assert [update.samples for update in resumed] == [4, 6]
    left, right = arrays_of(whole), arrays_of(resumed)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_allclose(
            array.astype(float), right[name].astype(float), rtol=1e-9
        )


def test_arrays_of_an_earlier_finished_run_are_not_continued() -> None:
    module, data = Attention(), tokens()
    first = run(context_of(module, data))
    again = run(context_of(module, data, arrays=arrays_of(first)))
    assert again[0].samples == 0
    assert rows_of(first) == rows_of(again)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_sites_that_are_not_finite_are_named_and_left_out(bad: float) -> None:
    module = Attention()
    with torch.no_grad():
        module.up.bias[2] = bad
    updates = run(context_of(module, tokens(), batch_size=2))
    (warning,) = [text for update in updates for text in update.warnings]
    assert warning.startswith("act:gelu, down: ")
    assert "not finite" in warning
    sites = {site for site, _ in rows_of(updates)}
    assert "up" in sites
    assert not sites & {"act:gelu", "down"}


def test_refused_sites_stay_out_of_a_resumed_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activations_module, "_KEEP_SECONDS", -1.0)
    module = Attention()
    with torch.no_grad():
        module.up.bias[2] = math.nan
    job = Activations().run(context_of(module, tokens(), batch_size=2))
    updates = [next(job) for _ in range(2)]
    job.close()
    done = {
        (r.target, r.format, r.quantity, r.part): r for u in updates for r in u.rows
    }
    with torch.no_grad():
        module.up.bias[2] = 0.0
    arrays = arrays_of(updates)
    resumed = run(context_of(module, tokens(), batch_size=2, done=done, arrays=arrays))
    assert ("up", "absmax") in rows_of(resumed)
    assert ("down", "absmax") not in rows_of(resumed)


class Routed(nn.Module):
    """Sends no token to its second expert."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.a(x), self.b(x[:0])))


def test_a_site_without_values_is_named() -> None:
    updates = run(context_of(Routed(), Data((torch.randn(8, 4),))))
    assert updates[-1].warnings == ("b: no value of these samples came here.",)
    assert {site for site, _ in rows_of(updates)} == {"a"}


def test_closing_early_leaves_the_network_as_it_was() -> None:
    context = cases.context("bert", batch_size=4)
    module = context.model.module
    assert module is not None
    before = cases.state_of(module)
    job = Activations().run(context)
    next(job)
    next(job)
    cases.assert_same_state(before, cases.state_of(module))
    job.close()
    cases.assert_same_state(before, cases.state_of(module))


def test_a_model_without_a_network_is_refused() -> None:
    context = context_of(Routed(), Data((torch.randn(8, 4),)))
    context.model.module = None
    with pytest.raises(AnalysisError, match="runs the network"):
        run(context)


def test_parameters_are_checked() -> None:
    with pytest.raises(AnalysisError, match="activations.top is out of range"):
        Activations(top=0)


@pytest.mark.parametrize("name", cases.CASES)
def test_every_kind_of_network(name: str) -> None:
    context = cases.context(name, batch_size=5)
    module, data = context.model.module, context.data
    assert module is not None
    assert data is not None
    before = cases.state_of(module)
    updates = run(context)
    cases.assert_same_state(before, cases.state_of(module))
    assert updates[-1].done == updates[-1].total
    assert updates[-1].samples == cases.SAMPLES
    rows = rows_of(updates)
    batch = next(data.batches(5))
    sites, _ = Tap(module).trace(lambda: call(module, batch))
    assert {site for site, _ in rows} == {site.name for site in sites}
    assert all(math.isfinite(row.value) for row in rows.values())
