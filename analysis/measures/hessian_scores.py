"""Scores per format: a curvature of each layer times its squared rounding error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.measures.candidates import Candidates
from analysis.measures.context import MeasureContext
from analysis.method import Row, Update
from quant_core.sites import Layer


class HawqScores:
    """Squared rounding errors `||Q(W) - W||^2` of every layer in every scheme.

    Args:
        context: Whose schemes.
        layers: The layers to judge.
        parameters: Weights by parameter name.

    Attributes:
        warnings: Schemes that do not fit some layers.
    """

    def __init__(
        self,
        context: MeasureContext,
        layers: Sequence[Layer],
        parameters: Mapping[str, Tensor],
    ) -> None:
        self._layers, self._parameters = layers, parameters
        self._candidates = Candidates(layers, context.schemes)
        self._squares: dict[str, list[tuple[str, float]]] = {}
        self.warnings = self._candidates.warnings

    def prepare(self) -> Iterator[Update]:
        """Quantize every layer once, one at a time."""
        for layer in self._layers:
            schemes = self._candidates.schemes_of(layer)
            if not schemes:
                continue
            deltas = self._candidates.deltas(layer, self._parameters[layer.parameter])
            norms = torch.linalg.vector_norm(deltas.flatten(1), dim=1)
            keys = [scheme.key for scheme in schemes]
            squares = norms.double().square().tolist()
            self._squares[layer.name] = list(zip(keys, squares, strict=True))
            yield Update(0, 1, f"rounding error of {layer.name}")

    def rows(
        self,
        quantity: str,
        curvature: NDArray[np.float64],
        stderr: NDArray[np.float64],
        layers: Sequence[Layer] | None = None,
    ) -> list[Row]:
        """Return `curvature * ||Q(W) - W||^2` for every layer and scheme.

        Args:
            quantity: What the rows are called.
            curvature: `[layers]`, unit of the loss per squared weight.
            stderr: Its standard errors.
            layers: The layers they belong to; all by default.
        """
        return [
            Row(layer.name, key, value * square, error * square, quantity)
            for layer, value, error in zip(
                self._layers if layers is None else layers,
                curvature.tolist(),
                stderr.tolist(),
                strict=True,
            )
            for key, square in self._squares.get(layer.name, ())
        ]
