"""Leading positions of layer inputs: which sample, which token, which pixel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Batch, Data
from analysis.measures.activations import Activations
from analysis.measures.context import MeasureContext
from analysis.measures.places import places_of, token_texts
from analysis.model import LoadedModel, ModelInfo
from analysis.tasks.mse import Mse
from quant_core.layers import layers_of

WORDS = SimpleNamespace(id_to_token=lambda i: f"w{i}" if i else None)


class Words(nn.Module):
    """Two linear layers over embedded tokens; their input is kept for comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 6)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.x = self.table(input_ids)
        return self.first(self.x) + self.second(self.x).sum(-1, keepdim=True)


class Seen(nn.Module):
    """A convolution, then a linear layer over all its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 3 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1))


def sentences(samples: int = 7, length: int = 5) -> Data:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 30, (samples, length), generator=draw)
    mask = torch.ones_like(ids)
    mask[3:, 2:] = 0
    return Data((), {"input_ids": ids, "attention_mask": mask})


def context_of(module: nn.Module, data: Data, **settings: Any) -> MeasureContext:
    layers, unlisted = layers_of(module)
    info = ModelInfo("test", "test", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(
        info, module.eval(), lambda name: parameters[name], Mse(), tokenizer=WORDS
    )
    return MeasureContext(model, data, **settings)


def arrays_of(context: MeasureContext, **params: Any) -> dict[str, np.ndarray]:
    *_, last = Activations(**params).run(context)
    return dict(last.arrays)


@pytest.mark.parametrize("batch_size", [0, 2, 3])
def test_leading_tokens_are_those_of_the_whole_data(batch_size: int) -> None:
    module, data = Words(), sentences()
    found = arrays_of(context_of(module, data, batch_size=batch_size), top=4)
    with torch.no_grad():
        module(**data.kwargs)
    counted = data.kwargs["attention_mask"].reshape(-1) != 0
    sizes = module.x.detach().abs().amax(-1).reshape(-1)
    order = sizes.where(counted, -1.0).argsort(descending=True, stable=True)
    # Equal tokens have equal embeddings: compare what does not depend on ties.
    numbers = found["activations/first/position_numbers"]
    np.testing.assert_array_equal(sizes[torch.from_numpy(numbers)], sizes[order[:4]])
    assert all(counted[torch.from_numpy(numbers)])
    rows = module.x.detach().reshape(-1, 6)[torch.from_numpy(numbers)]
    channels = found["activations/first/position_channels"]
    np.testing.assert_array_equal(rows.abs().argmax(1), channels)
    np.testing.assert_array_equal(
        rows[torch.arange(4), torch.from_numpy(channels)],
        found["activations/first/position_values"],
    )
    assert found["activations/first/position_shape"].tolist() == [5]
    ids = data.kwargs["input_ids"].reshape(-1)[torch.from_numpy(numbers)]
    texts = [f"w{i}" if i else "?" for i in ids.tolist()]
    assert found["activations/first/position_tokens"].tolist() == texts
    # Both layers read the same tensor.
    for key in ("position_numbers", "position_values", "channel_squares"):
        np.testing.assert_array_equal(
            found[f"activations/first/{key}"], found[f"activations/second/{key}"]
        )
    energy = module.x.detach().double().square().reshape(-1, 6)[counted].sum(0)
    np.testing.assert_allclose(
        found["activations/first/channel_squares"], energy, rtol=1e-5
    )


def test_a_resumed_run_lists_what_one_run_lists() -> None:
    module, data = Words(), sentences()
    whole = arrays_of(context_of(module, data, batch_size=2))
    half = arrays_of(context_of(module, data.take(4), batch_size=2))
    rest = context_of(module, data, batch_size=2, arrays=half, done={("", None): None})
    resumed = arrays_of(rest)
    assert resumed.keys() == whole.keys()
    for key in whole:
        if "position" in key:
            np.testing.assert_array_equal(resumed[key], whole[key])


def test_pixels_have_rows_and_columns() -> None:
    module = Seen()
    x = torch.randn(4, 3, 5, 7)
    x[2, 1, 4, 6] = 50.0
    found = arrays_of(context_of(module, Data((x,))), top=2)
    prefix = "activations/conv/position_"
    assert found[prefix + "shape"].tolist() == [5, 7]
    assert found[prefix + "values"][0] == 50.0
    assert found[prefix + "channels"][0] == 1
    sample, place = divmod(int(found[prefix + "numbers"][0]), 35)
    assert (sample, divmod(place, 7)) == (2, (4, 6))
    assert prefix + "tokens" not in found
    # One position a sample.
    assert found["activations/head/position_shape"].tolist() == []
    assert found["activations/head/position_numbers"].max() < 4


def test_numbers_of_masked_heads_are_those_of_all() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    x = torch.randn(2, 4, 3, 5)
    values = x.transpose(1, 2)[mask]
    batch = Batch((), {}, 2)
    places = places_of(batch, values, 2, mask, first=10)
    whole = places_of(batch, x, 3, None, first=10)
    assert places is not None
    assert whole is not None
    assert places.shape == whole.shape == (4, 3)
    flat = values.reshape(-1, 5)
    there = x.reshape(-1, 5)[torch.from_numpy(places.number(np.arange(12)) - 10 * 12)]
    assert torch.equal(flat, there)


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((6, 4, 8), 2, (4,)),
        ((24, 8), 1, (4,)),
        ((6, 8), 1, ()),
        ((12, 4, 8), 2, (2, 4)),
        ((4, 6, 8), 2, None),
        ((12, 6, 8), 2, None),
        ((7, 8), 1, None),
        ((8, 6), 0, None),
    ],
)
def test_samples_come_first_or_nothing_is_said(
    shape: tuple[int, ...], axis: int, expected: tuple[int, ...] | None
) -> None:
    places = places_of(Batch((), {}, 6), torch.zeros(shape), axis, None, 0)
    assert (None if places is None else places.shape) == expected


def test_only_tokens_have_texts() -> None:
    ids, at = torch.tensor([[3, 0], [5, 6]]), np.array([2, 1])
    texts = token_texts(WORDS, ids, at, (2,))
    assert texts is not None
    assert texts.tolist() == ["w5", "?"]
    assert token_texts(None, ids, at, (2,)) is None
    assert token_texts(WORDS, None, at, (2,)) is None
    assert token_texts(WORDS, ids, at, (2, 2)) is None
