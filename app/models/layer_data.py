"""The columns of the layer table as arrays, without Qt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.network_blocks import block_of
from analysis.select import LayerFields
from app.models.compare import BASELINE
from app.models.layer_columns import COLUMNS, Column, ResultColumn, result_columns
from app.models.layer_gain import Gains, gains
from app.models.target_fits import TargetFits
from quant_core.cost import stored_bits
from quant_core.scheme import Scheme, parse_scheme

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

FLOAT = "float"
REFERENCE_BITS = 4.0
KB = 1000.0
_DIGITS = re.compile(r"(\d+)")

Floats = NDArray[np.float64]
_PLAIN = ("parameters", "bits", "locked", "starred", "size", "error", "sqnr")
"""Columns that are attributes, always up to date; the others wait to be asked for."""

_FIELDS = {
    "bits": "bits",
    "params": "parameters",
    "size": "size",
    "error": "error",
    "sqnr": "sqnr",
    "kurtosis": "kurtosis",
    "share": "share",
    "error_share": "error_share",
    "gain": "gain",
    "proposed": "proposed",
}
"""Numbers of the filter line and their columns."""


class LayerData:
    """Everything the layer table shows, one array entry per layer.

    Attributes:
        columns: What can be shown: `COLUMNS`, then the further results.
        names: Layer names; `kinds` and `shapes` are texts as shown.
        parameters: Number of weights.
        tie: Number of the tie group, -1 for none.
        scheme: Position in `schemes` of the present weight scheme.
        schemes: Texts of the palette, "float" first.
        bits: Storage bits per weight of the present scheme.
        locked: Whether searches and edits leave the layer alone.
        starred: Whether the layer is bookmarked.
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
        self.schemes: tuple[str, ...] = (FLOAT,)
        self.scheme = np.zeros(total, dtype=np.int64)
        self.bits = self.float_bits.copy()
        self.locked = self.starred = np.zeros(total, dtype=np.bool_)
        self.size = np.zeros(total)
        self.unit = ""
        self.samples = 0
        self.formats: tuple[str, ...] = ()
        self.shown: str | None = None
        self._errors = self._stderrs = np.zeros((total, 0))
        self._sqnr_formats: tuple[str, ...] = ()
        self._sqnrs = np.zeros((total, 0))
        self.kurtosis = np.full(total, np.nan)
        self.columns: tuple[Column, ...] = COLUMNS
        self.results: dict[str, ResultColumn] = {}
        self._tables: dict[str, Floats] = {}
        self._computed: dict[str, Floats] = {}
        self._gains: Gains | None = None
        self._natural: NDArray[np.int64] | None = None
        self._fits: TargetFits | None = None
        self._pick()
        if project is not None:
            self.read_weights()
            self.read_errors()
            self.read_results()
            self.read_assignment()
            self.read_starred()

    def __len__(self) -> int:
        return len(self.names)

    # -- reading ---------------------------------------------------------------

    def read_assignment(self) -> None:
        """Take over schemes, locks and ties of the project."""
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
        group = self.project.tie_groups
        alone = np.bincount(group, minlength=len(self))[group] < 2
        self.tie = np.where(alone, -1, group)
        self._pick()

    def read_starred(self) -> None:
        """Take over the bookmarks of the project."""
        if self.project is not None:
            self.starred = self.project.starred

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

    def read_results(self) -> bool:
        """Find what else was computed; return whether there are other columns now."""
        if self.project is None:
            return False
        self.results = {x.column.key: x for x in result_columns(self.project)}
        self._tables = {}
        self._computed = {}
        columns = (*COLUMNS, *(x.column for x in self.results.values()))
        has_changed = columns != self.columns
        self.columns = columns
        return has_changed

    def forget_proposal(self) -> None:
        """Look for a kept search result anew when asked next."""
        self._computed.pop("proposed", None)

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
        self.error = self._at_labels(self._errors, self.formats)
        self.stderr = self._at_labels(self._stderrs, self.formats)
        self.sqnr = self._at_labels(self._sqnrs, self._sqnr_formats)
        self._computed = {}
        self._gains = None

    def _at_labels(self, table: Floats, formats: Sequence[str]) -> Floats:
        return _choose(table, formats, self._labels, self._at)

    def at(self, layer: int) -> str:
        """Return the format whose error a row shows; "" before an analysis."""
        return self._labels[int(self._at[layer])] or ""

    # -- asking ----------------------------------------------------------------

    def numbers(self, key: str) -> Floats:
        """Return a column of numbers, NaN where unknown, computed when first asked.

        Args:
            key: Of a column that is no text.
        """
        if key in _PLAIN:
            return np.asarray(getattr(self, key), dtype=np.float64)
        if key not in self._computed:
            compute: Mapping[str, Callable[[], Floats]] = {
                "kurtosis": lambda: self.kurtosis,
                "share": lambda: _shares(self.parameters.astype(np.float64)),
                "error_share": self._error_share,
                "gain": lambda: self.gains.value * KB,
                "proposed": self._proposed_bits,
            }
            found = compute[key]() if key in compute else self._result(key)
            self._computed[key] = found
        return self._computed[key]

    def _result(self, key: str) -> Floats:
        result = self.results[key]
        project, formats = self.project, result.formats
        assert project is not None
        asked = (result.quantity, result.part)
        if not formats:
            return project.values(result.measure, None, *asked)
        if key not in self._tables:
            columns = [project.values(result.measure, f, *asked) for f in formats]
            self._tables[key] = np.stack(columns, axis=1)
        return self._at_labels(self._tables[key], formats)

    def _error_share(self) -> Floats:
        """Return the percentages of the own errors that are made."""
        if self.is_reference.all():
            return _shares(self.error)
        return _shares(np.where(self.is_reference, np.nan, self.error))

    @property
    def gains(self) -> Gains:
        """What the next larger format buys; the last choice is the stored float."""
        if self._gains is None:
            self._gains = self._find_gains()
        return self._gains

    def _find_gains(self) -> Gains:
        project, keys = self.project, self.formats
        if project is None or not keys:
            return gains(self._errors, self._errors, self.size, self.size, self.tie)
        if self._fits is None:
            self._fits = TargetFits(project)
        assignment, bits = project.assignment, np.empty((len(self), len(keys) + 1))
        for column, scheme in enumerate((*map(parse_scheme, keys), None)):
            fits = self._fits.mask(scheme)
            sizes = assignment.weight_bits_in(scheme)
            bits[:, column] = np.where(fits, sizes, np.inf)
        errors = np.column_stack([self._errors, np.zeros(len(self))])
        labels: list[str | None] = [FLOAT if k == FLOAT else k for k in self.schemes]
        now = _choose(errors, (*keys, FLOAT), labels, self.scheme)
        return gains(errors, bits, now, self.size * 8, project.tie_groups)

    def next_step(self, layer: int) -> str:
        """Return the format that `gain` goes to, "" where there is none."""
        choice = int(self.gains.choice[layer])
        return "" if choice < 0 else (*self.formats, FLOAT)[choice]

    @property
    def proposal(self) -> tuple[str, Assignment] | None:
        """Name and content of the search result kept last."""
        kept = {} if self.project is None else self.project.assignments
        found = [
            (name, assignment)
            for name, assignment in kept.items()
            if assignment.provenance.get("search") and name != BASELINE
        ]
        return found[-1] if found else None

    def proposed(self, layer: int) -> str:
        """Return the format that the search result kept last gives a layer."""
        proposal = self.proposal
        if proposal is None:
            return ""
        scheme = proposal[1].scheme_of(layer)
        return FLOAT if scheme is None else scheme.key

    def _proposed_bits(self) -> Floats:
        proposal = self.proposal
        if proposal is None:
            return np.full(len(self), np.nan)
        palette, weight = proposal[1].palette, proposal[1].weight
        widths = np.array([np.nan if s is None else s.bits for s in palette])[weight]
        return np.where(np.isnan(widths), self.float_bits, widths)

    def fields(self) -> LayerFields:
        """Return the columns under the names the filter box knows."""
        names = [self.schemes[i] for i in self.scheme]
        columns = dict(_FIELDS)
        for result in self.results.values():
            columns.setdefault(result.field, result.column.key)
        return LayerFields(
            self.names,
            {
                "kind": [k.replace(" ", "_") for k in self.kinds],
                "format": names,
                "block": self.blocks,
            },
            _Fields(self, columns),
            {"locked": self.locked, "tied": self.tie >= 0, "starred": self.starred},
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

    @cached_property
    def blocks(self) -> list[str]:
        """Repeating part of the network that each layer belongs to."""
        return [block_of(name) for name in self.names]

    @cached_property
    def block_numbers(self) -> NDArray[np.int64]:
        """Number of each layer's block, from 0."""
        _, block = np.unique(np.array(self.blocks, np.str_), return_inverse=True)
        return block.astype(np.int64)

    def block_rank(self) -> NDArray[np.int64]:
        """Return the place of each layer's block, by the names of its layers."""
        block = self.block_numbers
        first = np.full(len(self), len(self))
        np.minimum.at(first, block, self.natural_rank())
        return first[block]

    def partners(self, layer: int) -> NDArray[np.int64]:
        """Return the layers tied to one, itself included; empty without a tie."""
        if not 0 <= layer < len(self) or self.tie[layer] < 0:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.tie == self.tie[layer])


class _Fields(Mapping[str, Floats]):
    """Numbers of the filter line; computed when a query names them."""

    def __init__(self, layers: LayerData, columns: Mapping[str, str]) -> None:
        self._layers = layers
        self._columns = columns

    def __getitem__(self, name: str) -> Floats:
        return self._layers.numbers(self._columns[name])

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _shares(values: Floats) -> Floats:
    """Return values as percentages of their sum, NaN where unknown."""
    total = np.nansum(values)
    return 100 * values / total if total > 0 else np.full(len(values), np.nan)


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
