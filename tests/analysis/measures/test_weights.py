"""The weights measure against direct arithmetic, and its conduct on bad layers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.errors import AnalysisError
from analysis.measures import weights as weights_module
from analysis.measures.context import MeasureContext
from analysis.measures.distribution import QUANTITIES
from analysis.measures.weights import Weights
from analysis.method import Row, Update
from analysis.model import LoadedModel, ModelInfo
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from tests import cases

SCHEMES = tuple(map(parse_scheme, ("int4", "uint8/tensor", "int3/group(4)/mse")))


def model_of(
    tensors: dict[str, torch.Tensor], axes: dict[str, tuple[int, ...]] | None = None
) -> LoadedModel:
    layers = tuple(
        Layer(
            name,
            f"{name}.weight",
            "linear",
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            (axes or {}).get(name, (0,)),
        )
        for name, tensor in tensors.items()
    )
    info = ModelInfo("test", "test", "0" * 64, layers)
    return LoadedModel(info, None, lambda name: tensors[name.removesuffix(".weight")])


def run(context: MeasureContext, **params: int) -> list[Update]:
    return list(Weights(**params).run(context))


def rows_of(updates: list[Update]) -> dict[tuple[str, str | None, str], float]:
    return {
        (row.target, row.format, row.quantity): row.value
        for update in updates
        for row in update.rows
    }


def arrays_of(updates: list[Update]) -> dict[str, np.ndarray]:
    return {name: array for update in updates for name, array in update.arrays.items()}


LAYERS = {
    "linear": (lambda: torch.randn(12, 16), (0,)),
    "conv1d": (lambda: torch.randn(16, 12), (1,)),
    "experts": (lambda: torch.randn(3, 4, 8), (0, 1)),
    "bfloat16": (lambda: torch.randn(12, 16).bfloat16(), (0,)),
    "transposed": (lambda: torch.randn(16, 12).t(), (0,)),
}


@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
@pytest.mark.parametrize("name", LAYERS)
def test_noise_is_what_the_quantizer_adds(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "_CHUNK", chunk)
    make, axes = LAYERS[name]
    weight = make()
    model = model_of({name: weight}, {name: axes})
    rows = rows_of(run(MeasureContext(model, schemes=SCHEMES)))
    for scheme in SCHEMES:
        error = Quantizer(scheme).error(weight, axes).double()
        exact = weight.double()
        noise, signal = float((error**2).sum()), float((exact**2).sum())
        cosine = torch.cosine_similarity(
            exact.flatten(), (exact + error).flatten(), dim=0
        )
        sqnr = 10 * math.log10(signal / noise)
        assert rows[name, scheme.key, "sqnr"] == pytest.approx(sqnr, abs=1e-4)
        mse = noise / weight.numel()
        assert rows[name, scheme.key, "mse"] == pytest.approx(mse, rel=1e-4)
        assert rows[name, scheme.key, "cosine"] == pytest.approx(
            float(cosine), abs=1e-6
        )


@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
@pytest.mark.parametrize("name", LAYERS)
def test_statistics_are_those_of_all_weights(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "_CHUNK", chunk)
    make, axes = LAYERS[name]
    weight = make()
    updates = run(MeasureContext(model_of({name: weight}, {name: axes})), bins=512)
    rows, arrays = rows_of(updates), arrays_of(updates)
    exact = weight.double()
    magnitude = exact.abs()
    deviation = exact - exact.mean()
    variance = (deviation**2).mean()
    rest = [axis for axis in range(weight.ndim) if axis not in axes]
    absmax = magnitude.amax(rest).flatten()
    bulk = np.quantile(magnitude.numpy(), 0.999, method="inverted_cdf")
    expected = {
        "mean": exact.mean(),
        "std": variance.sqrt(),
        "skewness": (deviation**3).mean() / variance**1.5,
        "kurtosis": (deviation**4).mean() / variance**2,
        "absmax": magnitude.max(),
        "outlier_ratio": magnitude.max() / bulk,
        "channel_spread": absmax.max() / torch.tensor(np.median(absmax)),
    }
    assert list(expected) == list(QUANTITIES)
    for quantity, value in expected.items():
        tolerance = 0.02 if quantity == "outlier_ratio" else 1e-4
        found = rows[name, None, quantity]
        assert found == pytest.approx(float(value), rel=tolerance, abs=1e-5), quantity
    low, high = weight.float().amin(rest).flatten(), weight.float().amax(rest).flatten()
    np.testing.assert_array_equal(arrays[f"weights/{name}/channel_min"], low)
    np.testing.assert_array_equal(arrays[f"weights/{name}/channel_max"], high)
    counts = arrays[f"weights/{name}/hist_counts"]
    edges = arrays[f"weights/{name}/hist_edges"]
    assert counts.dtype == np.int64
    assert counts.sum() == weight.numel()
    assert len(edges) == len(counts) + 1
    assert edges[0] <= exact.min()
    assert edges[-1] > exact.max()


def test_more_bits_never_add_noise() -> None:
    keys = [f"int{bits}" for bits in range(2, 9)]
    model = model_of({"a": torch.randn(30, 40)})
    schemes = tuple(map(Scheme, keys))
    rows = rows_of(run(MeasureContext(model, schemes=schemes)))
    values = [rows["a", key, "sqnr"] for key in keys]
    assert values == sorted(values)
    # Each bit is worth 6 dB once the grid is fine.
    assert values[-1] - values[-2] == pytest.approx(6.02, abs=0.5)


def test_exactly_kept_weights_have_no_noise() -> None:
    tensors = {"ones": torch.ones(4, 8), "zeros": torch.zeros(4, 8)}
    context = MeasureContext(model_of(tensors), schemes=(Scheme("int8"),))
    rows = rows_of(run(context))
    for name in tensors:
        assert rows[name, "int8", "sqnr"] == math.inf
        assert rows[name, "int8", "mse"] == 0
        assert rows[name, "int8", "cosine"] == 1
        assert (name, None, "kurtosis") not in rows
    assert rows["zeros", None, "absmax"] == 0
    assert ("zeros", None, "outlier_ratio") not in rows
    assert not any(math.isnan(value) for value in rows.values())


@pytest.mark.parametrize(("bad", "named"), [(math.nan, "NaN"), (math.inf, "inf")])
def test_a_layer_that_is_not_finite_is_named_and_left_out(
    bad: float, named: str
) -> None:
    tensors = {name: torch.randn(4, 8) for name in ("first", "broken", "last")}
    tensors["broken"][2, 3] = bad
    updates = run(MeasureContext(model_of(tensors), schemes=(Scheme("int8"),)))
    (warning,) = [text for update in updates for text in update.warnings]
    assert warning.startswith("broken: ")
    assert named in warning
    assert {target for target, _, _ in rows_of(updates)} == {"first", "last"}
    assert not any("broken" in name for name in arrays_of(updates))
    assert updates[-1].done == updates[-1].total


def test_a_group_that_does_not_fit_leaves_out_one_scheme_only() -> None:
    model = model_of({"fits": torch.randn(4, 8), "odd": torch.randn(4, 9)})
    schemes = (Scheme("int4", "group(4)"), Scheme("int4"))
    updates = run(MeasureContext(model, schemes=schemes))
    (warning,) = [text for update in updates for text in update.warnings]
    assert warning.startswith("int4/group(4) does not fit 1 layer (odd)")
    formats = {(target, key) for target, key, _ in rows_of(updates) if key}
    assert formats == {("fits", "int4/group(4)"), ("fits", "int4"), ("odd", "int4")}


def test_work_is_counted_in_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "_CHUNK", 64)
    model = model_of({"small": torch.randn(4, 4), "large": torch.randn(40, 40)})
    updates = run(MeasureContext(model, schemes=(Scheme("int4"), Scheme("int8"))))
    done = [update.done for update in updates]
    assert done == sorted(done)
    assert updates[-1].done == updates[-1].total == 16 + 1600
    within = [u for u in updates if u.note == "large" and 16 < u.done < 1616]
    assert len(within) > 20


def test_finished_layers_of_an_interrupted_run_are_not_read_again() -> None:
    tensors = {name: torch.randn(4, 8) for name in ("a", "b", "c")}
    model = model_of(tensors)
    context = MeasureContext(model, schemes=(Scheme("int4"),))
    whole = rows_of(run(context))
    job = Weights().run(context)
    done: dict[tuple[str, str | None, str, str], Row] = {}
    for update in job:
        done |= {(r.target, r.format, r.quantity, r.part): r for r in update.rows}
        if done:
            break
    job.close()
    read = []

    def reading(name: str) -> torch.Tensor:
        read.append(name)
        return tensors[name.removesuffix(".weight")]

    resumed = MeasureContext(
        replace(model, read_tensor=reading), schemes=context.schemes, done=done
    )
    rest = rows_of(run(resumed))
    assert read == ["b.weight", "c.weight"]
    assert {**{k[:3]: row.value for k, row in done.items()}, **rest} == whole


def test_a_new_scheme_is_not_taken_for_done() -> None:
    model = model_of({"a": torch.randn(4, 8)})
    first = run(MeasureContext(model, schemes=(Scheme("int4"),)))
    done = {(r.target, r.format, r.quantity, r.part): r for u in first for r in u.rows}
    again = MeasureContext(model, schemes=(Scheme("int8"),), done=done)
    assert ("a", "int8", "sqnr") in rows_of(run(again))


def test_torch_has_its_threads_back_whenever_others_run() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        updates = Weights().run(
            MeasureContext(
                model_of({"a": torch.randn(8, 8)}), schemes=(Scheme("int8"),)
            )
        )
        assert {torch.get_num_threads() for _ in updates} == {2}
    finally:
        torch.set_num_threads(before)


def test_parameters_are_checked() -> None:
    with pytest.raises(AnalysisError, match="weights.bins is out of range"):
        Weights(bins=2)


@pytest.mark.parametrize("name", cases.CASES)
def test_every_kind_of_network(name: str) -> None:
    context = cases.context(name, "int4", "fp8_e4m3")
    module = context.model.module
    assert module is not None
    before = cases.state_of(module)
    updates = run(context)
    cases.assert_same_state(before, cases.state_of(module))
    rows = rows_of(updates)
    for layer in context.model.info.layers:
        assert rows[layer.name, "int4", "sqnr"] < rows[layer.name, "fp8_e4m3", "sqnr"]
    assert not [text for update in updates for text in update.warnings]


@pytest.mark.parametrize("axes", [(0,), (1,)])
def test_energy_and_range_of_both_sides(axes, monkeypatch):
    monkeypatch.setattr(weights_module, "_CHUNK", 64)
    w = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    layer = Layer("a", "a", "linear", (12, 20), "float32", axes)
    work = weights_module._Work(layer, w, (), "cpu", 64)
    list(work.steps())
    sides, rows = work.sides(), (w if axes == (0,) else w.t()).numpy()
    np.testing.assert_allclose(sides["channel_squares"], (rows**2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(sides["input_squares"], (rows**2).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(sides["input_min"], rows.min(0))
    np.testing.assert_array_equal(sides["input_max"], rows.max(0))
