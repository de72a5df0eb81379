"""Signs drawn for all samples at once are those of numpy's generator, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.measures.random_signs import sample_signs


def drawn(samples: int, size: int, first: int, seed: int, probe: int) -> torch.Tensor:
    """Return the signs from one generator per sample, bit by bit."""
    rows = []
    for sample in range(first, first + samples):
        key = np.array([seed, sample << 16 | probe], dtype=np.uint64)
        stream = np.random.Philox(key=key)
        words = [int(word) for word in stream.random_raw(-(-size // 64))]
        data = b"".join(word.to_bytes(8, "little") for word in words)
        bits = [byte >> (7 - at) & 1 for byte in data for at in range(8)]
        rows.append([2.0 * bit - 1 for bit in bits[:size]])
    return torch.tensor(rows)


@pytest.mark.parametrize("size", [1, 10, 64, 65, 256, 257, 1000])
@pytest.mark.parametrize(
    ("first", "seed", "probe"), [(0, 0, 0), (7, 3, 2), (2**40, 2**63 + 5, 65535)]
)
def test_the_streams_are_those_of_numpy(
    size: int, first: int, seed: int, probe: int
) -> None:
    found = sample_signs(torch.empty(5, size), first=first, seed=seed, probe=probe)
    assert torch.equal(found, drawn(5, size, first, seed, probe))


def test_a_batch_is_the_same_in_parts() -> None:
    whole = sample_signs(torch.empty(9, 2, 5), first=3, seed=1, probe=4)
    parts = [
        sample_signs(torch.empty(n, 2, 5), first=first, seed=1, probe=4)
        for first, n in ((3, 4), (7, 5))
    ]
    assert torch.equal(whole, torch.cat(parts))
