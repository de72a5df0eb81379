from __future__ import annotations

import pytest

from quant_core.errors import QuantError
from quant_core.scheme import Scheme, parse_scheme

KEYS = [
    ("int4", Scheme("int4")),
    ("uint8/tensor", Scheme("uint8", "tensor")),
    ("int8/token", Scheme("int8", "token")),
    ("int4/group(64)", Scheme("int4", "group(64)")),
    ("int4/channel/mse", Scheme("int4", range="mse")),
    (
        "int4/group(64)/percentile(99.9)",
        Scheme("int4", "group(64)", "percentile(99.9)"),
    ),
    ("float16", Scheme("float16")),
]


@pytest.mark.parametrize(("key", "scheme"), KEYS)
def test_key_and_text_round_trip(key: str, scheme: Scheme) -> None:
    assert scheme.key == key
    assert parse_scheme(key) == scheme
    assert Scheme.from_json(scheme.to_json()) == scheme


def test_text_may_leave_parts_out() -> None:
    assert parse_scheme(" int4 / mse ") == Scheme("int4", "channel", "mse")
    assert parse_scheme("int4/nearest") == Scheme("int4")
    assert parse_scheme("int8", "tensor").key == "int8/tensor"
    assert parse_scheme("int8/token", "tensor").key == "int8/token"
    assert parse_scheme("int4/percentile").key == "int4/channel/percentile(99.9)"


def test_equal_storage_compares_equal() -> None:
    assert Scheme("bfloat16", "tensor", "mse") == Scheme("bfloat16")
    assert Scheme("int4", "group(064)") == Scheme("int4", "group(64)")
    assert Scheme("int4", range="percentile(99.90)").range == "percentile(99.9)"
    assert len({Scheme("int4"), parse_scheme("int4/channel")}) == 1


def test_bits_come_from_the_format() -> None:
    assert (Scheme("fp6_e3m2").bits, Scheme("nf4", "group(64)").bits) == (6, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int9", "no such number format"),
        ("", "no such number format"),
        ("int4/row", "'row' is not expected"),
        ("int4/mse/tensor", "'tensor' is not expected"),
        ("int4/tensor/channel", "'channel' is not expected"),
        ("int4/group(x)", "no such granularity"),
        ("int4/percentile(40)", "percentile of a range is out of bounds"),
        ("int4/percentile(1.2.3)", "no such range estimator"),
        ("int4/mse(3)", "no such range estimator"),
    ],
)
def test_wrong_text_is_told(text: str, message: str) -> None:
    with pytest.raises(QuantError, match=message):
        parse_scheme(text)


def test_wrong_parts_are_told() -> None:
    with pytest.raises(QuantError, match="no such rounding"):
        Scheme("int4", rounding="up")
    for data in ("int4", {}, {"format": 4}, {"format": "int4", "bits": "4"}):
        with pytest.raises(QuantError, match="must be an object of texts"):
            Scheme.from_json(data)
