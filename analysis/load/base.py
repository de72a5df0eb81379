"""What every loader is: a test whether a source is its own, and a way to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analysis.errors import AnalysisError
from analysis.model import LoadedModel

if TYPE_CHECKING:
    from torch import nn

DtypeChoice = Literal["float32", "stored"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to open a model; see `analysis.load.load`."""

    headers_only: bool = False
    dtype: DtypeChoice = "float32"
    device: str = "cpu"
    task: str = "auto"


@dataclass(frozen=True, slots=True)
class Loader:
    """One kind of source.

    Attributes:
        key: Short name ("hf_folder").
        accepts_text: What the user gives, for error messages and help.
        accepts: Tells whether a source is of this kind.
        open: Opens it.
    """

    key: str
    accepts_text: str
    accepts: Callable[[str], bool]
    open: Callable[[str, Options], LoadedModel]


def place(module: nn.Module, options: Options) -> nn.Module:
    """Return the network in eval mode, of the asked type, on the asked device.

    Raises:
        AnalysisError: the device does not exist here.
    """
    import torch

    try:
        device = torch.device(options.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise AnalysisError(
            "The device cannot be used here.",
            value=options.device,
            allowed="cpu" + ", cuda" * torch.cuda.is_available(),
        ) from error
    # Exported programs have no modes: theirs was fixed when they were exported.
    if not isinstance(module, torch.fx.GraphModule):
        module = module.eval()
    if options.dtype == "float32":
        _upcast(module)
    return module.to(device)


def _upcast(module: nn.Module) -> None:
    import torch

    low = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
    tensors = [*module.parameters(), *module.buffers()]
    if any(t.dtype in low for t in tensors):
        module.float()
