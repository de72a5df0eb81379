"""The types every job speaks: parameters, updates and result rows.

A method (measure, search, exporter) is a frozen dataclass: its fields are its
parameters, its docstring is its help, its `run` generator is its work. Forms,
command-line options and reference pages are generated from it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from analysis.errors import AnalysisError


def param(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """Return a dataclass field that carries its own help text and limits."""
    meta = {
        "doc": doc,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=meta)
    return field(default=default, metadata=meta)


class Method:
    """What measures, searches and their like have in common.

    Their parameters are checked when they are made, by the window, the command line
    and scripts alike.
    """

    key: ClassVar[str]

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            AnalysisError: one is out of range.
        """
        for info in describe_params(type(self)):
            check_value(info, getattr(self, info.name), self.key)


def check_value(info: ParamInfo, value: Any, method: str) -> None:
    """Check one value of a parameter against its limits.

    Args:
        info: The parameter.
        value: What is given for it.
        method: Key of the method, for the message.

    Raises:
        AnalysisError: it is outside the limits or not among the choices.
    """
    name = f"{method}.{info.name}"
    if info.choices is not None:
        for item in value if isinstance(value, list) else [value]:
            if item not in info.choices:
                raise AnalysisError(
                    f"{name} has an unknown value.",
                    value=item,
                    allowed=", ".join(map(str, info.choices)),
                )
    if value is None or isinstance(value, (list, str)):
        return
    low, high = info.minimum, info.maximum
    # Written so that NaN, which compares false with everything, is out of range.
    inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside:
        bounds = [f"at least {low}"] * (low is not None)
        bounds += [f"at most {high}"] * (high is not None)
        raise AnalysisError(
            f"{name} is out of range.", value=value, allowed=", ".join(bounds)
        )


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """One parameter of a method, as forms and option parsers need it."""

    name: str
    type: Any
    default: Any
    doc: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[Any, ...] | None


def describe_params(method: type) -> tuple[ParamInfo, ...]:
    """Return the parameters of a method class in declaration order."""
    hints = typing.get_type_hints(method)
    infos = []
    for f in dataclasses.fields(method):
        default = f.default
        if f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        infos.append(ParamInfo(f.name, hints[f.name], default, **f.metadata))
    return tuple(infos)


@dataclass(frozen=True, slots=True)
class Row:
    """One finished result.

    Attributes:
        target: Name of the layer or site, "" for the whole model.
        format: Key of the scheme (`Scheme.key`) or None for measures without one.
        value: The number, in the unit of the measure.
        stderr: Standard error of `value`, NaN when it is exact.
        quantity: Which number of the measure ("error", "sqnr", "kurtosis" ...).
        part: What was quantized or looked at: "weight", "input", "output" or "model".
    """

    target: str
    format: str | None
    value: float
    stderr: float = float("nan")
    quantity: str = "error"
    part: Literal["weight", "input", "output", "model"] = "weight"


@dataclass(frozen=True, slots=True)
class Update:
    """Progress of a job.

    Attributes:
        done: Work units finished (multiply-adds or parameters x batches, so that
            the time left is honest when layer sizes differ a thousandfold).
        total: Work units in all; it may shrink when a job stops early.
        note: What is being done now.
        rows: Results finished or improved since the last update. A row with the
            same (target, format, quantity, part) replaces the earlier one.
        arrays: Named arrays to keep (histograms, V rows). A name seen again
            replaces the earlier array. Names are paths: "predicted_error/v".
        warnings: Sentences for the user ("layers.3: NaN in the weights ...").
        samples: Calibration samples behind the numbers so far.
    """

    done: float
    total: float
    note: str = ""
    rows: tuple[Row, ...] = ()
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    samples: int = 0


@runtime_checkable
class Measure(Protocol):
    """What every measure offers; see `analysis/measures`."""

    key: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    better: ClassVar[Literal["lower", "higher", "neither"]]
    version: ClassVar[int]
    needs_data: ClassVar[bool]

    def run(self, context: Any) -> Iterator[Update]:
        """Yield updates until done; closing early restores the model."""
        ...
