"""The measured sweep: prefix reuse, several batches, resuming, further numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from analysis.data.batch import Batch, Data, call
from analysis.measures.context import MeasureContext
from analysis.measures.measured_error import MeasuredError
from analysis.measures.measured_scores import Comparison, Error, Pair
from analysis.method import Row, Update
from analysis.quality import FORWARD_SECONDS
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from quant_core.layers import layers_of
from quant_core.replay import Recording
from quant_core.scheme import Scheme
from tests.cases import assert_same_state, context, state_of

pytestmark = pytest.mark.usefixtures("one_thread")
Key = tuple[str, str | None, str, str]


def last_rows(updates: list[Update]) -> dict[Key, Row]:
    return {
        (row.target, row.format, row.quantity, row.part): row
        for update in updates
        for row in update.rows
    }


@pytest.mark.parametrize(
    "name", ["called_twice", "cnn", "encoder", "exported", "gathered", "gpt2", "lstm"]
)
def test_reuse_changes_no_bit_of_any_row(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(name, "int2")
    ctx.input_schemes = (Scheme("uint4", "tensor"),)
    reused = last_rows(list(MeasuredError().run(ctx)))
    monkeypatch.setattr(Recording, "begin", lambda *_: 0)
    full = last_rows(list(MeasuredError().run(context_of(ctx))))
    assert {key: row.value for key, row in reused.items()} == {
        key: row.value for key, row in full.items()
    }


def context_of(ctx: MeasureContext, **settings: object) -> MeasureContext:
    """Return a fresh context on the same model and data."""
    fresh = MeasureContext(
        ctx.model, ctx.data, ctx.schemes, ctx.input_schemes, batch_size=ctx.batch_size
    )
    for name, value in settings.items():
        setattr(fresh, name, value)
    return fresh


def test_only_what_lies_behind_each_change_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[int] = []
    torch.manual_seed(0)
    ctx = chain_context("int4", "int8")
    forward = nn.Linear.forward

    def counted(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        runs.append(len(x))
        return forward(layer, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    updates = list(MeasuredError().run(ctx))
    assert updates[-1].done == updates[-1].total
    # Timing and recording run all 8 layers; a change of layer k the 8 - k from it on,
    # in two formats. The check runs changes of the last, the middle and the first layer
    # in full instead, and the replays of the last and the middle one.
    in_full, replayed = 3 * 8, 1 + 4
    assert len(runs) == 8 + 8 + in_full + replayed + 2 * sum(range(1, 9)) - (1 + 4 + 8)
    assert set(runs) == {16}
    told = [u.arrays[FORWARD_SECONDS] for u in updates if u.arrays]
    assert [seconds.shape for seconds in told] == [(1,)]


def chain_context(*formats: str) -> MeasureContext:
    """Return eight layers in a row."""
    ctx = context("called_twice", *formats)
    parts = [part for _ in range(8) for part in (nn.Linear(8, 8), nn.Tanh())]
    return with_module(ctx, nn.Sequential(*parts))


def with_module(ctx: MeasureContext, module: nn.Module) -> MeasureContext:
    """Exchange the network of a context."""
    info = dataclasses.replace(ctx.model.info, layers=layers_of(module)[0])
    ctx.model = dataclasses.replace(ctx.model, info=info, module=module.eval())
    return ctx


def test_batches_add_up_to_one_and_rows_sharpen() -> None:
    ctx = context("bert", "int4")
    whole = last_rows(list(MeasuredError().run(ctx)))
    updates = list(MeasuredError().run(context_of(ctx, batch_size=5)))
    parts = last_rows(updates)
    assert parts.keys() == whole.keys()
    for key, row in parts.items():
        assert row.value == pytest.approx(whole[key].value, rel=1e-4, abs=1e-12)
        assert row.stderr == pytest.approx(whole[key].stderr, rel=1e-3, abs=1e-12)
    estimates = [u for u in updates if len(u.rows) > 1]
    assert [u.samples for u in estimates] == [5, 10, 15]
    assert updates[-1].samples == 16


def test_a_run_of_several_batches_goes_on_where_it_stopped() -> None:
    ctx = context("called_twice", "int4", "int8", batch_size=4)
    whole = list(MeasuredError().run(ctx))
    arrays: dict[str, np.ndarray] = {}
    done: dict[Key, Row] = {}
    job = MeasuredError().run(context_of(ctx))
    for update in job:
        arrays |= update.arrays
        done |= last_rows([update])
        if "measured_error/batch/1/error" in arrays:
            break
    job.close()  # type: ignore[attr-defined]
    again = context_of(ctx, done=done, arrays=arrays)
    runs = []
    module = ctx.model.module
    assert module is not None
    handle = module.register_forward_hook(lambda *_: runs.append(1))
    updates = list(MeasuredError().run(again))
    handle.remove()
    assert last_rows(updates) == last_rows(whole)
    # Timing 4 batches; then, of the last two: recording and 4 steps; of the first of
    # these the replays of 2 steps are checked, which are run in full besides.
    assert len(runs) == 4 + 2 * (1 + 4) + 2
    assert updates[-1].done == updates[-1].total


def test_arrays_of_other_settings_are_not_taken_over() -> None:
    ctx = context("called_twice", "int4", batch_size=8)
    whole = last_rows(list(MeasuredError().run(ctx)))
    ctx.arrays = {"measured_error/batch/0/error": np.zeros((7, 2, 8))}
    assert last_rows(list(MeasuredError().run(ctx))) == whole


class Hidden(nn.Module):
    """Keeps state where no rule can see it: in a closure.

    Args:
        left: "gain": the second layer resets what the first one sets. "output": the
            first layer's output stays until its next call. "large": like gain, with
            more than two samples only.
    """

    def __init__(self, left: str) -> None:
        super().__init__()
        memory: dict[str, Any] = {"gain": 1.0, "output": 0.0}

        class First(nn.Linear):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                output = super().forward(x)
                if left == "output":
                    memory["output"] = output.mean()
                elif left == "gain" or len(x) > 2:
                    memory["gain"] = 2.0
                return output

        class Second(nn.Linear):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                gain, memory["gain"] = memory["gain"], 1.0
                return gain * super().forward(x) + memory["output"]

        self.first, self.second = First(8, 8), Second(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


@pytest.mark.parametrize("left", ["gain", "output", "large"])
def test_a_network_that_hides_state_is_caught_and_run_in_full(
    left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    ctx = with_module(context("called_twice", "int2", "int4"), Hidden(left))
    updates = list(MeasuredError().run(ctx))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "gives another output when parts are left out" in told
    assert updates[-1].done == updates[-1].total
    monkeypatch.setattr(Recording, "begin", lambda *_: 0)
    full = last_rows(list(MeasuredError().run(context_of(ctx))))
    assert last_rows(updates) == full


def test_a_network_in_one_piece_is_told() -> None:
    updates = list(MeasuredError().run(context("gathered", "int4")))
    told = " ".join(w for u in updates for w in u.warnings)
    assert "has no part that could be left out" in told


@pytest.mark.parametrize("stop", [3, 9, 20])
def test_closing_between_batches_restores_the_model(stop: int) -> None:
    ctx = context("bert", "int4", batch_size=5)
    module = ctx.model.module
    assert module is not None
    before = state_of(module)
    job = MeasuredError().run(ctx)
    for _ in range(stop):
        next(job)
        assert all("forward" not in m.__dict__ for m in module.modules())
    job.close()  # type: ignore[attr-defined]
    assert_same_state(before, state_of(module))


def test_further_numbers_are_those_of_the_outputs() -> None:
    ctx = context("dict_output", "int3")
    assert ctx.data is not None
    labels = torch.randint(0, 3, (16,))
    ctx.data = Data((), ctx.data.kwargs, labels)
    measure = MeasuredError(metrics=["mse", "sqnr", "cosine", "task"])
    found = last_rows(list(measure.run(ctx)))
    module, data, task = ctx.need_run("test")
    batch = next(data.batches(16))
    from quant_core.quantizer import Quantizer

    parameters = dict(module.named_parameters())
    with torch.no_grad():
        z = task.output(call(module, batch), batch)
        kept = parameters["a.weight"].data
        parameters["a.weight"].data = Quantizer(Scheme("int3")).fake_quantize(
            kept, (0,)
        )
        q = task.output(call(module, batch), batch)
        parameters["a.weight"].data = kept
    mse = float((q - z).square().sum() / z.square().sum())
    truth = {
        "mse": mse,
        "sqnr": -10 * math.log10(mse),
        "cosine": float(torch.cosine_similarity(z, q).mean()),
        "top1": float((q.argmax(1) == labels).double().mean()),
        "nll": float(torch.nn.functional.cross_entropy(q, labels)),
    }
    for quantity, value in truth.items():
        row = found["a", "int3", quantity, "weight"]
        assert row.value == pytest.approx(value, rel=1e-4), quantity
    assert len(found) == 2 * (1 + len(truth))


@pytest.mark.parametrize("task", [Kl(), Mse()], ids=lambda task: task.key)
def test_divergence_is_computed_once(
    task: Kl | Mse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.Tensor] = []
    against = Kl.against

    def counted(self: Kl, reference: torch.Tensor, batch: Batch) -> Error:
        error = against(self, reference, batch)

        def count(output: torch.Tensor) -> Pair:
            made.append(output)
            return error(output)

        return count

    monkeypatch.setattr(Kl, "against", counted)
    z, q = torch.randn(2, 4, 3)
    batch = Batch((z,), {}, 4)
    found = Comparison(task, ["kl"], batch, z).with_output(q)
    assert len(made) == 1
    truth = torch.nn.functional.kl_div(
        q.log_softmax(1), z.log_softmax(1), log_target=True, reduction="none"
    ).sum(1)
    assert torch.allclose(found["kl"][0].float(), truth, atol=1e-6)


def test_padding_is_left_out_of_the_further_numbers() -> None:
    ctx = context("gpt2", "int3")
    module, data, task = ctx.need_run("test")
    values = []
    for _ in range(2):
        measure = MeasuredError(metrics=["mse"])
        rows = last_rows(list(measure.run(context_of(ctx))))
        values.append([r.value for k, r in rows.items() if k[2] == "mse"])
        ids = data.kwargs["input_ids"]
        ids[data.kwargs["attention_mask"] == 0] = 7
    assert values[0] == pytest.approx(values[1])
    assert min(values[0]) >= 0


def test_unknown_further_numbers_are_refused() -> None:
    from analysis.errors import AnalysisError

    with pytest.raises(AnalysisError, match="unknown value.*psnr"):
        MeasuredError(metrics=["psnr"])
