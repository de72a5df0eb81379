"""What the trade-off plot is given to draw."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtGui import QColor


@dataclass(frozen=True, slots=True)
class Spot:
    """A single point.

    Attributes:
        name: Written beside it.
        size: Size [bytes].
        error: Error, in the unit of the plot.
        stderr: Standard error of `error`, NaN for none.
        symbol: pyqtgraph symbol.
        colour: Colour of the mark.
    """

    name: str
    size: float
    error: float
    stderr: float
    symbol: str
    colour: QColor


@dataclass(frozen=True, slots=True)
class Present:
    """The present assignment.

    Attributes:
        size: Size [bytes].
        error: Error with interactions.
        stderr: Standard error of `error`, NaN when not known.
        alone: Sum of the layers' own errors.
    """

    size: float
    error: float
    stderr: float
    alone: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What running a quantized model gave.

    Attributes:
        size: Size [bytes].
        error: Measured error, in the unit of the plot.
        stderr: Standard error of `error`, NaN when not known.
    """

    size: float
    error: float
    stderr: float
