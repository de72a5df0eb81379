"""Rows of a run, kept as arrays: 60,000 layers x 8 formats without an object each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.method import Row

Part = Literal["weight", "input", "output", "model"]
ColumnKey = tuple[str, str, str | None]
"""(quantity, part, scheme key) of one column of results."""

PARTS = ("weight", "input", "output", "model")


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows as columns, for files and for one-step insertion.

    Attributes:
        targets: Names that the first column of `codes` counts through.
        formats: Scheme keys of the second column; code -1 is "no format".
        quantities: Names of the third column.
        parts: Names of the fourth column.
        codes: `[rows, 4]` int32.
        value: `[rows]` float64.
        stderr: `[rows]` float64, NaN when exact.

    Raises:
        AnalysisError: the columns do not fit together.
    """

    targets: tuple[str, ...]
    formats: tuple[str, ...]
    quantities: tuple[str, ...]
    parts: tuple[str, ...]
    codes: NDArray[np.int32]
    value: NDArray[np.float64]
    stderr: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.value)
        tables = (self.targets, self.formats, self.quantities, self.parts)
        fits = self.codes.shape == (rows, 4) and self.stderr.shape == (rows,)
        if fits and rows:
            low, high = self.codes.min(0), self.codes.max(0)
            fits = bool((low >= (0, -1, 0, 0)).all()) and all(
                high[i] < len(table) for i, table in enumerate(tables)
            )
        if not fits or not set(self.parts) <= set(PARTS):
            raise AnalysisError("The columns of a result table do not fit together.")

    def __len__(self) -> int:
        return len(self.value)


def pack(rows: Iterable[Row]) -> PackedRows:
    """Return rows as columns."""
    targets: dict[str, int] = {}
    formats: dict[str, int] = {}
    quantities: dict[str, int] = {}
    parts: dict[str, int] = {}
    codes: list[tuple[int, int, int, int]] = []
    values: list[float] = []
    stderrs: list[float] = []
    for row in rows:
        fmt = row.format
        codes.append(
            (
                targets.setdefault(row.target, len(targets)),
                -1 if fmt is None else formats.setdefault(fmt, len(formats)),
                quantities.setdefault(row.quantity, len(quantities)),
                parts.setdefault(row.part, len(parts)),
            )
        )
        values.append(row.value)
        stderrs.append(row.stderr)
    return PackedRows(
        tuple(targets),
        tuple(formats),
        tuple(quantities),
        tuple(parts),
        np.array(codes, dtype=np.int32).reshape(-1, 4),
        np.array(values, dtype=np.float64),
        np.array(stderrs, dtype=np.float64),
    )


class _Column:
    """Values of one quantity, by target index; grows with the targets."""

    def __init__(self, size: int) -> None:
        self.value = np.full(size, np.nan)
        self.stderr = np.full(size, np.nan)
        self.present = np.zeros(size, dtype=bool)

    def fit(self, size: int) -> None:
        """Make room for at least `size` targets."""
        missing = max(size, 2 * len(self.value)) - len(self.value)
        if size > len(self.value):
            self.value = np.pad(self.value, (0, missing), constant_values=np.nan)
            self.stderr = np.pad(self.stderr, (0, missing), constant_values=np.nan)
            self.present = np.pad(self.present, (0, missing))


class ResultTable:
    """Rows of one run: one array per (quantity, part, scheme), over all targets.

    Targets are the layers, in order, then whatever else rows name (sites, "" for
    the whole model), in order of appearance. A row with the target, scheme,
    quantity and part of an earlier one replaces it.

    Args:
        layers: Index of each layer by its name.
    """

    def __init__(self, layers: Mapping[str, int]) -> None:
        self._layers = layers
        self._others: dict[str, int] = {}
        self._columns: dict[ColumnKey, _Column] = {}

    def __len__(self) -> int:
        return sum(int(c.present.sum()) for c in self._columns.values())

    def __bool__(self) -> bool:
        return bool(self._columns)

    def _index(self, target: str) -> int:
        found = self._layers.get(target)
        if found is not None:
            return found
        new = len(self._layers) + len(self._others)
        return self._others.setdefault(target, new)

    def add(self, rows: PackedRows) -> None:
        """Insert rows; of rows with equal keys the last one stays."""
        if not len(rows):
            return
        indices = np.array([self._index(t) for t in rows.targets], dtype=np.int64)
        target = indices[rows.codes[:, 0]]
        size = len(self._layers) + len(self._others)
        kinds = len(rows.formats) + 1
        group = (
            rows.codes[:, 2].astype(np.int64) * len(rows.parts) + rows.codes[:, 3]
        ) * kinds + (rows.codes[:, 1] + 1)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        # Columns are created in order of first appearance, which is the order of
        # the schemes a measure was given.
        for block in sorted(np.split(order, starts[1:]), key=lambda b: int(b[0])):
            _, fmt, quantity, part = rows.codes[block[0]]
            key = (
                rows.quantities[quantity],
                rows.parts[part],
                None if fmt < 0 else rows.formats[fmt],
            )
            column = self._columns.get(key)
            if column is None:
                column = self._columns[key] = _Column(size)
            column.fit(size)
            column.value[target[block]] = rows.value[block]
            column.stderr[target[block]] = rows.stderr[block]
            column.present[target[block]] = True

    def values(self, key: ColumnKey) -> NDArray[np.float64]:
        """Return the values of the layers, `[layers]`, NaN where missing."""
        column = self._columns.get(key)
        count = len(self._layers)
        return np.full(count, np.nan) if column is None else column.value[:count].copy()

    def stderrs(self, key: ColumnKey) -> NDArray[np.float64]:
        """Return the standard errors of the layers, `[layers]`, NaN where missing."""
        column = self._columns.get(key)
        count = len(self._layers)
        if column is None:
            return np.full(count, np.nan)
        return column.stderr[:count].copy()

    def by_target(self, key: ColumnKey) -> dict[str, tuple[float, float]]:
        """Return value and standard error by name, for all targets that have one."""
        column = self._columns.get(key)
        if column is None:
            return {}
        found = np.flatnonzero(column.present)
        names = self._names()
        return {
            names[i]: (value, stderr)
            for i, value, stderr in zip(
                found.tolist(),
                column.value[found].tolist(),
                column.stderr[found].tolist(),
                strict=True,
            )
        }

    def columns(self) -> tuple[ColumnKey, ...]:
        """Return the keys of all columns, in order of appearance."""
        return tuple(self._columns)

    def rows(self) -> list[Row]:
        """Return all rows, ordered by target, then by column."""
        packed = self.packed()
        order = np.lexsort((np.arange(len(packed)), packed.codes[:, 0]))
        codes = packed.codes[order].tolist()
        values, stderrs = packed.value[order].tolist(), packed.stderr[order].tolist()
        return [
            Row(
                packed.targets[target],
                None if fmt < 0 else packed.formats[fmt],
                value,
                stderr,
                packed.quantities[quantity],
                cast(Part, packed.parts[part]),
            )
            for (target, fmt, quantity, part), value, stderr in zip(
                codes, values, stderrs, strict=True
            )
        ]

    def packed(self) -> PackedRows:
        """Return all rows as columns, column by column."""
        quantities = list(dict.fromkeys(key[0] for key in self._columns))
        formats = list(dict.fromkeys(k[2] for k in self._columns if k[2] is not None))
        codes, values, stderrs = [], [], []
        for (quantity, part, fmt), column in self._columns.items():
            found = np.flatnonzero(column.present)
            block = np.empty((len(found), 4), dtype=np.int32)
            block[:, 0] = found
            block[:, 1] = -1 if fmt is None else formats.index(fmt)
            block[:, 2] = quantities.index(quantity)
            block[:, 3] = PARTS.index(part)
            codes.append(block)
            values.append(column.value[found])
            stderrs.append(column.stderr[found])
        return PackedRows(
            tuple(self._names()),
            tuple(formats),
            tuple(quantities),
            PARTS,
            _joined(codes, np.empty((0, 4), dtype=np.int32)),
            _joined(values, np.empty(0)),
            _joined(stderrs, np.empty(0)),
        )

    def _names(self) -> list[str]:
        return [*self._layers, *self._others]


def _joined(blocks: list[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(blocks) if blocks else empty
