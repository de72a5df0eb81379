"""Long jobs in a script: results as they come, and recorded in a project.

The same jobs run under the command line's bar and in the worker process of the
window; there a `Recorder` puts the events that arrive into the project.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import error_picture
from analysis.errors import AnalysisError
from analysis.measures import NAMES
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
from analysis.perform import Events, perform
from analysis.project import EndStatus, Project
from analysis.search.trial import Score, score_of
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme, parse_scheme

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
    from analysis.search.trial import Trial


def earlier_runs(project: Project, keys: Sequence[str] = NAMES) -> dict[str, Earlier]:
    """Return what a resumed analysis may build on: the newest run of each measure."""
    found = {}
    for key in keys:
        runs = [run for run in project.runs if run.measure == key]
        if not runs or runs[-1].status == "running":
            continue
        run = runs[-1]
        if run.status == "complete":
            found[key] = Earlier(run)
        else:
            done, arrays = project.done_rows(run.id), dict(project.run_arrays(run.id))
            found[key] = Earlier(run, done, arrays)
    return found


def analysis_of_run(project: Project, run: int) -> Analyze:
    """Return the analysis that made a run; an unfinished one goes on.

    Args:
        project: Holds the run.
        run: Its number.

    Raises:
        AnalysisError: there is no such run, or it names an unknown scheme.
    """
    info = next((known for known in project.runs if known.id == run), None)
    if info is None:
        raise AnalysisError(
            "There is no such run.",
            value=run,
            allowed=", ".join(str(known.id) for known in project.runs) or "none",
        )
    params = dict(info.params)
    for name in ("version", "samples"):
        params.pop(name, None)
    schemes = params.pop("schemes", [])
    input_schemes = params.pop("input_schemes", [])
    length = int(params.pop("max_length", DataRequest("").max_length))
    data = None
    if info.data_source:
        samples = int(info.params.get("samples", info.samples))
        data = DataRequest(info.data_source, samples, info.seed, length)
    earlier = {}
    if info.status in ("cancelled", "failed", "interrupted"):
        done, arrays = project.done_rows(run), dict(project.run_arrays(run))
        earlier = {info.measure: Earlier(info, done, arrays)}
    return Analyze(
        (info.measure,),
        tuple(map(parse_scheme, schemes)),
        tuple(map(parse_scheme, input_schemes)),
        {info.measure: params},
        data,
        info.seed,
        earlier=earlier,
    )


def prediction_of_assigned(project: Project, run: int) -> Analyze | None:
    """Return a prediction made again with the schemes of the assignment it lacks.

    Args:
        project: Holds run and assignment.
        run: A prediction; its schemes, samples and parameters are taken over.

    Returns:
        None when it lacks none.

    Raises:
        AnalysisError: there is no such run, or it names an unknown scheme.
    """
    job, plan = analysis_of_run(project, run), project.assignment
    weights = [plan.palette[i] for i in np.unique(plan.weight)]
    inputs = [plan.palette[i] for i in np.unique(plan.input)] + [*plan.sites.values()]
    schemes = _joined(job.schemes, weights)
    input_schemes = _joined(job.input_schemes, inputs)
    if (schemes, input_schemes) == (job.schemes, job.input_schemes):
        return None
    return dataclasses.replace(
        job, schemes=schemes, input_schemes=input_schemes, earlier={}
    )


def _joined(
    known: tuple[Scheme, ...], others: Iterable[Scheme | None]
) -> tuple[Scheme, ...]:
    return (*known, *(x for x in dict.fromkeys(others) if x and x not in known))


class Recorder:
    """Puts the events of a job into a project.

    Args:
        project: Where results go.
        job: What runs; its assignment gets the score of an evaluation.

    Attributes:
        score: What an evaluation gave; None before.
    """

    def __init__(self, project: Project, job: Job) -> None:
        self._project = project
        self._job = job
        self._run: int | None = None
        self._evaluating: Mapping[str, Any] | None = None
        self.score: Score | None = None

    def take(self, event: Event) -> None:
        """Take over one event.

        Raises:
            AnalysisError: the project cannot be written; what was taken stays.
        """
        match event:
            case Traced(info):
                self._project.update_model(
                    dataclasses.replace(info, ties=self._project.info.ties)
                )
            case Started(measure, meta, run):
                if measure == EVALUATION:
                    self._evaluating = meta
                elif run is None:
                    self._run = self._project.begin_run(measure, **meta)
                else:
                    self._project.resume_run(run)
                    self._run = run
            case Progress(measure, update):
                if measure == EVALUATION:
                    self.score = score_of(update) or self.score
                elif self._run is not None:
                    self._project.apply(self._run, update)
            case Ended(measure):
                if measure == EVALUATION:
                    self._keep_score()
                else:
                    self.end("complete")
            case Tried(refined):
                self._keep_trial(refined.trials[-1])
            case Found():
                pass

    def end(self, status: EndStatus) -> None:
        """End the run at work, if any, with `status`.

        Raises:
            AnalysisError: the project cannot be written; nothing is lost.
        """
        run, self._run = self._run, None
        if run is None:
            return
        measure = next(x.measure for x in self._project.runs if x.id == run)
        if measure == error_picture.MEASURE:
            # Before the results are merged, so that they take the room that falls free.
            error_picture.prune_pictures(self._project)
        self._project.end_run(run, status)

    def _keep_score(self) -> None:
        meta = self._evaluating
        if self.score is None or meta is None or not isinstance(self._job, Evaluate):
            return
        self._project.record_measured(
            self._job.assignment,
            self.score.value,
            self.score.stderr,
            str(meta["unit"]),
            int(meta["samples"]),
            self.score.metrics,
        )

    def _keep_trial(self, trial: Trial) -> None:
        meta = self._evaluating
        assert meta is not None  # `Started` comes first
        self._project.record_measured(
            trial.assignment,
            trial.score.value,
            trial.score.stderr,
            str(meta["unit"]),
            trial.score.samples,
            trial.score.metrics,
        )


def recorded(
    project: Project, job: Job, model: LoadedModel | None, data: Data | None
) -> Events:
    """Perform a job here and now, recording its events as they pass by.

    Closed early, or ended by Ctrl-C, the run at work counts as cancelled; after an
    error as failed. What is finished stays either way.

    Args:
        project: Where results go; it must belong to `model`.
        job: What to do.
        model: The opened model.
        data: The data that `job.data` names.

    Raises:
        AnalysisError: another model, a read-only project, or the job fails.
    """
    if model is not None:
        project.check_model(model.info)
    recorder = Recorder(project, job)
    status: EndStatus = "failed"
    try:
        with closing(perform(job, model, data)) as events:
            for event in events:
                recorder.take(event)
                yield event
        status = "complete"
    except (GeneratorExit, KeyboardInterrupt):
        status = "cancelled"
        raise
    finally:
        recorder.end(status)


def analysis(
    measures: Sequence[str] | None = None,
    *,
    project: Project | None = None,
    schemes: Sequence[Scheme] | None = None,
    input_schemes: Sequence[Scheme] = (),
    params: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    batch_size: int = 0,
    workers: int = 1,
    request: DataRequest | None = None,
) -> Analyze:
    """Return the description of an analysis; see `analyze` for the arguments.

    Args:
        measures: Keys; None for the usual ones.
        project: Whose runs are continued; None begins anew.
        schemes: Weight schemes; None for one of each usual format.
        input_schemes: Activation schemes.
        params: Parameters of measures, by key and name.
        seed: Seed of every random draw.
        batch_size: Samples per forward call; 0 lets each measure choose.
        workers: Processes that share the measured error.
        request: How the data were asked for.
    """
    return Analyze(
        None if measures is None else tuple(measures),
        tuple(Scheme(name) for name in FORMATS) if schemes is None else tuple(schemes),
        tuple(input_schemes),
        params or {},
        request,
        seed,
        batch_size,
        workers,
        earlier_runs(project) if project is not None else {},
    )


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
    if project is None:
        events = perform(job, model, data)
    else:
        events = recorded(project, job, model, data)
    with closing(events):
        for event in events:
            if isinstance(event, Progress):
                yield event.measure, event.update


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
    if project is None:
        events = perform(job, model, data)
    else:
        events = recorded(project, job, model, data)
    with closing(events):
        for event in events:
            if isinstance(event, Progress):
                yield event.update
