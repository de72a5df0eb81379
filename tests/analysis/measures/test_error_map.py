"""Pictures of rounding errors against whole tensors quantized in one go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.error_picture import find_picture, largest_of, picture_name
from analysis.errors import AnalysisError
from analysis.jobs import analyze
from analysis.measures import error_map
from analysis.measures.error_map import ErrorMap
from analysis.model import LoadedModel, ModelInfo
from analysis.project import Project
from quant_core.granularity import group
from quant_core.quantizer import Quantizer
from quant_core.scheme import parse_scheme
from quant_core.sites import Layer

SHAPES = {
    "linear": ((300, 700), (0,)),
    "conv1d": ((700, 300), (1,)),
    "conv": ((12, 4, 3, 3), (0,)),
    "experts": ((3, 40, 24), (0, 1)),
    "turned": ((3, 24, 40), (0, 2)),
    "tall": ((2000, 16), (0,)),
}


def model() -> LoadedModel:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator)
        for name, (shape, _) in SHAPES.items()
    }
    tensors["linear"][123, 456] = 40.0
    layers = tuple(
        Layer(name, name, "linear", shape, "float32", axes)
        for name, (shape, axes) in SHAPES.items()
    )
    return LoadedModel(
        ModelInfo("m", "made-up", "d", layers), None, tensors.__getitem__
    )


def made(
    loaded: LoadedModel, layer: str, key: str, path=None, matrix: int = 0
) -> Project:
    project = Project.create(loaded.info, path)
    params = {"error_map": {"layers": [layer], "matrix": matrix}}
    schemes = [parse_scheme(key)]
    for _ in analyze(
        loaded, None, ["error_map"], project=project, schemes=schemes, params=params
    ):
        pass
    return project


EVERYTHING = slice(None), slice(None)


@pytest.mark.parametrize(
    "key", ["int4", "int3/tensor", "int4/group(4)", "nf4/channel/mse"]
)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kept", ["memory", "file"])
def test_every_weight_is_where_it_was(name, key, kept, tmp_path, monkeypatch):
    monkeypatch.setattr(error_map, "_BAND", 1 << 12)
    loaded, scheme = model(), parse_scheme(key)
    weight, axes = loaded.read_tensor(name), SHAPES[name][1]
    path = tmp_path / "p.qscope" if kept == "file" else None
    stacked = len(axes) == 2
    with made(loaded, name, key, path, matrix=2 * stacked) as project:
        picture = find_picture(project, name, scheme, 2 * stacked)
        error = Quantizer(scheme).error(weight, axes)
        truth = group(error, "channel", axes).numpy()
        stored = group(weight, "channel", axes).numpy()
        if stacked:
            rows = len(truth) // 3
            truth, stored = truth[2 * rows :], stored[2 * rows :]
        np.testing.assert_allclose(picture.read(0, *EVERYTHING), truth, atol=1e-6)
        np.testing.assert_array_equal(picture.weights(*EVERYTHING), stored)
        part = slice(1, 5), slice(3, 9)
        np.testing.assert_allclose(picture.read(0, *part), truth[part], atol=1e-6)
        for side, axis in (("row", 1), ("column", 0)):
            rms, largest = picture.profile(side)
            expected = np.sqrt(np.mean(truth.astype(float) ** 2, axis))
            np.testing.assert_allclose(rms, expected, rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(largest, np.abs(truth).max(axis), atol=1e-6)
        assert picture.worst == pytest.approx(np.abs(truth).max())
        assert picture.robust == pytest.approx(
            np.quantile(np.abs(truth), 0.995), rel=0.02
        )
        values = project.values("error_map", key, "rms_error")
        at = list(SHAPES).index(name)
        assert values[at] == pytest.approx(np.sqrt(np.mean(truth.astype(float) ** 2)))
        assert np.isnan(np.delete(values, at)).all()


@pytest.mark.parametrize("name", ["linear", "tall"])
def test_levels_keep_the_worst_weight_of_every_block(name, monkeypatch):
    monkeypatch.setattr(error_map, "_SMALLEST", 8)
    project = made(model(), name, "int4")
    picture = find_picture(project, name, parse_scheme("int4"))
    truth = picture.read(0, *EVERYTHING)
    rows, columns = picture.shape
    assert max(picture.levels[-1].shape) <= 8
    assert picture.levels[0].steps == (1, 1)
    for level in picture.levels[1:]:
        found = picture.read(level.number, *EVERYTHING)
        down, across = level.steps
        assert found.shape == (-(-rows // down), -(-columns // across))
        for row, column in ((0, 0), (len(found) - 1, found.shape[1] - 1), (1, 0)):
            block = truth[
                row * down : (row + 1) * down, column * across : (column + 1) * across
            ]
            worst = block.ravel()[np.abs(block).argmax()]
            assert abs(found[row, column]) == abs(worst)
            assert np.abs(found).max() == np.abs(truth).max()
    if name == "tall":
        # The short side is not halved away while the long one is still long.
        assert picture.levels[3].shape == (250, 16)


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (5, 7), (9, 2)])
@pytest.mark.parametrize(("down", "across"), [(1, 1), (2, 2), (2, 1), (1, 3), (4, 5)])
def test_largest_of_blocks(shape, down, across):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype(np.float32)
    found = largest_of(values, down, across)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            block = values[
                row * down : (row + 1) * down, column * across : (column + 1) * across
            ].ravel()
            assert found[row, column] == block[np.abs(block).argmax()]


def test_large_pictures_are_kept_in_half_precision(monkeypatch):
    monkeypatch.setattr(error_map, "EXACT", 1000)
    loaded = model()
    project = made(loaded, "linear", "int4")
    picture = find_picture(project, "linear", parse_scheme("int4"))
    name = picture_name("linear", parse_scheme("int4"))
    assert project.array(f"{name}/level0", picture.run).dtype == np.float16
    truth = Quantizer(parse_scheme("int4")).error(loaded.read_tensor("linear"))
    found = picture.read(0, *EVERYTHING)
    np.testing.assert_allclose(found, truth.numpy(), rtol=1e-3, atol=40 * 2e-7)


def test_the_newest_picture_counts_and_others_stay():
    loaded = model()
    project = made(loaded, "linear", "int4")
    first = find_picture(project, "linear", parse_scheme("int4"))
    for _ in range(2):
        list(
            analyze(
                loaded,
                None,
                ["error_map"],
                project=project,
                schemes=[parse_scheme("int4"), parse_scheme("int8")],
                params={"error_map": {"layers": ["l*"]}},
            )
        )
    assert find_picture(project, "linear", parse_scheme("int4")).run == first.run + 2
    eight = find_picture(project, "linear", parse_scheme("int8"))
    assert eight.worst < first.worst
    assert find_picture(project, "conv", parse_scheme("int8")) is None
    assert find_picture(project, "linear", parse_scheme("int2")) is None


def test_closed_half_way_there_is_no_picture(monkeypatch):
    monkeypatch.setattr(error_map, "_BAND", 1 << 12)
    loaded = model()
    project = Project.create(loaded.info)
    updates = analyze(
        loaded, None, ["error_map"], project=project, schemes=[parse_scheme("int4")]
    )
    for _ in range(10):
        next(updates)
    updates.close()
    assert find_picture(project, "linear", parse_scheme("int4")) is None
    assert project.runs[-1].status == "cancelled"


def test_what_cannot_be_pictured_is_said():
    loaded = model()
    with pytest.raises(AnalysisError, match="No layer has such a name"):
        made(loaded, "nothing*", "int4")
    project = made(loaded, "linear", "int4", matrix=1)
    assert "one matrix" in project.runs[-1].warnings[0]
    project = made(loaded, "experts", "int4", matrix=3)
    assert "0 to 2" in project.runs[-1].warnings[0]
    loaded.read_tensor("conv")[0, 0, 0, 0] = float("nan")
    project = made(loaded, "conv", "int4")
    assert "NaN" in project.runs[-1].warnings[0]
    with pytest.raises(AnalysisError, match="out of range"):
        ErrorMap(matrix=-1)
