"""Reading the results of a project, as arrays in layer order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.method import Row
from analysis.results import ColumnKey, ResultTable
from analysis.runs import RunInfo, Runs, StoredArrays

RowKey = tuple[str, str | None, str, str]


class Readings:
    """The reading half of `Project`.

    Where no run is named, the one that stands for the measure is read: the newest
    that is running or complete and has rows, else the newest with rows.

    Args:
        runs: The runs to read.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    @property
    def runs(self) -> tuple[RunInfo, ...]:
        """All runs, oldest first."""
        return self._runs.infos

    def run_info(self, run: int) -> RunInfo:
        """Return a run by its number.

        Raises:
            AnalysisError: there is no such run.
        """
        return self._runs.info(run)

    def latest_run(self, measure: str) -> RunInfo | None:
        """Return the run that stands for a measure, None before the first."""
        return self._runs.shown(measure)

    def resumable_run(self, measure: str) -> RunInfo | None:
        """Return the newest run of a measure if it did not end by itself."""
        runs = [run for run in self.runs if run.measure == measure]
        if runs and runs[-1].status in ("interrupted", "cancelled", "failed"):
            return runs[-1]
        return None

    def _table(self, measure: str, run: int | None) -> ResultTable | None:
        if run is not None:
            return self._runs.table(run)
        shown = self._runs.shown(measure)
        return None if shown is None else self._runs.table(shown.id)

    def rows(self, measure: str, run: int | None = None) -> list[Row]:
        """Return all rows of a measure, by target and then format.

        Raises:
            AnalysisError: there is no such run.
        """
        table = self._table(measure, run)
        return [] if table is None else table.rows()

    def done_rows(self, run: int) -> dict[RowKey, Row]:
        """Return rows by (target, format, quantity, part), for resuming a run.

        Raises:
            AnalysisError: there is no such run.
        """
        rows = self._runs.table(run).rows()
        return {(r.target, r.format, r.quantity, r.part): r for r in rows}

    def values(
        self,
        measure: str,
        format: str | None = None,  # noqa: A002
        quantity: str = "error",
        part: str = "weight",
        run: int | None = None,
    ) -> NDArray[np.float64]:
        """Return one number per layer.

        Args:
            measure: Key of the measure.
            format: Scheme key, None for measures without one.
            quantity: Which number of the measure.
            part: "weight", "input" or "output".
            run: A run of the measure.

        Returns:
            float64 `[layers]`, NaN where missing.

        Raises:
            AnalysisError: there is no such run.
        """
        table = self._table(measure, run) or ResultTable(self._runs.layers)
        return table.values((quantity, part, format))

    def stderrs(
        self,
        measure: str,
        format: str | None = None,  # noqa: A002
        quantity: str = "error",
        part: str = "weight",
        run: int | None = None,
    ) -> NDArray[np.float64]:
        """Return the standard errors of `values`, NaN where exact or missing.

        Raises:
            AnalysisError: there is no such run.
        """
        table = self._table(measure, run) or ResultTable(self._runs.layers)
        return table.stderrs((quantity, part, format))

    def formats(
        self,
        measure: str,
        quantity: str = "error",
        part: str = "weight",
        run: int | None = None,
    ) -> tuple[str, ...]:
        """Return the scheme keys a measure has numbers for, in their first order."""
        table = self._table(measure, run)
        columns = () if table is None else table.columns()
        return tuple(f for q, p, f in columns if (q, p) == (quantity, part) and f)

    def columns(self, measure: str) -> tuple[ColumnKey, ...]:
        """Return (quantity, part, scheme key) of all numbers of a measure, in order."""
        table = self._table(measure, None)
        return () if table is None else table.columns()

    def site_values(
        self,
        measure: str,
        format: str | None = None,  # noqa: A002
        quantity: str = "error",
        part: str = "input",
        run: int | None = None,
    ) -> dict[str, float]:
        """Return one number per target (sites, or "" for the whole model)."""
        table = self._table(measure, run)
        found = {} if table is None else table.by_target((quantity, part, format))
        return {name: value for name, (value, _) in found.items()}

    def site_stderrs(
        self,
        measure: str,
        format: str | None = None,  # noqa: A002
        quantity: str = "error",
        part: str = "input",
    ) -> dict[str, float]:
        """Return the standard errors of `site_values`."""
        table = self._table(measure, None)
        found = {} if table is None else table.by_target((quantity, part, format))
        return {name: stderr for name, (_, stderr) in found.items()}

    # -- arrays ----------------------------------------------------------------------

    def _run_of_array(self, name: str) -> int | None:
        """Return the run to read an array from: of the measure it is named after."""
        shown = self._runs.shown(name.partition("/")[0])
        if shown is not None:
            return shown.id
        holders = [run.id for run in self.runs if self._runs.has_array(run.id, name)]
        return holders[-1] if holders else None

    def array(self, name: str, run: int | None = None) -> NDArray[Any] | None:
        """Return a kept array, None when there is none.

        Args:
            name: As in `Update.arrays`; the first part is the key of the measure.
            run: A run of the measure.

        Raises:
            AnalysisError: the file is gone or damaged.
        """
        owner = self._run_of_array(name) if run is None else run
        return None if owner is None else self._runs.array(owner, name)

    def array_names(self, prefix: str = "", run: int | None = None) -> list[str]:
        """Return the sorted names of kept arrays that begin with `prefix`."""
        if run is not None:
            owners = [run]
        else:
            measures = dict.fromkeys(info.measure for info in self.runs)
            shown = [self._runs.shown(measure) for measure in measures]
            owners = [info.id for info in shown if info is not None]
        names = (name for owner in owners for name in self._runs.array_names(owner))
        return sorted({name for name in names if name.startswith(prefix)})

    def run_arrays(self, run: int) -> Mapping[str, NDArray[Any]]:
        """Return the arrays of a run by name, each read when asked for.

        Raises:
            AnalysisError: there is no such run.
        """
        self._runs.info(run)
        return StoredArrays(self._runs, run)
