"""Errors of subsets of blocks, against networks changed by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from analysis.data.batch import call
from analysis.errors import AnalysisError
from analysis.measures.block_error import BlockError, shapley
from analysis.measures.measured_error import MeasuredError
from analysis.method import Row
from analysis.network_blocks import blocks_of, split
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from tests.cases import assert_same_state, context, state_of


def test_shapley_values_are_the_mean_gain_over_all_orders() -> None:
    cost = np.random.default_rng(0).normal(size=16)
    cost[0] = 0
    expected = np.zeros(4)
    for order in itertools.permutations(range(4)):
        mask = 0
        for member in order:
            expected[member] += cost[mask | 1 << member] - cost[mask]
            mask |= 1 << member
    expected /= math.factorial(4)
    assert shapley(cost) == pytest.approx(expected, rel=1e-12)
    assert shapley(cost).sum() == pytest.approx(cost[15], rel=1e-12)


def measured(name: str, most: int, **how: int) -> tuple[dict[str, Row], list]:
    ctx = context(name, "int8", "int3", **how)
    before = state_of(ctx.model.module)
    updates = list(BlockError(most=most).run(ctx))
    assert_same_state(before, state_of(ctx.model.module))
    assert updates[-1].done == updates[-1].total
    arrays = {k: v for update in updates for k, v in update.arrays.items()}
    rows = {row.target: row for update in updates for row in update.rows}
    assert {row.format for row in rows.values()} == {"int3"}
    return rows, blocks_of(arrays)


def test_every_subset_equals_a_network_changed_by_hand() -> None:
    ctx = context("bert", "int3")
    module, data, task = ctx.need_run("test")
    layers = ctx.model.info.layers
    rows, blocks = measured("bert", 3)
    assert [x for x, _ in blocks] == split([layer.name for layer in layers], 3)
    batch = next(data.batches(len(data)))
    with torch.no_grad():
        reference = task.output(call(module, batch), batch)
    weights = dict(module.named_parameters())
    members, cost = max(blocks, key=lambda block: len(block[0]))
    assert len(members) == 3
    for mask in range(8):
        chosen = [layers[i] for k, i in enumerate(members) if mask >> k & 1]
        kept = {layer.parameter: weights[layer.parameter].data for layer in chosen}
        for layer in chosen:
            quantized = Quantizer(Scheme("int3")).fake_quantize(
                kept[layer.parameter], layer.channel_axes
            )
            weights[layer.parameter].data = quantized
        with torch.no_grad():
            output = task.output(call(module, batch), batch)
        for name, weight in kept.items():
            weights[name].data = weight
        numerator, total = task.error(reference, output, batch)
        truth = float(numerator.sum() / total.sum())
        assert cost[mask] == pytest.approx(truth, rel=1e-4, abs=1e-12)
    shares = [rows[layers[i].name].value for i in members]
    assert sum(shares) == pytest.approx(cost[-1], rel=1e-9)


def test_subsets_of_one_are_the_measured_errors_and_batches_add_up() -> None:
    alone = {
        row.target: row.value
        for update in MeasuredError().run(context("bert", "int3"))
        for row in update.rows
    }
    layers = context("bert", "int3").model.info.layers
    whole, in_parts = measured("bert", 2)[1], measured("bert", 2, batch_size=3)[1]
    assert len(whole) == len(in_parts) > 2
    for (members, cost), (others, again) in zip(whole, in_parts, strict=True):
        assert members == others
        assert cost == pytest.approx(again, rel=1e-4, abs=1e-12)
        for k, i in enumerate(members):
            assert cost[1 << k] == pytest.approx(alone[layers[i].name], rel=1e-4)


def test_a_format_is_needed() -> None:
    with pytest.raises(AnalysisError, match="needs a number format"):
        list(BlockError().run(context("bert")))
