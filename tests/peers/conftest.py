"""What the comparisons with other packages share."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

import pytest
from torch import nn


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the peers warn: how they use torch is not ours to mend."""
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture
def peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the package named by `@pytest.mark.peer(NAME)`, or skip the test."""
    marker = request.node.get_closest_marker("peer")
    assert marker is not None, "the test names no package: @pytest.mark.peer(NAME)"
    name = marker.args[0]
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not installed; `make peers` runs this test with it")
    if name == "zennit":
        stand_in_for_torchvision(monkeypatch)
    return importlib.import_module(name)


def stand_in_for_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give zennit the two classes it looks for, neither of which any network has.

    For the test alone: transformers takes whatever has this name for the real thing.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return
    resnet = ModuleType("torchvision.models.resnet")
    resnet.Bottleneck = type("Bottleneck", (nn.Module,), {})  # type: ignore[attr-defined]
    resnet.BasicBlock = type("BasicBlock", (nn.Module,), {})  # type: ignore[attr-defined]
    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    for module in (package, models, resnet):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
