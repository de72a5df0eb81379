"""Measured error against networks changed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from analysis.data.batch import call
from analysis.measures.measured_error import MeasuredError
from quant_core.assignment import Assignment
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from tests.cases import context


def test_one_layer_equals_a_network_changed_by_hand() -> None:
    ctx = context("bert", "int4", batch_size=5)
    module, data, task = ctx.need_run("test")
    found = {row.target: row for u in MeasuredError().run(ctx) for row in u.rows}
    rows = list(found.values())  # the last of each layer: the others are estimates
    assert len(rows) == len(ctx.model.info.layers)
    batch = next(data.batches(len(data)))
    with torch.no_grad():
        reference = task.output(call(module, batch), batch)
    for row in rows[::4]:
        weight = dict(module.named_parameters())[f"{row.target}.weight"]
        kept = weight.data
        weight.data = Quantizer(Scheme("int4")).fake_quantize(kept, (0,))
        with torch.no_grad():
            output = task.output(call(module, batch), batch)
        weight.data = kept
        numerator, total = task.error(reference, output, batch)
        truth = float(numerator.sum() / total.sum())
        assert row.value == pytest.approx(truth, rel=1e-4, abs=1e-12)


def test_a_whole_assignment_changes_weights_and_inputs_together() -> None:
    ctx = context("called_twice")
    module, data, task = ctx.need_run("test")
    layers = ctx.model.info.layers
    assignment = Assignment.float(layers, "m", "0" * 64)
    assignment = assignment.with_weight(np.array([0]), Scheme("int4"))
    assignment = assignment.with_input(np.array([1]), Scheme("uint4", "tensor"))
    *_, last = MeasuredError().whole(ctx, assignment)
    row = next(r for r in last.rows if r.quantity == "error")
    assert (row.target, row.part) == ("", "model")

    (x,) = data.args
    shared, out = module.shared, module.out  # type: ignore[union-attr]
    batch = next(data.batches(len(data)))
    with torch.no_grad():
        reference = module(x)
        weight = Quantizer(Scheme("int4")).fake_quantize(shared.weight, (0,))
        float_hidden = x
        hidden = x
        for _ in range(2):
            float_hidden = torch.tanh(shared(float_hidden))
            hidden = torch.tanh(F.linear(hidden, weight, shared.bias))
        store = Quantizer(Scheme("uint4", "tensor"))
        # The range is calibrated on the float network.
        params = store.fit(float_hidden)
        output = out(store.fake_quantize(hidden, (1,), params))
    numerator, total = task.error(reference, output, batch)
    assert row.value == pytest.approx(float(numerator.sum() / total.sum()), rel=1e-3)


def test_labels_give_metrics_of_both_networks() -> None:
    ctx = context("dict_output")
    assert ctx.data is not None
    labels = torch.randint(0, 3, (16,))
    ctx.data = type(ctx.data)((), ctx.data.kwargs, labels)
    assignment = Assignment.float(ctx.model.info.layers, "m", "0" * 64)
    *_, last = MeasuredError().whole(ctx, assignment)
    found = {row.quantity: row.value for row in last.rows}
    module, data, _ = ctx.need_run("test")
    with torch.no_grad():
        logits = module(**data.kwargs)["logits"]
    top1 = float((logits.argmax(-1) == labels).double().mean())
    assert found["top1"] == found["top1_float"] == pytest.approx(top1)
    assert found["nll"] == pytest.approx(float(F.cross_entropy(logits, labels)))
    assert found["error"] == 0.0


def test_token_predictions_are_judged_by_perplexity() -> None:
    ctx = context("gpt2")
    assert ctx.data is not None
    ids = ctx.data.kwargs["input_ids"]
    ctx.data = type(ctx.data)((), {"input_ids": ids}, ids)
    from analysis.tasks.kl import Kl

    ctx.model.task = Kl(causal=True)
    assignment = Assignment.float(ctx.model.info.layers, "m", "0" * 64)
    *_, last = MeasuredError().whole(ctx, assignment)
    found = {row.quantity: row.value for row in last.rows}
    module, data, _ = ctx.need_run("test")
    with torch.no_grad():
        logits = module(**data.kwargs).logits
    nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert found["perplexity"] == pytest.approx(math.exp(float(nll)), rel=1e-4)
    assert "nll" not in found


def test_bad_samples_and_weights_are_told_and_do_not_spoil_the_rest() -> None:
    ctx = context("called_twice", "int4")
    module, data, _ = ctx.need_run("test")
    clean = {r.target: r.value for u in MeasuredError().run(ctx) for r in u.rows}
    data.args[0][2] = math.inf
    updates = list(MeasuredError().run(ctx))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "1 sample meets NaN or infinity, first at shared" in told
    found = {r.target: r.value for u in updates for r in u.rows}
    assert found == pytest.approx(clean, rel=0.5)
    with torch.no_grad():
        module.out.weight[0, 0] = math.nan  # type: ignore[union-attr, operator]
    assignment = Assignment.float(ctx.model.info.layers, "m", "0" * 64)
    updates = list(MeasuredError().whole(ctx, assignment))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "out holds NaN or infinite weights: they are taken as 0" in told
    assert updates[-1].rows[0].value == 0.0


def test_a_quantized_network_that_overflows_is_infinitely_wrong() -> None:
    ctx = context("called_twice", "int4")
    module, _, _ = ctx.need_run("test")
    with torch.no_grad():
        module.out.weight.fill_(2e38)  # type: ignore[union-attr, operator]
        module.out.bias.fill_(1e38)  # type: ignore[union-attr, operator]
        module.shared.weight.mul_(1e-4)  # type: ignore[union-attr, operator]
    assignment = Assignment.float(ctx.model.info.layers, "m", "0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        huge = torch.full((3, 8), math.inf)
        patch.setattr("analysis.measures.measuring.stored", lambda *_: huge)
        changed = assignment.with_weight(np.array([1]), Scheme("int4"))
        *_, last = MeasuredError().whole(ctx, changed)
    assert last.rows[0].value == math.inf


def test_finished_rows_are_not_measured_again() -> None:
    ctx = context("called_twice", "int4", "int8")
    rows = [row for update in MeasuredError().run(ctx) for row in update.rows]
    ctx.done = {(r.target, r.format, r.quantity, r.part): r for r in rows[:3]}
    again = [row for update in MeasuredError().run(ctx) for row in update.rows]
    assert again == rows[3:]
