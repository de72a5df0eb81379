"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from app.widgets import format as shown

NAN = math.nan


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (4224, "4.22 kB"),
        (12_345_678, "12.3 MB"),
        (999_600, "1.00 MB"),
        (140e9, "140 GB"),
    ],
)
def test_sizes(number, text):
    assert shown.size(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (0.0123, "0.0123"),
        (1.234e-5, "1.23e-5"),
        (-1.5e-9, "-1.50e-9"),
        (1585.2, "1,585"),
        (123456.0, "1.23e5"),
        (123.0, "123"),
        (NAN, "–"),
        (math.inf, "–"),
    ],
)
def test_significant_digits(number, text):
    assert shown.significant(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (math.pi, "3.1416"),
        (12345.678, "12,346"),
        (1234.5678, "1,234.6"),
        (1.23456789e-5, "1.2346e-5"),
    ],
)
def test_the_number_of_digits_can_be_chosen(number, text):
    shown.set_digits(5)
    assert shown.significant(number) == text
    assert shown.significant(number, 5) == text


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (1.234e-5, 4.56e-6, "1.23e-5 ± 4.6e-6"),
        (0.0123, 0.0004, "0.0123 ± 0.0004"),
        (0.333, 1e-7, "0.333 ± 1.0e-7"),
        (0.5, NAN, "0.500"),
        (NAN, 0.1, "–"),
        (0.0, 0.0, "0"),
        (0.5, 0.0, "0.500 ± 0"),
    ],
)
def test_errors_beside_values(value, stderr, text):
    assert shown.with_error(value, stderr) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (95, "2 min"), (7800, "2 h 10 min"), (-3, "0 s")],
)
def test_durations(seconds, text):
    assert shown.duration(seconds) == text


def test_counts(qapp):
    assert shown.count(1, "layer") == "1 layer"
    assert shown.count(60000, "layer") == "60,000 layers"
