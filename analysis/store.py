"""The project file: HDF5, self-describing, never open for writing in place.

A change is made in a copy beside the file, which is synced and then takes its name:
whatever kills the process, the file is either the old or the new one. The copy is
made object by object, so the room of what was deleted or replaced is not copied: HDF5
can keep a list of such room in the file, but closing a file with one may never return
(https://github.com/HDFGroup/hdf5/issues/5121). Any HDF5 viewer can read the file
(`analysis/layout.py` says what the groups hold):

    /               @format @version @tool @uuid @generation @created @saved
    /model          @name @digest @source @architecture, details, layers/...
    /document       @target, current/..., kept/<n>/... (@name)
    /runs/<id>      @measure @status @unit ..., details, rows/...
        arrays      large arrays under their names
        stacks      many small arrays of one kind, end to end: names, start, values
    /evaluations    JSON by digest of the assignment

Everything is read and written in the checked steps of `analysis/hdf5.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from analysis.errors import AnalysisError
from analysis.hdf5 import (
    Array,
    attributes,
    check_links,
    dataset_of,
    group_of,
    h5py,
    put_array,
    read_array,
    read_tree,
    readable,
    write_tree,
)
from analysis.layout import Tree, damaged
from analysis.replace import replacing
from analysis.version import tool_version

FORMAT = "quantscope-project"
VERSION = 1
SMALL = 65536
"""Elements up to which a 1-D array is stacked with others of its kind."""

_LIBVER = ("v110", "v110")
_CHUNKS = (256, 16384)


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
        if self.path.is_dir():
            raise AnalysisError(
                "A folder was given in place of a project file.",
                value=self.path,
                allowed="a file that ends in .qscope",
                hint="Models are opened by `quantscope analyze` or in the window.",
            )
        if not self.path.is_file():
            raise AnalysisError(
                "There is no project file.",
                value=self.path,
                hint="`quantscope analyze MODEL -o FILE.qscope` makes one.",
            )
        with readable(self.path):
            file = self._open()
            header = _header(file)
            check_links(file)
            runs, names = {}, {}
            self._places = {}
            for key in group_of(file, "runs"):
                run = _run_id(key)
                group = group_of(file, f"runs/{key}")
                runs[run] = read_tree(group, skip=("arrays", "stacks"))
                self._places[run] = dict(_find_arrays(group))
                names[run] = tuple(self._places[run])
            return Stored(
                header,
                read_tree(group_of(file, "model")),
                read_tree(group_of(file, "document")),
                read_array(file, "evaluations"),
                dict(sorted(runs.items())),
                names,
            )

    def read_header(self) -> Header:
        """Return the identity of the file that is on disk now.

        Raises:
            AnalysisError: it is missing or no project.
        """
        with readable(self.path), h5py.File(self.path, "r") as file:
            return _header(file)

    def array(self, run: int, name: str) -> Array | None:
        """Return an array of a run, None when the file has no such array.

        Raises:
            AnalysisError: the file is gone or damaged.
        """
        places = self._places.get(run, {})
        if name not in places:
            return None
        with readable(self.path):
            group = group_of(self._open(), f"runs/{run}")
            place = places[name]
            if place is None:
                return read_array(group, f"arrays/{_quoted(name)}")
            stack, start, stop = place
            values = dataset_of(group, f"stacks/{stack}/values")
            return np.asarray(values[start:stop])

    def window(self, run: int, name: str, rows: slice, columns: slice) -> Array | None:
        """Return a part of a 2-D array, None when the file has no such array.

        Raises:
            AnalysisError: the file is gone or damaged, or the array has not two
                dimensions.
        """
        if self._places.get(run, {}).get(name, ("",)) is not None:
            return None
        with readable(self.path):
            group = group_of(self._open(), f"runs/{run}")
            dataset = dataset_of(group, f"arrays/{_quoted(name)}")
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
        with readable(self.path):
            group = group_of(self._open(), f"runs/{run}")
            return tuple(dataset_of(group, f"arrays/{_quoted(name)}").shape)

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
        source = None if base is None else base.path
        with replacing(self.path, source, more) as copy:
            _write(copy, source, header, changes)
        self._places = {} if base is None else dict(base._places)
        for run in changes.deleted:
            self._places.pop(run, None)
        with readable(self.path):
            for run, arrays in changes.arrays.items():
                if arrays or run not in self._places:
                    group = group_of(self._open(), f"runs/{run}")
                    self._places[run] = dict(_find_arrays(group))


def _write(path: Path, base: Path | None, header: Header, changes: Changes) -> None:
    # Without a cache of chunks a full disk is an error of the write, not of some later
    # closing that nobody hears of.
    with h5py.File(path, "w", libver=_LIBVER, rdcc_nbytes=0) as file:
        if base is not None:
            _copy(base, file, changes.deleted)
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["tool"] = tool_version()
        for name in ("uuid", "generation", "created", "saved"):
            file.attrs[name] = getattr(header, name)
        for key, tree in (("model", changes.model), ("document", changes.document)):
            if tree is not None:
                write_tree(file.require_group(key), tree)
        if changes.evaluations is not None:
            put_array(file, "evaluations", changes.evaluations)
        runs = file.require_group("runs")
        for run, tree in changes.runs.items():
            group = runs.require_group(str(run))
            write_tree(group, tree, keep=("arrays", "stacks"))
            _write_arrays(group, changes.arrays.get(run, {}))


def _copy(base: Path, file: h5py.File, deleted: tuple[int, ...]) -> None:
    """Copy everything of a project file but the deleted runs."""
    gone = {str(run) for run in deleted}
    runs = file.create_group("runs")
    with h5py.File(base, "r") as old:
        for name in old:
            if name != "runs":
                old.copy(name, file)
        old_runs = group_of(old, "runs")
        for name in old_runs:
            if name not in gone:
                old_runs.copy(name, runs)


def _header(file: h5py.File) -> Header:
    attrs = attributes(file)
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
            put_array(group, f"arrays/{_quoted(name)}", array)
    for stack, members in stacks.items():
        _append(group.require_group(f"stacks/{stack}"), members)


def _append(stack: h5py.Group, members: dict[str, Array]) -> None:
    """Add small arrays to a stack; of equal names the last one counts."""
    new = np.concatenate(list(members.values()))
    names = np.array(list(members), dtype=np.str_)
    start = np.cumsum([0, *(len(array) for array in members.values())])
    if "values" in stack:
        values = stack["values"]
        names = np.concatenate([read_array(stack, "names"), names])
        old = read_array(stack, "start")
        start = np.concatenate([old, start[1:] + old[-1]])
        values.resize((int(start[-1]),))
        values[int(old[-1]) :] = new
    else:
        chunk = (min(_CHUNKS[1], max(_CHUNKS[0], len(new))),)
        stack.create_dataset("values", data=new, chunks=chunk, maxshape=(None,))
    put_array(stack, "names", names)
    put_array(stack, "start", start.astype(np.int64))


def _find_arrays(group: h5py.Group) -> Iterator[tuple[str, _Place]]:
    """Yield the names of a run's arrays and where they lie."""
    if "stacks" in group:
        for key, stack in group_of(group, "stacks").items():
            names, start = read_array(stack, "names"), read_array(stack, "start")
            (stored,) = dataset_of(stack, "values").shape
            rising = start.shape == (len(names) + 1,) and (np.diff(start) >= 0).all()
            if not rising or start[0] != 0 or start[-1] > stored:
                raise damaged(f"the arrays {key} do not fit their table")
            bounds = start.tolist()
            for i, name in enumerate(names.tolist()):
                yield name, (key, bounds[i], bounds[i + 1])
    if "arrays" in group:
        paths: list[str] = []
        arrays = group_of(group, "arrays")
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
