from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from analysis.errors import AnalysisError
from analysis.load import load
from analysis.load.headers import read_header, read_index
from tests.budget import assert_within, spent


def write(path: Path, header: object, body: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def one(**changes: object) -> dict[str, object]:
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes
    return {"a.weight": entry}


def test_headers_agree_with_safetensors(checkpoint: Path) -> None:
    from safetensors.torch import load_file

    truth = load_file(checkpoint)
    found = read_header(checkpoint)
    assert found.keys() == truth.keys()
    for name, tensor in truth.items():
        assert found[name].shape == tuple(tensor.shape)
        assert f"torch.{found[name].dtype}" == str(tensor.dtype)
        assert torch.equal(found[name].read(), tensor)


def test_layer_table_from_names_and_shapes(checkpoint: Path) -> None:
    info = load(str(checkpoint), headers_only=True).info
    kinds = {layer.name: layer.kind for layer in info.layers}
    assert kinds == {
        "conv": "conv",
        "embed": "embedding",
        "experts.gate_up_proj": "experts",
        "layers.2.mlp": "linear",
        "layers.10.mlp": "linear",
        "lstm.weight_ih_l0": "recurrent",
    }
    assert list(kinds).index("layers.2.mlp") < list(kinds).index("layers.10.mlp")
    assert {layer.dtype for layer in info.layers} == {"float32", "bfloat16"}
    reasons = {u.parameter: u.reason for u in info.unlisted}
    assert reasons.keys() == {"cls_token", "mask.bias", "position_ids"}
    assert "int64" in reasons["position_ids"]


def test_sparse_ten_gigabytes_open_at_once_without_torch(tmp_path: Path) -> None:
    rows, count = 5_000_000, 10
    size = rows * 100 * 2
    header = {
        f"layers.{i}.weight": {
            "dtype": "BF16",
            "shape": [rows, 100],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(count)
    }
    path = write(tmp_path / "huge.safetensors", header)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + count * size)
    assert path.stat().st_size > 10_000_000_000
    code = (
        "import sys\n"
        "from analysis.load import load\n"
        "info = load(sys.argv[1], headers_only=True).info\n"
        "heavy = {'torch', 'transformers', 'safetensors', 'h5py'} & set(sys.modules)\n"
        "print(len(info.layers), sorted(heavy))"
    )
    root = Path(__file__).parents[3]
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    assert out == "10 []\n"
    seconds = [spent(lambda: load(str(path), headers_only=True)) for _ in range(3)]
    assert_within(0.05, seconds)


def test_a_file_that_went_away_is_named(checkpoint: Path) -> None:
    model = load(str(checkpoint))
    checkpoint.unlink()
    with pytest.raises(AnalysisError, match="The file cannot be read: No such file"):
        model.read_tensor(model.info.layers[0].parameter)


def test_truncated_file_is_refused(checkpoint: Path) -> None:
    content = checkpoint.read_bytes()
    for length in (len(content) - 1, 100, 9):
        checkpoint.write_bytes(content[:length])
        with pytest.raises(AnalysisError, match="is cut short"):
            load(str(checkpoint))
    checkpoint.write_bytes(content[:5])
    with pytest.raises(AnalysisError, match="does not start with the length"):
        load(str(checkpoint))
    checkpoint.write_bytes(content + b"x")
    with pytest.raises(AnalysisError, match="1 bytes follow the last tensor"):
        load(str(checkpoint))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{not json", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"a":1,"a":2}', "a name appears twice"),
        (b"[" * 20_000, "not valid JSON"),
        ([], "not a JSON object"),
        ({"a": 3}, "the entry of a is not understood"),
        (one(dtype="F99"), "is not understood"),
        (one(shape=[-2, -2]), "no number"),
        (one(shape=[True, 4]), "no number"),
        (one(shape=[2, 3]), "do not agree"),
        (one(data_offsets=[4, 20]), "does not follow the tensor"),
    ],
)
def test_malformed_headers_are_refused(
    tmp_path: Path, header: object, message: str
) -> None:
    path = write(tmp_path / "bad.safetensors", header, bytes(16))
    with pytest.raises(AnalysisError, match=message):
        read_header(path)


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_gives_an_error_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    content = bytearray(write(path, one(), bytes(16)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    found = {}
    with contextlib.suppress(AnalysisError):
        found = read_header(path)
    assert sum(t.nbytes for t in found.values()) <= len(content)


@pytest.mark.parametrize(
    "shard",
    [
        "../other.safetensors",
        "/etc/passwd",
        "a/../../b.safetensors",
        "..\\b",
        "c:b",
        "",
    ],
)
def test_shard_index_outside_its_folder_is_refused(tmp_path: Path, shard: str) -> None:
    write(tmp_path / "other.safetensors", one(), bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": shard}}))
    for source in (folder, index):
        with pytest.raises(AnalysisError, match="outside its folder") as caught:
            load(str(source), headers_only=True)
        assert caught.value.hint is not None


def test_shards_are_read_and_checked(tmp_path: Path) -> None:
    write(tmp_path / "one.safetensors", one(), bytes(16))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a.weight": "one.safetensors"}}')
    assert read_index(index)["a.weight"].read().shape == (2, 2)
    index.write_text('{"weight_map": {"b.weight": "one.safetensors"}}')
    with pytest.raises(AnalysisError, match="does not hold it"):
        read_index(index)
    index.write_text('{"weight_map": {"b.weight": "two.safetensors"}}')
    with pytest.raises(AnalysisError, match="shard of the checkpoint is missing"):
        read_index(index)
    index.write_text('{"weight_map": {"b.weight": "two.bin"}}')
    with pytest.raises(AnalysisError, match="Pickle checkpoints are not opened"):
        read_index(index)
    index.write_text("{}")
    with pytest.raises(AnalysisError, match="has no weight_map"):
        read_index(index)


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    blob = write(tmp_path / "blob", one(), bytes(16))
    folder = tmp_path / "models--me--tiny" / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to(blob)
    (folder / "config.json").write_text("{}")
    info = load(str(folder), headers_only=True).info
    assert info.name == "tiny"
    assert [layer.name for layer in info.layers] == ["a"]


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth", ".pkl"])
def test_pickles_are_refused_with_the_way_to_convert_them(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save({"a.weight": torch.ones(2, 2)}, path)
    with pytest.raises(AnalysisError, match="Pickle checkpoints are not opened") as e:
        load(str(path))
    assert e.value.hint is not None
    command = e.value.hint.split('python -c "')[1].rstrip('"')
    exec(command, {})
    tensors = read_header(tmp_path / "weights.safetensors")
    assert torch.equal(tensors["a.weight"].read(), torch.ones(2, 2))


def test_folder_with_a_pickle_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(AnalysisError, match="Pickle checkpoints") as caught:
        load(str(tmp_path), headers_only=True)
    assert "model.safetensors" in str(caught.value)


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no such file, folder or example") as e:
        load(str(tmp_path / "none.safetensors"))
    assert "safetensors" in (e.value.allowed or "")
    with pytest.raises(AnalysisError, match="no such file, folder or example"):
        load("bert-base-uncased")
    with pytest.raises(AnalysisError, match="has no config.json"):
        load(str(tmp_path))
    write(tmp_path / "model.safetensors", one(), bytes(16))
    with pytest.raises(AnalysisError, match="has no config.json") as e:
        load(str(tmp_path))
    assert "model.safetensors" in (e.value.hint or "")
    other = tmp_path / "model.gguf"
    other.write_bytes(b"GGUF")
    with pytest.raises(AnalysisError, match="of a kind that is not opened"):
        load(str(other))
    with pytest.raises(AnalysisError, match="dtype is unknown"):
        load("example:digits-vit", dtype="int8")  # type: ignore[arg-type]


def test_config_that_is_no_json(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", one(), bytes(16))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(AnalysisError, match="config.json is not valid JSON"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(AnalysisError, match="config.json is not a JSON object"):
        load(str(tmp_path))


def test_packed_types_are_listed_but_not_read(tmp_path: Path) -> None:
    entry = {"dtype": "F4", "shape": [4, 2], "data_offsets": [0, 4]}
    path = write(tmp_path / "packed.safetensors", {"a.weight": entry}, bytes(4))
    model = load(str(path))
    with pytest.raises(AnalysisError, match="stored in a packed type"):
        model.read_tensor("a.weight")
    with pytest.raises(AnalysisError, match="no tensor of this name"):
        model.read_tensor("b.weight")


def test_tensors_without_values_are_no_layers(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.ones(0, 4), "b.weight": torch.ones(2, 4)}
    save_file(tensors, tmp_path / "m.safetensors")
    info = load(str(tmp_path / "m.safetensors"), headers_only=True).info
    assert [layer.name for layer in info.layers] == ["b"]
    (left,) = info.unlisted
    assert (left.parameter, left.shape) == ("a.weight", (0, 4))
    assert left.reason == "holds no values"
