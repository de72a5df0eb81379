"""Which layers are alike, and which of them the target can run in a scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.scheme import Scheme
    from quant_core.sites import Layer

Mask = NDArray[np.bool_]


class TargetFits:
    """Asks the target once per kind of layer, not once per layer.

    The answer depends on kind and shape only, of which even a model of 60,000 layers
    has few. Layers that are alike are equal in what the inspector tells of them, too.

    Args:
        project: Whose target and layers; one object per layer table.
    """

    def __init__(self, project: Project) -> None:
        """Sort the layers by all that does not belong to one of them alone."""
        self._project = project
        self._layers = project.info.layers
        known: dict[tuple[object, ...], int] = {}
        kinds = (
            (x.kind, x.shape, x.channel_axes, x.dtype, x.macs) for x in self._layers
        )
        alike = [known.setdefault(kind, len(known)) for kind in kinds]
        self._alike = np.array(alike, dtype=np.int64)
        _, self._first = np.unique(self._alike, return_index=True)
        self._known: dict[tuple[str, str], Mask] = {}

    def is_for(self, project: Project) -> bool:
        """Return whether this is about the project and the layers it has now."""
        return project is self._project and project.info.layers is self._layers

    def alike(self, layers: NDArray[np.int64]) -> list[tuple[Layer, int]]:
        """Return one of the layers that are alike among some, and how many they are."""
        counts = np.bincount(self._alike[layers], minlength=len(self._first))
        kinds = np.flatnonzero(counts)
        first = self._first[kinds].tolist()
        pairs = zip(first, counts[kinds].tolist(), strict=True)
        return [(self._layers[index], number) for index, number in pairs]

    def mask(self, scheme: Scheme | None) -> Mask:
        """Return which layers can run in a scheme, `[layers]`."""
        project = self._project
        if scheme is None:
            return np.ones(len(self._alike), dtype=np.bool_)
        key = project.target, scheme.key
        fits = self._known.get(key)
        if fits is None:
            reasons = (project.refused(scheme, i) for i in self._first.tolist())
            fits = np.array([reason is None for reason in reasons], dtype=np.bool_)
            self._known[key] = fits
        return fits[self._alike]
