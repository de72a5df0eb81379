"""What a measure will cost, in forward passes, told before it runs.

A forward pass is one without gradients over all calibration samples. The laws count
passes as the measures make them, a backward pass as two forward ones; that is right
to a factor of about two, and better where the network is large. What a run did cost
is told by `analysis.quality`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.described import measures_described

BACKWARD = 2.0
"""Forward passes that a backward pass takes."""
BEHIND = 0.6
"""Share of the network that lies behind a layer: what measuring it runs again."""
PRODUCT = 2 * BACKWARD
"""Forward passes of a product with the matrix of curvature: there and back again."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is analysed.

    Attributes:
        layers: Layers of the model.
        formats: Number formats of the weights.
        inputs: Number formats of the inputs.
        samples: Calibration samples.
    """

    layers: int
    formats: int
    inputs: int
    samples: int


@dataclass(frozen=True, slots=True)
class Expense:
    """An estimate.

    Attributes:
        passes: Forward passes over all samples; 0 for measures of the tensors alone.
        is_limit: Whether the run may well end sooner.
    """

    passes: float
    is_limit: bool = False

    @property
    def text(self) -> str:
        """The estimate as a form says it.

        >>> Expense(9.0).text, Expense(1040.0, True).text, Expense(0.0).text
        ('about 9 forward passes', 'at most 1,000 forward passes', 'no forward pass')
        """
        if not self.passes:
            return "no forward pass"
        rounded = float(f"{self.passes:.2g}")
        bound = "at most" if self.is_limit else "about"
        return f"{bound} {rounded:,.0f} forward passes"


def expense(measure: str, params: Mapping[str, Any], work: Workload) -> Expense | None:
    """Return what a measure will cost, None where no law is known.

    Args:
        measure: Its key.
        params: Parameters that differ from the defaults.
        work: What is analysed.

    Example:
        >>> expense("fisher", {"draws": 2}, Workload(36, 8, 1, 64))
        Expense(passes=5.0, is_limit=False)
    """
    law, method = _LAWS.get(measure), measures_described().get(measure)
    if law is None or method is None:
        return None
    values = {info.name: info.default for info in method.parameters}
    return law({**values, **params}, work)


def _none(_values: Mapping[str, Any], _work: Workload) -> Expense:
    return Expense(0.0)


def _activations(_values: Mapping[str, Any], _work: Workload) -> Expense:
    return Expense(2.0)


def _predicted(values: Mapping[str, Any], work: Workload) -> Expense:
    # The rounding errors of a layer's formats are projected on every gradient.
    formats = (work.formats + work.inputs) / 4
    passes = 1 + values["probes"] * (BACKWARD + formats)
    return Expense(passes, values["precision"] > 0)


def _hessian(values: Mapping[str, Any], work: Workload) -> Expense:
    probes, early = values["probes"], values["precision"] > 0
    if values["estimator"] == "hutch++":
        return Expense(work.layers * probes * PRODUCT, True)
    if values["operator"] == "ggn":
        return Expense(1 + BACKWARD * probes, early)
    return Expense((1 + BACKWARD) + probes * PRODUCT, early)


def _eigenvalues(values: Mapping[str, Any], work: Workload) -> Expense:
    passes = work.layers * values["products"] * PRODUCT * _share(values, work)
    return Expense(passes, True)


def _spectrum(values: Mapping[str, Any], work: Workload) -> Expense:
    products = values["starts"] * values["products"]
    return Expense(products * PRODUCT * _share(values, work))


def _share(values: Mapping[str, Any], work: Workload) -> float:
    """Return the share of the samples that a measure with its own limit uses."""
    return min(1.0, float(values["samples"]) / max(work.samples, 1))


def _fisher(values: Mapping[str, Any], _work: Workload) -> Expense:
    draws = 1 if values["labels"] == "data" else values["draws"]
    return Expense(1 + BACKWARD * draws, values["precision"] > 0)


def _relevance(values: Mapping[str, Any], _work: Workload) -> Expense:
    # Rules take about half as long again as the gradient they replace.
    again = (1 + BACKWARD) * values["gradient"]
    return Expense(1 + 1.5 * BACKWARD + again)


def _tool_scores(_values: Mapping[str, Any], _work: Workload) -> Expense:
    return Expense(3.0)


def _measured(values: Mapping[str, Any], work: Workload) -> Expense:
    inside = sum(scope in values["scopes"] for scope in ("local", "accumulated"))
    steps = (
        work.layers * (work.formats + work.inputs) * (len(values["scopes"]) - inside)
    )
    return Expense(1.0 + BEHIND * steps + inside * work.formats)


def _blocks(values: Mapping[str, Any], work: Workload) -> Expense:
    whole, rest = divmod(work.layers, values["most"])
    subsets = whole * (2 ** values["most"] - 1) + 2**rest - 1
    return Expense(1.0 + BEHIND * subsets, True)


_LAWS: Mapping[str, Callable[[Mapping[str, Any], Workload], Expense]] = {
    "weights": _none,
    "activations": _activations,
    "predicted_error": _predicted,
    "hessian": _hessian,
    "hessian_eigenvalues": _eigenvalues,
    "hessian_spectrum": _spectrum,
    "fisher": _fisher,
    "relevance": _relevance,
    "tool_scores": _tool_scores,
    "measured_error": _measured,
    "block_error": _blocks,
    "error_map": _none,
}
