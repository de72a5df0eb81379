"""Scopes of the measured error against networks quantized by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import call
from analysis.errors import AnalysisError
from analysis.measures.context import MeasureContext
from analysis.measures.measured_error import SCOPES, MeasuredError
from analysis.method import Row, Update
from analysis.quality import ORDER
from quant_core.errors import QuantError
from quant_core.layers import layers_of
from quant_core.quantizer import Quantizer
from quant_core.replay import Recording
from quant_core.scheme import Scheme
from tests.cases import assert_same_state, context, state_of

pytestmark = pytest.mark.usefixtures("one_thread")
Key = tuple[str, str | None, str, str]
EVERYTHING = MeasuredError(list(SCOPES), ["sqnr", "cosine"], "int3")


def last_rows(updates: list[Update]) -> dict[Key, Row]:
    return {
        (row.target, row.format, row.quantity, row.part): row
        for update in updates
        for row in update.rows
    }


class Crossed(nn.Module):
    """Three layers, used in another order than they are defined in."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first, self.second = (
            nn.Linear(8, 3),
            nn.Linear(8, 8),
            nn.Linear(8, 8),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


USED = ("first", "second", "last")


def crossed(*formats: str, batch_size: int = 0) -> MeasureContext:
    torch.manual_seed(2)
    ctx = context("called_twice", *formats, batch_size=batch_size)
    module = Crossed().eval()
    info = dataclasses.replace(ctx.model.info, layers=layers_of(module)[0])
    ctx.model = dataclasses.replace(ctx.model, info=info, module=module)
    return ctx


def truth(ctx: MeasureContext, formats: Mapping[str, str]) -> float:
    """Return the error of the network with some layers quantized by hand."""
    module, data, task = ctx.need_run("test")
    batch = next(data.batches(len(data)))
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        reference = task.output(call(module, batch), batch)
        kept = {name: parameters[f"{name}.weight"].data for name in formats}
        for name, key in formats.items():
            quantizer = Quantizer(Scheme(key))
            parameters[f"{name}.weight"].data = quantizer.fake_quantize(
                kept[name], (0,)
            )
        output = task.output(call(module, batch), batch)
        for name, weight in kept.items():
            parameters[f"{name}.weight"].data = weight
    numerator, weight = task.error(reference, output, batch)
    return float(numerator.sum() / weight.sum())


def states(target: str, key: str) -> dict[str, dict[str, str]]:
    """Return what is quantized to what in each scope that is read at the output."""
    at = USED.index(target)
    return {
        "error": {target: key},
        "all_but_one": {name: key for name in USED if name != target},
        "cumulative": dict.fromkeys(USED[: at + 1], key),
        "at_target": {name: key if name == target else "int3" for name in USED},
    }


@pytest.mark.parametrize("batch_size", [0, 5])
def test_every_state_equals_a_network_quantized_by_hand(batch_size: int) -> None:
    ctx = crossed("int2", "int4", batch_size=batch_size)
    updates = list(EVERYTHING.run(ctx))
    found = last_rows(updates)
    for target in USED:
        for key in ("int2", "int4"):
            for quantity, state in states(target, key).items():
                row = found[target, key, quantity, "weight"]
                assert row.value == pytest.approx(truth(ctx, state), rel=1e-4), quantity
    assert updates[-1].done == updates[-1].total
    orders = [u.arrays[ORDER].tolist() for u in updates if ORDER in u.arrays]
    assert orders == [[1, 2, 0]], "indices of first, second, last"


def test_errors_of_layer_outputs_equal_those_computed_by_hand() -> None:
    ctx = crossed("int3")
    found = last_rows(list(EVERYTHING.run(ctx)))
    module, data, _ = ctx.need_run("test")
    (x,) = data.args
    own = off = x
    with torch.no_grad():
        for name in USED:
            layer = module.get_submodule(name)
            weight = Quantizer(Scheme("int3")).fake_quantize(layer.weight, (0,))
            clean = nn.functional.linear(own, layer.weight, layer.bias)
            outputs = {
                "local": nn.functional.linear(own, weight, layer.bias),
                "accumulated": nn.functional.linear(off, weight, layer.bias),
            }
            for quantity, output in outputs.items():
                mse = float((output - clean).square().sum() / clean.square().sum())
                row = found[name, "int3", quantity, "weight"]
                assert row.value == pytest.approx(mse, rel=1e-5)
                sqnr = found[name, "int3", f"{quantity}_sqnr", "weight"].value
                assert sqnr == pytest.approx(-10 * np.log10(mse), rel=1e-5)
                cosine = found[name, "int3", f"{quantity}_cosine", "weight"].value
                both = nn.functional.cosine_similarity(output, clean).mean()
                assert cosine == pytest.approx(float(both), rel=1e-5)
            own, off = torch.tanh(clean), torch.tanh(outputs["accumulated"])


def test_the_ends_of_the_scopes_meet() -> None:
    ctx = crossed("int3")
    found = {k: r.value for k, r in last_rows(list(EVERYTHING.run(ctx))).items()}
    everything = truth(ctx, dict.fromkeys(USED, "int3"))
    key = "int3", "cumulative", "weight"
    assert found["first", *key] == found["first", "int3", "error", "weight"]
    assert found["last", *key] == pytest.approx(everything, rel=1e-5)
    # All in the target is the target, whichever layer is looked at.
    at_target = {found[name, "int3", "at_target", "weight"] for name in USED}
    assert at_target == {found["last", *key]}
    # Nothing lies before the first layer, so nothing has accumulated.
    local, accumulated = (
        found["first", "int3", quantity, "weight"]
        for quantity in ("local", "accumulated")
    )
    assert local == pytest.approx(accumulated)


def test_inputs_take_part_in_the_scopes() -> None:
    ctx = crossed("int8")
    ctx.input_schemes = (Scheme("uint3", "tensor"),)
    found = {
        (k[0], k[2]): r.value
        for k, r in last_rows(list(EVERYTHING.run(ctx))).items()
        if k[3] == "input"
    }
    module, data, task = ctx.need_run("test")
    batch = next(data.batches(16))
    (x,) = data.args

    def run(quantized: set[str]) -> float:
        clean = hidden = x
        outputs = []
        with torch.no_grad():
            for name in USED:
                store = Quantizer(Scheme("uint3", "tensor"))
                layer = module.get_submodule(name)
                if name in quantized:
                    hidden = store.fake_quantize(hidden, (1,), store.fit(clean))
                hidden, clean = torch.tanh(layer(hidden)), torch.tanh(layer(clean))
                outputs = [layer_out.atanh() for layer_out in (clean, hidden)]
        numerator, weight = task.error(*outputs, batch)
        return float(numerator.sum() / weight.sum())

    for at, name in enumerate(USED):
        assert found[name, "error"] == pytest.approx(run({name}), rel=1e-3)
        others = set(USED) - {name}
        assert found[name, "all_but_one"] == pytest.approx(run(others), rel=1e-3)
        before = set(USED[: at + 1])
        assert found[name, "cumulative"] == pytest.approx(run(before), rel=1e-3)


@pytest.mark.parametrize("name", ["cnn", "lstm", "gathered"])
def test_reuse_changes_no_bit_in_any_scope(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(name, "int3")
    before = state_of(ctx.model.module)  # type: ignore[arg-type]
    reused = last_rows(list(EVERYTHING.run(ctx)))
    assert_same_state(before, state_of(ctx.model.module))  # type: ignore[arg-type]
    monkeypatch.setattr(Recording, "begin", lambda *_: 0)
    full = last_rows(list(EVERYTHING.run(context(name, "int3"))))
    assert {k: r.value for k, r in reused.items()} == pytest.approx(
        {k: r.value for k, r in full.items()}, rel=0, abs=0, nan_ok=True
    )
    quantities = {key[2] for key in reused}
    assert {"error", "all_but_one", "cumulative", "at_target"} <= quantities


def test_outputs_that_have_no_samples_are_told() -> None:
    updates = list(EVERYTHING.run(context("lstm", "int4")))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "lstm.weight_ih_l0" in told
    assert "cannot be compared sample by sample" in told
    found = last_rows(updates)
    assert ("head", "int4", "local", "weight") in found
    assert not any(k[0].startswith("lstm") for k in found if k[2] == "local")


def test_finished_scopes_are_not_measured_again() -> None:
    ctx = crossed("int3")
    done = last_rows(list(EVERYTHING.run(ctx)))
    again = crossed("int3")
    again.done = done
    assert last_rows(list(EVERYTHING.run(again))) == {}


def test_scopes_and_target_are_checked() -> None:
    with pytest.raises(AnalysisError, match="unknown value.*others"):
        MeasuredError(["others"])
    with pytest.raises(AnalysisError, match="nothing to measure"):
        MeasuredError([])
    with pytest.raises(QuantError, match="int99"):
        MeasuredError(target="int99")
