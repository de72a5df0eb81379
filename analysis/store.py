"""The project file: HDF5, self-describing, never open for writing in place.

A change is made in a copy beside the file, which is synced and then takes its name:
whatever kills the process, the file is either the old or the new one. Any HDF5
viewer can read it (`analysis/layout.py` says what the groups hold):

    /               @format @version @tool @uuid @generation @created @saved
    /model          @name @digest @source @architecture, details, layers/...
    /document       @target, current/..., kept/<n>/... (@name)
    /runs/<id>      @measure @status @unit ..., details, rows/...
        arrays      large arrays under their names
        stacks      many small arrays of one kind, end to end: names, start, values
    /evaluations    JSON by digest of the assignment

Everything read is checked: links that lead outside, references and virtual data sets
are refused, so a project from a stranger reads nothing but itself.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.layout import Tree, damaged
from analysis.replace import replacing
from analysis.version import tool_version

# Network folders refuse HDF5's own locks, and the project has its own: the choice
# must be made before the library is loaded.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
import h5py  # noqa: E402

Array = NDArray[Any]

FORMAT = "quantscope-project"
VERSION = 1
SMALL = 65536
"""Elements up to which a 1-D array is stacked with others of its kind."""

_LIBVER = ("v110", "v110")
_CHUNKS = (256, 16384)
_TILE = 256
"""Side of the squares that large matrices are stored in."""
_MAX_RATIO = 1100
"""No filter of ours packs tighter; a file that claims more would fill the memory."""


@dataclass(frozen=True, slots=True)
class Header:
    """Identity of a project file.

    Attributes:
        uuid: Set when the file is made, changed by "save as".
        generation: Counts the commits; a journal continues one generation.
        created: ISO 8601 with time zone.
        saved: The same, of the last commit.
    """

    uuid: str
    generation: int
    created: str
    saved: str

    @property
    def owner(self) -> str:
        """What a journal says to belong to this state of this file."""
        return f"{self.uuid}:{self.generation}"


@dataclass
class Changes:
    """What a commit puts into the file; parts left None stay as they are.

    Attributes:
        model: Tree of `/model`.
        document: Tree of `/document`.
        evaluations: JSON text array of `/evaluations`.
        runs: Trees of `/runs/<id>` by id.
        arrays: New arrays of those runs by id and name.
        deleted: Ids of runs to remove.
    """

    model: Tree | None = None
    document: Tree | None = None
    evaluations: Array | None = None
    runs: dict[int, Tree] = field(default_factory=dict)
    arrays: dict[int, dict[str, Array]] = field(default_factory=dict)
    deleted: tuple[int, ...] = ()


@dataclass
class Stored:
    """A project file without its arrays, whose names are listed instead."""

    header: Header
    model: Tree
    document: Tree
    evaluations: Array
    runs: dict[int, Tree]
    array_names: dict[int, tuple[str, ...]]


_Place = tuple[str, int, int] | None
"""Where an array lies: (stack, start, stop), or None for a data set of its own."""


class ResultStore:
    """Reads a project file and commits changes to it; one thread only.

    Args:
        path: The file; it need not exist before the first commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._places: dict[int, dict[str, _Place]] = {}

    # -- reading -----------------------------------------------------------------

    def read(self) -> Stored:
        """Return everything but the arrays.

        Raises:
            AnalysisError: the file is missing, not a project, of a newer version,
                damaged, or has links and references that projects never have.
        """
        if not self.path.is_file():
            raise AnalysisError(
                "There is no project file.",
                value=self.path,
                hint="`quantscope analyze MODEL -o FILE.qscope` makes one.",
            )
        with _readable(self.path):
            file = self._open()
            header = _header(file)
            _check_links(file)
            runs, names = {}, {}
            self._places = {}
            for key in _group(file, "runs"):
                run = _run_id(key)
                group = _group(file, f"runs/{key}")
                runs[run] = _read_tree(group, skip=("arrays", "stacks"))
                self._places[run] = dict(_find_arrays(group))
                names[run] = tuple(self._places[run])
            return Stored(
                header,
                _read_tree(_group(file, "model")),
                _read_tree(_group(file, "document")),
                _read(file, "evaluations"),
                dict(sorted(runs.items())),
                names,
            )

    def read_header(self) -> Header:
        """Return the identity of the file that is on disk now.

        Raises:
            AnalysisError: it is missing or no project.
        """
        with _readable(self.path), h5py.File(self.path, "r") as file:
            return _header(file)

    def array(self, run: int, name: str) -> Array | None:
        """Return an array of a run, None when the file has no such array.

        Raises:
            AnalysisError: the file is gone or damaged.
        """
        places = self._places.get(run, {})
        if name not in places:
            return None
        with _readable(self.path):
            group = _group(self._open(), f"runs/{run}")
            place = places[name]
            if place is None:
                return _read(group, f"arrays/{_quoted(name)}")
            stack, start, stop = place
            values = _dataset(group, f"stacks/{stack}/values")
            return np.asarray(values[start:stop])

    def window(self, run: int, name: str, rows: slice, columns: slice) -> Array | None:
        """Return a part of a 2-D array, None when the file has no such array.

        Raises:
            AnalysisError: the file is gone or damaged, or the array has not two
                dimensions.
        """
        if self._places.get(run, {}).get(name, ("",)) is not None:
            return None
        with _readable(self.path):
            group = _group(self._open(), f"runs/{run}")
            dataset = _dataset(group, f"arrays/{_quoted(name)}")
            if dataset.ndim != 2:
                raise damaged(f"the array {name} has the shape {dataset.shape}")
            return np.asarray(dataset[rows, columns])

    def shape(self, run: int, name: str) -> tuple[int, ...] | None:
        """Return the shape of an array, None when the file has no such array.

        Raises:
            AnalysisError: the file is gone or damaged.
        """
        places = self._places.get(run, {})
        if name not in places:
            return None
        place = places[name]
        if place is not None:
            return (place[2] - place[1],)
        with _readable(self.path):
            group = _group(self._open(), f"runs/{run}")
            return tuple(_dataset(group, f"arrays/{_quoted(name)}").shape)

    def _open(self) -> h5py.File:
        if self._file is None:
            self._file = h5py.File(self.path, "r")
        return self._file

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- writing -----------------------------------------------------------------

    def commit(
        self, header: Header, changes: Changes, base: ResultStore | None
    ) -> None:
        """Put changes into the file.

        Args:
            header: New identity of the file.
            changes: What differs from `base`.
            base: The project file to start from, as a rule this one; None starts
                with an empty one, whatever is there.

        Raises:
            AnalysisError: the disk is full or the folder cannot be written; the
                file is then as it was, and the commit may be tried again.
        """
        self.close()
        more = sum(
            array.nbytes for new in changes.arrays.values() for array in new.values()
        )
        with replacing(self.path, None if base is None else base.path, more) as copy:
            _write(copy, header, changes)
        self._places = {} if base is None else dict(base._places)
        for run in changes.deleted:
            self._places.pop(run, None)
        with _readable(self.path):
            for run, arrays in changes.arrays.items():
                if arrays or run not in self._places:
                    group = _group(self._open(), f"runs/{run}")
                    self._places[run] = dict(_find_arrays(group))


def _write(path: Path, header: Header, changes: Changes) -> None:
    # The free-space table is kept in the file, so what one commit replaces makes
    # room for the next.
    is_old = path.exists()
    options = {} if is_old else {"fs_strategy": "page", "fs_persist": True}
    with h5py.File(path, "r+" if is_old else "w", libver=_LIBVER, **options) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["tool"] = tool_version()
        for name in ("uuid", "generation", "created", "saved"):
            file.attrs[name] = getattr(header, name)
        for key, tree in (("model", changes.model), ("document", changes.document)):
            if tree is not None:
                _write_tree(file.require_group(key), tree)
        if changes.evaluations is not None:
            _put(file, "evaluations", changes.evaluations)
        runs = file.require_group("runs")
        for run in changes.deleted:
            if str(run) in runs:
                del runs[str(run)]
        for run, tree in changes.runs.items():
            group = runs.require_group(str(run))
            _write_tree(group, tree, keep=("arrays", "stacks"))
            _write_arrays(group, changes.arrays.get(run, {}))


# -- HDF5 in checked steps -----------------------------------------------------------


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 raises on a bad file into one paragraph."""
    try:
        yield
    except AnalysisError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(
            "The file cannot be read as a Quantscope project.",
            value=path,
            allowed="a .qscope file that Quantscope wrote",
            hint=f"HDF5 says: {error}.",
        ) from error
    except MemoryError as error:
        raise AnalysisError("The project does not fit into memory.") from error


def _header(file: h5py.File) -> Header:
    attrs = _attrs(file)
    if attrs.get("format") != FORMAT:
        raise AnalysisError(
            "The file is not a Quantscope project.",
            value=file.filename,
            allowed="a .qscope file that Quantscope wrote",
        )
    if attrs.get("version") != VERSION:
        raise AnalysisError(
            "The project was written by another version of Quantscope.",
            value=f"version {attrs.get('version')} of the file format",
            allowed=f"version {VERSION}",
            hint=f"Open it with Quantscope {attrs.get('tool')}.",
        )
    tree = Tree(attrs)
    generation = attrs.get("generation")
    if not isinstance(generation, int):
        raise damaged("the generation is missing")
    return Header(
        tree.text("uuid"), generation, tree.text("created"), tree.text("saved")
    )


def _check_links(file: h5py.File) -> None:
    """Refuse links that are not plain: they may lead to other files or in circles."""

    # An error cannot pass through HDF5's iteration; a value that is not None ends it.
    def find(name: bytes, link: Any) -> bytes | None:
        return None if link.type == h5py.h5l.TYPE_HARD else name

    name = file.id.links.visit(find, info=True)
    if name is not None:
        raise _foreign(name.decode(errors="replace"), "a link to another place")


def _foreign(name: str, what: str) -> AnalysisError:
    return AnalysisError(
        f"The file holds {what}, which a project never does.",
        value=name,
        hint="Do not open it unless you know who made it.",
    )


def _attrs(group: h5py.Group) -> dict[str, str | int | float]:
    """Return the attributes that are one text or number; others are not ours."""
    found: dict[str, str | int | float] = {}
    for name in group.attrs:
        if h5py.h5a.open(group.id, name.encode()).get_type().get_class() not in (
            h5py.h5t.STRING,
            h5py.h5t.INTEGER,
            h5py.h5t.FLOAT,
        ):
            raise _foreign(f"{group.name}@{name}", "an attribute of another type")
        value = group.attrs[name]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (str, int, float)):
            found[name] = value
    return found


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    group = parent.get(name)
    if not isinstance(group, h5py.Group):
        raise damaged(f"the group {name} is missing")
    return group


def _dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """Return a data set that holds its own numbers or text, in this file."""
    dataset = parent.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise damaged(f"the array {name} is missing")
    if dataset.is_virtual or dataset.external:
        raise _foreign(dataset.name, "data that lie in another file")
    if dataset.dtype.kind not in "biufS" or dataset.dtype.hasobject:
        raise _foreign(dataset.name, f"data of the type {dataset.dtype}")
    if dataset.nbytes > (1 << 20) + _MAX_RATIO * os.path.getsize(parent.file.filename):
        raise damaged(f"the array {name} claims more data than the file can hold")
    return dataset


def _read(parent: h5py.Group, name: str) -> Array:
    array = np.asarray(_dataset(parent, name)[()])
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _read_tree(group: h5py.Group, skip: tuple[str, ...] = ()) -> Tree:
    tree = Tree(_attrs(group))
    for name in group:
        if name in skip:
            continue
        if isinstance(group.get(name), h5py.Group):
            tree.groups[name] = _read_tree(_group(group, name))
        else:
            tree.items[name] = _read(group, name)
    return tree


def _write_tree(group: h5py.Group, tree: Tree, keep: tuple[str, ...] = ()) -> None:
    """Make a group equal to `tree`, but for the members in `keep`."""
    for name in set(group) - set(tree.items) - set(tree.groups) - set(keep):
        del group[name]
    for name, value in tree.attrs.items():
        group.attrs[name] = value
    for name, array in tree.items.items():
        dataset = _put(group, name, array)
        if tree.units.get(name):
            dataset.attrs["units"] = tree.units[name]
    for name, child in tree.groups.items():
        _write_tree(group.require_group(name), child)


def _put(group: h5py.Group, name: str, array: Array) -> h5py.Dataset:
    """Write an array, in the place of an equally large one where there is one."""
    array = np.asarray(array)
    dtype: Any = array.dtype
    options: dict[str, Any] = {}
    if array.dtype.kind in "SU":
        array = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array
        dtype = h5py.string_dtype("utf-8", max(1, array.dtype.itemsize))
        array = array.astype(dtype)
        if array.ndim and array.nbytes > 4096:
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    elif array.ndim == 2 and min(array.shape) >= 2 * _TILE:
        # Read a window at a time; in rows a narrow one would touch every page.
        options = {"chunks": (_TILE, _TILE)}
    old = group.get(name)
    if isinstance(old, h5py.Dataset):
        if old.shape == array.shape and old.dtype == array.dtype:
            old[...] = array
            return old
        del group[name]
    return group.create_dataset(name, data=array, dtype=dtype, **options)


# -- arrays of a run -----------------------------------------------------------------


def _quoted(name: str) -> str:
    """Return an array name as an HDF5 path; segments may be any text."""
    return "/".join(
        "%"
        if not part
        else quote(part, safe=" :;,=+()[]{}<>@#$&!'\"^|~`*?").replace(
            ".", "%2E" if set(part) == {"."} else "."
        )
        for part in name.split("/")
    )


def _unquoted(path: str) -> str:
    return "/".join("" if p == "%" else unquote(p) for p in path.split("/"))


def _write_arrays(group: h5py.Group, arrays: dict[str, Array]) -> None:
    stacks: dict[str, dict[str, Array]] = defaultdict(dict)
    for name, array in arrays.items():
        if array.ndim == 1 and array.size <= SMALL and array.dtype.kind in "biuf":
            leaf = name.rpartition("/")[2]
            stacks[_quoted(f"{leaf}.{array.dtype.name}")][name] = array
        else:
            _put(group, f"arrays/{_quoted(name)}", array)
    for stack, members in stacks.items():
        _append(group.require_group(f"stacks/{stack}"), members)


def _append(stack: h5py.Group, members: dict[str, Array]) -> None:
    """Add small arrays to a stack; of equal names the last one counts."""
    new = np.concatenate(list(members.values()))
    names = np.array(list(members), dtype=np.str_)
    start = np.cumsum([0, *(len(array) for array in members.values())])
    if "values" in stack:
        values = stack["values"]
        names = np.concatenate([_read(stack, "names"), names])
        old = _read(stack, "start")
        start = np.concatenate([old, start[1:] + old[-1]])
        values.resize((int(start[-1]),))
        values[int(old[-1]) :] = new
    else:
        chunk = (min(_CHUNKS[1], max(_CHUNKS[0], len(new))),)
        stack.create_dataset("values", data=new, chunks=chunk, maxshape=(None,))
    _put(stack, "names", names)
    _put(stack, "start", start.astype(np.int64))


def _find_arrays(group: h5py.Group) -> Iterator[tuple[str, _Place]]:
    """Yield the names of a run's arrays and where they lie."""
    if "stacks" in group:
        for key, stack in _group(group, "stacks").items():
            names, start = _read(stack, "names"), _read(stack, "start")
            (stored,) = _dataset(stack, "values").shape
            rising = start.shape == (len(names) + 1,) and (np.diff(start) >= 0).all()
            if not rising or start[0] != 0 or start[-1] > stored:
                raise damaged(f"the arrays {key} do not fit their table")
            bounds = start.tolist()
            for i, name in enumerate(names.tolist()):
                yield name, (key, bounds[i], bounds[i + 1])
    if "arrays" in group:
        paths: list[str] = []
        arrays = _group(group, "arrays")
        arrays.visititems(
            lambda path, item: (
                paths.append(path) if isinstance(item, h5py.Dataset) else None
            )
        )
        yield from ((_unquoted(path), None) for path in paths)


def _run_id(key: str) -> int:
    if not key.isdecimal():
        raise damaged(f"{key} is not the number of a run")
    return int(key)
