"""Relevance scores against networks worked through by hand."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from analysis.data.batch import Batch, Data
from analysis.errors import AnalysisError
from analysis.measures import relevance
from analysis.measures.context import MeasureContext
from analysis.measures.explained import token_texts
from analysis.measures.relevance import Relevance
from analysis.measures.relevance_scores import QUANTITIES, RelevanceScores
from analysis.method import Row, Update
from quant_core.errors import QuantError
from tests.cases import CASES, assert_same_state, context, state_of

WORKING = sorted(set(CASES) - {"lstm"})


def last_of(measure: Relevance, ctx: MeasureContext) -> Update:
    *_, last = measure.run(ctx)
    return last


def by_key(rows: tuple[Row, ...]) -> dict[tuple[str, str], Row]:
    return {(row.target, row.quantity): row for row in rows}


def by_hand(ctx: MeasureContext) -> dict[str, NDArray[np.float64]]:
    """Return relevance at both layers of `dict_output` and at its input, by loops."""
    module, data, _ = ctx.need_run("test")
    x = data.kwargs["features"].double().numpy()
    (w1, b1), (w2, b2) = (
        (m.weight.detach().double().numpy(), m.bias.detach().double().numpy())
        for m in (module.a, module.b)  # type: ignore[union-attr]
    )
    found = {
        "a": np.zeros((16, 12)),
        "b": np.zeros((16, 3)),
        "input": np.zeros((16, 8)),
    }
    found["gradient a"] = np.zeros((16, 12))
    for n in range(16):
        z1 = w1 @ x[n] + b1
        h = np.sin(z1)
        z2 = w2 @ h + b2
        top = int(z2.argmax())
        found["b"][n, top] = 1
        for j in range(12):
            found["a"][n, j] = h[j] * w2[top, j] / z2[top]
            found["gradient a"][n, j] = np.cos(z1[j]) * w2[top, j]
            for i in range(8):
                found["input"][n, i] += x[n, i] * w1[j, i] / z1[j] * found["a"][n, j]
    return found


def test_scores_agree_with_loops() -> None:
    ctx = context("dict_output")
    last = last_of(Relevance(gradient=True, epsilon=1e-9), ctx)
    truth, rows = by_hand(ctx), by_key(last.rows)
    expected = {
        "positive": truth["a"].clip(min=0).mean(1),
        "absolute": np.abs(truth["a"]).mean(1),
        "share": truth["a"].sum(1),
        "absorbed": truth["a"].sum(1) - truth["input"].sum(1),
        "gradient": (truth["a"] * truth["gradient a"]).clip(min=0).mean(1),
    }
    for quantity, values in expected.items():
        row = rows["a", quantity]
        assert row.value == pytest.approx(values.mean(), rel=1e-3)
        assert row.stderr == pytest.approx(values.std(ddof=1) / 4, rel=1e-3)
    assert rows["b", "share"].value == pytest.approx(1.0, rel=1e-6)
    assert rows["b", "share"].stderr == pytest.approx(0.0, abs=1e-9)
    found = last.arrays["relevance/input"]
    np.testing.assert_allclose(found, truth["input"], rtol=1e-2, atol=1e-3)
    assert last.done == last.total == last.samples == 16


@pytest.mark.parametrize("rules", ["attnlrp", "chefer"])
@pytest.mark.parametrize("name", WORKING)
def test_a_batch_gives_what_single_samples_give(name: str, rules: str) -> None:
    measure = Relevance(rules=rules, gradient=True)
    ctx = context(name)
    assert ctx.data is not None
    ctx.data = ctx.data.take(4)
    together = last_of(measure, ctx)
    alone = RelevanceScores()
    for sample in range(4):
        one = dataclasses.replace(
            ctx, data=ctx.data.slice(sample, sample + 1), first_sample=sample
        )
        update = last_of(measure, one)
        alone.merge(RelevanceScores.from_arrays(update.arrays))
    joined = RelevanceScores.from_arrays(together.arrays)
    assert joined.targets == alone.targets
    (samples, found), (_, truth) = joined.table(), alone.table()
    assert samples.tolist() == [0, 1, 2, 3]
    # Relevance divides by sums that may be near 0: rounding is magnified.
    loose = 0.3 if name == "bf16" else 2e-2
    scale = np.abs(truth).max(2, keepdims=True)
    assert (np.abs(found - truth) <= loose * (np.abs(truth) + scale)).all()


def test_a_run_that_is_resumed_ends_as_if_never_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ctx = context("vit", batch_size=5)
    monkeypatch.setattr(relevance, "_KEEP_SECONDS", -1.0)
    updates = list(Relevance(maps=9).run(ctx))
    assert [u.done for u in updates] == [0, 5, 10, 15, 16]
    begun = updates[2]
    rows = {(r.target, r.format, r.quantity, r.part): r for r in begun.rows}
    again = dataclasses.replace(ctx, done=rows, arrays=begun.arrays)
    rest = list(Relevance(maps=9).run(again))
    assert [u.done for u in rest] == [10, 15, 16]
    assert rest[-1].rows == updates[-1].rows
    assert updates[-1].arrays["relevance/input"].shape == (9, 8, 8)
    for name, array in updates[-1].arrays.items():
        np.testing.assert_array_equal(rest[-1].arrays[name], array)


class Spelling:
    """Spells tokens as a byte-level vocabulary does: decoded, the space is gone."""

    names = ("[PAD]", "Ġthe", "Ċ")

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        assert not skip_special_tokens
        return ("[PAD]", " the", "\n")[tokens[0]]

    def id_to_token(self, token: int) -> str:
        return self.names[token]


def test_tokens_are_told_as_text_and_padding_is_not() -> None:
    index = torch.tensor([[1, 2, 1], [1, 0, 0]])
    batch = Batch((), {"input_ids": index, "attention_mask": (index > 0).long()}, 2)
    told = token_texts(batch, index, Spelling())
    assert told.tolist() == [["the", "↵", "the"], ["the", "", ""]]
    assert token_texts(batch, index, None).tolist()[0] == ["1", "2", "1"]


def test_tokens_get_the_relevance_of_their_embeddings() -> None:
    ctx = context("gpt2")
    last = last_of(Relevance(rules="chefer"), ctx)
    assert last.arrays["relevance/input"].shape == (16, 10)
    tokens = last.arrays["relevance/tokens"]
    assert ctx.data is not None
    given = next(ctx.data.batches(16)).kwargs
    seen = given["attention_mask"].numpy().astype(bool)
    assert not seen.all()
    wanted = np.where(seen, given["input_ids"].numpy().astype(str), "")
    np.testing.assert_array_equal(tokens, wanted)
    rows = by_key(last.rows)
    words = rows["transformer.wpe", "share"].value
    # All arrives at words and positions, but for what outputs without any product of
    # their own sign took up; tied weights count as look-up and as head.
    assert last.arrays["relevance/input"].sum(1).mean() + words <= 1.0 + 1e-4
    assert rows["transformer.wte", "positive"].part == "weight"
    sites = {row.target for row in last.rows if row.part == "output"}
    assert "transformer.h.0.attn:softmax" in sites
    assert {f"transformer.h.1.attn:matmul.{i}" for i in (0, 1)} <= sites


def test_layers_away_from_the_output_have_relevance_zero() -> None:
    rows = by_key(last_of(Relevance(), context("bert")).rows)
    assert rows["pooler.dense", "absolute"].value == 0.0
    assert rows["encoder.layer.0.attention.self.query", "absolute"].value > 0.0


def test_an_op_without_a_rule_is_named() -> None:
    with pytest.raises(
        QuantError, match=r"lstm.*weights, activations, predicted_error"
    ):
        last_of(Relevance(), context("lstm"))


def test_layers_whose_relevance_cannot_be_told_apart_are_named() -> None:
    last = last_of(Relevance(), context("gathered"))
    assert last.rows == ()
    assert "experts, scale: not used, or used by an op" in last.warnings[0]


def labelled(name: str, labels: torch.Tensor) -> MeasureContext:
    ctx = context(name)
    assert ctx.data is not None
    data = Data(ctx.data.args, ctx.data.kwargs, labels)
    return dataclasses.replace(ctx, data=data)


def test_the_label_can_be_explained() -> None:
    ctx = labelled("dict_output", torch.arange(16) % 3)
    found = by_key(last_of(Relevance(target="label"), ctx).rows)
    other = by_key(last_of(Relevance(target="predicted"), ctx).rows)
    assert found["b", "share"].value == pytest.approx(1.0, rel=1e-6)
    assert found["a", "absolute"].value != other["a", "absolute"].value
    tokens = labelled("gpt2", torch.full((16, 10), -100))
    tokens.data.labels[:, 4] = 7  # type: ignore[union-attr,index]
    rows = by_key(last_of(Relevance(target="label"), tokens).rows)
    assert rows["transformer.h.1.mlp.c_fc", "absolute"].value > 0


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AnalysisError, match="has no classes"):
        last_of(Relevance(target="predicted"), context("bert"))
    with pytest.raises(AnalysisError, match="have no labels"):
        last_of(Relevance(target="label"), context("dict_output"))
    wrong = labelled("dict_output", torch.zeros(16, 2, dtype=torch.long))
    with pytest.raises(AnalysisError, match="labels do not fit"):
        last_of(Relevance(target="label"), wrong)
    with pytest.raises(AnalysisError, match="unknown value"):
        Relevance(rules="guess")


def test_the_norm_shares_by_squares() -> None:
    ctx = context("called_twice")
    module, data, task = ctx.need_run("test")
    last = last_of(Relevance(target="norm"), ctx)
    with torch.no_grad():
        z = module(*data.args).double().numpy()
    truth = (z**2 / (z**2).sum(1, keepdims=True)).mean()
    rows = by_key(last.rows)
    assert rows["out", "positive"].value == pytest.approx(truth, rel=1e-5)
    assert rows["out", "share"].value == pytest.approx(1.0, rel=1e-5)


def test_samples_that_are_not_finite_are_left_out() -> None:
    ctx = context("dict_output")
    _, clean = RelevanceScores.from_arrays(last_of(Relevance(), ctx).arrays).table()
    assert ctx.data is not None
    ctx.data.kwargs["features"][3] = float("nan")
    last = last_of(Relevance(), ctx)
    samples, found = RelevanceScores.from_arrays(last.arrays).table()
    assert samples.tolist() == [n for n in range(16) if n != 3]
    assert "1 sample meets NaN" in last.warnings[0]
    np.testing.assert_allclose(found, clean[samples], rtol=1e-4, atol=1e-7)
    ctx.data.kwargs["features"][:] = float("nan")
    with pytest.raises(AnalysisError, match="NaN or infinity for every sample"):
        last_of(Relevance(), ctx)


def test_quantities_have_one_number_each() -> None:
    last = last_of(Relevance(), context("cnn"))
    assert {row.quantity for row in last.rows} == set(QUANTITIES) - {"gradient"}
    assert last.arrays["relevance/scores"].shape == (16, 7, len(QUANTITIES))


@pytest.mark.parametrize("name", sorted(CASES))
def test_closing_midway_or_failing_leaves_the_model_as_it_was(name: str) -> None:
    ctx = context(name, batch_size=8)
    module = ctx.model.module
    assert module is not None
    before = state_of(module)
    for stop in range(1, 4):
        job = Relevance(gradient=True).run(ctx)
        with contextlib.suppress(QuantError):  # an op without a rule
            for _ in range(stop):
                next(job)
        job.close()
        assert_same_state(before, state_of(module))
