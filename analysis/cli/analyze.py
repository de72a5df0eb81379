"""Run measures on a model and keep the results in a project.

MODEL is a Hugging Face folder, a .safetensors file, a .pt2 program,
package.module:callable or example:NAME. Without --data only measures of the weights
can run. Ctrl-C keeps what is finished; the same command with --resume continues, and
leaves out what is complete.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import jobs
from analysis.cli.codes import DONE, INTERRUPTED
from analysis.cli.doctor import memory
from analysis.cli.jobs import drive
from analysis.cli.options import (
    add_method_options,
    comma_list,
    method_params,
    positive,
)
from analysis.cli.projects import opened
from analysis.cli.sources import (
    add_data_options,
    check_device,
    data_of,
    load_samples,
)
from analysis.cli.terminal import Progress, Terminal
from analysis.errors import AnalysisError
from analysis.measures import DEFAULT, NAMES, measures
from analysis.model import refuse_other_layers
from analysis.perform import check
from analysis.project import Project, RunInfo
from analysis.project_file import refuse_foreign
from quant_core.scheme import Scheme, parse_scheme

if TYPE_CHECKING:
    from analysis.model import LoadedModel


FLOAT_BYTES = 4
"""Bytes per weight of a network opened for work: lower types are raised."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command, with those of every measure."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "-o", "--output", metavar="P.qscope", required=True, help="the project"
    )
    add_data_options(parser)
    parser.add_argument(
        "--measures",
        type=comma_list,
        metavar="A,B",
        help=f"of {', '.join(NAMES)}; default: {', '.join(DEFAULT)}, as far as the "
        "model and the data allow",
    )
    parser.add_argument(
        "--formats",
        type=comma_list,
        metavar="F,G",
        help="weight formats, such as int4, int4/group(64) or int8/channel/mse; "
        f"default: {', '.join(jobs.FORMATS)}",
    )
    parser.add_argument(
        "--input-formats",
        type=comma_list,
        metavar="F,G",
        help="formats of activations, per tensor unless said; default: none",
    )
    parser.add_argument(
        "--task",
        metavar="T",
        help="how outputs are compared (kl, mse, cosine); default: by the model, or "
        "with --resume as before",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="processes that share the measured error, to the same numbers; each "
        "holds the model (default 1)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the project if it exists, and add what it lacks",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the project if it exists"
    )
    for measure in measures().values():
        add_method_options(parser, measure)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Analyse, or continue to."""
    path = Path(args.output)
    check_target(path, args)
    schemes = read_schemes(args.formats, "channel")
    input_schemes = read_schemes(args.input_formats, "tensor")
    params = {
        key: found
        for key, measure in measures().items()
        if (found := method_params(args, measure))
    }
    check_methods(args.measures, params)
    if path.exists() and args.resume:
        with opened(str(path), terminal, write=True) as project:
            params = remembered_params(project, params)
            schemes = schemes or remembered_schemes(project, "schemes")
            inputs = input_schemes or remembered_schemes(project, "input_schemes")
            return _analyze(args, terminal, project, (schemes, inputs, params))
    return _analyze(args, terminal, None, (schemes, input_schemes, params))


Choices = tuple[
    tuple[Scheme, ...] | None,
    tuple[Scheme, ...] | None,
    Mapping[str, Mapping[str, Any]],
]


def _analyze(
    args: argparse.Namespace,
    terminal: Terminal,
    project: Project | None,
    choices: Choices,
) -> int:
    request = data_of(args, project)
    task = args.task or (remembered_task(project) if project else "auto")
    model = open_model(args, task, with_data=request is not None)
    if project is not None:
        project.check_model(model.info)
        refuse_other_layers(model.info, project.info)
    if model.module is not None:
        for note in model.info.notes:
            terminal.warn(note)
    data = None
    if request is not None and model.module is not None:
        terminal.note(f"reading {request.source}")
        data = load_samples(request, model)
    elif args.data is not None and not args.measures:
        terminal.warn(
            f"{model.info.name} was opened without a network to run, so --data is not "
            "used. A folder with its config.json can be run."
        )
    schemes, inputs, params = choices
    job = jobs.analysis(
        args.measures,
        project=project if args.resume else None,
        schemes=schemes,
        input_schemes=inputs or (),
        params=params,
        seed=request.seed if request is not None else args.seed or 0,
        batch_size=args.batch_size,
        workers=args.workers,
        request=request,
    )
    # Whatever can be refused is, before a project is replaced.
    check(job, model, data)
    if project is None:
        project = Project.create(model.info, args.output, overwrite=args.overwrite)
    report = Report(terminal)
    with project:
        events = jobs.recorded(project, job, model, data)
        complete = drive(events, report.take)
        report.close(complete)
        if request is None and args.measures is None:
            terminal.note("Without --data only the measure `weights` was run.")
        _summary(args, terminal, project, complete)
    return DONE if complete else INTERRUPTED


def check_target(path: Path, args: argparse.Namespace) -> None:
    """Refuse a project that exists, before anything slow begins.

    Raises:
        AnalysisError: name clash, a file that is no project, or no such folder.
    """
    if args.resume and args.overwrite:
        raise AnalysisError(
            "A project is either continued or replaced.",
            value="--resume --overwrite",
            allowed="one of the two",
        )
    if path.is_dir():
        raise AnalysisError(
            "A project is a file, and this is a folder.",
            value=path,
            allowed="the name of a new file, such as m.qscope",
        )
    if path.exists() and not (args.resume or args.overwrite):
        raise AnalysisError(
            "The project exists already.",
            value=path,
            allowed="--resume to continue it or add measures, --overwrite to replace "
            "it, or another name",
        )
    refuse_foreign(path)
    if not path.absolute().parent.is_dir():
        raise AnalysisError(
            "The folder of the project does not exist.",
            value=path.absolute().parent,
            hint="Create it first.",
        )


def check_methods(
    keys: list[str] | None, params: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse unknown measures and parameters out of range.

    Raises:
        AnalysisError: what is wrong, and what is allowed.
    """
    classes = measures()
    for key in keys or ():
        if key not in classes:
            raise AnalysisError(
                "There is no such measure.", value=key, allowed=", ".join(NAMES)
            )
    for key, values in params.items():
        classes[key](**values)
        if keys is not None and key not in keys:
            raise AnalysisError(
                "This option belongs to a measure that is not run.",
                value=f"--{key}.{next(iter(values))}",
                hint=f"Add {key} to --measures, or leave it out.",
            )


def read_schemes(
    texts: list[str] | None, granularity: str
) -> tuple[Scheme, ...] | None:
    """Return the schemes written in an option, each once; None when not given.

    Raises:
        QuantError: one of them is unknown.
    """
    if not texts:
        return None
    return tuple(dict.fromkeys(parse_scheme(text, granularity) for text in texts))


def remembered_schemes(project: Project, name: str) -> tuple[Scheme, ...] | None:
    """Return the schemes that the newest run of a project was asked for."""
    for run in reversed(project.runs):
        if run.params.get(name):
            return tuple(parse_scheme(key) for key in run.params[name])
    return None


def remembered_params(
    project: Project, given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return parameters as in the newest run of each measure, `given` ones first."""
    found: dict[str, dict[str, Any]] = {key: dict(v) for key, v in given.items()}
    for key, measure in measures().items():
        runs = [run for run in project.runs if run.measure == key]
        if runs:
            names = [f.name for f in dataclasses.fields(measure)]  # type: ignore[arg-type]
            old = {n: v for n, v in runs[-1].params.items() if n in names}
            found[key] = {**old, **found.get(key, {})}
    return found


def remembered_task(project: Project) -> str:
    """Return the task of the newest run that had one, "auto" without any."""
    tasks = [run.task for run in project.runs if run.task]
    return tasks[-1] if tasks else "auto"


def open_model(args: argparse.Namespace, task: str, *, with_data: bool) -> LoadedModel:
    """Open the model; without its network where that is not needed and too large.

    Raises:
        AnalysisError: it cannot be opened; why.
    """
    from analysis.load import load

    classes = measures()
    keys = args.measures or [k for k in DEFAULT if with_data or k == "weights"]
    device = check_device(args.device)
    if not any(classes[key].needs_data for key in keys):
        model = load(args.model, headers_only=True, device=device, task=task)
        if model.module is not None or not fits_memory(model):
            # Tensors are read one by one; layer names are those of the checkpoint.
            return model
    return load(args.model, device=device, task=task)


def fits_memory(model: LoadedModel) -> bool:
    """Return whether the network can be built with room to work in.

    Also where the available memory is not known: then nothing speaks against it.
    """
    _, available = memory()
    return available is None or FLOAT_BYTES * model.info.parameters < available / 2


class Report:
    """Shows the updates of an analysis, one progress bar per measure."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._measure = ""
        self._bar: Progress | None = None
        self._samples = 0
        self._told: set[str] = set()

    def take(self, event: jobs.Event) -> None:
        """Show one update."""
        if not isinstance(event, jobs.Progress):
            return
        measure, update = event.measure, event.update
        if measure != self._measure or self._bar is None:
            self.close(True)
            self._measure, self._samples = measure, 0
            self._bar = Progress(self._terminal, measure)
        for warning in update.warnings:
            # Several measures may say the same of the data.
            if warning not in self._told:
                self._told.add(warning)
                self._bar.clear()
                self._terminal.warn(warning)
        self._samples = max(self._samples, update.samples)
        self._bar.update(update.done, update.total, update.note)

    def close(self, complete: bool) -> None:
        """End the bar at work."""
        if self._bar is not None:
            samples = f", {self._samples} samples" if self._samples else ""
            self._bar.close(("done" if complete else "interrupted") + samples)
        self._bar = None


def _summary(
    args: argparse.Namespace, terminal: Terminal, project: Project, complete: bool
) -> None:
    shown = [run for key in NAMES if (run := project.latest_run(key)) is not None]
    terminal.result(
        {
            "project": str(args.output),
            "model": {
                "name": project.info.name,
                "digest": project.info.digest,
                "notes": list(project.info.notes),
            },
            "complete": complete,
            "runs": [_describe(project, run) for run in shown],
        }
    )
    ran = ", ".join(f"{run.measure} ({run.status})" for run in shown)
    terminal.say(f"{args.output}: {project.info.name}, {ran or 'no results yet'}")
    if not complete:
        terminal.note("Interrupted; the same command with --resume continues.")


def _describe(project: Project, run: RunInfo) -> dict[str, object]:
    return {
        "measure": run.measure,
        "status": run.status,
        "unit": run.unit,
        "samples": run.samples,
        "rows": len(project.rows(run.measure, run.id)),
        "seconds": run.seconds,
        "warnings": list(run.warnings),
    }
