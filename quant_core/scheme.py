"""How one tensor is stored: format, granularity, range and rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quant_core.errors import QuantError
from quant_core.formats import FORMATS, Format, get_format
from quant_core.granularity import GRANULARITIES, group_size
from quant_core.ranges import RANGES, Manual, canonical_range, get_range
from quant_core.rounding import ROUNDINGS

_PARTS = ("format", "granularity", "range", "rounding")


@dataclass(frozen=True, slots=True)
class Scheme:
    """Format, granularity, range and rounding of one tensor.

    Float types (`float16`, `bfloat16`, `float32`) have no scale, so their
    granularity and range are always the default ones: equal storage compares equal.
    For the same reason a range given by hand is one for the whole tensor.

    Attributes:
        format: Name in `quant_core.formats.FORMATS`.
        granularity: "tensor", "channel", "group(n)" or "token".
        range: "minmax", "percentile(p)", "mse" or "manual(low:high)".
        rounding: "nearest".

    Raises:
        QuantError: a part is unknown.

    Example:
        >>> Scheme("int4", "group(64)").key
        'int4/group(64)'
        >>> parse_scheme("int4/mse")
        Scheme(format='int4', granularity='channel', range='mse', rounding='nearest')
    """

    format: str
    granularity: str = "channel"
    range: str = "minmax"
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        size = group_size(self.granularity)
        if size is not None:
            object.__setattr__(self, "granularity", f"group({size})")
        object.__setattr__(self, "range", canonical_range(self.range))
        if isinstance(get_range(self.range), Manual):
            object.__setattr__(self, "granularity", "tensor")
        if self.rounding not in ROUNDINGS:
            raise QuantError(
                "There is no such rounding.",
                value=self.rounding,
                allowed=", ".join(ROUNDINGS),
            )
        if not get_format(self.format).scaled:
            object.__setattr__(self, "granularity", "channel")
            object.__setattr__(self, "range", "minmax")

    @property
    def number_format(self) -> Format:
        """The format itself."""
        return FORMATS[self.format]

    @property
    def bits(self) -> float:
        """Storage bits per value, without scales and zero points."""
        return FORMATS[self.format].bits

    @property
    def key(self) -> str:
        """Short unique text: the format, then what differs from the defaults."""
        text = self.format
        if self.granularity != "channel" or self.range != "minmax":
            text += f"/{self.granularity}"
        if self.range != "minmax":
            text += f"/{self.range}"
        if self.rounding != "nearest":
            text += f"/{self.rounding}"
        return text

    def check_as_input(self) -> None:
        """Refuse granularities that the activations of a layer cannot have.

        Raises:
            QuantError: it is neither "tensor" nor "token".
        """
        if self.granularity not in ("tensor", "token"):
            raise QuantError(
                "Activations have one range per tensor or per token.",
                value=self.key,
                allowed="granularity tensor or token",
                hint=f"Write {self.format}/tensor or {self.format}/token.",
            )

    def to_json(self) -> dict[str, str]:
        """Return the four parts by name."""
        return {part: getattr(self, part) for part in _PARTS}

    @classmethod
    def from_json(cls, data: object) -> Scheme:
        """Return the scheme written by `to_json`; absent parts are the defaults.

        Raises:
            QuantError: not an object of texts, an unknown part, or no format.
        """
        if (
            not isinstance(data, Mapping)
            or "format" not in data
            or not set(data) <= set(_PARTS)
            or not all(isinstance(value, str) for value in data.values())
        ):
            raise QuantError(
                "A scheme must be an object of texts.",
                value=data,
                allowed='"format" and optionally "granularity", "range", "rounding"',
            )
        return cls(**data)


def parse_scheme(text: str, default_granularity: str = "channel") -> Scheme:
    """Return the scheme a user wrote as `format[/granularity][/range][/rounding]`.

    Parts are told apart by their names, so any may be left out.

    Args:
        text: Such as "int4", "uint8/tensor", "int4/group(64)/percentile(99.9)".
        default_granularity: Granularity when the text names none.

    Raises:
        QuantError: a part is unknown or out of order.
    """
    name, *parts = (part.strip() for part in text.strip().split("/"))
    found = {"granularity": default_granularity}
    get_format(name)
    kinds = ("granularity", "range", "rounding")
    position = 0
    for part in parts:
        kind = _kind(part)
        if kind is None or kinds.index(kind) < position:
            raise QuantError(
                f"{part!r} is not expected here in a scheme.",
                value=text,
                allowed=f"format/granularity/range/rounding with granularity of "
                f"{', '.join(GRANULARITIES)}; range of {', '.join(RANGES)}; "
                f"rounding of {', '.join(ROUNDINGS)}",
                hint="For example int4/group(64)/mse.",
            )
        found[kind] = part
        position = kinds.index(kind) + 1
    return Scheme(name, **found)


def _kind(part: str) -> str | None:
    """Return which part of a scheme a word belongs to, None when to none."""
    word = part.split("(")[0]
    if word in (name.split("(")[0] for name in GRANULARITIES):
        return "granularity"
    if word in RANGES:
        return "range"
    return "rounding" if word in ROUNDINGS else None
