"""Random signs that do not depend on batch size, order of samples, shard or device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Words = NDArray[np.uint64]

_BLOCK = 4  # words of one counter
_ROUNDS = 10
_FACTORS = np.array([[0xD2E7470EE14C6C93], [0xCA5A826395121157]], dtype=np.uint64)
_WEYL = np.array([[0x9E3779B97F4A7C15], [0xBB67AE8584CAA73B]], dtype=np.uint64)


def sample_signs(like: Tensor, *, first: int, seed: int, probe: int) -> Tensor:
    """Return +-1 with equal probability for every element of every sample.

    Signs come from a counter-based generator keyed by sample and probe (Philox,
    Salmon et al. 2011).

    Args:
        like: `[N, ...]`; shape, type and device of the result.
        first: Index of the first sample in the whole data set.
        seed: Seed of the run.
        probe: Number of the probe, below 65,536.
    """
    size = like[0].numel()
    words = np.empty((len(like), -(-size // 64)), dtype=np.uint64)
    if words.shape[1] <= _BLOCK:
        words = _first_words(len(like), first, seed, probe)[:, : words.shape[1]]
    else:
        for i, stream in enumerate(_streams(len(like), first, seed, probe)):
            words[i] = stream.random_raw(words.shape[1])
    return _signs(words, size, like)


def probe_signs(like: Tensor, *, first: int, seed: int, probe: int) -> Tensor:
    """Return signs as `sample_signs` does, orthogonal from one probe to the next.

    Probe k of a sample is its probe 0 times row k of the Sylvester-Hadamard matrix.
    Each by itself is as random as before, so that means over any number of them are
    unbiased; together a power of two, at most 64, of them form an orthogonal basis
    for outputs of no more elements, and what they tell of the covariance is exact
    (Hadamard probing: Bekas, Kokiopoulou and Saad (2007), Applied Numerical
    Mathematics 57, 1214-1229). Of larger outputs, blocks of 64 elements take columns
    in different orders.

    Args:
        like: `[N, ...]`; shape, type and device of the result.
        first: Index of the first sample in the whole data set.
        seed: Seed of the run.
        probe: Number of the probe, below 65,536.
    """
    signs = sample_signs(like, first=first, seed=seed, probe=0)
    if probe:
        signs *= _hadamard_row(probe, like[0].numel()).to(like).view(like.shape[1:])
    return signs


def _hadamard_row(row: int, size: int) -> Tensor:
    """Return a row of the Sylvester matrix at the columns of `size` elements."""
    index = np.arange(size, dtype=np.uint64)
    # A fixed multiplicative hash (Knuth (1998), section 6.4); block 0 stays as it is.
    block = (index >> np.uint64(6)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(48)
    odd = np.bitwise_count((index ^ block) & np.uint64(row)) & np.uint8(1)
    return torch.from_numpy(1.0 - 2.0 * odd.astype(np.float32))


def sample_uniform(like: Tensor, *, first: int, seed: int, probe: int) -> Tensor:
    """Return numbers evenly spread over [0, 1), drawn as `sample_signs` draws signs.

    Args:
        like: `[N, ...]`; shape and device of the result, which is float64.
        first: Index of the first sample in the whole data set.
        seed: Seed of the run.
        probe: Number of the probe, below 65,536.
    """
    size = like[0].numel()
    drawn = np.empty((len(like), size))
    for i, stream in enumerate(_streams(len(like), first, seed, probe)):
        drawn[i] = np.random.Generator(stream).random(size)
    return torch.from_numpy(drawn).to(like.device).view(like.shape)


def weight_signs(like: Tensor, *key: int) -> Tensor:
    """Return +-1 with equal probability for every element of a tensor.

    Args:
        like: Shape, type and device of the result.
        key: Non-negative numbers that tell this tensor from others.
    """
    stream = np.random.Philox(np.random.SeedSequence(key))
    words = stream.random_raw(-(-like.numel() // 64))
    return _signs(words.reshape(1, -1), like.numel(), like)


def _streams(
    samples: int, first: int, seed: int, probe: int
) -> Iterator[np.random.Philox]:
    """Yield the generator of one sample after the other, good until the next one."""
    stream = np.random.Philox(key=0)
    # Put into a state, a generator is ready far sooner than a new one.
    state = stream.state
    for sample in range(first, first + samples):
        key = [seed % 2**64, sample << 16 | probe]
        state["state"]["key"] = np.array(key, dtype=np.uint64)
        stream.state = state
        yield stream


def _first_words(samples: int, first: int, seed: int, probe: int) -> NDArray[np.uint64]:
    """Return the first words of every stream, `[samples, 4]`, for all samples at once.

    Philox 4x64 with 10 rounds (Salmon et al. 2011, section 3.3), whose counter numpy
    moves to 1 before it is first used.
    """
    key = np.empty((2, samples), np.uint64)
    key[0] = seed % 2**64
    key[1] = np.arange(first, first + samples, dtype=np.uint64) << np.uint64(16)
    key[1] |= np.uint64(probe)
    even, odd = np.zeros((2, 2, samples), np.uint64)  # words 0 and 2, 1 and 3
    even[0] = 1
    for number in range(_ROUNDS):
        if number:
            key += _WEYL
        high, low = _product(_FACTORS, even)
        even, odd = high[::-1] ^ odd ^ key, low[::-1]
    return np.stack([even[0], odd[0], even[1], odd[1]], axis=1)


def _product(a: _Words, b: _Words) -> tuple[_Words, _Words]:
    """Return the upper and the lower 64 bits of `a * b`."""
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    a_high, a_low, b_high, b_low = a >> half, a & mask, b >> half, b & mask
    middle = a_high * b_low + (a_low * b_low >> half)
    other = a_low * b_high + (middle & mask)
    return a_high * b_high + (middle >> half) + (other >> half), a * b


def _signs(words: NDArray[np.uint64], size: int, like: Tensor) -> Tensor:
    """Return the first `size` bits of each row as signs of the shape of `like`."""
    bits = np.unpackbits(words.view(np.uint8), axis=1, count=size)
    return torch.from_numpy(bits).to(like).mul_(2).sub_(1).view(like.shape)
