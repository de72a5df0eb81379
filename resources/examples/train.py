"""Trains the bundled examples: `python -m resources.examples.train [NAME ...]`.

Each takes under two minutes on two cores and is written with its held-out data
beside this file; `examples.json` states what it reaches there, with checksums. Data
come with scikit-learn (digits) and with Python itself (topics of pydoc); the held-out
part is stored, since both may change from release to release.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from analysis.load.example_networks import NETWORKS, TOKENS, VOCABULARY, weights_of

FOLDER = Path(__file__).parent
SEED = 20240229
HELD_OUT_DIGITS = 500
HELD_OUT_CHUNKS = 160


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training counts `[N, 8, 8]` and labels, then the held-out ones."""
    from sklearn.datasets import load_digits

    data = load_digits()
    counts = torch.from_numpy(data.images).to(torch.uint8)
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    test, train = order[:HELD_OUT_DIGITS], order[HELD_OUT_DIGITS:]
    return counts[train], labels[train], counts[test], labels[test]


def shifted(counts: Tensor, generator: torch.Generator) -> Tensor:
    """Return images moved by up to one pixel, with a little noise."""
    images = counts.float() / 8 - 1
    padded = F.pad(images, (1, 1, 1, 1), value=-1.0)
    rows, columns = torch.randint(0, 3, (2, len(images)), generator=generator)
    span = torch.arange(8)
    sample = torch.arange(len(images))[:, None, None]
    row = (rows[:, None] + span)[:, :, None]
    column = (columns[:, None] + span)[:, None, :]
    moved = padded[sample, row, column]
    return moved + 0.1 * torch.randn(moved.shape, generator=generator)


def minibatches(
    count: int, size: int, steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield `steps` index vectors; every epoch is a new permutation."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        yield order[:size]
        order = order[size:]


def fit(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    batches: Iterator[Tensor],
    steps: int,
    rate: float,
) -> None:
    """Train with AdamW under a one-cycle schedule; `loss_of` takes sample indices."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    network.train()
    for step, indices in enumerate(batches):
        optimizer.zero_grad()
        loss = loss_of(indices)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    network.eval()


def train_digits(
    name: str, title: str, steps: int, rate: float, smoothing: float = 0.0
) -> dict[str, Any]:
    """Train a classifier of digits and return its entry in `examples.json`.

    Label smoothing, usual for vision transformers, keeps the logits moderate: without
    it ten of 500 images carry most of the KL divergence of any change.
    """
    counts, labels, test_counts, test_labels = digits()
    torch.manual_seed(SEED)
    network = NETWORKS[name]()
    generator = torch.Generator().manual_seed(SEED)

    def logits(images: Tensor) -> Tensor:
        out = network(images.unsqueeze(1))
        return out if isinstance(out, Tensor) else out.logits

    def loss_of(indices: Tensor) -> Tensor:
        images = shifted(counts[indices], generator)
        return F.cross_entropy(
            logits(images), labels[indices], label_smoothing=smoothing
        )

    batches = minibatches(len(counts), 64, steps, generator)
    fit(network, loss_of, batches, steps, rate)
    with torch.no_grad():
        out = logits(test_counts.float() / 8 - 1)
    metrics = {
        "accuracy": (out.argmax(1) == test_labels).float().mean().item(),
        "nll": F.cross_entropy(out, test_labels).item(),
        "samples": len(test_labels),
    }
    held_out = {"images": test_counts, "labels": test_labels.to(torch.uint8)}
    save_file(held_out, FOLDER / "digits.held_out.safetensors")
    save_file(weights_of(network), FOLDER / f"{name}.safetensors")
    return entry(
        title,
        "digits of scikit-learn (UCI optical recognition of handwritten digits)",
        metrics,
        weights=f"{name}.safetensors",
        held_out="digits.held_out.safetensors",
    )


def train_pydoc_gpt() -> dict[str, Any]:
    """Train the language model and return its entry in `examples.json`."""
    tokenizer, train, test = pydoc_tokens()
    torch.manual_seed(SEED)
    network = NETWORKS["pydoc-gpt"]()
    generator = torch.Generator().manual_seed(SEED)
    span = torch.arange(TOKENS)
    steps = 450

    def next_token_nll(ids: Tensor) -> Tensor:
        logits = network(input_ids=ids).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def loss_of(starts: Tensor) -> Tensor:
        return next_token_nll(train[starts[:, None] + span])

    batches = minibatches(len(train) - TOKENS, 24, steps, generator)
    fit(network, loss_of, batches, steps, 3e-3)
    with torch.no_grad():
        nll = next_token_nll(test.long()).item()
    tokenizer.save(str(FOLDER / "pydoc-gpt.tokenizer.json"))
    save_file({"input_ids": test}, FOLDER / "pydoc-gpt.held_out.safetensors")
    save_file(weights_of(network), FOLDER / "pydoc-gpt.safetensors")
    metrics = {"perplexity": math.exp(nll), "nll": nll, "samples": len(test)}
    return entry(
        "Causal language model of 4 GPT-2 blocks on the help topics of Python",
        f"pydoc_data.topics of Python {platform.python_version()} (PSF licence)",
        metrics,
        weights="pydoc-gpt.safetensors",
        held_out="pydoc-gpt.held_out.safetensors",
        tokenizer="pydoc-gpt.tokenizer.json",
    )


def pydoc_tokens() -> tuple[Any, Tensor, Tensor]:
    """Return the tokenizer, training ids `[n]` and held-out ids `[chunks, TOKENS]`.

    Whole topics are held out: every eighth, in alphabetical order. The tokenizer is
    a byte-level BPE built from the others.
    """
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    names = sorted(topics)
    train_text = [topics[n] for i, n in enumerate(names) if i % 8]
    test_text = [topics[n] for i, n in enumerate(names) if i % 8 == 0]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(train_text, trainer)

    def ids_of(texts: list[str]) -> Tensor:
        encoded = tokenizer.encode_batch(texts)
        return torch.tensor([i for e in encoded for i in (*e.ids, 0)])

    test = ids_of(test_text)
    chunks = test[: len(test) // TOKENS * TOKENS].view(-1, TOKENS)
    # Spread over the held-out topics, so that one long topic does not stand for all.
    pick = torch.linspace(0, len(chunks) - 1, HELD_OUT_CHUNKS).long()
    return tokenizer, ids_of(train_text), chunks[pick].to(torch.int16).contiguous()


def entry(
    title: str, data: str, metrics: dict[str, float], **files: str
) -> dict[str, Any]:
    """Return the entry of one example with the checksums of its files."""
    for name in files.values():
        (FOLDER / name).chmod(0o644)  # save_file keeps them to their owner
    return {
        "title": title,
        "data": data,
        "metrics": {key: round(value, 4) for key, value in metrics.items()},
        "files": {
            purpose: {
                "name": name,
                "sha256": hashlib.sha256((FOLDER / name).read_bytes()).hexdigest(),
            }
            for purpose, name in files.items()
        },
    }


TRAINERS: dict[str, Callable[[], dict[str, Any]]] = {
    "digits-vit": lambda: train_digits(
        "digits-vit",
        "Vision transformer of 4 blocks on 2x2 patches of 8x8 digits",
        steps=2000,
        rate=8e-4,
        smoothing=0.1,
    ),
    "digits-cnn": lambda: train_digits(
        "digits-cnn",
        "Separable convolutional network with batch-norm on 8x8 digits",
        steps=1000,
        rate=1e-2,
    ),
    "pydoc-gpt": train_pydoc_gpt,
}


def main() -> None:
    """Train the examples named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TRAINERS))
    names = parser.parse_args().names or list(TRAINERS)
    if unknown := set(names) - set(TRAINERS):
        parser.error(f"unknown example: {', '.join(sorted(unknown))}")
    file = FOLDER / "examples.json"
    table = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    # One core: operations this small lose by sharing, and sums keep their order.
    torch.set_num_threads(1)
    for name in names:
        print(name, flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        table[name] = TRAINERS[name]()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"  {wall:.0f} s ({cpu:.0f} s of processor), {table[name]['metrics']}")
    ordered = {name: table[name] for name in TRAINERS if name in table}
    file.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
