from __future__ import annotations

import numpy as np
import pytest
import torch

from quant_core.errors import QuantError
from quant_core.formats import FORMATS, get_format
from quant_core.quantizer import Quantizer
from quant_core.ranges import RANGES, Manual, MinMax, MinMse, Percentile, get_range
from quant_core.ranges.base import params_of_range
from quant_core.ranges.min_mse import COARSE, FINE
from quant_core.ranges.minmax import extrema
from quant_core.rounding.nearest import Grid
from quant_core.scheme import Scheme, parse_scheme
from tests.helpers import truth_params

AFFINE = [name for name, fmt in FORMATS.items() if fmt.affine]


def squared_error(x: torch.Tensor, params, fmt) -> torch.Tensor:
    rounded = Grid.of([params], [fmt]).round(x, torch.empty(1, *x.shape))
    return (rounded[0] - x).double().square().sum(1)


@pytest.mark.parametrize("name", [n for n, f in FORMATS.items() if f.scaled])
def test_minmax_against_one_group_at_a_time(name: str) -> None:
    fmt = get_format(name)
    x = torch.randn(7, 20) * torch.logspace(-30, 30, 7)[:, None]
    x[1].abs_()
    x[2].abs_().neg_()
    x[3] = 0
    params = MinMax().fit(x, fmt)
    for row in range(len(x)):
        scale, zero = truth_params(x[row].tolist(), fmt)
        assert float(params.scale[row]) == scale
        assert params.zero_point is None or float(params.zero_point[row]) == zero


def test_extrema_are_shared_and_checked() -> None:
    x = torch.randn(3, 50, dtype=torch.bfloat16)
    bounds = extrema(x)
    assert torch.equal(bounds.low[:, 0], x.float().amin(1))
    assert torch.equal(bounds.high[:, 0], x.float().amax(1))
    fmt = get_format("uint4")
    given, own = MinMax().fit(x, fmt, bounds), MinMax().fit(x, fmt)
    assert torch.equal(given.scale, own.scale)
    x[0, 3], x[1, 4], x[2, 4] = float("nan"), float("inf"), float("-inf")
    with pytest.raises(QuantError, match="1 NaN and 2 infinite of 150 values"):
        extrema(x)
    with pytest.raises(QuantError, match="2 infinite of 100 values"):
        extrema(x[1:])


@pytest.mark.parametrize("name", AFFINE)
def test_zero_is_always_a_grid_value(name: str) -> None:
    fmt = get_format(name)
    x = torch.tensor([[1.0, 2.0], [-3.0, -1.0], [-1.0, 5.0], [0.0, 0.0], [1e-45, 0]])
    for estimator in (MinMax(), Percentile(90), MinMse()):
        params = estimator.fit(x, fmt)
        grid = Grid.of([params], [fmt])
        assert not grid.round(torch.zeros_like(x), torch.empty(1, *x.shape)).any()
        assert (params.scale > 0).all()


@pytest.mark.parametrize("name", ["int2", "int8", "uint4", "fp8_e4m3", "nf4"])
def test_scales_survive_the_ends_of_float32(name: str) -> None:
    fmt = get_format(name)
    x = torch.tensor([[1e-44, -1e-45], [3.4e38, -3.4e38], [0.0, 0.0]])
    params = MinMax().fit(x, fmt)
    assert (torch.isfinite(params.scale) & (params.scale > 0)).all()
    assert params.scale[2] == 1


@pytest.mark.parametrize("percent", [60.0, 99.0, 99.9, 100.0])
def test_percentile_is_numpys(percent: float) -> None:
    x = torch.randn(4, 333)
    signed = Percentile(percent).fit(x, get_format("int4")).scale[:, 0] * 7
    magnitudes = np.percentile(x.abs().double().numpy(), percent, axis=1)
    assert np.allclose(signed, magnitudes, rtol=1e-6)
    unsigned = Percentile(percent).fit(x.abs(), get_format("uint4_sym"))
    assert np.allclose(unsigned.scale[:, 0] * 15, magnitudes, rtol=1e-6)
    outside = (100 - percent) / 2
    ends = np.percentile(x.double().numpy(), [outside, 100 - outside], axis=1)
    affine = params_of_range(
        torch.tensor(ends[0])[:, None],
        torch.tensor(ends[1])[:, None],
        get_format("uint8"),
    )
    fitted = Percentile(percent).fit(x, get_format("uint8"))
    assert torch.allclose(fitted.scale, affine.scale)
    assert torch.equal(fitted.zero_point, affine.zero_point)


def test_percentile_of_all_is_minmax_and_clips_an_outlier() -> None:
    x = torch.randn(2, 1000)
    x[:, 17] = 100.0
    fmt = get_format("int8")
    assert torch.equal(Percentile(100).fit(x, fmt).scale, MinMax().fit(x, fmt).scale)
    assert (Percentile(99.8).fit(x, fmt).scale * 127 < 5).all()


@pytest.mark.parametrize("name", ["int2", "int4", "uint3", "fp4_e2m1", "nf4"])
def test_min_mse_is_the_best_of_its_grid(name: str) -> None:
    fmt = get_format(name)
    x = torch.distributions.StudentT(3.0).sample((6, 200))
    x[5] = 0
    bounds = extrema(x)

    def error(factor: torch.Tensor) -> torch.Tensor:
        low, high = bounds.low.double() * factor, bounds.high.double() * factor
        return squared_error(x, params_of_range(low, high, fmt), fmt)

    coarse = torch.stack([error(torch.full((6, 1), f)) for f in COARSE])
    start = torch.tensor(COARSE)[coarse.argmin(0)][:, None]
    fine = torch.stack([error((start + step).clamp(max=1)) for step in FINE])
    truth = torch.minimum(coarse.amin(0), fine.amin(0))
    found = squared_error(x, MinMse().fit(x, fmt), fmt)
    assert torch.allclose(found, truth, rtol=1e-6)
    assert (found <= squared_error(x, MinMax().fit(x, fmt), fmt)).all()


def test_min_mse_over_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 64)
    fmt = get_format("int3")
    whole = MinMse().fit(x, fmt)
    monkeypatch.setattr("quant_core.tiles.CPU_TILE", 16)
    assert torch.equal(MinMse().fit(x, fmt).scale, whole.scale)


def test_min_mse_is_near_the_known_gaussian_optimum() -> None:
    # A 16-level uniform quantizer of a normal variable clips near 2.5 to 2.7 sigma
    # (Max 1960, table II: step 0.335 for 16 levels).
    clip = MinMse().fit(torch.randn(1, 40_000), get_format("int4")).scale * 7
    assert 2.3 < float(clip) < 2.8


def test_float_types_have_no_scale() -> None:
    for estimator in (MinMax(), Percentile(), MinMse()):
        params = estimator.fit(torch.randn(3, 9), get_format("bfloat16"))
        assert params.zero_point is None
        assert params.scale.tolist() == [[1.0]] * 3


def test_names() -> None:
    assert list(RANGES) == ["minmax", "percentile", "mse", "manual"]
    for text in ("minmax", "percentile(99.95)", "mse", "manual(-0.25:0.75)"):
        assert get_range(text).key == text
    with pytest.raises(QuantError, match="no such range estimator"):
        get_range("max")
    with pytest.raises(QuantError, match="out of bounds"):
        Percentile(101)


@pytest.mark.parametrize("name", [n for n, f in FORMATS.items() if f.scaled])
def test_a_range_by_hand_is_that_of_data_that_reach_so_far(name: str) -> None:
    fmt, x = get_format(name), torch.randn(3, 20)
    params = Manual(-0.5, 0.75).fit(x, fmt)
    scale, zero = truth_params([-0.5, 0.75], fmt)
    assert params.scale.tolist() == [[scale]] * 3
    assert params.zero_point is None or params.zero_point.tolist() == [[zero]] * 3


def test_values_beyond_a_range_by_hand_are_clipped() -> None:
    x = torch.tensor([[-3.0, -0.4, 0.1, 2.0]])
    stored = Quantizer(parse_scheme("int8/manual(-1:1)")).fake_quantize(x)
    assert stored.amin() == -1
    assert stored.amax() == 1
    assert torch.allclose(stored[0, 1:3], x[0, 1:3], atol=1 / 254)
    with pytest.raises(QuantError, match="1 NaN of 4 values"):
        Manual(-1, 1).fit(x.masked_fill(x > 1, float("nan")), get_format("int8"))


def test_limits_by_hand_are_written_as_they_are_read() -> None:
    assert Manual(-1 / 3, 2e-7).key == "manual(-0.333333333:2e-07)"
    assert get_range(Manual(-1 / 3, 2e-7).key) == Manual(-1 / 3, 2e-7)
    assert Manual(-0.0, 1).key == "manual(0:1)"
    scheme = parse_scheme("uint4/group(64)/manual(-1.50:2)")
    assert scheme.key == "uint4/tensor/manual(-1.5:2)"
    assert parse_scheme(scheme.key) == scheme
    assert Scheme.from_json(scheme.to_json()) == scheme


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("manual", "no such range"),
        ("manual(1)", "no such range"),
        ("manual(-1:1:2)", "no such range"),
        ("manual(a:b)", "no such range"),
        ("manual(0:0)", "do not hold zero"),
        ("manual(0.5:1)", "do not hold zero"),
        ("manual(-1:-0.5)", "do not hold zero"),
        ("manual(-inf:1)", "do not hold zero"),
        ("manual(nan:1)", "do not hold zero"),
    ],
)
def test_limits_that_make_no_range_are_refused(text: str, match: str) -> None:
    with pytest.raises(QuantError, match=match):
        get_range(text)
