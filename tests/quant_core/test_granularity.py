from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_core.errors import QuantError
from quant_core.granularity import group, group_count, grouped_shape, ungroup
from tests.helpers import truth_groups

CASES = [
    ((12, 8), (0,)),
    ((12, 8), (1,)),
    ((4, 4, 3, 4), (0,)),
    ((4, 4, 3, 4), (1,)),
    ((2, 4, 8), (0, 1)),
    ((2, 4, 8), (0, 2)),
    ((2, 4, 8), (-1,)),
    ((16,), ()),
]


@pytest.mark.parametrize(("shape", "axes"), CASES)
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group(4)", "token"])
def test_groups_hold_the_right_elements(shape, axes, granularity) -> None:
    x = torch.arange(torch.Size(shape).numel()).view(shape)
    positive = tuple(axis % len(shape) for axis in axes)
    truth = [
        [int(x[place]) for place in places]
        for places in truth_groups(shape, granularity, positive)
    ]
    grouped = group(x, granularity, axes)
    assert grouped.tolist() == truth
    assert grouped.shape == grouped_shape(shape, granularity, axes)
    assert group_count(shape, granularity, axes) == len(truth)
    assert torch.equal(ungroup(grouped, granularity, axes, shape), x)


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    data=st.data(),
)
def test_ungroup_undoes_group(shape, data) -> None:
    axes = data.draw(st.permutations(range(len(shape))))
    axes = tuple(axes[: data.draw(st.integers(0, len(shape)))])
    granularity = data.draw(st.sampled_from(["tensor", "channel", "group(1)", "token"]))
    x = torch.randn(shape)
    grouped = group(x, granularity, axes)
    assert torch.equal(ungroup(grouped, granularity, axes, shape), x)


def test_groups_of_contiguous_weights_are_views() -> None:
    x = torch.randn(4, 6, 2)
    for granularity in ("tensor", "channel", "group(3)", "token"):
        assert group(x, granularity).data_ptr() == x.data_ptr()


def test_group_size_that_does_not_divide_names_those_that_do() -> None:
    with pytest.raises(QuantError, match="Group size 48 does not divide the 4096"):
        group_count((8, 4096), "group(48)")
    with pytest.raises(QuantError, match=r"divide 4096: 16, 32, 64, 128, 256, 512\."):
        group(torch.zeros(8, 4096), "group(48)")
    with pytest.raises(QuantError, match=r"divide 27: 3, 9, 27\."):
        group_count((8, 3, 3, 3), "group(64)")


@pytest.mark.parametrize("text", ["row", "group", "group(0)", "group(-1)", "group(a)"])
def test_unknown_granularity(text: str) -> None:
    with pytest.raises(QuantError, match="no such granularity"):
        group_count((2, 2), text)


def test_bad_axes_and_empty_tensors() -> None:
    with pytest.raises(QuantError, match="different axes of a tensor of 2"):
        group_count((2, 2), "channel", (2,))
    with pytest.raises(QuantError, match="different axes of a tensor of 2"):
        group_count((2, 2), "channel", (0, -2))
    with pytest.raises(QuantError, match="empty tensor"):
        group(torch.zeros(0, 3), "channel")
