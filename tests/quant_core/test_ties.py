from __future__ import annotations

import numpy as np
import pytest

from quant_core.ties import EXPERTS, GATE_UP, QKV, expand, find_ties
from tests.budget import assert_within, spent


def tied(names: list[str], **kwargs) -> list[list[str]]:
    return [[names[i] for i in tie] for tie in find_ties(names, **kwargs)]


def under(parent: str, *leaves: str) -> list[str]:
    return [f"{parent}.{leaf}" for leaf in leaves]


@pytest.mark.parametrize(
    "leaves",
    [
        ("q_proj", "k_proj", "v_proj"),
        ("k_proj", "v_proj", "q_proj"),
        ("query", "key", "value"),
        ("query_proj", "key_proj", "value_proj"),
        ("q", "k", "v"),
        ("q_lin", "k_lin", "v_lin"),
        ("to_q", "to_k", "to_v"),
        ("wq", "wk", "wv"),
        ("linear_q", "linear_k", "linear_v"),
        ("q_proj_weight", "k_proj_weight", "v_proj_weight"),
    ],
)
def test_attention_in_its_usual_namings(leaves: tuple[str, ...]) -> None:
    names = under("encoder.layer.0.attention.self", *leaves, "o_proj", "out")
    assert tied(names) == [names[:3]]


@pytest.mark.parametrize(
    "parent",
    [
        "decoder.layers.0.encoder_attn",
        "decoder.block.0.layer.1.EncDecAttention",
        "bert.encoder.layer.0.crossattention.self",
    ],
)
def test_cross_attention_ties_key_and_value_only(parent: str) -> None:
    names = under(parent, "q_proj", "k_proj", "v_proj")
    assert tied(names) == [names[1:]]


@pytest.mark.parametrize(
    "leaves",
    [("gate_proj", "up_proj"), ("w1", "w3"), ("wi_0", "wi_1"), ("gate", "up")],
)
def test_gated_mlps(leaves: tuple[str, str]) -> None:
    names = under("layers.3.mlp", *leaves, "down_proj", "w2", "wo")
    assert tied(names) == [names[:2]]


def test_what_only_looks_alike_stays_free() -> None:
    names = [
        *under("blocks.0.ffn", "key", "value", "receptance"),
        *under("mlp", "gate", "down_proj"),
        *under("attn", "q_proj", "k_lin", "v_proj"),
        "a.q_proj",
        "b.k_proj",
        "c.v_proj",
        "h.0.attn.c_attn",
        "lm_head",
    ]
    assert find_ties(names) == ()
    assert find_ties([]) == ()


def test_latent_attention() -> None:
    names = under("l.self_attn", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa")
    assert tied(names) == [[names[0], names[2]]]


def test_experts_of_one_block() -> None:
    block = [
        name
        for expert in range(3)
        for name in under(f"layers.0.moe.experts.{expert}", "w1", "w2", "w3")
    ]
    packed = under("layers.1.mlp.experts", "gate_up_proj", "down_proj")
    shared = under("layers.1.mlp.shared_experts", "gate_proj", "up_proj", "down_proj")
    names = ["layers.0.moe.gate", *block, *packed, *shared]
    assert tied(names) == [block, packed, shared[:2]]
    one_by_one = [block[i : i + 3 : 2] for i in (0, 3, 6)]
    assert tied(names, kinds=(GATE_UP,)) == [*one_by_one, shared[:2]]
    assert tied(names, kinds=(EXPERTS,)) == [block, packed]
    assert tied(names, kinds=(QKV,)) == []


def test_ties_are_disjoint_and_in_order() -> None:
    names = [
        name
        for block in range(4)
        for name in (
            *under(f"layers.{block}.self_attn", "q_proj", "k_proj", "v_proj"),
            *under(f"layers.{block}.mlp", "gate_proj", "up_proj", "down_proj"),
        )
    ]
    ties = find_ties(names)
    flat = [index for tie in ties for index in tie]
    assert len(set(flat)) == len(flat) == 20
    assert list(ties) == sorted(ties)


def test_expand() -> None:
    ties = ((0, 1, 2), (4, 7))
    assert expand([1, 3], ties).tolist() == [0, 1, 2, 3]
    assert expand(np.array([7, 4]), ties).tolist() == [4, 7]
    assert expand([], ties).tolist() == []
    assert expand((5, 5), ()).tolist() == [5]


def test_expand_many_in_milliseconds() -> None:
    ties = tuple((i, i + 1, i + 2) for i in range(0, 60_000, 3))
    assert len(expand([0, 30_000], ties)) == 6
    assert_within(0.01, [spent(lambda: expand([0, 30_000], ties)) for _ in range(3)])
