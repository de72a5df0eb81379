from __future__ import annotations

from pathlib import Path

import pytest
import torch

from analysis.errors import AnalysisError
from analysis.load import load
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 5)

    def forward(self, ids):
        return {"state": self.out(self.embed(ids)).mean(1)}

def bare():
    return Net()

def with_inputs():
    return Net(), torch.zeros(2, 6, dtype=torch.long)

def by_keyword():
    return Net(), {"ids": torch.zeros(2, 6, dtype=torch.long)}

def half():
    return nn.Sequential(nn.Linear(4, 3)).bfloat16(), (torch.zeros(2, 4),)

def classifier():
    net = nn.Sequential()
    net.add_module("body", nn.Linear(4, 6))
    net.add_module("classifier", nn.Linear(6, 3))
    return net, torch.zeros(2, 4)

def wrong_inputs():
    return Net(), torch.zeros(2, 6)

def odd_inputs():
    return Net(), ("text",)

def nothing():
    return None

def broken():
    raise RuntimeError("no weights here")

def needs(argument):
    return Net()

class Inner:
    @staticmethod
    def make():
        return Net()

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(SOURCE)
    (tmp_path / "own_broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_networks", raising=False)


def test_a_network_without_inputs_leaves_its_task_open() -> None:
    model = load("own_networks:bare")
    assert model.module is not None
    assert not model.module.training
    assert [layer.name for layer in model.info.layers] == ["embed", "out"]
    assert model.info.name == "bare"
    assert model.task is None
    assert model.example_inputs is None
    assert model.read_tensor("out.weight").shape == (5, 4)
    with pytest.raises(AnalysisError, match="no parameter of this name"):
        model.read_tensor("none")


@pytest.mark.parametrize("name", ["with_inputs", "by_keyword"])
def test_example_inputs_tell_the_rest(name: str) -> None:
    model = load(f"own_networks:{name}")
    assert isinstance(model.task, Mse)
    assert model.example_inputs is not None
    args, kwargs = model.example_inputs(5, 0)
    (ids,) = [*args, *kwargs.values()]
    assert ids.shape == (5, 6)
    assert ids.max() < 7
    assert set(kwargs) == ({"ids"} if name == "by_keyword" else set())


def test_low_types_are_raised_and_remembered() -> None:
    model = load("own_networks:half")
    assert model.module is not None
    assert next(model.module.parameters()).dtype == torch.float32
    assert model.info.layers[0].dtype == "bfloat16"
    assert model.read_tensor("0.weight").dtype == torch.bfloat16


def test_a_head_by_name_gives_logits() -> None:
    assert isinstance(load("own_networks:classifier").task, Kl)
    assert isinstance(load("own_networks:classifier", task="mse").task, Mse)


def test_attributes_of_classes() -> None:
    assert load("own_networks:Inner.make").info.architecture == "Net"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("own_networks:none", "The module has no none"),
        ("own_networks:number", "not belong to something that can be called"),
        ("own_networks:nothing", "did not return a network"),
        ("own_networks:broken", "RuntimeError: no weights here"),
        ("own_networks:needs", "does not take these arguments"),
        ("own_networks:wrong_inputs", "does not run on inputs like its example"),
        ("own_networks:odd_inputs", "must be tensors with a sample axis"),
        ("own_broken:net", "cannot be imported: ModuleNotFoundError"),
        ("no_such_module_here:net", "cannot be imported"),
    ],
)
def test_mistakes_are_told(source: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        load(source)
