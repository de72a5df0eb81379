"""What a network takes: names, types and shapes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Kind = Literal["float", "int", "bool"]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a network.

    Attributes:
        name: Keyword, or a name for messages when `keyword` is False.
        kind: Type of its values.
        shape: Shape of one sample, sample axis left out; None where free.
        keyword: Passed by name rather than by position.
        high: First token id or index that is too large; None without a limit.
        optional: The network runs without it (`attention_mask`).
    """

    name: str
    kind: Kind
    shape: tuple[int | None, ...]
    keyword: bool = False
    high: int | None = None
    optional: bool = False


def spec_of(name: str, sample: torch.Tensor, *, keyword: bool = False) -> InputSpec:
    """Return the spec of an example input `[samples, ...]`."""
    import torch

    kind: Kind = "float"
    if sample.dtype == torch.bool:
        kind = "bool"
    elif not sample.is_floating_point():
        kind = "int"
    return InputSpec(name, kind, tuple(sample.shape[1:]), keyword)


def random_inputs(
    specs: Sequence[InputSpec], free: int = 16
) -> Callable[[int, int], Inputs]:
    """Return a function `(samples, seed) -> (args, kwargs)` of random inputs.

    Floats are standard normal, integers uniform below `high` (2 when unknown:
    indices 0 and 1 exist in nearly every table), masks all true.

    Args:
        specs: Inputs of the network.
        free: Length given to free axes.
    """

    def draw(samples: int, seed: int) -> Inputs:
        import torch

        generator = torch.Generator().manual_seed(seed)
        args: list[torch.Tensor] = []
        kwargs: dict[str, torch.Tensor] = {}
        for spec in specs:
            shape = (samples, *(free if n is None else n for n in spec.shape))
            if spec.kind == "bool" or spec.name.endswith("attention_mask"):
                kind = torch.bool if spec.kind == "bool" else torch.int64
                value = torch.ones(shape, dtype=kind)
            elif spec.kind == "int":
                high = 2 if spec.high is None else spec.high
                value = torch.randint(high, shape, generator=generator)
            else:
                value = torch.randn(shape, generator=generator)
            if spec.keyword:
                kwargs[spec.name] = value
            else:
                args.append(value)
        return tuple(args), kwargs

    return draw
