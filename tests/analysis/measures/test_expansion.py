"""The error near a quantized network: exact where it must be, slow truths elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Data
from analysis.measures.context import MeasureContext
from analysis.measures.expansion import FLOAT, expanding
from analysis.measures.measured_error import MeasuredError
from analysis.measures.predicted_error import PredictedError
from analysis.method import Update
from analysis.model import LoadedModel, ModelInfo
from analysis.search.trial import score_of
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from quant_core.assignment import Assignment
from quant_core.layers import layers_of
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from tests.cases import CASES, assert_same_state, context, state_of

SCHEMES = (Scheme("int2"), Scheme("int4"))
Arrays = dict[str, np.ndarray]


def tiny(module: nn.Module, x: Tensor, task: Any) -> MeasureContext:
    module.eval()
    layers, unlisted = layers_of(module)
    info = ModelInfo("tiny", "tiny", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module, lambda n: parameters[n].detach(), task)
    return MeasureContext(model, Data((x,)))


def plan(ctx: MeasureContext, *keys: str) -> Assignment:
    """Return an assignment of one scheme per layer, "" for float."""
    made = Assignment.float(ctx.model.info.layers, "tiny")
    for index, key in enumerate(keys):
        made = made.with_weight([index], Scheme(key) if key else None)
    return made


def expanded(ctx: MeasureContext, at: Assignment, probes: int = 4) -> Arrays:
    *_, last = expanding(ctx, probes)(at, SCHEMES)
    return {name.split("/")[1]: array for name, array in last.arrays.items()}


def predicted(found: Arrays, changes: dict[str, str]) -> float:
    """Return the error with some layers changed, from the arrays alone."""
    told = [tuple(row) for row in found["columns"].tolist()]
    columns = [told.index(change) for change in changes.items()]
    each = np.bincount(found["sample"])[0]
    numerator = found["error"].sum() + found["slope"][:, columns].sum()
    numerator += (found["v"][:, columns].sum(1) ** 2).sum() / each
    return float(numerator / found["weight"].sum())


def measured(ctx: MeasureContext, assignment: Assignment) -> float:
    def last(updates: list[Update]) -> float:
        score = score_of(updates[-1])
        assert score is not None
        return score.value

    return last(list(MeasuredError().whole(ctx, assignment)))


@pytest.mark.parametrize("key", [FLOAT, "int2", "int4"])
@pytest.mark.parametrize("index", range(3))
def test_one_layer_changed_in_a_linear_chain_is_exact(index: int, key: str) -> None:
    """Four probes of four outputs are a basis, and the error is a squared distance."""
    torch.manual_seed(index)
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4))
    ctx = tiny(module, torch.randn(9, 6), Mse())
    keys = ["int2", "int4", "int2"]
    found = expanded(ctx, plan(ctx, *keys))
    keys[index] = key
    name = ctx.model.info.layers[index].name
    truth = measured(ctx, plan(ctx, *keys))
    assert predicted(found, {name: key}) == pytest.approx(truth, rel=1e-4, abs=1e-9)


def slow(
    ctx: MeasureContext, module: nn.Module, at: Assignment, changes: dict[str, str]
) -> float:
    """Return value, slope and Gauss-Newton curvature by one forward derivative.

    With the output of changed weights moved along their direction, the error of the
    linearised output is expanded to second order by autograd.
    """
    (x,), task = ctx.data.args, ctx.task  # type: ignore[union-attr]
    assert task is not None
    batch = next(ctx.data.batches(len(x)))  # type: ignore[union-attr]
    stored = {k: v.detach().clone() for k, v in module.named_parameters()}
    now, change = dict(stored), {k: torch.zeros_like(v) for k, v in stored.items()}
    for index, layer in enumerate(at.layers):
        weight = stored[layer.parameter]

        def rounded(
            scheme: Scheme | None, weight: Tensor = weight, layer: Any = layer
        ) -> Tensor:
            if scheme is None:
                return weight
            return Quantizer(scheme).fake_quantize(weight, layer.channel_axes)

        now[layer.parameter] = rounded(at.scheme_of(index))
        if layer.name in changes:
            key = changes[layer.name]
            then = rounded(Scheme(key) if key else None)
            change[layer.parameter] = then - now[layer.parameter]

    def output(weights: dict[str, Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(module, weights, (x,))
        return found

    def along(step: Tensor) -> Tensor:
        return output({name: now[name] + step * change[name] for name in now})

    z, moved = torch.autograd.functional.jvp(along, torch.zeros(()), torch.ones(()))
    reference = output(stored).detach()

    def error(d: Tensor) -> Tensor:
        return task.error(reference, z.detach() + d, batch)[0].sum()

    zero = torch.zeros_like(z)
    slope = (torch.autograd.functional.jacobian(error, zero) * moved).sum()
    _, curved = torch.autograd.functional.hvp(error, zero, moved.detach())
    weight = task.weight(reference, batch).sum()
    total = error(zero) + slope + 0.5 * (curved * moved).sum()
    return float(total / weight)


@pytest.mark.parametrize("task", [Kl(), Mse()], ids=["kl", "mse"])
@pytest.mark.parametrize("changes", [{"0": "int2"}, {"0": "", "2": "int2"}])
def test_several_changes_equal_a_slow_expansion(
    changes: dict[str, str], task: Any
) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    ctx = tiny(module, 2 * torch.randn(7, 6), task)
    at = plan(ctx, "int4", "int4")
    found = expanded(ctx, at, probes=4)
    truth = slow(ctx, module, at, changes)
    assert predicted(found, changes) == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"bf16"}))
def test_at_the_float_network_it_is_predicted_error(name: str) -> None:
    ctx = context(name, *(scheme.key for scheme in SCHEMES))
    assert ctx.data is not None
    ctx.data = ctx.data.take(3)
    *_, last = PredictedError(probes=2).run(ctx)
    columns = [tuple(row) for row in last.arrays["predicted_error/columns"].tolist()]
    v = last.arrays["predicted_error/v"]
    module = ctx.model.module
    assert module is not None
    before = state_of(module)
    found = expanded(ctx, Assignment.float(ctx.model.info.layers, name), probes=2)
    assert_same_state(before, state_of(module))
    told = [tuple(row) for row in found["columns"].tolist()]
    same = [told.index((target, key)) for _, target, key in columns]
    scale = np.abs(v).max()
    np.testing.assert_allclose(found["v"][:, same], v, rtol=2e-3, atol=1e-4 * scale)
    assert np.abs(found["slope"]).max() <= 1e-4 * max(scale**2, 1e-6)
    assert found["error"].sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["bert", "cnn", "gpt2", "embedding", "called_twice"])
def test_the_anchor_has_its_measured_error(name: str) -> None:
    ctx = context(name)
    layers = ctx.model.info.layers
    made = Assignment.float(layers, name).with_weight(range(len(layers)), SCHEMES[1])
    made = made.with_input([0], Scheme("int8", "tensor"))
    found = expanded(ctx, made, probes=1)
    error = found["error"].sum() / found["weight"].sum()
    assert error == pytest.approx(measured(ctx, made), rel=1e-3)
    stays = [i for i, row in enumerate(found["columns"].tolist()) if row[1] == "int4"]
    assert not found["v"][:, stays].any()
    assert not found["slope"][:, stays].any()


def test_slopes_pass_quantized_inputs() -> None:
    """Through the first layer's output, which the second layer rounds."""
    torch.manual_seed(5)
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    ctx = tiny(module, torch.randn(32, 6), Mse())
    made = plan(ctx, "int4", "int4").with_input([1], Scheme("int8", "tensor"))
    found = expanded(ctx, made)
    truth = measured(ctx, made.with_weight([0], SCHEMES[0]))
    assert predicted(found, {"0": "int2"}) == pytest.approx(truth, rel=0.03)


def test_samples_that_are_broken_in_float_count_for_nothing() -> None:
    torch.manual_seed(6)
    module = nn.Sequential(nn.Linear(6, 4))
    x = torch.randn(8, 6)
    x[2] = float("nan")
    ctx = tiny(module, x, Kl())
    found = expanded(ctx, plan(ctx, "int2"))
    assert found["weight"].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    assert np.isfinite(found["slope"]).all()
    assert not found["slope"][2].any()
    assert not found["v"][found["sample"] == 2].any()
