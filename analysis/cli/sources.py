"""Opening the model and the data of a project again, as its runs saw them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analysis.cli.options import positive, seed
from analysis.errors import AnalysisError
from analysis.jobs import DataRequest
from analysis.requests import data_of_run

if TYPE_CHECKING:
    from analysis.cli.terminal import Terminal
    from analysis.data.batch import Data
    from analysis.model import LoadedModel
    from analysis.project import Project


def load_samples(request: DataRequest, model: LoadedModel) -> Data:
    """Return the samples asked for.

    Raises:
        AnalysisError: the data cannot be read or do not fit the model.
    """
    from analysis.data import load_data

    return load_data(
        request.source,
        model,
        samples=request.samples,
        seed=request.seed,
        max_length=request.max_length,
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose data and device.

    Their default is None: each command knows what stands in for them.
    """
    parser.add_argument(
        "--data",
        metavar="D",
        help="a file (.npz .npy .h5 .safetensors .txt .jsonl), a folder of images, "
        "package.module:callable, `example` or `random`",
    )
    parser.add_argument("--samples", type=positive, metavar="N", help="samples used")
    parser.add_argument("--seed", type=seed, metavar="S", help="seed of every draw")
    parser.add_argument(
        "--max-length", type=positive, metavar="N", help="longest text [tokens]"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="cpu, cuda ...; auto (default) takes a GPU where there is one",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=0,
        metavar="N",
        help="samples per forward call; default: chosen by the measure",
    )


def data_of(args: argparse.Namespace, project: Project | None) -> DataRequest | None:
    """Return the data asked for; what is not said is as in the project's runs.

    Args:
        args: With `data`, `samples`, `seed` and `max_length`, None where not given.
        project: Its latest run with data fills the gaps; None for a new project.

    Returns:
        None when neither the options nor the project name data.
    """
    known = DataRequest("")
    for run in project.runs if project is not None else ():
        known = data_of_run(run) or known
    request = DataRequest(
        known.source if args.data is None else args.data,
        known.samples if args.samples is None else args.samples,
        known.seed if args.seed is None else args.seed,
        known.max_length if args.max_length is None else args.max_length,
    )
    return request if request.source else None


def reopened(
    args: argparse.Namespace,
    terminal: Terminal,
    project: Project,
    request: DataRequest,
) -> tuple[LoadedModel, Data]:
    """Return the model of a project and the data of a request.

    Args:
        args: With `model`, where it is now, and `device`.
        terminal: Told what is read, and what is odd about it.
        project: Names the model, and the task of its last run.
        request: The data.

    Raises:
        AnalysisError: the model is another one, or the data cannot be read.
    """
    from analysis.load import load

    tasks = [run.task for run in project.runs if run.task]
    model = load(
        args.model or project.info.source,
        device=check_device(args.device),
        task=tasks[-1] if tasks else "auto",
    )
    project.check_model(model.info)
    terminal.note(f"reading {request.source}")
    data = load_samples(request, model)
    for warning in data.warnings:
        terminal.warn(warning)
    return model, data


def check_device(name: str) -> str:
    """Return the name of a device that can be computed on.

    Raises:
        AnalysisError: torch does not know it, or it is not there.
    """
    import torch

    if name == "auto":
        return name
    try:
        # `meta` has no values to compute with.
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        # The first line says it; the rest lists backends or a C++ trace.
        said = str(error).splitlines()[0].rstrip(".")
        raise AnalysisError(
            f"The device cannot be used: {said}.",
            value=name,
            allowed="auto, cpu, or a device that `quantscope doctor` lists",
        ) from error
    return name
