"""Relevance against numbers that zennit and lxt gave (`tests/peers/relevance.py`)."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from tests.peers.relevance import (
    OURS,
    REFERENCES,
    Block,
    ConvNet,
    attnlrp,
    image,
    ours,
    tokens,
)


def reference(name: str) -> Tensor:
    kept = json.loads(REFERENCES.read_text())["relevance"][name]
    return torch.tensor(kept, dtype=torch.float64)


@pytest.mark.parametrize("name", OURS)
def test_zennits_numbers_are_kept(name: str) -> None:
    found = ours(ConvNet(), OURS[name](), *image())
    torch.testing.assert_close(
        found, reference(f"zennit/{name}"), rtol=1e-8, atol=1e-11
    )


def test_lxts_numbers_are_kept() -> None:
    found = ours(Block(), attnlrp(), *tokens())
    # lxt computes its RMS norm in float32.
    torch.testing.assert_close(found, reference("lxt/attnlrp"), rtol=1e-6, atol=1e-6)
