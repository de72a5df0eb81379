"""What to measure: one thing alone, all but one, all up to one, one among others."""

from __future__ import annotations

import functools
import operator
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from analysis.data.batch import Batch, call
from analysis.measures.candidates import Candidates
from analysis.measures.context import RowKey
from analysis.measures.measuring import Measuring, Setting
from analysis.results import Part
from quant_core.scheme import Scheme
from quant_core.sites import Layer
from quant_core.tap import Listener, Tap, WeightUse

ALONE, ALL_BUT_ONE = "error", "all_but_one"
CUMULATIVE, AT_TARGET = "cumulative", "at_target"
"""Quantities: the error with one thing quantized; with all in its format but one; with
it and all before it; with all others in one scheme."""


@dataclass(frozen=True)
class Step:
    """One thing to measure: what differs from the setting of its group.

    Attributes:
        target: Layer or site that the row is for.
        format: Key of the scheme that the row is for.
        part: What was quantized.
        change: What differs.
        quantity: What its error is called.
    """

    target: str
    format: str
    part: Part
    change: Setting
    quantity: str = ALONE

    @property
    def row_key(self) -> RowKey:
        """Key of the row of its error."""
        return self.target, self.format, self.quantity, self.part


@dataclass(frozen=True)
class Group:
    """Steps that start from one setting, whose pass is recorded once per batch."""

    steps: Sequence[Step]
    base: Setting = field(default_factory=Setting)


def weight_steps(
    measuring: Measuring, broken: Mapping[str, Tensor], schemes: Sequence[Scheme]
) -> list[Step]:
    """Return a step for every layer in every scheme that fits it.

    Args:
        measuring: Gets warnings of the schemes that do not fit.
        broken: Parameters that get no result.
        schemes: What to try.
    """
    layers = [x for x in measuring.layers.values() if x.parameter not in broken]
    candidates = Candidates(layers, schemes)
    measuring.warnings += candidates.warnings
    return [
        Step(layer.name, scheme.key, "weight", Setting({layer.name: scheme}))
        for layer in layers
        for scheme in candidates.schemes_of(layer)
    ]


def input_steps(measuring: Measuring) -> list[Step]:
    """Return a step for every layer input in every scheme that was calibrated."""
    return [
        Step(name, one.scheme.key, "input", Setting(inputs={name: one}))
        for name, quantizers in measuring.quantizers.items()
        for one in quantizers
    ]


def groups_of(
    alone: Sequence[Step],
    wanted: Container[str],
    order: Sequence[str],
    target: Setting,
) -> list[Group]:
    """Return what is to be measured, in groups that share a recorded pass.

    Args:
        alone: A step for everything that may be quantized, the others float.
        wanted: Quantities.
        order: Names of layers and sites in the order in which they are used.
        target: What the others are quantized to for `at_target`.
    """
    groups = [Group(alone)] if ALONE in wanted else []
    if AT_TARGET in wanted:
        steps = [replace(step, quantity=AT_TARGET) for step in alone]
        groups.append(Group(steps, target))
    together: dict[tuple[str, Part], list[Step]] = {}
    for step in alone:
        together.setdefault((step.format, step.part), []).append(step)
    place = {name: number for number, name in enumerate(order)}
    for steps in together.values():
        # What is used in no known place may matter anywhere: it comes first.
        steps.sort(key=lambda step: place.get(step.target, -1))
        found = _without_one(steps) if ALL_BUT_ONE in wanted else []
        found += _up_to_one(steps) if CUMULATIVE in wanted else []
        if found:
            groups.append(Group(found, union(steps)))
    return groups


def _without_one(steps: Sequence[Step]) -> list[Step]:
    return [
        replace(step, change=_float(step.change), quantity=ALL_BUT_ONE)
        for step in steps
    ]


def _up_to_one(steps: Sequence[Step]) -> list[Step]:
    """Return steps that take back what is quantized behind each of them.

    So all of them start from one recorded pass, and run only what lies behind.
    """
    return [
        replace(step, change=_float(union(steps[number + 1 :])), quantity=CUMULATIVE)
        for number, step in enumerate(steps)
    ]


def union(steps: Iterable[Step]) -> Setting:
    """Return the changes of several steps together."""
    return functools.reduce(operator.or_, (step.change for step in steps), Setting())


def _float(setting: Setting) -> Setting:
    return Setting(dict.fromkeys(setting.weights), dict.fromkeys(setting.inputs))


def order_of_use(tap: Tap, batch: Batch) -> list[str]:
    """Return the names of the layers in the order in which their weights are used.

    Args:
        tap: On the network.
        batch: What to run it on.
    """
    found: dict[str, None] = {}

    class Uses(Listener):
        sees_weights = True

        def weight_used(self, use: WeightUse, result: Tensor) -> Tensor:
            found.setdefault(use.layer.name)
            return result

        def weight_needed(self, layer: Layer, parameter: Tensor) -> Tensor:
            found.setdefault(layer.name)
            return parameter

    with torch.no_grad(), tap.session(Uses()):
        call(tap.module, batch)
    return list(found)
