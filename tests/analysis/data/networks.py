"""Small networks that data are read for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from analysis.load.base import Options
from analysis.load.inputs import InputSpec
from analysis.load.network import open_network
from analysis.model import LoadedModel

VOCABULARY = 30


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 4 * 4, 5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.fc(pixels.flatten(1))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 4)
        self.lm_head = nn.Linear(4, VOCABULARY)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        return {"logits": self.lm_head(self.embed(input_ids))}


def images() -> LoadedModel:
    specs = (InputSpec("pixels", "float", (3, 4, 4)),)
    return open_network(Images(), "own:images", "images", Options(), specs=specs)


def unknown() -> LoadedModel:
    return open_network(Images(), "own:images", "images", Options())


def tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    words = "[PAD] [UNK] [CLS] the a cat dog sat on mat and ran far away".split()
    words += [f"w{i}" for i in range(VOCABULARY - len(words))]
    model = tokenizers.models.WordLevel(
        {word: i for i, word in enumerate(words)}, unk_token="[UNK]"
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    return made


def tokens(**hints: Any) -> LoadedModel:
    specs = (
        InputSpec("input_ids", "int", (None,), True, VOCABULARY),
        InputSpec("attention_mask", "int", (None,), True, 2, optional=True),
    )
    model = open_network(Tokens(), "own:tokens", "tokens", Options(), specs=specs)
    model.tokenizer = tokenizer()
    model.input_hints |= hints
    return model
