"""Opening models: `load(source)` for everything the program understands."""

from __future__ import annotations

from pathlib import Path

from analysis.errors import AnalysisError
from analysis.load import example, factory, hf_folder, safetensors_file, torch_export
from analysis.load.base import DtypeChoice, Options
from analysis.load.headers import refuse_pickle
from analysis.model import LoadedModel

LOADERS = (
    example.LOADER,
    hf_folder.LOADER,
    safetensors_file.LOADER,
    torch_export.LOADER,
    factory.LOADER,
)
"""Every kind of source, in the order in which they are asked."""


def load(
    source: str,
    *,
    headers_only: bool = False,
    dtype: DtypeChoice = "float32",
    device: str = "auto",
    task: str = "auto",
) -> LoadedModel:
    """Open a model.

    Args:
        source: A Hugging Face folder, a `.safetensors` or `.pt2` file,
            `package.module:callable` or `example:NAME`.
        headers_only: Read names and shapes only: no network is built and torch is
            not imported (for a `.pt2` program and a factory there is no such way;
            they are opened whole).
        dtype: `float32` raises lower types to float32, the type in which errors are
            computed best; `stored` keeps them. `info.layers` tell the stored type
            in both cases.
        device: Where the network is placed: "cpu", "cuda", or "auto" for a GPU where
            there is one.
        task: Key of `analysis.tasks.TASKS`, or "auto" for the model's own.

    Returns:
        The model, its network in eval mode.

    Raises:
        AnalysisError: the source cannot be opened; says why and what to do.
    """
    if dtype not in ("float32", "stored"):
        raise AnalysisError("dtype is unknown.", value=dtype, allowed="float32, stored")
    source = str(source)
    allowed = ", ".join(loader.accepts_text for loader in LOADERS)
    if not source.strip():
        # A path would take it for the folder one stands in.
        raise AnalysisError("No model was named.", value=source, allowed=allowed)
    if device == "auto":
        device = "cpu" if headers_only else _best_device()
    options = Options(headers_only, dtype, device, task)
    path = Path(source)
    for loader in LOADERS:
        if not loader.accepts(source):
            continue
        is_path = loader in (safetensors_file.LOADER, torch_export.LOADER)
        if is_path and not path.is_file():
            break
        return loader.open(source, options)
    if not path.exists():
        raise AnalysisError(
            "There is no such file, folder or example.",
            value=source,
            allowed=allowed,
            hint=f"Check the spelling; a relative path starts at {Path.cwd()}.",
        )
    refuse_pickle(path)
    raise AnalysisError(
        "The file is of a kind that is not opened.", value=source, allowed=allowed
    )


def _best_device() -> str:
    """Return "cuda" where torch has a GPU to compute on, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
