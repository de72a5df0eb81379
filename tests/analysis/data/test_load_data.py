from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from analysis.data import load_data
from analysis.data.batch import Data
from analysis.errors import AnalysisError
from analysis.tasks.kl import Kl
from tests.analysis.data.networks import VOCABULARY, images, tokens, unknown

X = np.arange(7 * 48, dtype=np.float32).reshape(7, 3, 4, 4) / 100
Y = np.arange(7) % 5


def check(data: Data) -> None:
    (value,) = [*data.args, *data.kwargs.values()]
    assert torch.equal(value, torch.from_numpy(X))
    assert data.labels is not None
    assert data.labels.tolist() == Y.tolist()
    assert len(data.digest) == 64


@pytest.mark.parametrize("name", ["x", "images", "pixels", "arr_0"])
def test_npz(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "d.npz", **{name: X.astype(np.float64), "labels": Y})
    check(load_data(str(tmp_path / "d.npz"), images()))


def test_safetensors_and_h5_give_the_same_digest(tmp_path: Path) -> None:
    save_file(
        {"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, tmp_path / "d.safetensors"
    )
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"], file["labels"] = X, Y
        file.create_group("ignored")
    one = load_data(str(tmp_path / "d.safetensors"), images())
    two = load_data(str(tmp_path / "d.h5"), images())
    check(one)
    check(two)
    assert one.digest == two.digest
    assert one.source != two.source


def test_npy_and_choice_of_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", X)
    path = str(tmp_path / "d.npy")
    data = load_data(path, images(), samples=4)
    assert len(data) == 4
    first = data.args[0][:, 0, 0, 0]
    assert (first[1:] > first[:-1]).all()  # the order of the file is kept
    again = load_data(path, images(), samples=4)
    assert data.digest == again.digest
    assert data.digest != load_data(path, images(), samples=4, seed=1).digest
    assert len(load_data(path, images(), samples=0)) == 7
    more = load_data(path, images(), samples=100)
    assert more.warnings == ("7 samples were found, 100 were asked for.",)


def test_big_endian_and_half_arrays(tmp_path: Path) -> None:
    for dtype in (">f4", "f2", "f8"):
        np.save(tmp_path / "d.npy", X.astype(dtype))
        data = load_data(str(tmp_path / "d.npy"), images())
        assert data.args[0].dtype == torch.float32
        torch.testing.assert_close(
            data.args[0], torch.from_numpy(X), atol=2e-3, rtol=1e-3
        )


def bad(path: Path, array: np.ndarray) -> str:
    np.save(path / "bad.npy", array)
    return str(path / "bad.npy")


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="pixels has the wrong shape") as caught:
        load_data(bad(tmp_path, X[:, :2]), images())
    assert "[7, 2, 4, 4]" in str(caught.value)
    assert "[samples, 3, 4, 4]" in str(caught.value)
    with pytest.raises(AnalysisError, match="pixels has the wrong type") as caught:
        load_data(bad(tmp_path, X.astype(np.uint8)), images())
    assert "uint8" in str(caught.value)
    with pytest.raises(AnalysisError, match="is not numeric"):
        load_data(bad(tmp_path, np.array(["a", "b"])), images())
    with pytest.raises(AnalysisError, match="The data are empty"):
        load_data(bad(tmp_path, X[:0]), images())
    with pytest.raises(AnalysisError, match="single number"):
        load_data(bad(tmp_path, np.array(1.0)), images())
    spoiled = X.copy()
    spoiled[3, 0, 0, 0], spoiled[5, 1, 1, 1] = np.nan, np.inf
    with pytest.raises(AnalysisError, match="2 of 7 samples of pixels hold NaN") as e:
        load_data(bad(tmp_path, spoiled), images())
    assert "sample 3" in str(e.value)
    np.savez(tmp_path / "d.npz", x=X, labels=Y[:5])
    with pytest.raises(AnalysisError, match="differ in their number of samples"):
        load_data(str(tmp_path / "d.npz"), images())
    np.savez(tmp_path / "d.npz", temperature=X)
    with pytest.raises(AnalysisError, match="belongs to no input") as caught:
        load_data(str(tmp_path / "d.npz"), images())
    assert "pixels" in (caught.value.allowed or "")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y + 1, "does not have. Given: 1 to 5. Allowed: 0 to 4, or -100"),
        (Y - 1, "Given: -1 to 3"),
        (Y / 2, "wrong type. Given: float64"),
    ],
)
def test_labels_that_are_no_classes(
    tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    np.savez(tmp_path / "d.npz", x=X, labels=labels)
    with pytest.raises(AnalysisError, match=message):
        load_data(str(tmp_path / "d.npz"), images())


def test_samples_without_a_label_are_no_mistake(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, labels=np.where(Y == 2, -100, Y))
    data = load_data(str(tmp_path / "d.npz"), images())
    assert data.labels is not None
    assert data.labels.min() == -100


def test_missing_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", labels=Y)
    with pytest.raises(AnalysisError, match="lack an input"):
        load_data(str(tmp_path / "d.npz"), images())
    np.savez(tmp_path / "d.npz", attention_mask=np.ones((3, 4), int))
    with pytest.raises(AnalysisError, match="Add an array named input_ids"):
        load_data(str(tmp_path / "d.npz"), tokens())


def test_unknown_inputs_are_tried_on_the_network(tmp_path: Path) -> None:
    model = unknown()
    assert model.task is None
    np.savez(tmp_path / "d.npz", pixels=X)
    data = load_data(str(tmp_path / "d.npz"), model)
    assert len(data) == 7
    assert isinstance(model.task, Kl)  # a head by its name, seen on the first samples
    with pytest.raises(AnalysisError, match="does not run on the data") as caught:
        load_data(bad(tmp_path, X[:, :2]), unknown())
    assert "[2, 2, 4, 4] float32" in str(caught.value)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(AnalysisError, match="arrays cannot be read"):
        load_data(str(tmp_path / "o.npy"), images())
    np.savez(tmp_path / "o.npz", x=np.array([{}], object))
    with pytest.raises(AnalysisError, match="arrays cannot be read"):
        load_data(str(tmp_path / "o.npz"), images())
    (tmp_path / "o.npz").write_bytes(b"PK\x03\x04broken")
    with pytest.raises(AnalysisError, match="arrays cannot be read"):
        load_data(str(tmp_path / "o.npz"), images())
    (tmp_path / "o.pkl").write_bytes(b"")
    with pytest.raises(AnalysisError, match="Pickled data are not opened"):
        load_data(str(tmp_path / "o.pkl"), images())


def test_h5_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(AnalysisError, match="stored in another file"):
        load_data(str(path), images())
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1,), "f4", external=[("raw.bin", 0, 4)])
    with pytest.raises(AnalysisError, match="stored in another file"):
        load_data(str(path), images())
    with h5py.File(path, "w"):
        pass
    with pytest.raises(AnalysisError, match="no data sets at its top"):
        load_data(str(path), images())
    path.write_bytes(b"text")
    with pytest.raises(AnalysisError, match="not an HDF5 file"):
        load_data(str(path), images())


def test_sources_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no such data file"):
        load_data(str(tmp_path / "none.npz"), images())
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(AnalysisError, match="kind that is not read"):
        load_data(str(tmp_path / "d.csv"), images())
    with pytest.raises(AnalysisError, match="out of range"):
        load_data("random", images(), samples=-1)
    with pytest.raises(AnalysisError, match="belong to the bundled examples"):
        load_data("example", images())


def test_random_data_warn() -> None:
    data = load_data("random", images(), samples=3)
    assert data.args[0].shape == (3, 3, 4, 4)
    assert "random numbers" in data.warnings[0]
    assert data.digest == load_data("random", images(), samples=3).digest
    assert data.digest != load_data("random", images(), samples=3, seed=1).digest
    ids = load_data("random", tokens(), samples=3).kwargs["input_ids"]
    assert ids.max() < VOCABULARY
    with pytest.raises(AnalysisError, match="Random data cannot be drawn"):
        load_data("random", unknown())


FUNCTIONS = """
import numpy as np, torch
from analysis.data.batch import Data

def tensor():
    return torch.ones(4, 3, 4, 4)

def array():
    return np.ones((4, 3, 4, 4), np.float32)

def named():
    return {"pixels": torch.ones(4, 3, 4, 4), "labels": [0, 1, 2, 3]}

def asked(model, samples, seed):
    return (torch.full((samples, 3, 4, 4), float(seed)),)

def data():
    return Data((torch.ones(4, 3, 4, 4),), {}, None, warnings=("own",))

def nothing():
    return 3
"""


def test_callables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_data", raising=False)
    for name in ("tensor", "array", "named", "data"):
        data = load_data(f"own_data:{name}", images(), samples=4)
        (value,) = [*data.args, *data.kwargs.values()]
        assert value.shape == (4, 3, 4, 4)
    assert data.warnings == ("own",)
    data = load_data("own_data:asked", images(), samples=5, seed=2)
    assert data.args[0].shape[0] == 5
    assert (data.args[0] == 2).all()
    with pytest.raises(AnalysisError, match="did not return data"):
        load_data("own_data:nothing", images())
    with pytest.raises(AnalysisError, match="The module has no missing"):
        load_data("own_data:missing", images())


class FakeImage:
    """Stands for a Pillow image: a grey value, resized by repeating it."""

    def __init__(self, value: int) -> None:
        self.value, self.size = value, (1, 1)

    def __enter__(self) -> FakeImage:
        return self

    def __exit__(self, *args: object) -> None:
        return None

    def convert(self, mode: str) -> FakeImage:
        assert mode == "RGB"
        return self

    def resize(self, size: tuple[int, int], resample: object) -> FakeImage:
        self.size = size
        return self

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> np.ndarray[Any, Any]:
        return np.full((*self.size[::-1], 3), self.value, dtype)


@pytest.fixture
def pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Pillow, which is no dependency."""
    package, module = ModuleType("PIL"), ModuleType("PIL.Image")

    def open_image(path: Path) -> FakeImage:
        text = path.read_text()
        if not text.isdecimal():
            raise OSError("broken")
        return FakeImage(int(text))

    module.open = open_image  # type: ignore[attr-defined]
    module.Resampling = type("Resampling", (), {"BICUBIC": 3})  # type: ignore[attr-defined]
    package.Image = module  # type: ignore[attr-defined]
    package.UnidentifiedImageError = OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PIL", package)


def test_image_folder(tmp_path: Path, pillow: None) -> None:
    for name, value in {"a/1.png": 0, "a/2.png": 51, "b/1.jpg": 255}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(str(value))
    data = load_data(str(tmp_path), images())
    assert data.args[0].shape == (3, 3, 4, 4)
    assert data.args[0][:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert "nothing told a normalisation" in data.warnings[0]
    model = images()
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    model.info = type(model.info)("m", str(folder), "", ())
    data = load_data(str(tmp_path / "a"), model)
    assert data.args[0][:, 0, 0, 0].tolist() == pytest.approx([-1, -0.6])
    assert data.labels is None
    (tmp_path / "a" / "3.png").write_text("no image")
    with pytest.raises(AnalysisError, match="image cannot be read"):
        load_data(str(tmp_path / "a"), images())


def test_image_folder_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnalysisError, match="holds no images"):
        load_data(str(tmp_path), images())
    with pytest.raises(AnalysisError, match="takes no images of a known size"):
        load_data(str(tmp_path), tokens())
    (tmp_path / "1.png").write_text("1")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AnalysisError, match="need the Pillow library"):
        load_data(str(tmp_path), images())
