"""Reading a source, matching it to the inputs of a model, choosing samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from analysis.data import (
    SOURCES,
    arrays_file,
    bundled,
    function,
    image_folder,
    json_lines,
    text_file,
)
from analysis.data.batch import Batch, Data, call
from analysis.data.checks import check_length, check_values
from analysis.data.h5_file import read_h5
from analysis.data.match import match
from analysis.data.request import Found, Request
from analysis.errors import AnalysisError
from analysis.load.headers import PICKLES
from analysis.model import LoadedModel
from analysis.tasks.choose import choose_task
from analysis.tasks.kl import Kl

_FILES: dict[str, Callable[[Path, Request], Found]] = {
    ".npz": arrays_file.read_npz,
    ".npy": arrays_file.read_npy,
    ".h5": read_h5,
    ".hdf5": read_h5,
    ".safetensors": arrays_file.read_safetensors,
    ".txt": text_file.read_text,
    ".jsonl": json_lines.read_jsonl,
}


def read_data(
    source: str, model: LoadedModel, *, samples: int, seed: int, max_length: int
) -> Data:
    """Return checked samples; see `analysis.data.load_data`."""
    if samples < 0 or max_length < 1:
        raise AnalysisError(
            "The number of samples or the length of texts is out of range.",
            value=f"samples {samples}, max_length {max_length}",
            allowed="samples at least 0 (0 keeps all), max_length at least 1",
        )
    request = Request(str(source), model, samples, seed, max_length)
    found = _read(request)
    args, kwargs, labels = match(found, request)
    count = check_length([*args, *kwargs.values()], labels)
    keep, warnings = _choose(count, request)
    args = tuple(a[keep] for a in args)
    kwargs = {name: value[keep] for name, value in kwargs.items()}
    labels = None if labels is None else labels[keep]
    check_values(args, kwargs, request.specs)
    warnings = (*found.warnings, *warnings)
    data = Data(args, kwargs, labels, request.source, "", warnings)
    data = replace(data, digest=_digest(data))
    _try_first(data, model)
    return data


def _choose(count: int, request: Request) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return the samples to keep, and what to tell about their number."""
    keep = request.choose(count)
    warnings: tuple[str, ...] = ()
    if request.samples > count:
        warnings = (f"{count} samples were found, {request.samples} were asked for.",)
    fixed = int(request.model.input_hints.get("batch_size", 1))
    whole = _whole_batches(keep, fixed)
    if len(whole) < len(keep):
        warnings += (f"{len(whole)} samples are used: multiples of {fixed} alone fit.",)
    return whole, warnings


def _whole_batches(keep: torch.Tensor, fixed: int) -> torch.Tensor:
    """Return the samples that fill calls of exactly `fixed` samples.

    Raises:
        AnalysisError: there are too few for one call.
    """
    if len(keep) < fixed:
        raise AnalysisError(
            f"The program runs on exactly {fixed} samples at a time; these are fewer.",
            value=f"{len(keep)} samples",
            allowed=f"multiples of {fixed}",
            hint="Give more samples, or export the program with a free batch axis.",
        )
    return keep[: len(keep) // fixed * fixed]


def _read(request: Request) -> Found:
    source, path = request.source, Path(request.source)
    if source == "example":
        return bundled.read_example(request)
    if source == "random":
        return bundled.draw_random(request)
    if path.is_dir():
        return image_folder.read_images(path, request)
    reader = _FILES.get(path.suffix.lower())
    if reader is None and function.is_target(source) and not path.exists():
        return function.read_callable(request)
    if not path.exists():
        raise AnalysisError(
            "There is no such data file.", value=source, allowed=", ".join(SOURCES)
        )
    if reader is None:
        pickled = path.suffix.lower() in PICKLES
        raise AnalysisError(
            "Pickled data are not opened: reading them can run code."
            if pickled
            else "The data are of a kind that is not read.",
            value=source,
            allowed=", ".join(SOURCES),
            hint="Write the arrays with numpy.savez and give the .npz file.",
        )
    try:
        return reader(path, request)
    except OSError as error:
        raise AnalysisError(
            f"The data file cannot be read: {error.strerror or error}.", value=path
        ) from error


def _digest(data: Data) -> str:
    """Return sha256 of names, types, shapes and all values."""
    total = hashlib.sha256(b"quantscope-data-1")
    named: list[tuple[str, torch.Tensor]] = [
        (str(i), value) for i, value in enumerate(data.args)
    ]
    named += sorted(data.kwargs.items())
    if data.labels is not None:
        named.append(("labels", data.labels))
    for name, value in named:
        total.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        total.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _try_first(data: Data, model: LoadedModel) -> None:
    """Run the first samples, so that a misfit is told now and not inside a job."""
    module = model.module
    if module is None:
        return
    # Two samples: a network may squeeze an axis of one.
    size = int(model.input_hints.get("batch_size", 2))
    batch = next(data.take(size).batches(size))
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    raw = _run(module, batch.to(device), model.input_hints.get("max_positions"))
    if model.task is None:
        model.task = choose_task(module, model.info.architecture, raw)
    if data.labels is not None and isinstance(model.task, Kl):
        model.task.check_labels(model.task.output(raw, batch), data.labels)


def _run(module: torch.nn.Module, batch: Batch, positions: int | None) -> Any:
    try:
        with torch.no_grad():
            return call(module, batch)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        names = [f"input {i}" for i in range(len(batch.args))]
        given = dict(zip(names, batch.args, strict=True)) | dict(batch.kwargs)
        ids = given.get("input_ids")
        # Only now: networks with relative positions may run on longer sequences.
        is_long = positions is not None and ids is not None and ids.shape[1] > positions
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AnalysisError(
            f"The network does not run on the data: {reason[0].rstrip('.')}.",
            value=", ".join(
                f"{name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
                for name, value in given.items()
            ),
            allowed=f"sequences of at most {positions} tokens" if is_long else None,
            hint="Shape and type of one sample must be those of the network's input.",
        ) from error
