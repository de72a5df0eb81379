"""Descriptions of analyses: from what is asked, and from what a project holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.measures import NAMES
from analysis.messages import FORMATS, Analyze, DataRequest, Earlier
from analysis.project import Project
from analysis.runs import RunInfo
from quant_core.scheme import Scheme, parse_scheme


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
    """Return the description of an analysis; see `analysis.jobs.analyze`.

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


_NOT_PARAMS = ("version", "schemes", "input_schemes", "samples", "max_length")
"""What `RunInfo.params` holds besides the parameters of the measure."""


def data_of_run(run: RunInfo) -> DataRequest | None:
    """Return the data that a run saw, None for a run without."""
    if not run.data_source:
        return None
    samples = int(run.params.get("samples", run.samples))
    length = int(run.params.get("max_length", DataRequest("").max_length))
    return DataRequest(run.data_source, samples, run.seed, length)


def analysis_like(run: RunInfo) -> Analyze:
    """Return the analysis that made a run, from the beginning.

    Args:
        run: Holds its settings.

    Raises:
        QuantError: it names an unknown scheme.
    """
    params = {key: run.params[key] for key in run.params if key not in _NOT_PARAMS}
    schemes = run.params.get("schemes", [])
    input_schemes = run.params.get("input_schemes", [])
    return Analyze(
        (run.measure,),
        tuple(map(parse_scheme, schemes)),
        tuple(map(parse_scheme, input_schemes)),
        {run.measure: params} if params else {},
        data_of_run(run),
        run.seed,
    )


def analysis_of_run(project: Project, run: int) -> Analyze:
    """Return the analysis that made a run; an unfinished one goes on.

    Args:
        project: Holds the run.
        run: Its number.

    Raises:
        AnalysisError: there is no such run, or it names an unknown scheme.
    """
    info = project.run_info(run)
    earlier = {}
    if info.status in ("cancelled", "failed", "interrupted"):
        done, arrays = project.done_rows(run), dict(project.run_arrays(run))
        earlier = {info.measure: Earlier(info, done, arrays)}
    return dataclasses.replace(analysis_like(info), earlier=earlier)


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
