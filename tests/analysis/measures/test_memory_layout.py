"""Convolutions are laid out anew only where the network stays the same function."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import Data
from analysis.measures.activations import Activations
from analysis.measures.context import MeasureContext
from analysis.measures.hessian import Hessian
from analysis.measures.measured_error import MeasuredError
from analysis.measures.memory_layout import channels_last
from analysis.measures.predicted_error import PredictedError
from analysis.measures.relevance import Relevance
from analysis.method import Measure, Row
from analysis.model import LoadedModel, ModelInfo
from analysis.tasks.mse import Mse
from quant_core.layers import layers_of
from quant_core.scheme import Scheme


class Network(nn.Module):
    """Convolutions and what comes behind them.

    Args:
        flat: How the maps become vectors.
    """

    def __init__(self, flat: str) -> None:
        super().__init__()
        self.flat = flat
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 8, 3, stride=2, groups=2)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.norm(self.one(x)).relu())
        if self.flat == "view":
            x = x.view(len(x), -1)
        elif self.flat == "many":
            x = x.squeeze().flatten(1)  # the axis of the samples, too, if there is one
        elif self.flat == "strides":
            x = torch.as_strided(x, (len(x), 32), (32, 1))
        else:
            x = x.flatten(1)
        found: Tensor = self.head(x)
        return found


def context(flat: str) -> MeasureContext:
    torch.manual_seed(0)
    module = Network(flat).eval()
    nn.init.uniform_(module.norm.running_var, 0.5, 2)
    layers, unlisted = layers_of(module)
    info = ModelInfo(flat, flat, "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module, lambda n: parameters[n].detach(), Mse())
    return MeasureContext(model, Data((torch.randn(9, 3, 6, 6),)), (Scheme("int4"),))


@pytest.mark.parametrize(
    ("flat", "takes"),
    [("flatten", True), ("view", False), ("strides", False), ("many", False)],
)
def test_networks_that_see_the_layout_keep_theirs(flat: str, takes: bool) -> None:
    ctx = context(flat)
    module = ctx.model.module
    assert module is not None
    before = {k: (v.data_ptr(), v.stride()) for k, v in module.named_parameters()}
    for _ in range(2):
        with channels_last(ctx, module):
            weight = module.get_parameter("two.weight")
            assert weight.is_contiguous() is not takes
        with pytest.raises(ValueError, match="stop"), channels_last(ctx, module):
            raise ValueError("stop")
    after = {k: (v.data_ptr(), v.stride()) for k, v in module.named_parameters()}
    assert after == before


def test_networks_that_need_several_samples_have_statistics() -> None:
    found, plain = (_rows(Activations(), context(x)) for x in ("many", "view"))
    assert {k: r.value for k, r in found.items()} == {
        k: r.value for k, r in plain.items()
    }


def _rows(measure: Measure, ctx: MeasureContext) -> dict[object, Row]:
    rows = [row for update in measure.run(ctx) for row in update.rows]
    return {(r.target, r.format, r.quantity, r.part): r for r in rows}


@pytest.mark.parametrize(
    "measure", [PredictedError(), Hessian(), Relevance(), MeasuredError()]
)
def test_measures_agree_in_both_layouts(measure: Measure) -> None:
    moved, plain = _rows(measure, context("flatten")), _rows(measure, context("view"))
    assert moved.keys() == plain.keys()
    for key, row in moved.items():
        assert row.value == pytest.approx(plain[key].value, rel=1e-3, abs=1e-6), key
