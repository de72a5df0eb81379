"""Is the float model itself sound? Nothing else may be concluded before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import Case, Indices
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural

FLOAT_ERROR = 1e-6
"""Largest error of a run without quantizers. Float32 arithmetic that is repeated in
another order moves outputs by some 1e-7 of their size; a quantizer left on at 16 bits
would show as about 1e-9 to 1e-6, one at 8 bits as 1e-4 and more."""


@dataclass(frozen=True)
class NonFinite:
    """Layers or activations with NaN or infinite values.

    One of them makes every output NaN, and ranges that include an infinity have no
    step. Measures leave such tensors out, so their rows are missing from every total.
    """

    key: ClassVar[str] = "nonfinite"
    title: ClassVar[str] = "NaN or infinite values"

    def judge(self, case: Case) -> Verdict:
        """Look for layers that the measures refused."""
        weights = case.project.latest_run("weights")
        watched = case.project.latest_run("activations")
        looked = weights is not None and weights.status == "complete"
        if not looked and watched is None:
            return Missing("Run weights, or activations.")
        bad = _refused_weights(case) if looked else np.zeros(0, np.int64)
        kept = case.project.array("activations/refused")
        sites = [] if kept is None else [str(name) for name in kept]
        if not len(bad) and not sites:
            return ()
        index = {name: i for i, name in enumerate(case.names)}
        layers = [*bad.tolist(), *(index[s] for s in sites if s in index)]
        numbers = [Number("layers whose weights are not finite", len(bad))]
        if watched is not None:
            numbers.append(Number("activations that are not finite", len(sites)))
        first = f" Activations break first at {sites[0]}." if sites else ""
        runs = [run.id for run in (weights, watched) if run is not None]
        return (
            Finding(
                self.key,
                f"{plural(len(bad), 'layer')} and {plural(len(sites), 'activation')} "
                "hold NaN or infinite values",
                "problem",
                tuple(numbers),
                "A single NaN reaches every output behind it; the tensors named here "
                f"are missing from all results.{first}",
                "Repair the checkpoint, or load it in a type with a larger range "
                "(bfloat16 or float32 instead of float16), and analyse again.",
                tuple(dict.fromkeys(layers)),
                "layers",
                tuple(runs),
            ),
        )


def _refused_weights(case: Case) -> Indices:
    """Return the layers with weights of which a complete run has no row."""
    absmax = case.project.values("weights", None, "absmax")
    sized = np.array([layer.parameters > 0 for layer in case.assignment.layers], bool)
    return np.flatnonzero(sized & ~np.isfinite(absmax))


@dataclass(frozen=True)
class FloatIdentity:
    """The error of the model with every quantizer bypassed.

    Step 1 of the debugging flow of Nagel et al., "A White Paper on Neural Network
    Quantization", arXiv 2106.08295, section 3.7: it must be zero, or the pipeline
    changes the model before anything is quantized.
    """

    key: ClassVar[str] = "float_identity"
    title: ClassVar[str] = "Error without any quantizer"

    def judge(self, case: Case) -> Verdict:
        """Look at the measured error of the all-float assignment."""
        plan = case.assignment
        floats = plan.with_weight(range(len(plan)), None)
        floats = floats.with_input(range(len(plan)), None)
        for name in tuple(plan.sites):
            floats = floats.with_site(name, None)
        score = case.project.measured_of(floats)
        if score is None:
            return Missing("Measure the assignment that keeps every layer float.")
        value = float(score["value"])
        if abs(value) <= FLOAT_ERROR:
            return ()
        unit = str(score["unit"])
        number = Number("measured error in float", value, unit, float(score["stderr"]))
        return (
            Finding(
                self.key,
                f"The model differs from itself without quantizers: {number.text}",
                "problem",
                (number,),
                f"It must be below {FLOAT_ERROR:g}. More means that the model is not "
                "deterministic (dropout, sampling) or was changed before it was "
                "quantized.",
                "Put the model into evaluation mode and fix its random draws; believe "
                "no other number before this one is zero.",
            ),
        )
