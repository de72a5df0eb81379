from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.search.budget import Budget, Limit


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("bits<=4", [Limit("bits", 4)]),
        (" Bits <= 4.5 ", [Limit("bits", 4.5)]),
        ("bits≤4", [Limit("bits", 4)]),
        ("size<=12", [Limit("size", 12)]),
        ("size<=12B", [Limit("size", 12)]),
        ("size<=12kB", [Limit("size", 12e3)]),
        ("size<=12MB", [Limit("size", 12e6)]),
        ("size <= 1.5 gb", [Limit("size", 1.5e9)]),
        ("size<=2MiB", [Limit("size", 2 * 2**20)]),
        ("size<=0.25x", [Limit("size", 0.25, relative=True)]),
        ("bops<=2T", [Limit("bops", 2e12)]),
        ("bops<=.5X", [Limit("bops", 0.5, relative=True)]),
        ("error<=1e-3", [Limit("error", 1e-3)]),
        (
            "size<=12MB, bops<=1e9,error<=0.5",
            [Limit("size", 12e6), Limit("bops", 1e9), Limit("error", 0.5)],
        ),
    ],
)
def test_reads(text: str, limits: list[Limit]) -> None:
    assert Budget.parse(text).limits == tuple(limits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cannot be read.*bits<=4"),
        ("bits", "cannot be read"),
        ("bits=4", "cannot be read"),
        ("bits>=4", "cannot be read"),
        ("bits<4", "cannot be read"),
        ("bits<=four", "cannot be read"),
        ("bits<=4,", r"cannot be read.*empty part"),
        ("bits<=nan", "cannot be read"),
        ("size<=1e999", "positive number"),
        ("size<=0", "positive number"),
        ("bits<=-4", "positive number"),
        ("latency<=4", r"unknown quantity.*latency"),
        ("bits<=4MB", r"unknown unit.*MB"),
        ("bits<=0.5x", r"unknown unit.*x"),
        ("error<=0.5x", r"unknown unit.*x"),
        ("size<=4Mb/s", "cannot be read"),
        ("size<=4Q", r"unknown unit.*Q"),
        ("size<=0,25x", r"cannot be read|positive number"),
        ("bits<=4,bits<=3", "limits bits twice"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=f"(?s){message}"):
        Budget.parse(text)


@pytest.mark.parametrize(
    "text", ["bits<=4.25", "size<=12MB,bops<=2e+12", "size<=0.25x", "error<=0.001"]
)
def test_written_as_read(text: str) -> None:
    assert str(Budget.parse(text)) == text


@given(
    st.sampled_from(["bits", "size", "bops", "error"]),
    st.floats(1e-12, 1e15),
    st.floats(1.0, 1e15),
    st.booleans(),
)
def test_a_written_limit_is_met_and_close(
    quantity: str, value: float, stored: float, relative: bool
) -> None:
    relative = relative and quantity in ("size", "bops")
    limit = Limit(quantity, 1.0, relative)  # type: ignore[arg-type]
    text = limit.write(value, stored)
    back = Budget.parse(text).limits[0].absolute(stored)
    assert value * (1 - 1e-8) <= back <= value * 1.002
