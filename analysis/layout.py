"""How the parts of a project are laid out as arrays, attributes and groups.

Plain data in between: `analysis/store.py` writes and reads any `Tree`, and the
journal keeps the unsaved assignment as one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.journal import Record
from analysis.model import ModelInfo
from analysis.results import PackedRows
from analysis.runs import RunInfo, run_from_json
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Layer, Site, Unlisted

T = TypeVar("T")
_CODES = ("target", "format", "quantity", "part")
_TABLES = ("targets", "formats", "quantities", "parts")
_DETAILS = ("params", "warnings")


@dataclass
class Tree:
    """A group: attributes, arrays and further groups.

    Attributes:
        attrs: Short values.
        items: Arrays of numbers, booleans or text.
        groups: Groups by name.
        units: Unit of an array, for viewers.
    """

    attrs: dict[str, str | int | float] = field(default_factory=dict)
    items: dict[str, NDArray[Any]] = field(default_factory=dict)
    groups: dict[str, Tree] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return an attribute that is a text.

        Raises:
            AnalysisError: it is missing or something else.
        """
        value = self.attrs.get(name)
        if not isinstance(value, str):
            raise damaged(f"the attribute {name} is missing")
        return value

    def array(self, name: str, kinds: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array after checking what it is.

        Args:
            name: Which one.
            kinds: Allowed `dtype.kind` letters.
            shape: Expected shape, -1 for any length.

        Raises:
            AnalysisError: it is missing, of another type or of another shape.
        """
        array = self.items.get(name)
        if array is None or array.dtype.kind not in kinds:
            raise damaged(f"the array {name} is missing or of another type")
        fits = len(array.shape) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise damaged(f"the array {name} has the shape {array.shape}")
        return array

    def group(self, name: str) -> Tree:
        """Return a group.

        Raises:
            AnalysisError: it is missing.
        """
        if name not in self.groups:
            raise damaged(f"the group {name} is missing")
        return self.groups[name]

    def json(self, name: str) -> Any:
        """Return the value of an array that is one JSON text.

        Raises:
            AnalysisError: it is missing or not JSON.
        """
        try:
            return json.loads(str(self.array(name, "U", ())))
        except ValueError as error:
            raise damaged(f"{name} is not JSON ({error})") from error


def damaged(what: str) -> AnalysisError:
    """Return the error for a file that is not what it should be."""
    return AnalysisError(
        f"The project file is damaged: {what}.",
        hint="Restore it from a copy, or analyse the model again.",
    )


def tree_record(kind: str, tree: Tree) -> Record:
    """Return a tree as a journal record."""
    attrs: dict[str, dict[str, str | int | float]] = {}
    arrays: dict[str, NDArray[Any]] = {}

    def add(path: str, part: Tree) -> None:
        attrs[path] = part.attrs
        arrays.update({f"{path}{name}": array for name, array in part.items.items()})
        for name, child in part.groups.items():
            add(f"{path}{name}/", child)

    add("", tree)
    return Record(kind, {"attrs": attrs}, arrays)


def tree_of(record: Record) -> Tree:
    """Return the tree that `tree_record` put into a record."""
    trees = {path: Tree(dict(attrs)) for path, attrs in record.data["attrs"].items()}
    for path, tree in trees.items():
        if path:
            above, _, name = path[:-1].rpartition("/")
            trees[above + "/" if above else ""].groups[name] = tree
    for path, array in record.arrays.items():
        above, _, name = path.rpartition("/")
        trees[above + "/" if above else ""].items[name] = array
    return trees[""]


def texts(values: Iterable[str]) -> NDArray[np.str_]:
    """Return texts as an array `[n]`."""
    return np.array(list(values), dtype=np.str_).reshape(-1)


def json_text(value: object) -> NDArray[np.str_]:
    """Return a value as an array of shape `()` that holds one JSON text."""
    return np.array(json.dumps(value, ensure_ascii=True), dtype=np.str_)


# -- model -------------------------------------------------------------------------


def model_tree(info: ModelInfo) -> Tree:
    """Return the layer table and the rest of what is known of a model."""
    layers = info.layers
    table = Tree(
        items={
            "name": texts(layer.name for layer in layers),
            "parameter": texts(layer.parameter for layer in layers),
            "kind": texts(layer.kind for layer in layers),
            "dtype": texts(layer.dtype for layer in layers),
            "shape": texts(_joined(layer.shape) for layer in layers),
            "channel_axes": texts(_joined(layer.channel_axes) for layer in layers),
            "macs": np.array([layer.macs for layer in layers], dtype=np.int64),
        },
        units={"macs": "multiply-adds per sample"},
    )
    details = {
        "unlisted": [dataclasses.astuple(entry) for entry in info.unlisted],
        "ties": info.ties,
        "sites": [dataclasses.astuple(site) for site in info.sites],
        "notes": info.notes,
    }
    return Tree(
        attrs={
            "name": info.name,
            "digest": info.digest,
            "source": info.source,
            "architecture": info.architecture,
        },
        items={"details": json_text(details)},
        groups={"layers": table},
    )


def model_from(tree: Tree) -> ModelInfo:
    """Return the model that `model_tree` laid out.

    Raises:
        AnalysisError: a part is missing or damaged.
    """
    table = tree.group("layers")
    count = len(table.array("name", "U", (-1,)))
    columns = [
        table.array(name, "U", (count,)).tolist()
        for name in ("name", "parameter", "kind", "shape", "dtype", "channel_axes")
    ]
    macs = table.array("macs", "i", (count,)).tolist()
    details = tree.json("details")

    def build() -> ModelInfo:
        shapes = {text: _split(text) for text in (*columns[3], *columns[5])}
        layers = tuple(
            Layer(name, parameter, kind, shapes[shape], dtype, shapes[axes], number)
            for name, parameter, kind, shape, dtype, axes, number in zip(
                *columns, macs, strict=True
            )
        )
        ties = tuple(tuple(map(int, group)) for group in details["ties"])
        if not all(0 <= i < count for group in ties for i in group):
            raise ValueError("a tie names a layer that is not there")
        return ModelInfo(
            tree.text("name"),
            tree.text("source"),
            tree.text("digest"),
            layers,
            tuple(Unlisted(p, tuple(s), r) for p, s, r in details["unlisted"]),
            ties,
            tree.text("architecture"),
            tuple(
                Site(name, op, role, layer, tuple(shape))
                for name, op, role, layer, shape in details["sites"]
            ),
            tuple(map(str, details["notes"])),
        )

    return _checked(build, "the layer table")


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _split(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


# -- assignments -------------------------------------------------------------------


def assignment_tree(assignment: Assignment) -> Tree:
    """Return an assignment as arrays; the model is not repeated."""
    palette = [None if s is None else s.to_json() for s in assignment.palette]
    sites = {name: scheme.to_json() for name, scheme in assignment.sites.items()}
    return Tree(
        items={
            "weight": np.asarray(assignment.weight),
            "input": np.asarray(assignment.input),
            "locked": np.asarray(assignment.locked),
            "palette": json_text(palette),
            "sites": json_text(sites),
            "provenance": json_text(assignment.provenance),
        }
    )


def assignment_from(tree: Tree, base: Assignment) -> Assignment:
    """Return the assignment that `assignment_tree` laid out.

    Args:
        tree: The arrays.
        base: The all-float assignment of the model; what it knows is shared.

    Raises:
        AnalysisError: a part is missing or damaged.
    """
    shape = (len(base),)
    weight = tree.array("weight", "i", shape)
    inputs = tree.array("input", "i", shape)
    locked = tree.array("locked", "b", shape)
    written, sites = tree.json("palette"), tree.json("sites")
    provenance = tree.json("provenance")

    def build() -> Assignment:
        palette = [None if s is None else Scheme.from_json(s) for s in written]
        for entries in (weight, inputs):
            if len(entries) and not 0 <= entries.min() <= entries.max() < len(palette):
                raise ValueError("an entry points outside the palette")
        result = base.with_choice(weight, tuple(palette))
        for entry in np.unique(inputs):
            result = result.with_input(inputs == entry, palette[entry])
        result = result.with_locked(locked, True)
        for name, scheme in sites.items():
            result = result.with_site(name, Scheme.from_json(scheme))
        return result.with_provenance(**provenance)

    return _checked(build, "an assignment")


def _checked(build: Callable[[], T], what: str) -> T:
    """Return what `build` makes; other people's files may hold anything."""
    try:
        return build()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(f"{what} does not hold what it should ({error})") from error


# -- runs --------------------------------------------------------------------------


def run_tree(info: RunInfo, rows: PackedRows) -> Tree:
    """Return a run without its arrays."""
    attrs = dataclasses.asdict(info)
    details = {name: attrs.pop(name) for name in _DETAILS}
    table = Tree(
        items={name: rows.codes[:, i].copy() for i, name in enumerate(_CODES)},
        units={"value": info.unit, "stderr": info.unit},
    )
    for name in _TABLES:
        table.items[name] = texts(getattr(rows, name))
    table.items |= {"value": rows.value, "stderr": rows.stderr}
    return Tree(attrs, {"details": json_text(details)}, {"rows": table})


def run_from(tree: Tree) -> tuple[RunInfo, PackedRows]:
    """Return the run that `run_tree` laid out.

    Raises:
        AnalysisError: a part is missing or damaged.
    """
    details = tree.json("details")
    if not isinstance(details, dict):
        raise damaged("the details of a run are not an object")
    info = run_from_json({**tree.attrs, **details})
    table = tree.group("rows")
    value = table.array("value", "f", (-1,))
    shape = value.shape
    codes = [table.array(name, "i", shape) for name in _CODES]
    names = [tuple(table.array(name, "U", (-1,)).tolist()) for name in _TABLES]
    rows = PackedRows(
        names[0],
        names[1],
        names[2],
        names[3],
        np.stack(codes, axis=1).astype(np.int32).reshape(-1, 4),
        value.astype(np.float64),
        table.array("stderr", "f", shape).astype(np.float64),
    )
    return info, rows
