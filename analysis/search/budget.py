"""Budgets as people write them: `bits<=4`, `size<=12MB`, `compression>=8,bops<=2T`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from analysis.errors import AnalysisError

_BYTES = {"b": 1.0}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTES |= {f"{_letter}b": 1000.0**_power, f"{_letter}ib": 1024.0**_power}
_COUNT = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "bits": {},
        "size": _BYTES,
        "compression": {"x": 1.0},
        "bops": _COUNT,
        "error": {},
    }
)
"""Factors of the units a quantity may carry, in lower case; none is always allowed."""

ALLOWED = (
    "bits<=4 (average per weight, scales included), size<=12MB (B, kB, MB, GB, kiB, "
    "MiB, GiB or, as in 0.25x, a share of the stored size), compression>=8 (times "
    "smaller than stored), bops<=2T (k, M, G, T, P or x), error<=1e-3, the name of a "
    "cost table (latency<=3.2), or several of them separated by commas"
)

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LIMIT = re.compile(rf"\s*(\w+)\s*(<=|>=|≤|≥)\s*({_NUMBER})\s*([a-zA-Z]*)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on one quantity: an upper one, but for the compression.

    Attributes:
        quantity: `bits` is the average per weight with scales and zero points, `size`
            the bytes of all layers, `compression` how many times smaller than stored,
            `bops` the bit operations per sample, `error` the objective summed over
            layers; any other name is that of a cost table.
        value: The limit: bits, bytes, times, bit operations, the unit of the
            objective or of the table; with `relative` a multiple of what the stored
            model needs.
        relative: Whether `value` is such a multiple.
    """

    quantity: str
    value: float
    relative: bool = False

    @property
    def sign(self) -> str:
        """How the limit is written: "<=", ">=" for the compression."""
        return ">=" if self.quantity == "compression" else "<="

    def absolute(self, stored: float) -> float:
        """Return the most that is allowed, given what the stored model needs.

        In the unit of the quantity; a compression limits the size, in the unit of
        `stored`.
        """
        if self.quantity == "compression":
            return stored / self.value
        return self.value * stored if self.relative else self.value

    def loosened(self, value: float, stored: float) -> Limit:
        """Return this limit moved so far that an amount of `value` keeps it."""
        return _parse_limit(self.write(value, stored), "", {self.quantity})

    def write(self, value: float, stored: float) -> str:
        """Return a limit of `value` in the unit this one was given in.

        The number is rounded so that a budget copied from a message is met.

        Args:
            value: Bits per weight, bytes, bit operations or error; for a compression
                the size it limits.
            stored: What the stored model needs, in the same unit.
        """
        if self.quantity == "compression":
            return f"compression>={_round_down(stored / value)}"
        if self.relative:
            return f"{self.quantity}<={_round_up(value / stored)}x"
        if self.quantity == "size":
            unit = "B", 1.0
            for name in ("kB", "MB", "GB", "TB"):
                if value >= _BYTES[name.lower()]:
                    unit = name, _BYTES[name.lower()]
            return f"{self.quantity}<={_round_up(value / unit[1])}{unit[0]}"
        return f"{self.quantity}<={_round_up(value)}"

    def __str__(self) -> str:
        if self.relative:
            return f"{self.quantity}<={self.value:g}x"
        if self.quantity == "compression":
            return f"compression>={self.value:g}"
        return self.write(self.value, 1.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that must hold together, at most one for each quantity.

    The objective is made as small as the limits allow. A limit on the error alone
    turns the question round: the smallest model with at most that error.

    >>> str(Budget.parse("size <= 0.25x, bops<=2T"))
    'size<=0.25x,bops<=2e+12'
    """

    limits: tuple[Limit, ...]

    @classmethod
    def parse(cls, text: str, tables: Collection[str] = ()) -> Budget:
        """Return the budget written in `text`.

        Args:
            text: Limits separated by commas.
            tables: Names of cost tables that may be limited as well.

        Raises:
            AnalysisError: the text is not a budget; the message says which part.
        """
        limits: dict[str, Limit] = {}
        for part in text.split(","):
            limit = _parse_limit(part, text, tables)
            if limit.quantity in limits:
                raise AnalysisError(
                    f"The budget limits {limit.quantity} twice.",
                    value=text,
                    allowed="one limit for each quantity",
                )
            limits[limit.quantity] = limit
        return cls(tuple(limits.values()))

    def limit(self, quantity: str) -> Limit | None:
        """Return the limit on a quantity, or None."""
        return next((x for x in self.limits if x.quantity == quantity), None)

    def __str__(self) -> str:
        return ",".join(map(str, self.limits))


def _parse_limit(part: str, text: str, tables: Collection[str]) -> Limit:
    match = _LIMIT.fullmatch(part)
    if match is None:
        raise _unreadable(part, text)
    name, sign, number, unit = match[1], match[2], match[3], match[4]
    quantity = name if name in tables else name.lower()
    if quantity not in UNITS and quantity not in tables:
        raise AnalysisError(
            "The budget limits an unknown quantity.", value=name, allowed=ALLOWED
        )
    value = float(number)
    if (sign[0] in ">≥") != (quantity == "compression"):
        raise _unreadable(part, text)
    if not (value > 0 and math.isfinite(value)):
        raise AnalysisError(
            f"The limit on {quantity} must be a positive number.", value=part.strip()
        )
    if unit.lower() == "x" and (quantity in ("size", "bops") or quantity in tables):
        return Limit(quantity, value, relative=True)
    factor = UNITS.get(quantity, {}).get(unit.lower()) if unit else 1.0
    if factor is None:
        raise AnalysisError(
            f"The limit on {quantity} has an unknown unit.", value=unit, allowed=ALLOWED
        )
    return Limit(quantity, value * factor)


def _unreadable(part: str, text: str) -> AnalysisError:
    return AnalysisError(
        "The budget cannot be read.",
        value=text if part.strip() else f"{text!r} (empty part)",
        allowed=ALLOWED,
        hint="Decimal places follow a point.",
    )


def _round_up(value: float, digits: int = 4) -> str:
    """Return `value` with `digits` significant digits, never below it."""
    return _rounded(value, digits, 1)


def _round_down(value: float, digits: int = 4) -> str:
    """Return `value` with `digits` significant digits, never above it."""
    return _rounded(value, digits, -1)


def _rounded(value: float, digits: int, direction: int) -> str:
    if value == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    # A value that is exact to the digit, but for rounding, stays as it is.
    rounded = direction * math.ceil(direction * value / step - 1e-9) * step
    return f"{rounded:.{digits}g}"
