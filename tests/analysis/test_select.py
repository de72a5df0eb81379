"""The layer filter language."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.select import LayerFields, select
from tests.budget import assert_within, spent

NAMES = [
    "embeddings.word",
    "encoder.layer.0.attention.query",
    "encoder.layer.0.attention.key",
    "encoder.layer.0.MLP.up",
    "encoder.layer.10.MLP.up",
    "head",
]
FIELDS = LayerFields(
    names=NAMES,
    texts={
        "kind": ["embedding", "linear", "linear", "linear", "conv", "linear"],
        "format": ["float", "int4", "int4", "int8", "int8/group(64)", "float"],
    },
    numbers={
        "bits": np.array([32, 4, 4, 8, 8, 32]),
        "params": np.array([11e6, 147456, 147456, 590e3, 590e3, 1e3]),
        "size": np.array([44e6, 73e3, 73e3, 590e3, 590e3, 4e3]),
        "error": np.array([np.nan, 1e-2, 2e-4, 1e-3, 5e-3, np.nan]),
    },
    flags={"locked": np.array([True, False, False, False, False, True])},
)


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("   ", [0, 1, 2, 3, 4, 5]),
        ("mlp", [3, 4]),
        ("layer.0 up", [3]),
        ("*.query", [1]),
        ("encoder.*.0.*", [1, 2, 3]),
        ("layer.*", []),
        ("kind:linear", [1, 2, 3, 5]),
        ("kind:conv,emb", [0, 4]),
        ("format:int8", [3, 4]),
        ("format:*group*", [4]),
        ("name:locked", []),
        ("bits<8", [1, 2]),
        ("bits = 8", [3, 4]),
        ("bits==8", [3, 4]),
        ("bits:8", [3, 4]),
        ("bits!=8", [0, 1, 2, 5]),
        ("locked", [0, 5]),
        ("-locked", [1, 2, 3, 4]),
        ("!kind:linear", [0, 4]),
        ("error>1e-3", [1, 4]),
        ("error >= 1e-3", [1, 3, 4]),
        ("params>1e6", [0]),
        ("params>0.1M -locked", [1, 2, 3, 4]),
        ("size>=44MB", [0]),
        ("query | head", [1, 5]),
        ("kind:linear & bits<8 | locked & head", [1, 2, 5]),
    ],
)
def test_chooses(query: str, chosen: list[int]) -> None:
    """Every form of term, alone and combined."""
    assert np.flatnonzero(select(query, FIELDS)).tolist() == chosen


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("colour:red", "no such field.*Given: colour.*kind:"),
        ("wieght>3", "no such field.*bits<"),
        ("bits<", "needs a number.*Given: nothing"),
        ("kin:linear", "Did you mean kind"),
        ("bits<many", "needs a number.*Given: many"),
        ("kind:", "kind: needs a value"),
        ("query |", r"One side of \| is empty"),
        ("-", "none follows"),
    ],
)
def test_refuses(query: str, message: str) -> None:
    """Mistakes are named, with what is allowed."""
    with pytest.raises(AnalysisError, match=message):
        select(query, FIELDS)


def test_no_layers() -> None:
    """A model without layers has nothing to choose."""
    assert select("bits<8", LayerFields([], numbers={"bits": np.zeros(0)})).size == 0


def test_sixty_thousand_layers_within_the_budget() -> None:
    """A keystroke in the filter box stays under a tenth of a second."""
    total = 60_000
    fields = LayerFields(
        [f"model.layers.{i // 7}.mlp.proj_{i % 7}" for i in range(total)],
        {"kind": ["linear", "conv"] * (total // 2)},
        {"bits": np.arange(total) % 9},
        {"locked": np.zeros(total, dtype=np.bool_)},
    )
    text = "proj_3 kind:linear bits<8 -locked"
    chosen = select(text, fields)
    assert_within(0.1, [spent(lambda: select(text, fields)) for _ in range(3)])
    assert 0 < chosen.sum() < total
