"""Relevance against zennit and lxt under the same rules: equal to float precision."""

from __future__ import annotations

import pytest
import torch

from tests.peers.relevance import (
    OURS,
    Block,
    ConvNet,
    attnlrp,
    by_lxt,
    by_zennit,
    image,
    ours,
    tokens,
)


@pytest.mark.peer("zennit")
@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("name", OURS)
def test_convolutional_networks_agree_with_zennit(name: str) -> None:
    found = ours(ConvNet(), OURS[name](), *image())
    torch.testing.assert_close(found, by_zennit(name), rtol=1e-9, atol=1e-12)


@pytest.mark.peer("lxt.explicit.functional")
@pytest.mark.usefixtures("peer")
def test_a_transformer_block_agrees_with_lxt() -> None:
    found = ours(Block(), attnlrp(), *tokens())
    # lxt computes its RMS norm in float32.
    torch.testing.assert_close(found, by_lxt(), rtol=1e-6, atol=1e-6)
