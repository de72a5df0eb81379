"""Leading positions and channel energies against slow truths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quant_core import blocks as blocks_module
from quant_core.outstanding import Outstanding, TopPositions

SHAPES = {
    "tokens": ((6, 5, 8), -1),
    "pixels": ((4, 8, 3, 5), 1),
    "pairs": ((30, 7), -1),
    "one channel": ((12, 1), -1),
    "many tokens": ((2003, 5), -1),
    "small pictures": ((70, 9, 4, 5), 1),
    "large pictures": ((3, 4, 48, 32), 1),
    "one picture": ((1, 3, 50, 7), 1),
    "channels first": ((6, 700), 0),
}


@pytest.fixture(params=[False, True], ids=["whole", "in pieces"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(blocks_module, "_CPU_BLOCK", 16)


def made(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def truth(x: torch.Tensor, axis: int, count: int) -> list[tuple[float, int, int]]:
    """Return (value, channel, position) of the leading positions."""
    table = x.movedim(axis, -1).reshape(-1, x.shape[axis])
    channels = table.abs().argmax(1)
    values = table[torch.arange(len(table)), channels]
    order = values.abs().argsort(descending=True)[:count]
    return [(float(values[i]), int(channels[i]), int(i)) for i in order]


def listed(positions: TopPositions) -> list[tuple[float, int, int]]:
    columns = (positions.values, positions.channels, positions.numbers)
    return list(zip(*(c.tolist() for c in columns), strict=True))


@pytest.mark.parametrize("name", SHAPES)
def test_leading_positions_and_energies(name: str, sizes: None) -> None:
    shape, axis = SHAPES[name]
    x = made(*shape)
    found = Outstanding(count=5)
    found.update(x, axis)
    assert listed(found.positions) == truth(x, axis, 5)
    energy = x.double().square().movedim(axis, -1).flatten(0, -2).sum(0)
    np.testing.assert_allclose(found.squares, energy, rtol=1e-5)


def test_many_equal_values_are_listed_once_per_position(sizes: None) -> None:
    x = made(400, 6).clamp(-1, 1)
    found = Outstanding(count=5)
    found.update(x)
    numbers = found.positions.numbers
    assert len(set(numbers.tolist())) == 5
    assert np.abs(found.positions.values).tolist() == [1.0] * 5
    shown = x[torch.from_numpy(numbers), torch.from_numpy(found.positions.channels)]
    assert shown.tolist() == found.positions.values.tolist()


def test_an_outlier_channel_leads_at_every_position(sizes: None) -> None:
    x = made(900, 16)
    x[:, 3] += 50
    found = Outstanding(count=8)
    found.update(x)
    assert listed(found.positions) == truth(x, -1, 8)
    assert set(found.positions.channels.tolist()) == {3}


def test_memory_order_does_not_matter(sizes: None) -> None:
    x = made(4, 8, 3, 5)
    found = Outstanding(count=60)
    found.update(x.contiguous(memory_format=torch.channels_last), 1)
    assert listed(found.positions) == truth(x, 1, 60)
    turned = made(5, 3, 8).permute(1, 0, 2)
    found = Outstanding(count=4)
    found.update(turned)
    assert listed(found.positions) == truth(turned, -1, 4)


def test_parts_merge_to_the_whole() -> None:
    x = made(40, 6)
    merged = Outstanding(count=7)
    for start in range(0, 40, 8):
        # Passing the floor on leaves out only what could not be listed anyway.
        part = Outstanding(7, merged.positions.floor)
        part.update(x[start : start + 8])
        part.positions.numbers = part.positions.numbers + start
        merged.merge(part)
    assert listed(merged.positions) == truth(x, -1, 7)
    np.testing.assert_allclose(merged.squares, x.double().square().sum(0), rtol=1e-6)
    again = Outstanding.from_state(merged.state(), count=7)
    again.merge(Outstanding(7))
    assert listed(again.positions) == listed(merged.positions)
    np.testing.assert_array_equal(again.squares, merged.squares)


def test_a_floor_spares_what_cannot_be_listed() -> None:
    x = made(50, 4)
    found = Outstanding(3, floor=float(x.abs().max()))
    found.update(x)
    assert not len(found.positions.values)
    second = truth(x, -1, 2)[1]
    found = Outstanding(3, floor=abs(second[0]))
    found.update(x)
    assert listed(found.positions) == truth(x, -1, 1)


def test_a_position_met_twice_counts_once() -> None:
    top = TopPositions(3)
    for values in ([1.0, -4.0], [2.0, -3.0]):
        top.add(np.array(values, np.float32), np.array([5, 6]), np.array([10, 11]))
    assert listed(top) == [(-4.0, 6, 11), (2.0, 5, 10)]


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_squares_neither_overflow_nor_vanish(scale: float) -> None:
    x = made(20, 3) * scale
    found = Outstanding(count=4)
    found.update(x)
    assert [p[1:] for p in listed(found.positions)] == [p[1:] for p in truth(x, -1, 4)]
    energy = x.double().square().sum(0)
    np.testing.assert_allclose(found.squares, energy, rtol=1e-5)


def test_nothing_and_zeros_list_nothing() -> None:
    found = Outstanding()
    found.update(torch.zeros(0, 4))
    found.update(torch.zeros(3, 4))
    assert not len(found.positions.values)
    assert found.squares.tolist() == [0.0] * 4
