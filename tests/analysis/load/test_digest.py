from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from analysis.load import load
from analysis.load.digest import digest_of_headers, digest_of_module
from analysis.load.headers import read_header


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.Linear(96, 3).bfloat16())


def test_digest_is_that_of_the_weights_in_any_container(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    module = network()
    save_file(module.state_dict(), path)
    digest = digest_of_headers(read_header(path))
    assert digest == digest_of_module(module)
    assert digest == load(str(path), headers_only=True).info.digest
    assert len(digest) == 64


def test_digest_depends_on_values_names_shapes_and_types(tmp_path: Path) -> None:
    seen = {digest_of_module(network())}
    changed = network()
    with torch.no_grad():
        changed[0].weight.mul_(1.01)
    seen.add(digest_of_module(changed))
    seen.add(digest_of_module(network().float()))
    seen.add(digest_of_module(nn.Sequential(*network(), nn.Linear(2, 2))))
    seen.add(digest_of_module(nn.ModuleDict({"a": network()})))
    assert len(seen) == 5


def test_biases_and_raised_types_do_not_matter() -> None:
    module = network()
    digest = digest_of_module(module)
    with torch.no_grad():
        module[0].bias.add_(1)
    assert digest_of_module(module) == digest
