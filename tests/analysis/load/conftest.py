from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

Write = Callable[..., Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small safetensors file with every kind of tensor a header may tell of."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    path = tmp_path / "small.safetensors"
    tensors = {
        "embed.weight": draw(20, 8),
        "layers.2.mlp.weight": draw(8, 8).bfloat16(),
        "layers.10.mlp.weight": draw(8, 8),
        "layers.2.norm.weight": draw(8),
        "cls_token": draw(1, 1, 8),
        "mask.bias": draw(1, 1, 4, 4),
        "position_ids": torch.arange(4).view(1, 4),
        "conv.weight": draw(8, 3, 2, 2),
        "experts.gate_up_proj": draw(4, 8, 8),
        "lstm.weight_ih_l0": draw(16, 8),
    }
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a classification head, as `save_pretrained` writes it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hf") / "tiny-bert"
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=3,
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).bfloat16()
    model.save_pretrained(folder)
    return folder
