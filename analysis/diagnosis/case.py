"""The evidence on one assignment: readings of a project that several rules need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.diagnosis.channels import ChannelFacts
from quant_core.scheme import parse_scheme

if TYPE_CHECKING:
    from analysis.prediction import Prediction
    from analysis.project import Project
    from analysis.runs import RunInfo
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Part = Literal["weight", "input"]

MEASURE = "predicted_error"
REFERENCE_BITS = 4.0
"""Width at which a model is judged while nothing is quantized: the widest choice of
published mixed-precision results lies there, and every common format exists."""


@dataclass(frozen=True)
class Case:
    """One assignment of a project, with everything rules ask about it.

    While the assignment keeps every tensor float, layers are judged in a reference
    scheme: the analysed one nearest to `REFERENCE_BITS`.

    Attributes:
        project: Where results are read.
        assignment: What is judged.
        channels: Channel ranges, read once.
    """

    project: Project
    assignment: Assignment
    channels: ChannelFacts

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(layer.name for layer in self.assignment.layers)

    @cached_property
    def run(self) -> RunInfo | None:
        """The run of the predicted error that stands for the measure."""
        return self.project.latest_run(MEASURE)

    @cached_property
    def run_ids(self) -> tuple[int, ...]:
        """The number of that run, as findings name it."""
        return () if self.run is None else (self.run.id,)

    @property
    def unit(self) -> str:
        """Unit of the predicted error."""
        return "" if self.run is None else self.run.unit

    @cached_property
    def weight_keys(self) -> tuple[str, ...]:
        """Weight schemes with a predicted error, in their first order."""
        return self.project.formats(MEASURE, "error", "weight")

    @cached_property
    def input_keys(self) -> tuple[str, ...]:
        """Input schemes with a predicted error, in their first order."""
        return self.project.formats(MEASURE, "error", "input")

    # -- what is judged ------------------------------------------------------------

    @cached_property
    def is_float(self) -> bool:
        """Whether the assignment quantizes nothing."""
        plan = self.assignment
        return not (plan.weight.any() or plan.input.any() or plan.sites)

    @cached_property
    def reference(self) -> Scheme | None:
        """The scheme that stands in for float, None before a prediction."""
        schemes = [parse_scheme(key) for key in self.weight_keys]
        return min(schemes, key=lambda s: abs(s.bits - REFERENCE_BITS), default=None)

    @cached_property
    def judged(self) -> Assignment:
        """The assignment, or the reference scheme everywhere while all is float."""
        if not self.is_float or self.reference is None:
            return self.assignment
        return self.uniform(self.reference)

    @cached_property
    def judged_as(self) -> str:
        """How a sentence names what is judged."""
        if not self.is_float or self.reference is None:
            return "this assignment"
        return f"every layer in {self.reference.key}"

    def uniform(self, scheme: Scheme, *, keep_locked: bool = False) -> Assignment:
        """Return the assignment with every analysed layer's weights in one scheme.

        Layers that its group size does not divide stay as they are.

        Args:
            scheme: One with predicted errors.
            keep_locked: Whether locked layers stay as they are.
        """
        mask = np.isfinite(self.project.values(MEASURE, scheme.key))
        mask &= np.isfinite(self.assignment.weight_bits_in(scheme))
        if keep_locked:
            mask &= ~self.assignment.locked
        return self.assignment.with_weight(mask, scheme)

    # -- errors --------------------------------------------------------------------

    def errors(self, plan: Assignment, part: Part) -> tuple[Floats, Floats]:
        """Return what each layer adds to the predicted error of a plan.

        Args:
            plan: An assignment of this model.
            part: Weights or inputs.

        Returns:
            Values `[layers]` in `unit`, 0 where float and NaN where not analysed, and
            their standard errors.
        """
        choice = plan.weight if part == "weight" else plan.input
        value, stderr = np.zeros(len(choice)), np.zeros(len(choice))
        for entry in np.unique(choice):
            scheme = plan.palette[entry]
            if scheme is None:
                continue
            here = choice == entry
            asked = (MEASURE, scheme.key, "error", part)
            value[here] = self.project.values(*asked)[here]
            stderr[here] = self.project.stderrs(*asked)[here]
        return value, stderr

    @cached_property
    def own(self) -> Floats:
        """Predicted error of each layer in what is judged, weights and inputs."""
        parts: tuple[Part, ...] = ("weight", "input")
        total = np.zeros(len(self.judged))
        for part in parts:
            total += np.nan_to_num(self.errors(self.judged, part)[0])
        return total

    @cached_property
    def prediction(self) -> Prediction | None:
        """Predicted error of what is judged."""
        return self.project.predict(self.judged)

    def input_scheme(self) -> Scheme | None:
        """Return the input scheme used or, where none is, the first analysed one."""
        used = np.flatnonzero(self.assignment.input)
        if len(used):
            return self.assignment.input_of(int(used[0]))
        return parse_scheme(self.input_keys[0]) if self.input_keys else None

    # -- helpers -------------------------------------------------------------------

    def worst(self, indices: Iterable[int] | Indices) -> tuple[int, ...]:
        """Return layers by falling predicted error."""
        chosen = np.asarray(
            indices if isinstance(indices, np.ndarray) else list(indices),
            dtype=np.int64,
        )
        order = np.argsort(-self.own[chosen], kind="stable")
        return tuple(chosen[order].tolist())

    def noise_apart(self, first: Prediction, second: Prediction) -> bool:
        """Return whether two predictions differ by more than their error bars.

        Two standard errors of the difference, taken as independent; predictions from
        the same samples vary together, so that this errs on the side of silence.
        """
        bar = 2 * float(np.hypot(first.stderr, second.stderr))
        return not abs(first.value - second.value) <= bar
