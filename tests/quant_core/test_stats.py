"""Streaming statistics against slow truths, and their promise to add up exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_core import blocks as blocks_module
from quant_core.blocks import blocks
from quant_core.errors import QuantError
from quant_core.histogram import Histogram
from quant_core.moments import Moments
from quant_core.stats import (
    ChannelRange,
    OutlierCount,
    TensorStats,
    histogram_step,
)


def heavy(*shape: int) -> torch.Tensor:
    x = torch.randn(shape)
    x[..., 1] *= 30
    return x


CASES = {
    "normal": lambda: torch.randn(40, 30),
    "far from zero": lambda: torch.randn(40, 30) + 100,
    "heavy tail": lambda: heavy(50, 16),
    "one-sided": lambda: torch.rand(20, 20),
    "half": lambda: torch.randn(40, 30).relu(),
    "a spread from zero": lambda: torch.randn(40, 30) - 0.99,
    "huge": lambda: torch.randn(20, 20) * 1e37,
    "tiny": lambda: torch.randn(20, 20) * 1e-30,
    "bfloat16": lambda: torch.randn(30, 20).bfloat16(),
    "float64": lambda: torch.randn(30, 20, dtype=torch.float64),
    "two values": lambda: torch.tensor([-3.0, 5.0]),
}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "_CPU_BLOCK", 64)


def truth_moments(x: torch.Tensor) -> tuple[float, float, float, float]:
    values = x.double().flatten()
    deviation = values - values.mean()
    variance = float((deviation**2).mean())
    skewness = float((deviation**3).mean()) / variance**1.5
    kurtosis = float((deviation**4).mean()) / variance**2
    return float(values.mean()), math.sqrt(variance), skewness, kurtosis


@pytest.mark.parametrize("name", CASES)
def test_moments_are_those_of_all_values(name: str, small_blocks: None) -> None:
    x = CASES[name]()
    moments = Moments()
    for piece in x.split(7):
        moments.update(piece)
    mean, std, skewness, kurtosis = truth_moments(x)
    assert moments.count == x.numel()
    assert moments.mean == pytest.approx(mean, abs=3e-7 * float(x.abs().max()))
    assert moments.std == pytest.approx(std, rel=1e-5)
    assert moments.skewness == pytest.approx(skewness, abs=1e-4)
    assert moments.kurtosis == pytest.approx(kurtosis, rel=1e-4)


def test_merged_moments_equal_updated_ones() -> None:
    pieces = [torch.randn(9) * scale + scale for scale in (1.0, 50.0, 0.01)]
    whole, merged = Moments(), Moments()
    for piece in pieces:
        whole.update(piece)
        part = Moments()
        part.update(piece)
        merged.merge(part)
    merged.merge(Moments())
    np.testing.assert_allclose(
        merged.state()["moments"].astype(float),
        whole.state()["moments"].astype(float),
        rtol=1e-12,
    )


def test_merging_does_not_care_for_order() -> None:
    parts = []
    for scale in (1.0, 1000.0, 1e-3, 7.0):
        part = Moments()
        part.update(torch.randn(1000) * scale)
        parts.append(part)
    forth, back = Moments(), Moments()
    for part in parts:
        forth.merge(part)
    for part in reversed(parts):
        back.merge(part)
    assert forth.kurtosis == pytest.approx(back.kurtosis, rel=1e-12)
    assert forth.mean == pytest.approx(back.mean, rel=1e-10)


def test_equal_values_have_no_shape() -> None:
    moments = Moments()
    moments.update(torch.full((1000,), 0.1))
    assert moments.std == pytest.approx(0.0, abs=1e-7)
    assert math.isnan(moments.kurtosis)
    assert math.isnan(moments.skewness)
    assert math.isnan(Moments().std)


@pytest.mark.parametrize("name", CASES)
def test_histogram_counts_every_value_in_its_bin(name: str, small_blocks: None) -> None:
    x = CASES[name]()
    histogram = Histogram(64)
    histogram.update(x)
    counts, edges = histogram.counts, histogram.edges
    assert len(counts) <= 64
    # [a, b) in every bin, the last one included: numpy closes its last bin.
    values = np.append(edges, edges[-1] + np.diff(edges[-2:]))
    expected, _ = np.histogram(x.float().double().numpy(), values)
    np.testing.assert_array_equal(counts, expected[:-1])
    assert counts.sum() == x.numel()
    assert counts[0] > 0
    assert counts[-1] > 0


def test_at_least_half_of_the_bins_span_the_values() -> None:
    histogram = Histogram(100)
    histogram.update(torch.randn(10_000))
    assert 50 <= len(histogram.counts) <= 100


@settings(max_examples=60)
@given(
    pieces=st.lists(
        st.lists(
            st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False).map(
                # Quotients by the bin width must not underflow.
                lambda value: value if abs(value) > 2.0**-60 else 0.0
            ),
            min_size=1,
            max_size=5,
        ),
        min_size=1,
        max_size=5,
    ),
    bins=st.integers(2, 40),
)
def test_any_way_of_merging_gives_the_same_histogram(
    pieces: list[list[float]], bins: int
) -> None:
    whole, streamed, merged = Histogram(bins), Histogram(bins), Histogram(bins)
    whole.update(torch.tensor([v for piece in pieces for v in piece]))
    for piece in pieces:
        streamed.update(torch.tensor(piece))
    for piece in reversed(pieces):
        part = Histogram(bins)
        part.update(torch.tensor(piece))
        merged.merge(part)
    for other in (streamed, merged):
        np.testing.assert_array_equal(whole.counts, other.counts)
        np.testing.assert_array_equal(whole.edges, other.edges)


def test_range_grows_by_doubling() -> None:
    histogram = Histogram(16)
    histogram.update(torch.tensor([0.1, 0.9]))
    fine = histogram.exponent
    histogram.update(torch.tensor([14.0, -14.0]))
    assert histogram.exponent == 1 > fine
    np.testing.assert_array_equal(np.diff(histogram.edges), 2.0)
    histogram.update(torch.tensor([0.0]))
    assert histogram.counts.sum() == 5


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_quantile_of_magnitudes_is_within_one_bin(share: float) -> None:
    x = torch.randn(5000) - 0.3
    histogram = Histogram(512)
    histogram.update(x)
    expected = float(torch.quantile(x.abs(), share))
    width = 2.0**histogram.exponent
    assert histogram.magnitude_quantile(share) == pytest.approx(expected, abs=width)


def test_zeros_do_not_widen_the_bins_of_tiny_values() -> None:
    zeros, tiny = Histogram(8), Histogram(8)
    zeros.update(torch.zeros(3))
    tiny.update(torch.tensor([-3e-20, 3e-20]))
    width = tiny.exponent
    tiny.merge(zeros)
    assert tiny.exponent == width
    assert tiny.counts.sum() == 5


def test_quantile_of_nothing_and_of_zeros() -> None:
    histogram = Histogram()
    assert math.isnan(histogram.magnitude_quantile(0.5))
    histogram.update(torch.zeros(10))
    assert histogram.magnitude_quantile(0.5) < 1e-30


def test_histogram_needs_two_bins() -> None:
    with pytest.raises(QuantError, match="needs two bins"):
        Histogram(1)


LAYOUTS = {
    "rows": (lambda: torch.randn(6, 5), (-1,)),
    "columns": (lambda: torch.randn(6, 5), (0,)),
    "transposed": (lambda: torch.randn(6, 5).t(), (0,)),
    "images": (lambda: torch.randn(3, 4, 5, 6), (1,)),
    "channels last": (
        lambda: torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last),
        (1,),
    ),
    "heads": (lambda: torch.randn(2, 7, 3, 4).transpose(1, 2), (-1,)),
    "keys": (lambda: torch.randn(2, 7, 3, 4).permute(0, 2, 3, 1), (2,)),
    "slice": (lambda: torch.randn(4, 9)[:, 2:6], (-1,)),
    "expanded": (lambda: torch.randn(4, 1).expand(4, 5), (-1,)),
    "experts": (lambda: torch.randn(3, 4, 5), (0, 1)),
    "split channels": (lambda: torch.randn(3, 4, 5), (0, 2)),
    "vector": (lambda: torch.randn(9), (0,)),
    "whole": (lambda: torch.randn(3, 4), ()),
    "scalar": (lambda: torch.tensor(2.0), ()),
}


def truth_range(x: torch.Tensor, axes: tuple[int, ...]) -> np.ndarray:
    kept = [axis % x.ndim for axis in axes]
    rest = [axis for axis in range(x.ndim) if axis not in kept]
    table = x.permute([*kept, *rest]).reshape(math.prod(x.shape[a] for a in kept), -1)
    return torch.stack((table.amin(1), table.amax(1))).numpy()


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_cover_every_layout(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "_CPU_BLOCK", block)
    make, axes = LAYOUTS[name]
    x = make()
    before = x.clone()
    values = torch.cat([b.flat.clone() for b in blocks(x, axes)])
    assert torch.equal(values.sort().values, x.flatten().sort().values)
    ranges = ChannelRange()
    ranges.update(x, axes)
    np.testing.assert_array_equal((ranges.low, ranges.high), truth_range(x, axes))
    Histogram().update(x)
    Moments().update(x)
    assert torch.equal(x, before)


def test_ranges_of_unequal_width_merge_channel_by_channel() -> None:
    left, right = ChannelRange(), ChannelRange()
    left.update(torch.tensor([[1.0, -2.0]]))
    right.update(torch.tensor([[0.5, 3.0, -7.0]]))
    left.merge(right)
    np.testing.assert_array_equal(left.low, [0.5, -2, -7])
    np.testing.assert_array_equal(left.high, [1, 3, -7])
    np.testing.assert_array_equal(left.absmax, [1, 3, 7])


def test_top_channels_come_largest_first() -> None:
    ranges = ChannelRange()
    ranges.update(torch.tensor([[1.0, -9.0, 4.0, 4.0]]))
    top = ranges.top(3)
    np.testing.assert_array_equal(top.channels, [1, 2, 3])
    np.testing.assert_array_equal(top.absmax, [9, 4, 4])
    assert len(ranges.top(10).channels) == 4


def test_spread_is_largest_over_median_of_the_channels_in_use() -> None:
    ranges = ChannelRange()
    assert math.isnan(ranges.spread)
    ranges.update(torch.zeros(3, 4))
    assert ranges.spread == 1.0
    ranges.update(torch.tensor([[2.0, -2.0, 12.0, 0.0]]))
    assert ranges.spread == 6.0


@pytest.mark.parametrize("block", [1, 16, 1 << 20])
@pytest.mark.parametrize("axis", [1, -1])
def test_outliers_are_counted_per_channel(
    axis: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "_CPU_BLOCK", block)
    x = torch.randn(5, 6, 7) * 4
    count = OutlierCount(6.0)
    count.update(x, axis)
    table = x.movedim(axis, -1).reshape(-1, x.shape[axis])
    expected = (table.abs() >= 6).sum(0).numpy()
    np.testing.assert_array_equal(count.hits, expected)
    assert count.positions == len(table)
    assert count.values == expected.sum()
    assert count.columns() == (expected > 0).sum()
    assert count.columns(0.1) == (expected >= 0.1 * len(table)).sum()


def test_the_threshold_itself_is_an_outlier() -> None:
    count = OutlierCount(6.0)
    count.update(torch.tensor([[6.0, -6.0, 5.9999]]))
    np.testing.assert_array_equal(count.hits, [1, 1, 0])


def test_a_higher_threshold_keeps_a_subset_of_the_columns() -> None:
    x = torch.randn(50, 20) * 3
    low, high = OutlierCount(4.0), OutlierCount(7.0)
    low.update(x)
    high.update(x)
    assert set(np.flatnonzero(high.hits)) <= set(np.flatnonzero(low.hits))
    assert (high.hits <= low.hits).all()


def test_threshold_must_be_positive() -> None:
    with pytest.raises(QuantError, match="threshold is not positive"):
        OutlierCount(0.0)


@pytest.mark.parametrize(
    ("bad", "named"), [(math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "inf")]
)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (3, 4, 5)])
def test_values_that_are_not_finite_are_refused(
    bad: float, named: str, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape)
    x.view(-1)[2] = bad
    for axes in ((), (0,), (-1,)):
        with pytest.raises(QuantError, match=f"not finite: {named}"):
            list(blocks(x, axes))


def test_nothing_is_no_update() -> None:
    stats = TensorStats()
    stats.update(torch.zeros(0, 4))
    assert stats.moments.count == 0
    assert not len(stats.histogram.counts)
    assert not len(stats.channels.low)


@pytest.mark.parametrize("count", [0, 1, 1 << 16, (1 << 17) - 1])
def test_small_tensors_are_binned_whole(count: int) -> None:
    assert histogram_step(count) == 1


@given(st.integers(1 << 17, 1 << 40))
def test_steps_meet_every_channel_equally_often(count: int) -> None:
    step = histogram_step(count)
    assert 1 < step
    assert math.gcd(step, count) == 1
    assert count / step > 2**15 or step <= 16


def test_a_stepped_histogram_weighs_each_value_by_those_it_stands_for() -> None:
    x = torch.randn(1000)
    x[[3, 4]] = torch.tensor([-9.0, 9.0])
    histogram = Histogram(64)
    (block,) = blocks(x)
    histogram.add(block, 7)
    truth = np.zeros(len(histogram.counts), np.int64)
    for i in range(0, 1000, 7):
        bin_of = np.searchsorted(histogram.edges, float(x[i]), side="right") - 1
        truth[bin_of] += min(7, 1000 - i)
    np.testing.assert_array_equal(histogram.counts, truth)
    assert histogram.counts.sum() == 1000
    assert histogram.edges[0] <= -9 < 9 < histogram.edges[-1]


def test_large_tensors_have_a_sampled_histogram_and_exact_everything_else() -> None:
    x = torch.randn(3000, 384) * (1 + torch.arange(384) / 100)
    x[1234, 5] = 50.0
    stats = TensorStats(bins=256)
    stats.update(x)
    whole = Histogram(256)
    whole.update(x)
    assert stats.binned < x.numel() / 16
    assert stats.binned >= 1 << 16
    assert stats.histogram.counts.sum() == stats.moments.count == x.numel()
    np.testing.assert_array_equal(stats.histogram.edges, whole.edges)
    share = np.cumsum(stats.histogram.counts - whole.counts) / x.numel()
    # Kolmogorov's distance; 2 / sqrt(n) is passed once in a thousand times.
    assert np.abs(share).max() < 2 / math.sqrt(stats.binned)
    bulk = stats.histogram.magnitude_quantile(0.999)
    assert bulk == pytest.approx(whole.magnitude_quantile(0.999), rel=0.03)
    assert stats.channels.high.max() == 50
    np.testing.assert_array_equal(stats.channels.low, x.amin(0))
    assert stats.outliers.values == int((x.abs() >= 6).sum())
    assert stats.moments.std == pytest.approx(float(x.double().std()), rel=1e-5)


def split_at(x: torch.Tensor, stops: list[int]) -> list[TensorStats]:
    parts = []
    for piece in torch.tensor_split(x, stops):
        part = TensorStats(bins=256)
        part.update(piece)
        parts.append(part)
    return parts


def test_all_statistics_merge_and_survive_storage() -> None:
    x = heavy(60, 8) * 3
    whole = TensorStats(bins=256)
    whole.update(x)
    merged = TensorStats(bins=256)
    for part in split_at(x, [1, 17, 17, 40]):
        merged.merge(TensorStats.from_state(part.state(), bins=256))
    left, right = whole.state(), merged.state()
    assert left.keys() == right.keys()
    for name in left:
        if name == "moments":
            np.testing.assert_allclose(
                left[name].astype(float),
                right[name].astype(float),
                rtol=1e-6,
                atol=1e-3,
            )
        else:
            np.testing.assert_array_equal(left[name], right[name])


def test_contract_of_array_names_and_types() -> None:
    stats = TensorStats()
    stats.update(torch.randn(9, 4))
    types = {name: array.dtype.name for name, array in stats.state().items()}
    assert types == {
        "moments": "float64",
        "hist_counts": "int64",
        "hist_edges": "float64",
        "hist_binned": "int64",
        "channel_min": "float32",
        "channel_max": "float32",
        "outlier_hits": "int64",
        "positions": "int64",
    }
