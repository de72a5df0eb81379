"""What deployment tools can run: one table, used to grey out, constrain and check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quant_core.errors import QuantError
from quant_core.formats import FORMATS
from quant_core.granularity import group_count, group_size
from quant_core.scheme import Scheme
from quant_core.sites import Layer
from quant_core.ties import EXPERTS, GATE_UP, QKV, find_ties

Part = Literal["weight", "input", "output"]

_MATRICES = frozenset({"linear", "attention_projection", "experts"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One combination that a target can run.

    Attributes:
        formats: Format names.
        granularities: "tensor", "channel", "token" or "group" (with a size).
        group_sizes: Group sizes, empty for any.
        kinds: Kinds of layers (`Layer.kind`), None for all.
    """

    formats: tuple[str, ...]
    granularities: tuple[str, ...]
    group_sizes: tuple[int, ...] = ()
    kinds: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment tool or device, by what it can run.

    Attributes:
        name: Key in `TARGETS`.
        title: For menus.
        weights: Combinations for weights, of which one must fit.
        inputs: Combinations for activations.
        tie_kinds: Kinds of ties it imposes (`quant_core.ties.TIE_KINDS`).
    """

    name: str
    title: str
    weights: tuple[Rule, ...]
    inputs: tuple[Rule, ...]
    tie_kinds: tuple[str, ...] = ()

    def refuses(self, scheme: Scheme | None, layer: Layer, part: Part) -> str | None:
        """Return why the target cannot run this, or None if it can.

        Args:
            scheme: What is wanted; None (keep the stored float) is never refused.
            layer: The layer it is wanted for.
            part: "weight", or "input"/"output" for activations.
        """
        if scheme is None:
            return None
        weight = part == "weight"
        rules = self.weights if weight else self.inputs
        what = "weights" if weight else "activations"
        name, size = _granularity(scheme)
        rules = tuple(rule for rule in rules if scheme.format in rule.formats)
        if not rules:
            return f"{self.title} does not run {what} in {scheme.format}."
        fits = [r for r in rules if r.kinds is None or layer.kind in r.kinds]
        if not fits:
            kinds = sorted({kind for rule in rules for kind in rule.kinds or ()})
            return (
                f"{self.title} runs {scheme.format} {what} only for "
                f"{_listed(kinds)} layers, not {_plain(layer.kind)}."
            )
        if not FORMATS[scheme.format].scaled:
            return None
        same = [rule for rule in fits if name in rule.granularities]
        if not same:
            granularities = dict.fromkeys(
                g for rule in fits for g in rule.granularities
            )
            return (
                f"{self.title} runs {scheme.format} {what} per "
                f"{_listed(list(granularities))}, not per {name}."
            )
        if size is not None and not any(
            not rule.group_sizes or size in rule.group_sizes for rule in same
        ):
            sizes = sorted({n for rule in same for n in rule.group_sizes})
            return (
                f"{self.title} runs {scheme.format} in groups of "
                f"{_listed(list(map(str, sizes)))}, not {size}."
            )
        return _misfit(scheme, layer) if weight else None

    def ties(self, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Return the ties that this target imposes on layers of these names."""
        return find_ties(names, self.tie_kinds)


def _granularity(scheme: Scheme) -> tuple[str, int | None]:
    """Return the granularity without its size, and the size."""
    size = group_size(scheme.granularity)
    return (scheme.granularity, None) if size is None else ("group", size)


def _misfit(scheme: Scheme, layer: Layer) -> str | None:
    """Return why the layer's shape cannot be split as the scheme wants."""
    try:
        group_count(layer.shape, scheme.granularity, layer.channel_axes)
    except QuantError as error:
        return error.what
    return None


def _plain(kind: str) -> str:
    return kind.replace("_", " ")


def _listed(words: list[str]) -> str:
    """Return "a, b or c"."""
    words = [_plain(word) for word in words]
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


_EVERY = tuple(FORMATS)

_ALL_TARGETS = (
    Target(
        name="any",
        title="Any target",
        weights=(Rule(_EVERY, ("tensor", "channel", "group")),),
        inputs=(Rule(_EVERY, ("tensor", "token")),),
    ),
    Target(
        name="int8-symmetric",
        title="An int8 accelerator",
        weights=(Rule(("int8",), ("tensor", "channel")),),
        inputs=(Rule(("int8",), ("tensor",)),),
    ),
    Target(
        name="onnxruntime-cpu",
        title="ONNX Runtime on a CPU",
        weights=(
            Rule(("int8", "int8_asym", "uint8"), ("tensor", "channel")),
            # Blocks exist only in MatMulNBits, which multiplies by a matrix.
            Rule(
                ("int4", "int4_asym", "uint4", "int8", "uint8"),
                ("group",),
                (16, 32, 64, 128, 256),
                _MATRICES - {"experts"},
            ),
            Rule(
                ("int4", "int4_asym", "uint4"),
                ("tensor", "channel"),
                kinds=_MATRICES - {"experts"},
            ),
        ),
        inputs=(Rule(("uint8", "int8_asym", "int8"), ("tensor",)),),
    ),
    Target(
        name="vllm-like",
        title="A vLLM-like server",
        weights=(
            Rule(
                ("int4", "uint4", "int8"),
                ("channel", "group"),
                (32, 64, 128),
                _MATRICES,
            ),
            Rule(("int8", "fp8_e4m3"), ("tensor", "channel"), kinds=_MATRICES),
            Rule(("float16", "bfloat16"), ("tensor", "channel")),
        ),
        inputs=(Rule(("int8", "fp8_e4m3"), ("tensor", "token")),),
        tie_kinds=(QKV, GATE_UP, EXPERTS),
    ),
)

TARGETS: dict[str, Target] = {target.name: target for target in _ALL_TARGETS}
"""Name -> target, in the order the window shows them."""


def get_target(name: str) -> Target:
    """Return the target called `name`.

    Raises:
        QuantError: there is no such target.
    """
    if name not in TARGETS:
        raise QuantError(
            "There is no such target.", value=name, allowed=", ".join(TARGETS)
        )
    return TARGETS[name]
