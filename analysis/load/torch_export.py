"""Loader of programs that `torch.export.save` wrote (`.pt2`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.load.base import Loader, Options
from analysis.load.export_checks import check_archive
from analysis.load.inputs import Inputs, InputSpec, spec_of
from analysis.model import LoadedModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_DYNAMIC = (
    "To choose freely, export it with a free batch axis: torch.export.export("
    "model, args, dynamic_shapes=({0: torch.export.Dim.AUTO}, ...))."
)


def _accepts(source: str) -> bool:
    return source.endswith(".pt2")


def _open(source: str, options: Options) -> LoadedModel:
    """Check the archive, load the program, keep the types it was exported with."""
    from analysis.load.network import open_network

    path = Path(source)
    check_archive(path)
    program = _load(path)
    module = program.module(check_guards=False)
    specs, batch = _specs(program)
    notes = _notes(program)
    if batch is not None:
        notes += (f"The program runs on exactly {batch} samples at a time. {_DYNAMIC}",)
    # Types are written into the program, so raising those of the parameters alone
    # would break it.
    model = open_network(
        module,
        source,
        path.stem,
        replace(options, dtype="stored"),
        specs=specs,
        notes=notes,
        samples=batch or 2,
    )
    model.info = replace(model.info, architecture="")
    if batch is not None:
        model.input_hints["batch_size"] = batch
    return model


def _load(path: Path) -> ExportedProgram:
    import torch

    try:
        return torch.export.load(str(path))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise AnalysisError(
            f"torch could not read the program: {lines[0].rstrip('.')}.",
            value=path,
            allowed=f"programs that torch {torch.__version__} can read",
            hint="Programs are tied to the release of torch that wrote them, and to "
            "the libraries whose output types they return: export it again.",
        ) from error


def _specs(program: ExportedProgram) -> tuple[tuple[InputSpec, ...], int | None]:
    """Return the inputs, and the number of samples when it is fixed."""
    import torch

    users = set(program.graph_signature.user_inputs)
    values: list[tuple[str, Any]] = [
        (node.name, node.meta.get("val"))
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in users
    ]
    keywords = set(_example(program)[1])
    specs: list[InputSpec] = []
    batch: int | None = None
    for name, value in values:
        if not isinstance(value, torch.Tensor) or not value.dim():
            return (), None
        # Free axes are SymInt here, which torch declares as int.
        free = tuple(n if type(n) is int else None for n in value.shape)
        batch = free[0] if batch is None else batch
        spec = spec_of(name, value, keyword=name in keywords)
        specs.append(replace(spec, shape=free[1:], high=_vocabulary(program, name)))
    return tuple(specs), batch


def _example(program: ExportedProgram) -> Inputs:
    return program.example_inputs or ((), {})


def _vocabulary(program: ExportedProgram, name: str) -> int | None:
    """Return the length of the table that an input indexes, if any."""
    for node in program.graph.nodes:
        if str(node.target).startswith("aten.embedding"):
            table, indices = node.args[:2]
            if indices.name == name:
                return int(table.meta["val"].shape[0])
    return None


def _notes(program: ExportedProgram) -> tuple[str, ...]:
    """Return a warning about operations that were exported in training mode."""
    active: dict[str, Any] = {}
    for node in program.graph.nodes:
        op = str(node.target)
        if op.startswith("aten.dropout") and node.args[2]:
            active["dropout"] = node
        if op.startswith("aten.batch_norm") and node.args[5]:
            active["batch_norm"] = node
    if not active:
        return ()
    return (
        f"The program was exported in training mode ({', '.join(active)}): its output "
        "is not that of the trained network. Call model.eval() before exporting.",
    )


LOADER = Loader("torch_export", "a .pt2 program", _accepts, _open)
