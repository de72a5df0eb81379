"""All runs of a project: what was measured, how, and the rows and arrays it gave.

Every change is a journal `Record` that is played here, so the results a crashed
process left in its journal are rebuilt by the very code that made them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.journal import Record, check_array
from analysis.method import Update
from analysis.results import PackedRows, ResultTable, pack

Array = NDArray[Any]
STATUSES = ("running", "complete", "cancelled", "failed", "interrupted")
_ARRAY = "array:"
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
}


@dataclass(frozen=True)
class RunInfo:
    """One run of one measure.

    Attributes:
        id: Number within the project, counted from 1.
        measure: Key of the measure.
        status: `running`, `complete`, `cancelled`, `failed`, or `interrupted`: the
            process that ran it died.
        unit: Unit of the quantity "error" (or of the main one).
        better: `lower`, `higher` or `neither`.
        samples: Calibration samples behind the numbers so far.
        seed: Seed of every random draw.
        params: Parameters of the measure.
        data_source: What was given as data; empty without data.
        data_digest: Hash of the data.
        state: What the other layers were in ("float"); scores of different states
            are never compared.
        task: Key of the task; empty without one.
        seconds: Time spent [s].
        created: Start, ISO 8601 with time zone.
        warnings: Sentences for the user.
        done: Work units finished.
        total: Work units in all.
    """

    id: int
    measure: str
    status: str = "running"
    unit: str = ""
    better: str = "lower"
    samples: int = 0
    seed: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    data_source: str = ""
    data_digest: str = ""
    state: str = "float"
    task: str = ""
    seconds: float = 0.0
    created: str = ""
    warnings: tuple[str, ...] = ()
    done: float = 0.0
    total: float = 0.0


def run_from_json(data: Mapping[str, Any]) -> RunInfo:
    """Return the run that `dataclasses.asdict` wrote.

    Raises:
        AnalysisError: a value is missing, of another type, or an unknown status.
    """
    values = dict(data)
    try:
        values["warnings"] = tuple(map(str, values.get("warnings", ())))
        info = RunInfo(**values)
        for known in dataclasses.fields(RunInfo):
            value = getattr(info, known.name)
            wanted = _TYPES.get(str(known.type))
            if wanted is not None and not isinstance(value, wanted):
                raise TypeError(f"{known.name} is {value!r}")
        if info.status not in STATUSES or not isinstance(info.params, dict):
            raise TypeError(f"status is {info.status!r}")
    except TypeError as error:
        raise AnalysisError(
            "The description of a run is damaged.", value=error
        ) from error
    return info


class Runs:
    """The runs of one project, with their rows in memory and arrays on demand.

    Args:
        layers: Index of each layer by its name.
        read_array: Returns an array of a run from the project file.
    """

    def __init__(
        self,
        layers: Mapping[str, int],
        read_array: Callable[[int, str], Array | None],
    ) -> None:
        self.layers = layers
        self._read_array = read_array
        self._infos: dict[int, RunInfo] = {}
        self._tables: dict[int, ResultTable] = {}
        self._fresh: dict[int, dict[str, Array]] = {}
        self._stored: dict[int, dict[str, None]] = {}
        self._clock: dict[int, float] = {}
        self._versions: dict[int, int] = {}
        self._next = 1
        self.changed: set[int] = set()
        self.deleted: set[int] = set()

    # -- reading -----------------------------------------------------------------

    @property
    def infos(self) -> tuple[RunInfo, ...]:
        """All runs, oldest first."""
        return tuple(self._infos.values())

    def info(self, run: int) -> RunInfo:
        """Return a run.

        Raises:
            AnalysisError: there is no such run.
        """
        try:
            return self._infos[run]
        except KeyError:
            raise AnalysisError(
                "The project has no such run.",
                value=run,
                allowed=", ".join(map(str, self._infos)) or "none so far",
            ) from None

    def version(self, run: int) -> int:
        """Return a number that grows with every change of a run."""
        return self._versions[run]

    def table(self, run: int) -> ResultTable:
        """Return the rows of a run."""
        self.info(run)
        return self._tables[run]

    def shown(self, measure: str) -> RunInfo | None:
        """Return the run whose numbers stand for a measure, None before the first.

        The newest run that is running or complete and has rows; else the newest
        with rows; else the newest. A run cancelled early thus does not hide an
        earlier complete one, and runs are never mixed.
        """
        runs = [info for info in self._infos.values() if info.measure == measure]
        filled = [info for info in runs if self._tables[info.id]]
        good = [info for info in filled if info.status in ("running", "complete")]
        for candidates in (good, filled, runs):
            if candidates:
                return candidates[-1]
        return None

    def array(self, run: int, name: str) -> Array | None:
        """Return an array of a run, None when it has no such array."""
        fresh = self._fresh.get(run, {}).get(name)
        if fresh is not None:
            return fresh
        if name in self._stored.get(run, {}):
            return self._read_array(run, name)
        return None

    def has_array(self, run: int, name: str) -> bool:
        """Return whether a run has an array."""
        return name in self._fresh.get(run, {}) or name in self._stored.get(run, {})

    def array_names(self, run: int) -> Iterator[str]:
        """Yield the names of the arrays of a run."""
        stored = self._stored.get(run, {})
        yield from stored
        yield from (name for name in self._fresh.get(run, {}) if name not in stored)

    def fresh(self, run: int) -> dict[str, Array]:
        """Return the arrays of a run that no project file holds yet."""
        return self._fresh.get(run, {})

    # -- records -----------------------------------------------------------------

    def begin_record(
        self, measure: str, created: str, meta: Mapping[str, Any]
    ) -> Record:
        """Return the record that begins a run.

        Raises:
            AnalysisError: `meta` has a name that `RunInfo` does not know.
        """
        info = run_from_json(
            {"id": self._next, "measure": measure, "created": created, **meta}
        )
        return Record("begin", dataclasses.asdict(info))

    def rows_record(self, run: int, update: Update) -> Record:
        """Return the record of an update of a running run.

        Raises:
            AnalysisError: the run is not running, or an array cannot be kept.
        """
        info = self.info(run)
        if info.status != "running":
            raise AnalysisError(f"Run {run} has ended.", value=info.status)
        for name, array in update.arrays.items():
            check_array(name, array)
        rows = pack(update.rows)
        now = time.monotonic()
        seconds = info.seconds + now - self._clock.get(run, now)
        self._clock[run] = now
        data = {
            "run": run,
            "done": float(update.done),
            "total": float(update.total),
            "samples": int(update.samples),
            "warnings": list(update.warnings),
            "seconds": seconds,
            "targets": rows.targets,
            "formats": rows.formats,
            "quantities": rows.quantities,
            "parts": rows.parts,
        }
        arrays: dict[str, Array] = {
            "codes": rows.codes,
            "value": rows.value,
            "stderr": rows.stderr,
        }
        arrays |= {_ARRAY + name: array for name, array in update.arrays.items()}
        return Record("rows", data, arrays)

    def play(self, record: Record) -> str:
        """Apply a record and return the key of the measure it belongs to.

        Raises:
            AnalysisError: the record does not fit the runs that are there.
        """
        data = record.data
        try:
            if record.kind == "begin":
                info = run_from_json(data)
                self.put(info, ResultTable(self.layers), ())
                self.changed.add(info.id)
                self._clock[info.id] = time.monotonic()
                return info.measure
            run = int(data["run"])
            measure = self.info(run).measure
            if record.kind == "rows":
                self._add(run, record)
            elif record.kind == "status":
                self._set(run, status=str(data["status"]))
            elif record.kind == "delete":
                self._drop(run)
            else:
                raise AnalysisError(
                    "The journal holds an unknown record.", value=record.kind
                )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, AnalysisError):
                raise
            raise AnalysisError("A journal record is damaged.", value=error) from error
        return measure

    def put(self, info: RunInfo, table: ResultTable, stored: tuple[str, ...]) -> None:
        """Add a run as a project file or a record describes it."""
        self._infos[info.id] = info
        self._tables[info.id] = table
        self._stored[info.id] = dict.fromkeys(stored)
        self._fresh[info.id] = {}
        self._next = max(self._next, info.id + 1)
        self._versions[info.id] = 0

    def _add(self, run: int, record: Record) -> None:
        data, arrays = record.data, record.arrays
        info = self._infos[run]
        rows = PackedRows(
            tuple(data["targets"]),
            tuple(data["formats"]),
            tuple(data["quantities"]),
            tuple(data["parts"]),
            arrays["codes"],
            arrays["value"],
            arrays["stderr"],
        )
        self._tables[run].add(rows)
        fresh = {
            name.removeprefix(_ARRAY): array
            for name, array in arrays.items()
            if name.startswith(_ARRAY)
        }
        self._fresh[run] |= fresh
        warnings = dict.fromkeys((*info.warnings, *data["warnings"]))
        self._set(
            run,
            done=float(data["done"]),
            total=float(data["total"]),
            samples=max(info.samples, int(data["samples"])),
            seconds=float(data["seconds"]),
            warnings=tuple(warnings),
        )

    def _set(self, run: int, **values: Any) -> None:
        self._infos[run] = dataclasses.replace(self._infos[run], **values)
        if values.get("status") == "running":
            self._clock[run] = time.monotonic()
        self.changed.add(run)
        self._versions[run] += 1

    def _drop(self, run: int) -> None:
        del self._infos[run], self._tables[run], self._stored[run], self._fresh[run]
        self.changed.discard(run)
        self.deleted.add(run)

    def interrupt(self) -> None:
        """Mark runs whose process is gone."""
        for info in self.infos:
            if info.status == "running":
                self._set(info.id, status="interrupted")

    def committed(self) -> None:
        """Note that the project file now holds everything."""
        for run in self.changed:
            self._stored[run] |= dict.fromkeys(self._fresh[run])
            self._fresh[run] = {}
        self.changed.clear()
        self.deleted.clear()


class StoredArrays(Mapping[str, Array]):
    """The arrays of one run, read when asked for."""

    def __init__(self, runs: Runs, run: int) -> None:
        self._runs = runs
        self._run = run

    def __getitem__(self, name: str) -> Array:
        array = self._runs.array(self._run, name)
        if array is None:
            raise KeyError(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return self._runs.array_names(self._run)

    def __len__(self) -> int:
        return sum(1 for _ in self)
