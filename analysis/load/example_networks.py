"""The networks of the bundled examples, for the loader and the training script."""

from __future__ import annotations

import torch
from torch import nn

from analysis.errors import AnalysisError

VOCABULARY = 1024
"""Entries of the tokenizer of `pydoc-gpt`."""

TOKENS = 64
"""Length of its training and held-out samples."""


class DigitsCnn(nn.Module):
    """A small separable convolutional network for digits `[N, 1, 8, 8]`.

    Convolutions with batch-norm: a plain one, a depthwise and a pointwise one, a
    grouped one, then the mean over positions and a linear classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, 24, 3)
        self.depthwise = _conv(24, 24, 3, groups=24)
        self.pointwise = _conv(24, 48, 1)
        self.grouped = _conv(48, 64, 3, groups=4, stride=2)
        self.mix = _conv(64, 64, 1)
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits `[N, 10]`."""
        x = self.pointwise(self.depthwise(self.stem(images)))
        x = self.mix(self.grouped(x))
        logits: torch.Tensor = self.classifier(x.mean((2, 3)))
        return logits


def _conv(
    inputs: int, outputs: int, size: int, *, groups: int = 1, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            size,
            stride=stride,
            padding=size // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def digits_vit() -> nn.Module:
    """Return a vision transformer of 4 blocks over 2x2 patches of an 8x8 digit."""
    from analysis.load.hf_folder import transformers_library

    transformers = transformers_library()
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        num_labels=10,
    )
    network: nn.Module = transformers.ViTForImageClassification(config)
    return network


def pydoc_gpt() -> nn.Module:
    """Return a causal language model of 4 GPT-2 blocks with a tied head."""
    from analysis.load.hf_folder import transformers_library

    transformers = transformers_library()
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=TOKENS,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    network: nn.Module = transformers.GPT2LMHeadModel(config)
    return network


NETWORKS = {"digits-vit": digits_vit, "digits-cnn": DigitsCnn, "pydoc-gpt": pydoc_gpt}
"""The untrained network of each example."""


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and buffers that are kept; tied parameters once."""
    state = network.state_dict()
    own = {name for name, _ in network.named_parameters()}
    own |= {name for name, _ in network.named_buffers()}
    return {k: v.detach().contiguous() for k, v in state.items() if k in own}


def set_weights(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put kept weights into a network of the same architecture.

    Raises:
        AnalysisError: they belong to another architecture.
    """
    own = weights_of(network)
    wrong = own.keys() ^ weights.keys()
    wrong |= {
        k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape
    }
    if wrong:
        raise AnalysisError(
            "The weights do not belong to this network.",
            value=", ".join(sorted(wrong)[:3]),
            hint="Train the example again: python -m resources.examples.train",
        )
    network.load_state_dict(weights, strict=False)
