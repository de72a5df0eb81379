"""Measures, in the order the window and the command line list them.

The classes import torch, so the table is built on first use: the names of the
measures must be readable in processes that never run a model.
"""

from __future__ import annotations

from analysis.method import Measure

NAMES = (
    "weights",
    "activations",
    "predicted_error",
    "hessian",
    "hessian_eigenvalues",
    "hessian_spectrum",
    "fisher",
    "relevance",
    "tool_scores",
    "measured_error",
    "block_error",
    "error_map",
)
DEFAULT = ("weights", "activations", "predicted_error")


def measures() -> dict[str, type[Measure]]:
    """Return every measure class by its key."""
    from analysis.measures.activations import Activations
    from analysis.measures.block_error import BlockError
    from analysis.measures.error_map import ErrorMap
    from analysis.measures.fisher import Fisher
    from analysis.measures.hessian import Hessian
    from analysis.measures.hessian_eigenvalues import HessianEigenvalues
    from analysis.measures.hessian_spectrum import HessianSpectrum
    from analysis.measures.measured_error import MeasuredError
    from analysis.measures.predicted_error import PredictedError
    from analysis.measures.relevance import Relevance
    from analysis.measures.tool_scores import ToolScores
    from analysis.measures.weights import Weights

    classes: tuple[type[Measure], ...] = (
        Weights,
        Activations,
        PredictedError,
        Hessian,
        HessianEigenvalues,
        HessianSpectrum,
        Fisher,
        Relevance,
        ToolScores,
        MeasuredError,
        BlockError,
        ErrorMap,
    )
    return {cls.key: cls for cls in classes}
