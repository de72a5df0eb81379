"""Errors of layers by formats as arrays, without Qt: their order and their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from quant_core.assignment import Assignment

Floats = NDArray[np.float64]


def worst_first(values: Floats, column: int | None = None) -> NDArray[np.int64]:
    """Return the rows with the largest errors first, stable, unknown ones last.

    Args:
        values: `[rows, columns]`, NaN where missing.
        column: Which column decides; the largest value of a row when None.
    """
    by = _row_maximum(values) if column is None else values[:, column]
    return np.argsort(np.where(np.isnan(by), np.inf, -by), kind="stable")


def columns_of(assignment: Assignment, keys: Sequence[str]) -> NDArray[np.int16]:
    """Return the column of every layer's weight scheme, -1 where it has none.

    Args:
        assignment: The schemes; the stored float has column 0.
        keys: The schemes of the columns from 1 on.
    """
    columns = {None: 0} | {key: i for i, key in enumerate(keys, start=1)}
    schemes = (s if s is None else s.key for s in assignment.palette)
    lookup = np.array([columns.get(s, -1) for s in schemes], dtype=np.int16)
    return lookup[assignment.weight]


def titles_and_columns(
    names: Sequence[str],
    keys: Sequence[str],
    values: Floats,
    stderrs: Floats,
    unit: str,
) -> tuple[tuple[str, ...], tuple[list[object], ...]]:
    """Return a table with a row per layer, and two columns per format.

    Args:
        names: `[rows]`.
        keys: `[columns]` formats.
        values: `[rows, columns]`.
        stderrs: `[rows, columns]` standard errors of `values`.
        unit: Unit of both; "" for none.
    """
    suffix = f" [{unit}]" if unit else ""
    titles, columns = ["layer"], [list[object](names)]
    for i, key in enumerate(keys):
        titles += [f"{key}{suffix}", f"{key} standard error{suffix}"]
        columns += [values[:, i].tolist(), stderrs[:, i].tolist()]
    return tuple(titles), tuple(columns)


def _row_maximum(values: Floats) -> Floats:
    """Return the largest value of each row, NaN where a row has none."""
    filled = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isneginf(filled), np.nan, filled)
