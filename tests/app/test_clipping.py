"""Errors told from a histogram against those of the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from app.models.clipping import dragged, rounded
from app.models.level_grid import Distribution, grid_between, grid_of
from quant_core.scheme import parse_scheme
from tests.app.panel_projects import histogram
from tests.budget import assert_within, spent

BUDGET_SECONDS = 0.016


def values() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(0.05, 0.4, 40_000), rng.laplace(0, 1.5, 400)])


def kept(x: np.ndarray) -> Distribution:
    counts, edges = histogram(x, 2048)
    ends = np.array([x.min()]), np.array([x.max()])
    return Distribution(counts, edges, *ends, np.zeros(0, np.int64))


def truth(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return each value rounded to the nearest level, the slow and obvious way."""
    return levels[np.abs(x[:, None] - levels).argmin(1)]


@pytest.mark.parametrize("name", ["int2", "int4", "int8", "uint4", "int4_asym", "nf4"])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.1])
def test_error_and_shares_are_those_of_the_values(name, share):
    x = values()
    data, form = kept(x), parse_scheme(name).number_format
    low, high = share * x.min(), share * x.max()
    if not form.affine:
        low, high = dragged(form, low, high, 1, max(-low, high))
    grid = grid_between(form, data, low, high)
    found = rounded(grid.levels, data)
    after = truth(x, grid.levels)
    mse = float(np.mean((after - x) ** 2))
    assert found.mse == pytest.approx(mse, rel=0.02)
    signal = 10 * np.log10(np.mean(x**2) / mse)
    assert found.sqnr == pytest.approx(signal, abs=0.1)
    # Cells times their height in bins are values: none is lost, ends included.
    per_level = found.density * np.diff(found.edges) / np.diff(data.edges).mean()
    assert per_level.sum() == pytest.approx(len(x))
    ends = np.mean(after == grid.levels[0]), np.mean(after == grid.levels[-1])
    assert per_level[[0, -1]] / len(x) == pytest.approx(ends, abs=0.003)
    outside = (x < found.edges[0]) | (x > found.edges[-1])
    assert found.clipped == pytest.approx(outside.mean(), abs=0.001)


def test_levels_that_hold_every_value_lose_nothing():
    x = np.repeat([-1.0, 0.0, 1.0], 10)
    data = Distribution(
        np.array([10, 10, 10]),
        np.array([-1.0, -1.0, 0.0, 0.0]),
        np.array([-1.0]),
        np.array([0.0]),
        np.zeros(0, np.int64),
    )
    assert len(x) == data.counts.sum()
    found = rounded(np.array([-1.0, 0.0]), data)
    # Only the middle bin has a width: spread over it, a value is 1/2 off at most.
    assert found.mse == pytest.approx(1 / 36)
    zeros = Distribution(
        np.array([5]), np.zeros(2), np.zeros(1), np.zeros(1), np.zeros(0, np.int64)
    )
    assert rounded(np.array([-1.0, 0.0, 1.0]), zeros).mse == 0
    assert np.isnan(rounded(np.array([-1.0, 0.0, 1.0]), zeros).sqnr)


@pytest.mark.parametrize(
    ("name", "which", "to", "expected"),
    [
        ("int4", 0, -0.5, (-0.5, 0.5)),
        ("int4", 1, 0.7, (-0.7, 0.7)),
        ("int4", 1, -0.7, (0.0, 0.0)),
        ("int4_asym", 0, -0.5, (-0.5, 2.0)),
        ("int4_asym", 1, -0.5, (-1.0, 0.0)),
        ("uint4", 1, 3.0, (0.0, 3.0)),
    ],
)
def test_the_other_end_follows_as_the_format_wants(name, which, to, expected):
    form = parse_scheme(name).number_format
    if name == "uint4" and form.affine:
        expected = (-1.0, 3.0)
    assert dragged(form, -1.0, 2.0, which, to) == expected


def test_a_range_by_hand_equal_to_the_methods_gives_its_levels():
    x = values()
    data, scheme = kept(x), parse_scheme("int4_asym/tensor")
    method = grid_of(scheme, data)
    by_hand = grid_between(scheme.number_format, data, x.min(), x.max())
    np.testing.assert_allclose(by_hand.levels, method.levels)
    assert (by_hand.clipped, by_hand.zeroed) == (method.clipped, method.zeroed)


def test_one_frame_of_dragging_fits_its_budget():
    data = kept(values())
    form = parse_scheme("int8").number_format

    def frame() -> None:
        rounded(grid_between(form, data, -1.0, 1.0).levels, data)

    assert_within(BUDGET_SECONDS, [spent(frame) for _ in range(5)])
