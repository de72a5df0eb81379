"""Calibration and evaluation data: `load_data(source, model)`.

`SOURCES` lists what is understood. The readers import torch, so they are imported
when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.data.batch import Data
    from analysis.model import LoadedModel

SOURCES = (
    "example",
    "random",
    ".npz",
    ".npy",
    ".h5",
    ".safetensors",
    ".txt",
    ".jsonl",
    "a folder of images",
    "package.module:callable",
)
"""What `load_data` understands, for help and error messages."""


def load_data(
    source: str,
    model: LoadedModel,
    *,
    samples: int = 64,
    seed: int = 0,
    max_length: int = 64,
) -> Data:
    """Return calibration samples for a model, checked against its inputs.

    Args:
        source: One of `SOURCES`: a path, `example` (the held-out data of a bundled
            example), `random`, or a callable that gets `(model, samples, seed)` or
            nothing and returns a tensor, a tuple or a dict of tensors.
        model: The opened model. When its task is still open because nothing told
            what its output is, the first samples are run and `model.task` is set.
        samples: Samples to keep, at random under `seed` when there are more, in the
            order of the source; 0 keeps all.
        seed: Seed of the choice and of random data.
        max_length: Longest text (tokens).

    Raises:
        AnalysisError: the data cannot be read or do not fit the model.
    """
    from analysis.data.read import read_data

    return read_data(source, model, samples=samples, seed=seed, max_length=max_length)
