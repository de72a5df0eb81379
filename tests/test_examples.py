from __future__ import annotations

import hashlib
import inspect
import math
import shutil
from pathlib import Path

import pytest
import torch

from analysis.data import load_data
from analysis.data.batch import call
from analysis.errors import AnalysisError
from analysis.load import example, load
from analysis.load.example import examples
from analysis.tasks.kl import Kl

NAMES = ("digits-vit", "digits-cnn", "pydoc-gpt")


def test_files_are_small_and_have_their_checksums() -> None:
    found = examples()
    assert tuple(found) == NAMES
    for entry in found.values():
        assert set(entry.files) >= {"weights", "held_out"}
        for purpose, path in entry.files.items():
            content = path.read_bytes()
            assert len(content) < 5_000_000
            assert hashlib.sha256(content).hexdigest() == entry.sha256[purpose]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stated_is_reached_on_the_held_out_data(name: str) -> None:
    pytest.importorskip("transformers")
    model = load(f"example:{name}")
    data = load_data("example", model, samples=0)
    stated = examples()[name].metrics
    assert len(data) == stated["samples"]
    assert isinstance(model.task, Kl)
    assert model.module is not None
    metrics: dict[str, list[torch.Tensor]] = {}
    with torch.no_grad():
        for batch in data.batches(125):
            output = model.task.output(call(model.module, batch), batch)
            for key, value in model.task.metrics(output, batch).items():
                metrics.setdefault(key, []).append(value)
    mean = {key: torch.cat(values).mean().item() for key, values in metrics.items()}
    assert mean["nll"] == pytest.approx(stated["nll"], abs=2e-3)
    if name == "pydoc-gpt":
        assert math.exp(mean["nll"]) == pytest.approx(stated["perplexity"], rel=2e-3)
    else:
        assert mean["top1"] == pytest.approx(stated["accuracy"], abs=2e-3)
        assert stated["accuracy"] > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_headers_agree_with_the_network(name: str) -> None:
    pytest.importorskip("transformers")
    headers = load(f"example:{name}", headers_only=True)
    network = load(f"example:{name}")
    assert headers.module is None
    assert headers.info.digest == network.info.digest
    assert {x.name: x for x in headers.info.layers} == {
        x.name: x for x in network.info.layers
    }
    assert network.module is not None
    parameters = dict(network.module.named_parameters())
    for layer in network.info.layers:
        assert torch.equal(
            network.read_tensor(layer.parameter), parameters[layer.parameter]
        )


def test_text_for_the_language_model(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    model = load("example:pydoc-gpt")
    text = inspect.getdoc(dict.__class__) or ""
    (tmp_path / "t.txt").write_text(text + "\nThe import statement binds names. " * 40)
    data = load_data(str(tmp_path / "t.txt"), model, samples=2)
    assert data.kwargs["input_ids"].shape == (2, 64)
    assert data.labels is not None


def test_a_changed_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = examples()["digits-cnn"]
    files = {k: tmp_path / v.name for k, v in source.files.items()}
    for purpose, path in source.files.items():
        shutil.copy(path, files[purpose])
    changed = bytearray(files["weights"].read_bytes())
    changed[-1] ^= 1
    files["weights"].write_bytes(changed)
    entry = example.Example(
        "digits-cnn", source.title, source.metrics, files, source.sha256
    )
    monkeypatch.setattr(example, "examples", lambda: {"digits-cnn": entry})
    with pytest.raises(AnalysisError, match="checksum differs"):
        load("example:digits-cnn")
    files["weights"].unlink()
    with pytest.raises(AnalysisError, match="file of the example is missing"):
        load("example:digits-cnn")


def test_unknown_example() -> None:
    with pytest.raises(AnalysisError, match="no such example") as caught:
        load("example:mnist")
    assert "example:digits-vit" in (caught.value.allowed or "")
