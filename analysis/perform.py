"""Performing a job: measures, evaluations and searches as streams of events."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.measures import DEFAULT, NAMES, measures
from analysis.messages import (
    EVALUATION,
    Analyze,
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
from analysis.method import Update, describe_params
from analysis.model import ModelInfo
from analysis.runs import RunInfo
from quant_core.errors import QuantError
from quant_core.granularity import group_count

if TYPE_CHECKING:
    from analysis.data.batch import Data
    from analysis.measures.context import MeasureContext
    from analysis.method import Measure
    from analysis.model import LoadedModel
    from analysis.search.problem import SearchResult
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme
    from quant_core.sites import Layer

Events = Generator[Event, None, None]


@dataclass(frozen=True)
class _Step:
    """One measure with everything it needs, checked before anything runs."""

    measure: Measure
    context: MeasureContext
    meta: Mapping[str, Any]
    run: int | None


def perform(job: Job, model: LoadedModel | None, data: Data | None) -> Events:
    """Yield the events of a job; closing it early restores the model.

    Args:
        job: What to do.
        model: The opened model; only a `Search` does without.
        data: The data that `job.data` names.

    Raises:
        AnalysisError: the job cannot be done as asked; says why and what to do.
    """
    if isinstance(job, Search):
        yield Found(_searched(job))
        return
    if model is None:
        raise AnalysisError("No model is open.")
    if isinstance(job, Evaluate):
        yield from _evaluated(job, model, data)
        return
    if isinstance(job, Refine):
        yield from _refined(job, model, data)
        return
    steps = _steps(job, model, data)
    if data is not None and model.module is not None and not model.info.sites:
        model.info = trace(model, data)
        yield Traced(model.info)
    for step in steps:
        key = step.measure.key
        yield Started(key, step.meta, step.run)
        if data is not None and data.warnings and step.measure.needs_data:
            yield Progress(key, Update(0, 1, "", warnings=data.warnings))
        with _closing(_updates(step, job.workers)) as updates:
            for update in updates:
                yield Progress(key, update)
        yield Ended(key)


def check(job: Analyze, model: LoadedModel, data: Data | None) -> None:
    """Refuse an analysis that cannot be done as asked, before anything is written.

    Raises:
        AnalysisError: as `perform` would; says why and what to do.
    """
    _steps(job, model, data)


def _updates(step: _Step, workers: int) -> Iterator[Update]:
    """Return the updates of a measure, shared out where it can be.

    The worker process of the window may not have processes of its own.
    """
    alone = workers <= 1 or multiprocessing.current_process().daemon
    if alone or not getattr(step.measure, "shareable", False):
        from analysis.measures.derivable import checked

        return checked(step.measure, step.context)
    from analysis.measures.sharing import shared

    return shared(step.measure, step.context, workers)


@contextmanager
def _closing(updates: Iterator[Update]) -> Iterator[Iterator[Update]]:
    """Close a measure here and now, not when the collector comes by.

    So the model is restored before anything else happens to it.
    """
    try:
        yield updates
    finally:
        if isinstance(updates, Generator):
            updates.close()


def _steps(job: Analyze, model: LoadedModel, data: Data | None) -> list[_Step]:
    """Return the measures to run, without those that ran with equal settings."""
    from analysis.measures.context import MeasureContext

    _check_schemes(job, model)
    steps = []
    for measure in _chosen(job, model, data):
        used = data if measure.needs_data else None
        context = MeasureContext(
            model,
            used,
            job.schemes,
            job.input_schemes,
            _device(model),
            job.seed,
            job.batch_size,
        )
        if measure.needs_data:
            context.need_run(measure.title)
        meta = _meta(job, measure, context)
        earlier = job.earlier.get(measure.key)
        run = None
        if earlier is not None and _is_same(earlier.run, meta):
            if earlier.run.status == "complete":
                continue
            run = earlier.run.id
            context.done, context.arrays = earlier.done, earlier.arrays
        steps.append(_Step(measure, context, meta, run))
    return steps


def _check_schemes(job: Analyze, model: LoadedModel) -> None:
    """Refuse schemes in which there would not be a single result.

    Raises:
        QuantError: which one, and what it lacks; or the model has no layer at all.
    """
    if not model.info.layers:
        raise AnalysisError(
            "The model has no layer that could be quantized.",
            value=model.info.name,
            allowed="a model with a parameter of two or more dimensions",
            hint="`quantscope layers MODEL` lists what it has.",
        )
    for scheme in job.input_schemes:
        scheme.check_as_input()
    for scheme in job.schemes:
        refusals = (_refusal(scheme, layer) for layer in model.info.layers)
        first = next(refusals, None)
        if first is not None and all(error is not None for error in refusals):
            raise AnalysisError(
                f"{scheme.key} fits no layer of the model: {first.what}",
                value=scheme.key,
                allowed=first.allowed,
                hint=first.hint,
            ) from first


def _refusal(scheme: Scheme, layer: Layer) -> QuantError | None:
    """Return why a layer's weights cannot be stored so, None if they can."""
    try:
        group_count(layer.shape, scheme.granularity, layer.channel_axes)
    except QuantError as error:
        return error
    return None


def _chosen(job: Analyze, model: LoadedModel, data: Data | None) -> list[Measure]:
    """Return the measures asked for, made with their parameters."""
    classes = measures()
    keys = job.measures
    if keys is None:
        can_run = data is not None and model.module is not None and model.task
        keys = tuple(k for k in DEFAULT if can_run or not classes[k].needs_data)
    unknown = [k for k in (*keys, *job.params) if k not in classes]
    if unknown or not keys:
        raise AnalysisError(
            "There is no such measure.",
            value=", ".join(unknown) or "none given",
            allowed=", ".join(NAMES),
        )
    made = []
    for key in dict.fromkeys(keys):
        try:
            made.append(classes[key](**job.params.get(key, {})))
        except TypeError as error:
            fields = [info.name for info in describe_params(classes[key])]
            raise AnalysisError(
                f"{key} has no such parameter.",
                value=", ".join(set(job.params[key]) - set(fields)),
                allowed=", ".join(fields) or "none",
            ) from error
    return made


def _meta(job: Analyze, measure: Measure, context: MeasureContext) -> dict[str, Any]:
    """Return what is kept of how a run was made."""
    data, task = context.data, context.task
    fields = [info.name for info in describe_params(type(measure))]
    params: dict[str, Any] = {name: getattr(measure, name) for name in fields}
    params["version"] = measure.version
    params["schemes"] = [scheme.key for scheme in job.schemes]
    if data is not None:
        params["input_schemes"] = [scheme.key for scheme in job.input_schemes]
        params["samples"] = len(data)
        if job.data is not None:
            params["max_length"] = job.data.max_length
    # Only errors are in the unit of the task; statistics of tensors have none.
    is_error = task is not None and measure.needs_data and measure.better == "lower"
    unit = measure.unit or (task.unit if task is not None and is_error else "")
    return {
        "unit": unit,
        "better": measure.better,
        "seed": job.seed,
        "params": params,
        "data_source": data.source if data is not None else "",
        "data_digest": data.digest if data is not None else "",
        "task": task.key if measure.needs_data and task else "",
    }


def _is_same(run: RunInfo, meta: Mapping[str, Any]) -> bool:
    """Return whether a run was made with these settings, so that it may go on."""
    names = ("seed", "params", "data_digest", "task", "unit")
    return all(getattr(run, name) == meta[name] for name in names)


def trace(model: LoadedModel, data: Data) -> ModelInfo:
    """Return `model.info` with the sites and multiply-adds of one forward pass."""
    import torch

    from analysis.data.batch import call
    from analysis.measures.evaluating import evaluating
    from quant_core.tap import Tap

    assert model.module is not None
    size = int(model.input_hints.get("batch_size") or 1)
    batch = next(data.batches(size)).to(_device(model))
    module = model.module
    with evaluating(module), torch.no_grad():
        sites, layers = Tap(module).trace(lambda: call(module, batch), batch.size)
    macs = {layer.parameter: layer.macs for layer in layers}
    known = tuple(
        dataclasses.replace(layer, macs=macs.get(layer.parameter, layer.macs))
        for layer in model.info.layers
    )
    return dataclasses.replace(model.info, layers=known, sites=sites)


def _device(model: LoadedModel) -> str:
    """Return where the network is."""
    if model.module is not None:
        for tensor in model.module.parameters():
            return str(tensor.device)
    return "cpu"


def _evaluated(job: Evaluate, model: LoadedModel, data: Data | None) -> Events:
    from analysis.measures.context import MeasureContext
    from analysis.measures.measured_error import MeasuredError

    _check_made_for(job.assignment, model)
    context = MeasureContext(
        model, data, (), (), _device(model), job.seed, job.batch_size
    )
    _, data, task = context.need_run("An evaluation")
    yield Started(EVALUATION, {"unit": task.unit, "samples": len(data)})
    with _closing(MeasuredError().whole(context, job.assignment)) as updates:
        for update in updates:
            yield Progress(EVALUATION, update)
    yield Ended(EVALUATION)


def _check_made_for(assignment: Assignment, model: LoadedModel) -> None:
    """Refuse an assignment of another model.

    Raises:
        AnalysisError: names both.
    """
    if assignment.model_digest not in ("", model.info.digest):
        raise AnalysisError(
            "The assignment was made for another model.",
            value=assignment.model_name,
            allowed=model.info.name,
        )


def _refined(job: Refine, model: LoadedModel, data: Data | None) -> Events:
    from analysis.measures.context import MeasureContext
    from analysis.measures.expansion import expanding
    from analysis.measures.measured_error import MeasuredError
    from analysis.search.meet import meet
    from analysis.search.refine import refine

    _check_made_for(job.asked.base, model)
    context = MeasureContext(
        model, data, (), (), _device(model), batch_size=job.batch_size
    )
    _, data, task = context.need_run("Running candidates")
    yield Started(EVALUATION, {"unit": task.unit, "samples": len(data)})
    run = MeasuredError().repeatedly(context)
    if job.asked.keep is None:
        steps = refine(job.asked, run, expanding(context, job.asked.plan.probes))
    else:
        steps = meet(job.asked, run)
    with closing(steps):
        for step in steps:
            if isinstance(step, Update):
                yield Progress(EVALUATION, step)
            else:
                yield Tried(dataclasses.replace(step, data=data.digest))
    yield Ended(EVALUATION)


def _searched(job: Search) -> SearchResult:
    from analysis.search import solve

    return solve(job.table, job.budget, job.key, job.params)
