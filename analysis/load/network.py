"""Opening a network that exists already: factories, programs and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.load.base import Options, place
from analysis.load.digest import digest_of_module
from analysis.load.inputs import Inputs, InputSpec, random_inputs, spec_of
from analysis.model import LoadedModel, ModelInfo

if TYPE_CHECKING:
    import torch
    from torch import nn


def open_network(
    module: nn.Module,
    source: str,
    name: str,
    options: Options,
    example: Inputs | None = None,
    specs: tuple[InputSpec, ...] = (),
    notes: tuple[str, ...] = (),
    samples: int = 2,
) -> LoadedModel:
    """Return a network as an opened model.

    Args:
        module: The network.
        source: What the user gave.
        name: Short name.
        options: Type, device and task.
        example: Example inputs `(args, kwargs)`, if known.
        specs: Inputs, where they are known better than by the example.
        notes: Sentences for the user.
        samples: Samples of the trial call that shows what the network returns.
    """
    from analysis.load.hf_inputs import hints_of
    from analysis.tasks.choose import choose_task
    from quant_core.layers import layers_of
    from quant_core.ties import find_ties

    layers, unlisted = layers_of(module)  # before types are raised
    digest = digest_of_module(module)
    stored = {layer.parameter: layer.dtype for layer in layers}
    module = place(module, options)
    hints: dict[str, Any] = {}
    if not specs and example is not None:
        specs = _specs_of(module, *example)
    if not specs and _is_transformers(module):
        hints, specs = hints_of(module)
    hints["inputs"] = specs
    keywords = [spec.name for spec in specs if spec.keyword]
    if keywords:
        hints.setdefault("input_name", keywords[0])
    draw = random_inputs(specs) if specs else None
    architecture = type(module).__name__
    output = _try(module, draw, samples, options.device)
    info = ModelInfo(
        name=name,
        source=source,
        digest=digest,
        layers=layers,
        unlisted=unlisted,
        ties=find_ties([layer.name for layer in layers]),
        architecture=architecture,
        notes=notes,
    )
    task = choose_task(module, architecture, output, key=options.task)
    reader = _reader(module, stored)
    return LoadedModel(info, module, reader, task, None, draw, hints)


def _is_transformers(module: nn.Module) -> bool:
    config = getattr(module, "config", None)
    return hasattr(config, "model_type") and hasattr(config, "get_text_config")


def _specs_of(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[InputSpec, ...]:
    import torch

    tensors = [*args, *kwargs.values()]
    if not tensors or not all(isinstance(t, torch.Tensor) and t.dim() for t in tensors):
        raise AnalysisError(
            "Example inputs must be tensors with a sample axis.",
            value=", ".join(type(t).__name__ for t in tensors) or "nothing",
            allowed="a tensor, a tuple of tensors, or a dict of tensors by keyword",
        )
    names = [f"input {i}" for i in range(len(args))]
    vocabulary = _vocabulary(module)
    specs = [spec_of(name, x) for name, x in zip(names, args, strict=True)]
    specs += [spec_of(name, x, keyword=True) for name, x in kwargs.items()]
    return tuple(
        InputSpec(s.name, s.kind, s.shape, s.keyword, vocabulary)
        if s.kind == "int"
        else s
        for s in specs
    )


def _vocabulary(module: nn.Module) -> int | None:
    """Return the length of the only embedding table; None when it is not certain."""
    from torch import nn

    tables = [m for m in module.modules() if isinstance(m, nn.Embedding)]
    return tables[0].num_embeddings if len(tables) == 1 else None


def _try(
    module: nn.Module,
    draw: Callable[[int, int], Inputs] | None,
    samples: int,
    device: str,
) -> Any:
    """Return the output for random inputs, or None when they do not fit."""
    import torch

    if draw is None:
        return None
    args, kwargs = draw(samples, 0)
    try:
        with torch.no_grad():
            return module(
                *(a.to(device) for a in args),
                **{k: v.to(device) for k, v in kwargs.items()},
            )
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise AnalysisError(
            f"The network does not run on inputs like its example: "
            f"{type(error).__name__}: {error}.",
            allowed="example inputs [samples, ...] whose sample axis may change",
        ) from error


def _reader(
    module: nn.Module, stored: Mapping[str, str]
) -> Callable[[str], torch.Tensor]:
    """Return a reader of parameters in the type they had before they were raised."""
    import torch

    parameters = dict(module.named_parameters())

    def read(name: str) -> torch.Tensor:
        if name not in parameters:
            raise AnalysisError(
                "The network has no parameter of this name.", value=name
            )
        value = parameters[name].detach().cpu()
        return value.to(getattr(torch, stored[name])) if name in stored else value

    return read
