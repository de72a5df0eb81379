"""The columns of the layer table as arrays, without Qt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.select import LayerFields
from quant_core.cost import stored_bits
from quant_core.scheme import Scheme, parse_scheme

if TYPE_CHECKING:
    from analysis.project import Project

FLOAT = "float"
REFERENCE_BITS = 4.0
_DIGITS = re.compile(r"(\d+)")

Floats = NDArray[np.float64]


class LayerData:
    """Everything the layer table shows, one array entry per layer.

    Attributes:
        names: Layer names; `kinds` and `shapes` are texts as shown.
        parameters: Number of weights.
        tie: Number of the tie group, -1 for none.
        scheme: Position in `schemes` of the present weight scheme.
        schemes: Texts of the palette, "float" first.
        bits: Storage bits per weight of the present scheme.
        locked: Whether searches and edits leave the layer alone.
        size: Bytes with scales and zero points.
        error: Predicted error at the shown format, and its standard error.
        at: Text of the format `error` and `sqnr` are shown at.
        is_reference: Whether `error` is what the layer *would* cost: it is kept
            in float, and shown at the reference format.
        sqnr: Signal to quantization noise of the weights (dB).
        kurtosis: Fourth standardised moment of the weights.
    """

    def __init__(self, project: Project | None = None) -> None:
        self.project = project
        layers = () if project is None else project.info.layers
        total = len(layers)
        self.names = [layer.name for layer in layers]
        self.kinds = [layer.kind.replace("_", " ") for layer in layers]
        self.shapes = [" × ".join(map(str, layer.shape)) for layer in layers]
        self.parameters = np.array([x.parameters for x in layers], dtype=np.int64)
        self.float_bits = np.array(
            [stored_bits(x.dtype) for x in layers], dtype=np.float64
        )
        self.tie = np.full(total, -1, dtype=np.int64)
        for number, group in enumerate(() if project is None else project.info.ties):
            self.tie[list(group)] = number
        self.schemes: tuple[str, ...] = (FLOAT,)
        self.scheme = np.zeros(total, dtype=np.int64)
        self.bits = self.float_bits.copy()
        self.locked = np.zeros(total, dtype=np.bool_)
        self.size = np.zeros(total)
        self.unit = ""
        self.samples = 0
        self.formats: tuple[str, ...] = ()
        self.shown: str | None = None
        self._errors = self._stderrs = np.zeros((total, 0))
        self._sqnr_formats: tuple[str, ...] = ()
        self._sqnrs = np.zeros((total, 0))
        self.kurtosis = np.full(total, np.nan)
        self._natural: NDArray[np.int64] | None = None
        self._pick()
        if project is not None:
            self.read_weights()
            self.read_errors()
            self.read_assignment()

    def __len__(self) -> int:
        return len(self.names)

    # -- reading ---------------------------------------------------------------

    def read_assignment(self) -> None:
        """Take over schemes and locks of the project."""
        if self.project is None:
            return
        assignment = self.project.assignment
        palette = assignment.palette
        self.schemes = tuple(FLOAT if s is None else s.key for s in palette)
        self.scheme = assignment.weight.astype(np.int64)
        widths = np.array([np.nan if s is None else s.bits for s in palette])
        chosen = widths[self.scheme]
        self.bits = np.where(np.isnan(chosen), self.float_bits, chosen)
        self.locked = np.array(assignment.locked, dtype=np.bool_)
        self.size = assignment.weight_bits() / 8
        self._pick()

    def read_errors(self) -> None:
        """Take over the predicted errors of the project."""
        if self.project is None:
            return
        run = self.project.latest_run("predicted_error")
        self.unit = "" if run is None else run.unit
        self.samples = 0 if run is None else run.samples
        key = "predicted_error"
        self.formats = tuple(self.project.formats(key, "error", "weight"))
        self._errors = self._table(self.formats, key, "error", "values")
        self._stderrs = self._table(self.formats, key, "error", "stderrs")
        if self.shown not in self.formats:
            self.shown = None
        self._pick()

    def read_weights(self) -> None:
        """Take over the weight statistics of the project."""
        if self.project is None:
            return
        self._sqnr_formats = tuple(self.project.formats("weights", "sqnr", "weight"))
        self._sqnrs = self._table(self._sqnr_formats, "weights", "sqnr", "values")
        self.kurtosis = np.asarray(
            self.project.values("weights", None, "kurtosis", "weight")
        )
        self._pick()

    def show_at(self, key: str | None) -> None:
        """Show errors at one format, or at the assigned ones (None)."""
        self.shown = key
        self._pick()

    @property
    def reference(self) -> str | None:
        """The analysed format that stands in for layers kept in float."""
        known = self.formats or self._sqnr_formats
        if not known:
            return None
        return min(known, key=lambda k: abs(parse_scheme(k).bits - REFERENCE_BITS))

    def _table(
        self, keys: Sequence[str], measure: str, quantity: str, what: str
    ) -> Floats:
        lookup = getattr(self.project, what)
        table = np.full((len(self), len(keys)), np.nan)
        for column, key in enumerate(keys):
            table[:, column] = lookup(measure, key, quantity, "weight")
        return table

    def _pick(self) -> None:
        """Choose the columns of the tables that the rows show."""
        total = len(self)
        reference = self.reference
        if self.shown is None:
            labels = [reference if k == FLOAT else k for k in self.schemes]
            at = self.scheme
            self.is_reference = np.array([k == FLOAT for k in self.schemes])[at]
        else:
            labels, at = [self.shown], np.zeros(total, dtype=np.int64)
            self.is_reference = np.zeros(total, dtype=np.bool_)
        self._labels, self._at = labels, at
        self.error = _choose(self._errors, self.formats, labels, at)
        self.stderr = _choose(self._stderrs, self.formats, labels, at)
        self.sqnr = _choose(self._sqnrs, self._sqnr_formats, labels, at)

    def at(self, layer: int) -> str:
        """Return the format whose error a row shows; "" before an analysis."""
        return self._labels[int(self._at[layer])] or ""

    # -- asking ----------------------------------------------------------------

    def fields(self) -> LayerFields:
        """Return the columns under the names the filter box knows."""
        names = [self.schemes[i] for i in self.scheme]
        return LayerFields(
            self.names,
            {"kind": [k.replace(" ", "_") for k in self.kinds], "format": names},
            {
                "bits": self.bits,
                "params": self.parameters,
                "size": self.size,
                "error": self.error,
                "sqnr": self.sqnr,
                "kurtosis": self.kurtosis,
            },
            {"locked": self.locked, "tied": self.tie >= 0},
        )

    def natural_rank(self) -> NDArray[np.int64]:
        """Return the place of each name when layer.2 comes before layer.10."""
        if self._natural is None:
            # Splitting at the digits alternates text and number in every name.
            keys = [
                [int(p) if p.isdigit() else p for p in _DIGITS.split(name)]
                for name in self.names
            ]
            order = sorted(range(len(keys)), key=keys.__getitem__)
            rank = np.empty(len(keys), dtype=np.int64)
            rank[order] = np.arange(len(keys))
            self._natural = rank
        return self._natural

    def partners(self, layer: int) -> NDArray[np.int64]:
        """Return the layers tied to one, itself included; empty without a tie."""
        if not 0 <= layer < len(self) or self.tie[layer] < 0:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.tie == self.tie[layer])


def _choose(
    table: Floats,
    columns: Sequence[str],
    labels: Sequence[str | None],
    at: NDArray[np.int64],
) -> Floats:
    """Return `table[row, column of labels[at[row]]]`, NaN where there is none."""
    position = {key: i for i, key in enumerate(columns)}
    column = np.array([position.get(k or "", -1) for k in labels], dtype=np.int64)[at]
    result = np.full(len(at), np.nan)
    known = np.flatnonzero(column >= 0)
    result[known] = table[known, column[known]]
    return result


def scheme_of_bits(bits: int, analysed: Sequence[str]) -> Scheme | None:
    """Return the scheme a digit key stands for; 0 is the stored float.

    The analysed integer scheme of that width comes first, then any other analysed
    one, so that a key always gives numbers where there are some.

    Args:
        bits: 0, or 2 to 8.
        analysed: Keys of the analysed schemes.
    """
    if not bits:
        return None
    fits = [s for s in map(parse_scheme, analysed) if s.bits == bits]
    whole = [s for s in fits if s.format == f"int{bits}"]
    return next(iter([*whole, *fits]), Scheme(f"int{bits}"))
