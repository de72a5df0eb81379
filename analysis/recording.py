"""Events of jobs, put into a project as they come."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from analysis import error_picture
from analysis.messages import (
    EVALUATION,
    Ended,
    Evaluate,
    Event,
    Found,
    Job,
    Progress,
    Started,
    Traced,
    Tried,
)
from analysis.perform import Events, perform
from analysis.project import EndStatus, Project
from analysis.search.trial import Score, score_of

if TYPE_CHECKING:
    from analysis.data.batch import Data
    from analysis.model import LoadedModel
    from analysis.search.trial import Trial


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
        if self._project.run_info(run).measure == error_picture.MEASURE:
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
