"""What must hold for any model: run over the whole case table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.data.batch import call
from analysis.measures.activations import Activations
from analysis.measures.hessian import Hessian
from analysis.measures.hessian_eigenvalues import HessianEigenvalues
from analysis.measures.hessian_spectrum import HessianSpectrum
from analysis.measures.measured_error import MeasuredError
from analysis.measures.predicted_error import PredictedError
from analysis.method import Row, Update
from quant_core.scheme import Scheme
from quant_core.sites import Site
from quant_core.tap import Listener, Tap
from tests.cases import (
    CASES,
    assert_same_state,
    build,
    context,
    state_of,
    tensors_of,
)

ALL = sorted(CASES)


def _results(updates: list[Update]) -> dict[tuple[str, str | None], Row]:
    return {(r.target, r.format): r for u in updates for r in u.rows}


@pytest.mark.parametrize("name", ALL)
def test_every_matrix_is_a_layer_or_has_a_reason(name: str) -> None:
    module, _ = build(name)
    tap = Tap(module)
    listed = {x.parameter for x in tap.layers} | {x.parameter for x in tap.unlisted}
    matrices = {n for n, p in module.named_parameters() if p.dim() >= 2}
    assert listed == matrices
    assert {x.kind for x in tap.layers} == CASES[name].kinds
    assert {x.parameter for x in tap.unlisted} == CASES[name].unlisted
    assert all(x.reason for x in tap.unlisted)
    names = [x.name for x in tap.layers]
    assert len(set(names)) == len(names)
    modules = dict(module.named_modules())
    for layer in tap.layers:
        assert layer.name in modules or layer.name == layer.parameter


@pytest.mark.parametrize("name", ALL)
def test_outputs_are_bit_identical_with_an_idle_tap(name: str) -> None:
    module, data = build(name)
    batch = next(data.batches(8))
    before = state_of(module)
    with torch.no_grad():
        plain = tensors_of(call(module, batch))
        tap = Tap(module)
        idle = tensors_of(call(module, batch))
        with tap.session(Listener()):
            fast_path_off = tensors_of(call(module, batch))
        after = tensors_of(call(module, batch))
    assert plain
    assert all(torch.equal(a, b) for a, b in zip(plain, idle, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, after, strict=True))
    if name not in {"encoder", "time_major"}:  # their fused path rounds differently
        assert all(torch.equal(a, b) for a, b in zip(plain, fast_path_off, strict=True))
    assert_same_state(before, state_of(module))


@pytest.mark.parametrize("name", ALL)
def test_attention_written_out_gives_the_same_output(name: str) -> None:
    module, data = build(name)
    batch = next(data.batches(8))
    seen: dict[str, Site] = {}

    def see(site: Site, x: Tensor) -> None:
        seen[site.name] = site

    with torch.no_grad():
        plain = tensors_of(call(module, batch))
        with Tap(module).watch(see):
            watched = tensors_of(call(module, batch))
    tolerance = 2e-2 if name == "bf16" else 1e-4
    for a, b in zip(plain, watched, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    inputs = {s.layer for s in seen.values() if s.role == "input"}
    layers = {x.name for x in Tap(module).layers if x.kind in {"linear", "conv"}}
    # A tied head's site carries the head's path, its layer the first name.
    assert layers - {"pooler.dense"} <= inputs


@pytest.mark.parametrize(
    "measure",
    [
        Activations(),
        PredictedError(probes=2),
        Hessian(probes=2),
        Hessian(operator="hessian", probes=2),
        HessianEigenvalues(samples=2, products=3),
        HessianSpectrum(samples=2, products=3),
        MeasuredError(),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_closing_midway_leaves_the_model_as_it_was(name: str, measure: object) -> None:
    ctx = context(name, "int4")
    module = ctx.model.module
    assert module is not None
    before = state_of(module)
    for stop in range(1, 5):
        job = measure.run(ctx)  # type: ignore[attr-defined]
        for _ in range(stop):
            if next(job, None) is None:
                break
        job.close()
        assert_same_state(before, state_of(module))


@pytest.mark.parametrize("name", ALL)
def test_an_error_inside_the_model_leaves_it_as_it_was(name: str) -> None:
    module, data = build(name)
    before = state_of(module)

    class Fails(Listener):
        def activation(self, site: Site, x: Tensor) -> Tensor:
            raise RuntimeError("out of memory, say")

    if name == "embedding":
        pytest.skip("has no activation site that could fail")
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        torch.no_grad(),
        Tap(module).session(Fails()),
    ):
        call(module, next(data.batches(2)))
    assert_same_state(before, state_of(module))


@pytest.mark.parametrize("name", ALL)
def test_a_change_of_zero_has_error_zero(name: str) -> None:
    # float32 stores every weight of these networks exactly.
    ctx = context(name, "float32")
    predicted = _results(list(PredictedError(probes=2).run(ctx)))
    measured = _results(list(MeasuredError().run(ctx)))
    assert predicted
    assert predicted.keys() == measured.keys()
    assert all(row.value == 0.0 for row in predicted.values())
    assert all(row.value == 0.0 for row in measured.values())


@pytest.mark.parametrize("name", [n for n in ALL if CASES[n].smooth])
def test_predicted_agrees_with_measured_at_8_bits(name: str) -> None:
    ctx = context(name, "int8")
    updates = list(PredictedError(probes=64).run(ctx))
    predicted, measured = _results(updates), _results(list(MeasuredError().run(ctx)))
    ratios = [
        predicted[key].value / row.value
        for key, row in measured.items()
        if row.value > 0
    ]
    assert len(ratios) >= len(CASES[name].kinds)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.15)
    # Layers that cannot reach the output (an unused pooler) are 0 in both.
    unused = [key for key, row in measured.items() if row.value == 0]
    assert all(predicted[key].value == 0 for key in unused)
    samples = len(np.unique(updates[-1].arrays["predicted_error/sample"]))
    assert samples == 16


@pytest.mark.parametrize("name", ALL)
def test_rows_are_samples_wherever_samples_can_be_told_apart(name: str) -> None:
    ctx = context(name, "int4")
    updates = list(PredictedError(probes=2).run(ctx))
    notes = [u.note for u in updates if "probe" in u.note]
    batches = notes[0].split(" of ")[1].split(",")[0]
    assert (batches == "1") == CASES[name].rows_per_sample
    assert updates[-1].done == updates[-1].total


@pytest.mark.parametrize("name", ["bert", "cnn", "encoder", "llama"])
def test_activations_predict_too(name: str) -> None:
    ctx = context(name)
    ctx.input_schemes = (Scheme("uint8", "tensor"),)
    predicted = _results(list(PredictedError(probes=64).run(ctx)))
    measured = _results(list(MeasuredError().run(ctx)))
    assert predicted.keys() == measured.keys()
    ratios = [
        predicted[key].value / row.value
        for key, row in measured.items()
        if row.value > 0
    ]
    assert np.median(ratios) == pytest.approx(1.0, abs=0.15)
