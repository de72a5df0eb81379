"""The columns of the projections V: which layer or site in which scheme each is."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.measures.candidates import Candidates
from analysis.measures.input_quantizers import InputQuantizer
from analysis.method import Row
from quant_core.sites import Layer, Site

_Part = Literal["weight", "input", "output"]


@dataclass(frozen=True)
class ProbeColumns:
    """What each column of V is.

    Attributes:
        weights: First column of a layer's weights by its name; its schemes follow.
        sites: Columns of an activation with their quantizers, by the site's name.
        table: Part, layer or site, and scheme of every column.
    """

    weights: dict[str, int]
    sites: dict[str, list[tuple[int, InputQuantizer]]]
    table: list[tuple[_Part, str, str]]

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        candidates: Candidates,
        quantizers: Mapping[Site, Sequence[InputQuantizer]],
    ) -> ProbeColumns:
        """Number the columns: weights layer by layer, then activations site by site.

        Args:
            layers: Those whose weights are judged.
            candidates: Tells which schemes fit a layer.
            quantizers: One per scheme of every site that is judged.
        """
        table: list[tuple[_Part, str, str]] = []
        weights: dict[str, int] = {}
        sites: dict[str, list[tuple[int, InputQuantizer]]] = {}
        for layer in layers:
            schemes = candidates.schemes_of(layer)
            if schemes:
                weights[layer.name] = len(table)
            table += [("weight", layer.name, scheme.key) for scheme in schemes]
        for site, made in quantizers.items():
            part: _Part = "output" if site.role == "output" else "input"
            for quantizer in made:
                sites.setdefault(site.name, []).append((len(table), quantizer))
                table.append((part, site.name, quantizer.scheme.key))
        return cls(weights, sites, table)

    def rows(
        self,
        value: NDArray[np.float64],
        stderr: NDArray[np.float64],
        without: Container[str],
    ) -> tuple[Row, ...]:
        """Return the errors as rows.

        Args:
            value: One per column.
            stderr: Their standard errors.
            without: Layers and sites that have no result.
        """
        return tuple(
            Row(target, key, float(d), float(se), "error", part)
            for (part, target, key), d, se in zip(
                self.table, value, stderr, strict=True
            )
            if target not in without
        )

    def array(self) -> NDArray[np.str_]:
        """Return the table as it is kept with V, `[columns, 3]`."""
        return np.array(self.table, dtype=np.str_)

    def match(self, array: ArrayLike) -> bool:
        """Return whether an earlier run's table is the same."""
        return [tuple(map(str, row)) for row in np.asarray(array)] == self.table
