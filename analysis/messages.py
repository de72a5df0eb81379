"""What the window and its worker process say to each other, as plain data.

Jobs are described, not coded: a description travels to the worker process, or is
performed where it was made. Events come back, in the order in which they happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.runs import RunInfo
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme

if TYPE_CHECKING:
    from analysis.measures.context import RowKey
    from analysis.search.asked import Asked
    from analysis.search.problem import CostTable, SearchResult
    from analysis.search.trial import Refined

FORMATS = ("int2", "int3", "int4", "int5", "int6", "int8", "fp8_e4m3", "nf4")
"""Formats of the weights that are judged when none are named."""

EVALUATION = "evaluation"
"""Stands for the measure in the events of an `Evaluate` or a `Refine` job."""


# -- descriptions ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataRequest:
    """Which samples a job uses; see `analysis.data.load_data`."""

    source: str
    samples: int = 64
    seed: int = 0
    max_length: int = 64


@dataclass(frozen=True)
class Earlier:
    """A run that may be continued, or need not be repeated.

    Attributes:
        run: The run.
        done: Its rows by (target, format, quantity, part); empty when complete.
        arrays: Its arrays; empty when complete.
    """

    run: RunInfo
    done: Mapping[RowKey, Row] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Analyze:
    """Run measures, one after the other.

    Attributes:
        measures: Keys, in order; None for the usual ones that the model and data
            allow.
        schemes: Weight schemes to judge.
        input_schemes: Activation schemes to judge.
        params: Parameters of measures, by key and name.
        data: Calibration data.
        seed: Seed of every random draw.
        batch_size: Samples per forward call; 0 lets each measure choose.
        workers: Processes that share a measure that can be shared out.
        earlier: Runs to continue, by measure, from `earlier_runs`.
    """

    measures: tuple[str, ...] | None = None
    schemes: tuple[Scheme, ...] = tuple(Scheme(name) for name in FORMATS)
    input_schemes: tuple[Scheme, ...] = ()
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: DataRequest | None = None
    seed: int = 0
    batch_size: int = 0
    workers: int = 1
    earlier: Mapping[str, Earlier] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluate:
    """Run the network once with a whole assignment and compare its output."""

    assignment: Assignment
    data: DataRequest
    seed: int = 0
    batch_size: int = 0


@dataclass(frozen=True)
class Search:
    """Look for the best assignment within a budget; needs no model.

    Attributes:
        key: Key of the search ("exact").
        params: Its parameters.
        table: What every choice costs.
        budget: As the user wrote it ("bits<=4").
    """

    key: str
    table: CostTable
    budget: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refine:
    """Search, run the best candidates, and search again with what they showed.

    Attributes:
        asked: What to search for, and how much to run.
        data: What candidates are run on.
        batch_size: Samples per forward call; 0 for the usual number.
    """

    asked: Asked
    data: DataRequest
    batch_size: int = 0


Job = Analyze | Evaluate | Search | Refine


# -- events ------------------------------------------------------------------------


@dataclass(frozen=True)
class Traced:
    """A forward pass told sites and multiply-adds."""

    info: ModelInfo


@dataclass(frozen=True)
class Started:
    """A measure begins, or an evaluation.

    Attributes:
        measure: Its key.
        meta: Fields of `RunInfo`.
        run: Number of the run that is continued, None for a new one.
    """

    measure: str
    meta: Mapping[str, Any]
    run: int | None = None


@dataclass(frozen=True)
class Progress:
    """An update of the measure at work."""

    measure: str
    update: Update


@dataclass(frozen=True)
class Ended:
    """A measure came to its end."""

    measure: str


@dataclass(frozen=True)
class Found:
    """What a search found."""

    result: SearchResult


@dataclass(frozen=True)
class Tried:
    """A candidate was run; what it has come to so far."""

    refined: Refined


Event = Traced | Started | Progress | Ended | Found | Tried


# -- messages ----------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """The model is loaded.

    Attributes:
        info: What is known of it.
        can_run: Whether there is a network to run, not tensors alone.
        task: Key of the task, empty when not known yet.
    """

    info: ModelInfo
    can_run: bool
    task: str


@dataclass(frozen=True)
class Finished:
    """The job is over."""

    status: Literal["complete", "cancelled"]


@dataclass(frozen=True)
class Failed:
    """Opening or a job failed; the worker is ready for the next one.

    Attributes:
        error: `what`, `value`, `allowed`, `hint`.
        details: The traceback, for reports; empty for a mistake of the user.
        opening: Whether the model could not be opened.
        memory: Whether memory ran out, so that less at a time may do.
    """

    error: Mapping[str, str | None]
    details: str = ""
    opening: bool = False
    memory: bool = False


@dataclass(frozen=True)
class Died:
    """The worker process is gone; everything it sent is kept.

    Attributes:
        exit_code: Of the process; negative for a signal.
        error: What happened and what to do: `what`, `value`, `allowed`, `hint`.
        memory: Whether the system most likely ended it for want of memory.
    """

    exit_code: int | None
    error: Mapping[str, str | None]
    memory: bool = False


Message = Opened | Event | Finished | Failed | Died
