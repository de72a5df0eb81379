"""The one document that edits, searches, evaluation and exporters read and write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_core.cost import LayerSizes
from quant_core.errors import QuantError
from quant_core.layer_table import Indices, LayerTable, frozen
from quant_core.scheme import Scheme
from quant_core.sites import Layer

Palette = tuple[Scheme | None, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """What an assignment costs.

    Attributes:
        bytes: Size of all listed weights, scales and zero points included [bytes].
        average_bits: Bits per weight, scales and zero points included.
        bops: Bit operations per sample; 0 before the model was traced.
        compression: Size in the stored float types over `bytes`.
        parameters: Number of weights.
        weight_bits_total: Size in bits.
    """

    bytes: float
    average_bits: float
    bops: float
    compression: float
    parameters: int
    weight_bits_total: float

    def to_json(self) -> dict[str, float]:
        """Return the fields by name."""
        return asdict(self)


class Assignment:
    """Per layer and site a scheme, or None to keep the stored float; never changes.

    Edits return a new assignment that shares everything the edit did not touch, so
    one edit of one layer among 60,000 costs a copy of a small array.

    Attributes:
        layers: The layers, in table order.
        palette: Schemes that the arrays point into; `palette[0]` is None.
        weight: Scheme of the weights, int16 `[layers]`, index into `palette`.
        input: Scheme of the input activations, like `weight`.
        locked: Layers that searches and edits must leave alone, bool `[layers]`.
        sites: Schemes of further activation sites by site name.
        model_name: Short name of the model.
        model_digest: Hash of the model the assignment belongs to.
        provenance: Where it came from (`measure`, `search`, `budget`,
            `tool_version`, `created`).
    """

    __slots__ = (
        "_digest",
        "_table",
        "_totals",
        "input",
        "locked",
        "model_digest",
        "model_name",
        "palette",
        "provenance",
        "sites",
        "weight",
    )

    def __init__(
        self,
        layers: Sequence[Layer],
        palette: Palette,
        weight: NDArray[np.integer],
        input: NDArray[np.integer],  # noqa: A002
        locked: NDArray[np.bool_],
        sites: Mapping[str, Scheme] | None = None,
        model_name: str = "",
        model_digest: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self._table = LayerTable(tuple(layers))
        self._set(palette, weight, input, locked)
        self.sites = dict(sites or {})
        self.model_name = model_name
        self.model_digest = model_digest
        self.provenance = dict(provenance or {})

    def _set(
        self,
        palette: Palette,
        weight: NDArray[np.integer],
        inputs: NDArray[np.integer],
        locked: NDArray[np.bool_],
    ) -> None:
        """Check and freeze the arrays."""
        count = len(self._table.layers)
        if not palette or palette[0] is not None or len(set(palette)) != len(palette):
            raise QuantError("A palette holds None first and every scheme once.")
        arrays = (weight, inputs, locked)
        if any(array.shape != (count,) for array in arrays):
            raise QuantError(
                "An assignment needs one entry per layer.",
                value=[array.shape for array in arrays],
                allowed=f"({count},)",
            )
        for array in (weight, inputs):
            if count and not 0 <= int(array.min()) <= int(array.max()) < len(palette):
                raise QuantError("An entry points outside the palette.")
        self.palette = palette
        self.weight = frozen(weight, np.int16)
        self.input = frozen(inputs, np.int16)
        self.locked = frozen(locked, np.bool_)
        self._totals: Totals | None = None
        self._digest: str | None = None

    @classmethod
    def float(
        cls, layers: Sequence[Layer], name: str = "", digest: str = ""
    ) -> Assignment:
        """Return the assignment that keeps every layer as it is stored."""
        zeros = np.zeros(len(layers), dtype=np.int16)
        locked = np.zeros(len(layers), dtype=np.bool_)
        return cls(layers, (None,), zeros, zeros, locked, None, name, digest)

    def __len__(self) -> int:
        return len(self._table.layers)

    def __repr__(self) -> str:
        used = [_key(scheme) for scheme in self.used()]
        return f"<Assignment of {len(self)} layers: {', '.join(used)}>"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in table order."""
        return self._table.layers

    @property
    def sizes(self) -> LayerSizes:
        """Sizes of the layers as arrays, made once for all assignments of a model."""
        return self._table.sizes

    @property
    def alike(self) -> NDArray[np.int64]:
        """For each layer the first that no target can tell from it, `[layers]`."""
        return self._table.alike

    def scheme_of(self, index: int) -> Scheme | None:
        """Return the scheme of a layer's weights, None for float."""
        return self.palette[int(self.weight[index])]

    def input_of(self, index: int) -> Scheme | None:
        """Return the scheme of a layer's input activations, None for float."""
        return self.palette[int(self.input[index])]

    def used(self) -> tuple[Scheme | None, ...]:
        """Return the schemes some layer's weights use, in palette order."""
        return tuple(self.palette[i] for i in entries_in(self.weight).tolist())

    def index_of(self, name: str) -> int:
        """Return the index of a layer.

        Raises:
            QuantError: there is no such layer; the closest names are suggested.
        """
        return self._table.index_of(name)

    def with_weight(self, indices: Indices, scheme: Scheme | None) -> Assignment:
        """Return the assignment with these layers' weights in `scheme`.

        Args:
            indices: Layer indices, or a boolean mask over the layers.
            scheme: None keeps the stored float.

        Raises:
            QuantError: an index is out of range, or the group size of the scheme
                does not divide a layer; the layer is named.
        """
        chosen = self._table.chosen(indices)
        self._table.check_fit(chosen, scheme)
        palette, entry = self._palette_with(scheme)
        return self._copy(palette=palette, weight=_changed(self.weight, chosen, entry))

    def with_input(self, indices: Indices, scheme: Scheme | None) -> Assignment:
        """Return the assignment with these layers' inputs in `scheme`.

        Raises:
            QuantError: an index is out of range.
        """
        chosen = self._table.chosen(indices)
        palette, entry = self._palette_with(scheme)
        return self._copy(palette=palette, input=_changed(self.input, chosen, entry))

    def with_locked(self, indices: Indices, locked: bool) -> Assignment:
        """Return the assignment with these layers locked or free.

        Raises:
            QuantError: an index is out of range.
        """
        chosen = self._table.chosen(indices)
        return self._copy(locked=_changed(self.locked, chosen, locked))

    def with_choice(self, choice: NDArray[np.integer], palette: Palette) -> Assignment:
        """Return the assignment with the weights of all layers chosen anew.

        Args:
            choice: `[layers]`, index into `palette`.
            palette: Schemes of a search, in any order, None for float.

        Raises:
            QuantError: a group size does not divide a layer.
        """
        result = self
        for entry in np.unique(choice):
            result = result.with_weight(choice == entry, palette[entry])
        return result

    def with_site(self, name: str, scheme: Scheme | None) -> Assignment:
        """Return the assignment with one activation site in `scheme`."""
        sites = {key: value for key, value in self.sites.items() if key != name}
        if scheme is not None:
            sites[name] = scheme
        return self._copy(sites=sites)

    def with_provenance(self, **provenance: Any) -> Assignment:
        """Return the assignment with another origin."""
        return self._copy(provenance=provenance)

    def _copy(self, **changes: Any) -> Assignment:
        """Return an assignment that differs in `changes` and shares the rest."""
        other = object.__new__(Assignment)
        other._table = self._table
        fields = ("palette", "weight", "input", "locked")
        other._set(*(changes.get(name, getattr(self, name)) for name in fields))
        for name in ("sites", "model_name", "model_digest", "provenance"):
            setattr(other, name, changes.get(name, getattr(self, name)))
        return other

    def _palette_with(self, scheme: Scheme | None) -> tuple[Palette, int]:
        """Return a palette that holds `scheme`, and where."""
        if scheme in self.palette:
            return self.palette, self.palette.index(scheme)
        return (*self.palette, scheme), len(self.palette)

    def weight_bits_in(self, scheme: Scheme | None) -> NDArray[np.float64]:
        """Return the bits every layer would take in a scheme, float64 `[layers]`.

        Infinite where its group size does not divide the layer.
        """
        return self._table.weight_bits(scheme).copy()

    def weight_bits(self) -> NDArray[np.float64]:
        """Return the bits every layer takes, float64 `[layers]`."""
        bits = np.zeros(len(self))
        for entry in entries_in(self.weight).tolist():
            rows = self.weight == entry
            bits[rows] = self._table.weight_bits(self.palette[entry])[rows]
        return bits

    def totals(self) -> Totals:
        """Return size, average bits and bit operations; computed once."""
        if self._totals is None:
            sizes = self._table.sizes
            bits = _total(self.weight_bits())
            stored = _total(self._table.weight_bits(None))
            parameters = int(sizes.parameters.sum())
            operations = (
                sizes.macs * self._widths(self.weight) * self._widths(self.input)
            )
            self._totals = Totals(
                bytes=bits / 8,
                average_bits=bits / parameters if parameters else 0.0,
                bops=_total(operations),
                compression=stored / bits if bits else 1.0,
                parameters=parameters,
                weight_bits_total=bits,
            )
        return self._totals

    def _widths(self, entries: NDArray[np.int16]) -> NDArray[np.float64]:
        """Return bits per value of every layer, its stored width where float."""
        widths = np.array([0.0 if s is None else s.bits for s in self.palette])
        return np.where(entries == 0, self._table.sizes.stored, widths[entries])

    def diff(self, other: Assignment) -> NDArray[np.int64]:
        """Return the layers whose weight, input or lock differs.

        Raises:
            QuantError: the assignments belong to different layers.
        """
        if self._table is not other._table and self.layers != other.layers:
            raise QuantError("Assignments of different models cannot be compared.")
        palette = {scheme: i for i, scheme in enumerate(self.palette)}
        for scheme in other.palette:
            palette.setdefault(scheme, len(palette))
        there = np.array([palette[scheme] for scheme in other.palette], dtype=np.int16)
        differs = (
            (self.weight != there[other.weight])
            | (self.input != there[other.input])
            | (self.locked != other.locked)
        )
        return np.flatnonzero(differs)

    @property
    def digest(self) -> str:
        """Hash of what would run: model, schemes and sites; not locks or origin."""
        if self._digest is None:
            used = {*entries_in(self.weight).tolist(), *entries_in(self.input).tolist()}
            keys = sorted({_key(self.palette[i]) for i in used})
            order = [
                keys.index(k) if (k := _key(s)) in keys else 0 for s in self.palette
            ]
            canonical = np.array(order, dtype="<i2")
            sites = {name: scheme.key for name, scheme in self.sites.items()}
            text = json.dumps([self.model_digest, keys, sites], sort_keys=True)
            hashed = hashlib.sha256(text.encode())
            hashed.update(canonical[self.weight].tobytes())
            hashed.update(canonical[self.input].tobytes())
            self._digest = hashed.hexdigest()
        return self._digest

    def to_json(self) -> dict[str, Any]:
        """Return the document of the assignment file."""
        from quant_core.assignment_file import to_json

        return to_json(self)

    @classmethod
    def from_json(
        cls, data: object, layers: Sequence[Layer], digest: str
    ) -> Assignment:
        """Return the assignment that a document describes.

        Args:
            data: What `to_json` returned, or the same written by hand; layers that
                it does not mention stay float.
            layers: Layers of the opened model.
            digest: Hash of the opened model.

        Raises:
            QuantError: the document is of another kind, version or model, or names
                an unknown layer or format.
        """
        from quant_core.assignment_file import from_json

        return from_json(data, layers, digest)


def entries_in(choice: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return the palette entries that occur in a choice, rising.

    Counted: `numpy.unique` takes ten times as long for 60,000 layers.
    """
    return np.flatnonzero(np.bincount(choice))


def _total(values: NDArray[np.float64]) -> float:
    return float(values.sum())


def _key(scheme: Scheme | None) -> str:
    return "float" if scheme is None else scheme.key


def _changed(
    values: NDArray[Any], chosen: NDArray[np.int64], entry: int
) -> NDArray[Any]:
    """Return a read-only copy with some entries replaced."""
    changed = values.copy()
    changed[chosen] = entry
    changed.flags.writeable = False
    return changed
