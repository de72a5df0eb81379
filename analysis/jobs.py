"""Long jobs in a script: results as they come, and recorded in a project.

The same jobs run under the command line's bar and in the worker process of the
window; there a `Recorder` puts the events that arrive into the project.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from analysis.messages import (
    EVALUATION,
    FORMATS,
    Analyze,
    DataRequest,
    Earlier,
    Ended,
    Evaluate,
    Event,
    Found,
    Job,
    Progress,
    Refine,
    Search,
    Started,
    Traced,
    Tried,
)
from analysis.method import Update
from analysis.perform import perform
from analysis.project import Project
from analysis.recording import Recorder, recorded
from analysis.requests import (
    analysis,
    analysis_of_run,
    earlier_runs,
    prediction_of_assigned,
)
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme

__all__ = [
    "EVALUATION",
    "FORMATS",
    "Analyze",
    "DataRequest",
    "Earlier",
    "Ended",
    "Evaluate",
    "Event",
    "Found",
    "Job",
    "Progress",
    "Recorder",
    "Refine",
    "Search",
    "Started",
    "Traced",
    "Tried",
    "analysis",
    "analysis_of_run",
    "analyze",
    "earlier_runs",
    "evaluate",
    "perform",
    "prediction_of_assigned",
    "recorded",
]

if TYPE_CHECKING:
    from analysis.data.batch import Data
    from analysis.model import LoadedModel


def analyze(
    model: LoadedModel,
    data: Data | None = None,
    measures: Sequence[str] | None = None,
    *,
    project: Project | None = None,
    schemes: Sequence[Scheme] | None = None,
    input_schemes: Sequence[Scheme] = (),
    params: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    batch_size: int = 0,
    workers: int = 1,
    resume: bool = False,
    request: DataRequest | None = None,
) -> Generator[tuple[str, Update], None, None]:
    """Run measures on a model and yield (key of the measure, update).

    Args:
        model: The opened model.
        data: Calibration data; None runs the measures that need none.
        measures: Keys; None for the usual ones.
        project: Where results are recorded as they come; None keeps nothing.
        schemes: Weight schemes to judge; None for one of each usual format.
        input_schemes: Activation schemes to judge.
        params: Parameters of measures, by key and name.
        seed: Seed of every random draw.
        batch_size: Samples per forward call; 0 lets each measure choose.
        workers: Processes that share the measured error; each holds the model.
        resume: Continue runs of the project that were made with equal settings, and
            leave out those that are complete.
        request: How the data were asked for, kept with the runs.

    Raises:
        AnalysisError: an unknown measure or parameter, a measure that lacks what it
            needs, or a project that cannot be written.
    """
    job = analysis(
        measures,
        project=project if resume else None,
        schemes=schemes,
        input_schemes=input_schemes,
        params=params,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        request=request,
    )
    yield from _progress(project, job, model, data)


def evaluate(
    model: LoadedModel,
    data: Data,
    assignment: Assignment,
    *,
    project: Project | None = None,
    seed: int = 0,
    batch_size: int = 0,
) -> Generator[Update, None, None]:
    """Run the network with a whole assignment and yield updates.

    The last update holds the error as a row with quantity "error" and part "model",
    and metrics when the data have labels.

    Args:
        model: The opened model.
        data: Evaluation data.
        assignment: What to run.
        project: Where the score is recorded; None keeps nothing.
        seed: Seed of every random draw.
        batch_size: Samples per forward call; 0 for the usual number.

    Raises:
        AnalysisError: the assignment or project belongs to another model, or the
            model cannot run.
    """
    job = Evaluate(assignment, DataRequest(data.source), seed, batch_size)
    for _, update in _progress(project, job, model, data):
        yield update


def _progress(
    project: Project | None, job: Job, model: LoadedModel, data: Data | None
) -> Generator[tuple[str, Update], None, None]:
    """Perform a job, recorded where there is a project; yield what it finds."""
    if project is None:
        events = perform(job, model, data)
    else:
        events = recorded(project, job, model, data)
    with closing(events):
        for event in events:
            if isinstance(event, Progress):
                yield event.measure, event.update
