"""What all assignments of one model share: names, sizes and costs of its layers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_core.cost import LayerSizes, weight_bits
from quant_core.errors import QuantError
from quant_core.scheme import Scheme
from quant_core.sites import Layer

Indices = Iterable[int] | NDArray[np.integer] | NDArray[np.bool_]
"""Numbers of layers, or a mask over them."""


class LayerTable:
    """The layers of a model, found by name or number, and their bits in any scheme.

    Args:
        layers: In table order.

    Attributes:
        layers: The same.
        sizes: Their sizes as arrays.
    """

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        self.sizes = LayerSizes.of(layers)
        self._index = {layer.name: i for i, layer in enumerate(layers)}
        self._bits: dict[Scheme | None, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def alike(self) -> NDArray[np.int64]:
        """First layer of the same kind, shape, channel axes and type, `[layers]`."""
        first: dict[object, int] = {}
        kinds = map(attrgetter("kind", "shape", "channel_axes", "dtype"), self.layers)
        found = [first.setdefault(kind, i) for i, kind in enumerate(kinds)]
        return frozen(np.array(found), np.int64)

    def weight_bits(self, scheme: Scheme | None) -> NDArray[np.float64]:
        """Return total bits per layer in one scheme, computed once.

        Infinite where its group size does not divide the layer.
        """
        if scheme not in self._bits:
            self._bits[scheme] = self.sizes.weight_bits(scheme)
        return self._bits[scheme]

    def check_fit(self, chosen: NDArray[np.int64], scheme: Scheme | None) -> None:
        """Check that a scheme fits some layers.

        Raises:
            QuantError: its group size does not divide a layer; the layer is named.
        """
        fits = np.isfinite(self.weight_bits(scheme)[chosen])
        if not fits.all():
            layer = self.layers[int(chosen[np.argmin(fits)])]
            weight_bits(layer, scheme)  # raises what does not fit
            raise AssertionError(f"{scheme} fits {layer.name}")

    def index_of(self, name: str) -> int:
        """Return the index of a layer.

        Raises:
            QuantError: there is no such layer; the closest names are suggested.
        """
        index = self._index.get(name)
        if index is not None:
            return index
        close = difflib.get_close_matches(name, self._index, n=3)
        raise QuantError(
            "The model has no such layer.",
            value=name,
            allowed="the layer names that `quantscope layers` lists",
            hint=f"Did you mean {' or '.join(close)}?" if close else None,
        )

    def chosen(self, indices: Indices) -> NDArray[np.int64]:
        """Return indices or a mask as an index array.

        Raises:
            QuantError: an index is out of range, or a mask of another length.
        """
        given = np.asarray(
            indices if isinstance(indices, np.ndarray) else list(indices)
        )
        if given.dtype == np.bool_:
            if given.shape != (len(self),):
                raise QuantError(
                    "A mask needs one entry per layer.",
                    value=given.shape,
                    allowed=f"({len(self)},)",
                )
            return np.flatnonzero(given)
        chosen = given.astype(np.int64)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise QuantError(
                "There is no layer with this index.",
                value=chosen[(chosen < 0) | (chosen >= len(self))][0],
                allowed=f"0 to {len(self) - 1}",
            )
        return chosen


def frozen(values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Return a read-only array of the type; the same object if it already is."""
    if values.dtype == dtype and not values.flags.writeable:
        return values
    kept = np.array(values, dtype=dtype)
    kept.flags.writeable = False
    return kept
