"""Layers that servers fuse into one and that must therefore share a precision."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

QKV = "qkv"
GATE_UP = "gate_up"
EXPERTS = "experts"
TIE_KINDS = (QKV, GATE_UP, EXPERTS)
"""Query/key/value projections, the two inputs of a gated MLP, experts of a block."""

_ATTENTION = re.compile(
    r"(?P<before>to_|w|lin_|linear_|proj_|fc_|)"
    r"(?P<role>q|k|v|query|key|value|queries|keys|values)"
    r"(?P<after>_proj|_lin|_linear|_layer|_fc|_projection|_transform|_proj_weight|)"
)
_CROSS = re.compile(r"cross|enc_?dec|encoder_attn|encoder_decoder", re.IGNORECASE)
_GATE_UP = (
    ("gate_proj", "up_proj"),
    ("gate", "up"),
    ("gate_linear", "up_linear"),
    ("linear_gate", "linear_up"),
    ("w1", "w3"),
    ("w1", "v1"),
    ("wi_0", "wi_1"),
    ("fc1_g", "fc1_x"),
)
_LATENT = ("q_a_proj", "kv_a_proj_with_mqa")
_EXPERT = re.compile(r"(?P<block>(?:.+\.)?(?:local_|routed_)?experts)\.(?P<leaf>.+)")


def find_ties(
    names: Sequence[str], kinds: Collection[str] = TIE_KINDS
) -> tuple[tuple[int, ...], ...]:
    """Return the groups of layers that must share a precision.

    - `qkv`: query, key and value projections under one parent (`q_proj`, `query`,
      `to_q`, `wq`, `q_lin` ... and the two latent projections of DeepSeek). In cross
      attention the query reads another tensor, so only key and value are tied.
    - `gate_up`: gate and up projection of a gated MLP (`gate_proj`/`up_proj`,
      `w1`/`w3`, `wi_0`/`wi_1` ...).
    - `experts`: every matrix of the routed experts of one block, whether they are
      separate modules or packed tensors: servers run them as one fused kernel.

    Args:
        names: Layer names in table order.
        kinds: Which kinds to look for.

    Returns:
        Groups of two or more indices, rising, disjoint, ordered by their first.

    Example:
        >>> find_ties(["a.q_proj", "a.k_proj", "a.v_proj", "a.o_proj"])
        ((0, 1, 2),)
    """
    parent = list(range(len(names)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for members in _groups(names, kinds):
        first = root(members[0])
        for member in members[1:]:
            parent[root(member)] = first
    joined: dict[int, list[int]] = defaultdict(list)
    for index in range(len(names)):
        joined[root(index)].append(index)
    return tuple(sorted(tuple(group) for group in joined.values() if len(group) > 1))


def _groups(names: Sequence[str], kinds: Collection[str]) -> Iterator[list[int]]:
    """Yield groups that belong together; groups may overlap."""
    siblings: dict[str, dict[str, int]] = defaultdict(dict)
    experts: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        above, _, leaf = name.rpartition(".")
        siblings[above][leaf] = index
        match = _EXPERT.fullmatch(name)
        if match:
            experts[match["block"]].append(index)
    if EXPERTS in kinds:
        yield from experts.values()
    for above, leaves in siblings.items():
        if QKV in kinds:
            yield from _attention(above, leaves)
        pairs = _GATE_UP if GATE_UP in kinds else ()
        for pair in (*pairs, *([_LATENT] if QKV in kinds else ())):
            if all(leaf in leaves for leaf in pair):
                yield [leaves[leaf] for leaf in pair]


def _attention(above: str, leaves: dict[str, int]) -> Iterator[list[int]]:
    """Yield query, key and value among the children of one module."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for leaf, index in leaves.items():
        match = _ATTENTION.fullmatch(leaf)
        if match:
            found[match["before"], match["after"]][match["role"][0]] = index
    for roles in found.values():
        if len(roles) == 3:
            cross = _CROSS.search(above) is not None
            yield [roles[role] for role in ("kv" if cross else "qkv")]


def expand(
    indices: Iterable[int] | NDArray[np.integer], ties: Iterable[Sequence[int]]
) -> NDArray[np.int64]:
    """Return `indices` and everything tied to them, sorted, each once.

    Args:
        indices: Layer indices.
        ties: As `find_ties` returns them.
    """
    given = np.asarray(
        indices if isinstance(indices, np.ndarray) else list(indices), dtype=np.int64
    )
    chosen = set(given.tolist())
    added = set(chosen)
    for tie in ties:
        if not chosen.isdisjoint(tie):
            added.update(tie)
    return np.array(sorted(added), dtype=np.int64)
