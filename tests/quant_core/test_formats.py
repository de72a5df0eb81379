from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import norm

from quant_core.errors import QuantError
from quant_core.formats import FORMATS, get_format
from quant_core.formats.floating import FLOATS
from quant_core.formats.integer import INTEGERS
from quant_core.formats.normal_float import NF4_VALUES
from tests.helpers import truth_round

SCALED = [name for name, fmt in FORMATS.items() if fmt.scaled]


def bf16_values() -> torch.Tensor:
    """All finite bfloat16 values as float32."""
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    values = bits.view(torch.bfloat16)
    return values[torch.isfinite(values)].float()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp8_e4m3", torch.float8_e4m3fn), ("fp8_e5m2", torch.float8_e5m2)],
)
def test_fp8_is_torchs_cast_for_every_bf16_value(name: str, dtype: torch.dtype) -> None:
    fmt, x = get_format(name), bf16_values()
    cast = x.to(dtype)
    inside = torch.isfinite(cast.float())
    rounded, codes = fmt.round_to_grid(x), fmt.codes(x)
    assert torch.equal(rounded[inside], cast.float()[inside])
    assert torch.equal(codes[inside], cast.view(torch.uint8)[inside])
    # Where torch overflows to NaN or infinity, we saturate.
    assert (rounded[~inside] == fmt.grid_max * x[~inside].sign()).all()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_levels_are_torchs_finite_values(dtype: torch.dtype) -> None:
    name = "fp8_e4m3" if dtype == torch.float8_e4m3fn else "fp8_e5m2"
    values = torch.arange(256).to(torch.uint8).view(dtype).float()
    finite = values[torch.isfinite(values)].unique().double().numpy()
    assert np.array_equal(get_format(name).levels(), finite)


def test_small_float_tables() -> None:
    e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert get_format("fp4_e2m1").levels()[7:].tolist() == e2m1
    levels = get_format("fp6_e3m2").levels()
    assert len(levels) == 63
    assert levels[31:35].tolist() == [0, 0.0625, 0.125, 0.1875]
    assert levels[-3:].tolist() == [20, 24, 28]


def test_nf4_table_follows_from_normal_quantiles() -> None:
    # QLoRA, appendix E: quantiles at evenly spaced probabilities on either side.
    p = 1 - (1 / 30 + 1 / 32) / 2
    positive = norm.ppf(np.linspace(p, 0.5, 9)[:-1])
    negative = -norm.ppf(np.linspace(p, 0.5, 8)[:-1])
    values = np.sort(np.concatenate([positive, negative, [0.0]]))
    assert np.allclose(values / values.max(), NF4_VALUES, atol=1e-6)
    assert np.array_equal(np.float32(NF4_VALUES), NF4_VALUES)


def test_nf4_decides_exactly_at_midpoints() -> None:
    fmt = get_format("nf4")
    table = torch.tensor(NF4_VALUES)
    exact = (table[1:].double() + table[:-1].double()) / 2
    mid = exact.float()
    edge = torch.tensor(float("inf"))
    x = torch.cat(
        [
            torch.linspace(-1.5, 1.5, 300_001),
            mid,
            torch.nextafter(mid, edge),
            torch.nextafter(mid, -edge),
        ]
    )
    code = torch.bucketize(x.double(), exact)
    assert torch.equal(fmt.round_to_grid(x), table[code])
    assert torch.equal(fmt.codes(x).long(), code)


@pytest.mark.parametrize("name", SCALED)
def test_rounding_is_the_nearest_level(name: str) -> None:
    fmt = get_format(name)
    levels = fmt.levels()
    halves = np.float32((levels[1:] + levels[:-1]) / 2)[:: max(1, len(levels) // 60)]
    spread = np.float32(np.linspace(1.3 * levels[0] - 0.1, 1.3 * levels[-1], 60))
    x = np.concatenate([halves, spread, [0.0]]).astype(np.float32)
    truth = np.float32([truth_round(float(value), fmt) for value in x])
    assert np.array_equal(fmt.round_to_grid(torch.from_numpy(x)).numpy(), truth)


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda fmt: fmt.name)
def test_integers_round_like_python(fmt) -> None:
    x = np.concatenate([np.arange(-300, 301) / 2, np.random.randn(100) * 50])
    x = np.float32(x)
    truth = [max(fmt.grid_min, min(fmt.grid_max, round(float(v)))) for v in x]
    assert fmt.round_to_grid(torch.from_numpy(x)).tolist() == truth
    assert fmt.codes(torch.from_numpy(x)).tolist() == truth
    assert len(fmt.levels()) == 2**fmt.bits - (fmt.signed and not fmt.affine)


@pytest.mark.parametrize("name", FORMATS)
def test_codes_carry_every_grid_value(name: str) -> None:
    fmt = get_format(name)
    x = torch.randn(400) * min(fmt.grid_max, 1e3)
    codes = fmt.codes(x)
    assert torch.equal(fmt.from_codes(codes), fmt.round_to_grid(x))
    assert codes.element_size() == max(1, fmt.bits // 8)


@pytest.mark.parametrize("name", FORMATS)
def test_rounding_in_place_twice_and_on_views(name: str) -> None:
    fmt = get_format(name)
    x = torch.randn(12, 9) * 3
    once = fmt.round_to_grid(x)
    assert torch.equal(fmt.round_to_grid(once), once)
    assert torch.equal(fmt.round_to_grid(x.t()), once.t())
    out = torch.empty(9, 12).t()
    assert fmt.round_to_grid(x, out=out) is out
    assert torch.equal(out, once)
    assert fmt.round_to_grid(x, out=x) is x
    assert torch.equal(x, once)


@pytest.mark.parametrize("name", FORMATS)
def test_outside_saturates_and_nan_stays(name: str) -> None:
    fmt = get_format(name)
    inf = float("inf")
    low, high, nan = fmt.round_to_grid(torch.tensor([-inf, inf, float("nan")]))
    assert (low, high) == (fmt.grid_min, fmt.grid_max)
    assert torch.isnan(nan)


def test_float_types_are_torchs_casts() -> None:
    x = torch.randn(1000) * 100
    for name in ("float16", "bfloat16", "float32"):
        cast = x.to(getattr(torch, name)).float()
        assert torch.equal(get_format(name).round_to_grid(x), cast)
        assert get_format(name).levels().size == 0


def test_unknown_format_suggests_names() -> None:
    with pytest.raises(QuantError, match="Did you mean fp8_e4m3") as caught:
        get_format("fp8e4m3")
    assert "int2..int8" in str(caught.value)


def test_table_is_complete() -> None:
    for bits in range(2, 9):
        for name in ("int{}", "int{}_asym", "uint{}", "uint{}_sym"):
            assert get_format(name.format(bits)).bits == bits
    assert [f.bits for f in FLOATS] == [8, 8, 6, 4]
    assert all(name == fmt.name for name, fmt in FORMATS.items())


@pytest.mark.parametrize(
    "module",
    ["scheme", "cost", "assignment", "ties", "targets", "formats", "quantizer"],
)
def test_tables_are_read_without_torch(module: str) -> None:
    code = f"import sys, quant_core.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
