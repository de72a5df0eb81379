"""HDF5 in checked steps: what a project file may hold, read and written.

A file from a stranger reads nothing but itself: links that lead elsewhere, references,
virtual and external data are refused, and what claims more data than the file can hold.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.layout import Tree, damaged

# Network folders refuse HDF5's own locks, and the project has its own: the choice
# must be made before the library is loaded.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
import h5py as h5py  # noqa: E402 - told on to the store, after the choice

Array = NDArray[Any]

_TILE = 256
"""Side of the squares that large matrices are stored in."""
_MAX_RATIO = 1100
"""No filter of ours packs tighter; a file that claims more would fill the memory."""


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
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


def check_links(file: h5py.File) -> None:
    """Refuse links that are not plain: they may lead to other files or in circles."""

    # An error cannot pass through HDF5's iteration; a value that is not None ends it.
    def find(name: bytes, link: Any) -> bytes | None:
        return None if link.type == h5py.h5l.TYPE_HARD else name

    name = file.id.links.visit(find, info=True)
    if name is not None:
        raise foreign(name.decode(errors="replace"), "a link to another place")


def foreign(name: str, what: str) -> AnalysisError:
    """Return the error for what a project never holds."""
    return AnalysisError(
        f"The file holds {what}, which a project never does.",
        value=name,
        hint="Do not open it unless you know who made it.",
    )


def attributes(group: h5py.Group) -> dict[str, str | int | float]:
    """Return the attributes that are one text or number; others are not ours."""
    found: dict[str, str | int | float] = {}
    for name in group.attrs:
        if h5py.h5a.open(group.id, name.encode()).get_type().get_class() not in (
            h5py.h5t.STRING,
            h5py.h5t.INTEGER,
            h5py.h5t.FLOAT,
        ):
            raise foreign(f"{group.name}@{name}", "an attribute of another type")
        value = group.attrs[name]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (str, int, float)):
            found[name] = value
    return found


def group_of(parent: h5py.Group, name: str) -> h5py.Group:
    """Return a group that must be there."""
    group = parent.get(name)
    if not isinstance(group, h5py.Group):
        raise damaged(f"the group {name} is missing")
    return group


def dataset_of(parent: h5py.Group, name: str) -> h5py.Dataset:
    """Return a data set that holds its own numbers or text, in this file."""
    dataset = parent.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise damaged(f"the array {name} is missing")
    if dataset.is_virtual or dataset.external:
        raise foreign(dataset.name, "data that lie in another file")
    if dataset.dtype.kind not in "biufS" or dataset.dtype.hasobject:
        raise foreign(dataset.name, f"data of the type {dataset.dtype}")
    if dataset.nbytes > (1 << 20) + _MAX_RATIO * os.path.getsize(parent.file.filename):
        raise damaged(f"the array {name} claims more data than the file can hold")
    return dataset


def read_array(parent: h5py.Group, name: str) -> Array:
    """Return a data set whole, text decoded."""
    array = np.asarray(dataset_of(parent, name)[()])
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def read_tree(group: h5py.Group, skip: tuple[str, ...] = ()) -> Tree:
    """Return everything below a group but the members in `skip`."""
    tree = Tree(attributes(group))
    for name in group:
        if name in skip:
            continue
        if isinstance(group.get(name), h5py.Group):
            tree.groups[name] = read_tree(group_of(group, name))
        else:
            tree.items[name] = read_array(group, name)
    return tree


def write_tree(group: h5py.Group, tree: Tree, keep: tuple[str, ...] = ()) -> None:
    """Make a group equal to `tree`, but for the members in `keep`."""
    for name in set(group) - set(tree.items) - set(tree.groups) - set(keep):
        del group[name]
    for name, value in tree.attrs.items():
        group.attrs[name] = value
    for name, array in tree.items.items():
        dataset = put_array(group, name, array)
        if tree.units.get(name):
            dataset.attrs["units"] = tree.units[name]
    for name, child in tree.groups.items():
        write_tree(group.require_group(name), child)


def put_array(group: h5py.Group, name: str, array: Array) -> h5py.Dataset:
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
